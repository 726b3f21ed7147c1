"""What a simulated venue knows of its customers: keys, balances, orders, fills, and what it says.

Plain data, the same for every venue; `desk.py` moves it.  Amounts are exact decimals, quantities of
orders whole lots and prices whole ticks of their listing.  Keys and balances follow from the seed.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Any, TypeAlias

from hean_router.sim.exchange import Listing, OrderState, Reason, Side, Stp, Tif
from hean_router.sim.market import START_PX, split

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_HEX = "0123456789abcdef"
_WORTH_USD = Decimal(1_000_000)
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410, before the seed


class Permission(StrEnum):
    """What a key may do."""

    READ = "read"
    TRADE = "trade"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key of an account.

    `scheme` is how it signs: `hmac` (secret is text), `ed25519` (secret is a PKCS#8 PEM), `kraken`
    (secret is base64 of the HMAC key).  `passphrase` only where the venue wants one.
    """

    key: str
    secret: str = field(repr=False)
    scheme: str
    permissions: frozenset[Permission]
    passphrase: str = field(default="", repr=False)

    def announced(self) -> dict[str, Any]:
        """As in the first line of `hean sim`."""
        shown: dict[str, Any] = {"key": self.key, "secret": self.secret, "scheme": self.scheme}
        if self.passphrase:
            shown["passphrase"] = self.passphrase
        return {**shown, "permissions": sorted(self.permissions)}


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """An account as it is opened: `name` is the owner of its orders in the engine."""

    name: str
    uid: int
    keys: tuple[ApiKey, ...]
    balances: Mapping[str, Decimal]

    def announced(self) -> dict[str, Any]:
        """As in the first line of `hean sim`."""
        return {
            "name": self.name,
            "uid": self.uid,
            "keys": [key.announced() for key in self.keys],
            "balances": {asset: f"{amount:f}" for asset, amount in self.balances.items()},
        }


@dataclass(frozen=True, slots=True)
class KeyStyle:
    """What a venue's keys look like: lengths of key and secret, letters of both, the scheme."""

    scheme: str = "hmac"
    key_length: int = 64
    secret_length: int = 64
    letters: str = _ALNUM
    passphrase: bool = False


def open_accounts(
    seed: int,
    venue: str,
    listings: Iterable[Listing],
    styles: Sequence[KeyStyle] = (KeyStyle(),),
    balances: Mapping[str, Decimal] | None = None,
) -> tuple[AccountSpec, ...]:
    """The accounts of a venue, the same for the same seed.

    `main` has a key of every style that may read and trade, then one that may also withdraw and one
    that may only read; `second` is somebody else with a key and balances of its own.  Balances are
    the same for both: `balances`, or about a million USD of each asset listed.
    """
    rng = split(seed, "accounts", venue)
    amounts = dict(balances) if balances is not None else _plenty(listings)
    trade = frozenset({Permission.READ, Permission.TRADE})
    main = [make_key(rng, style, trade) for style in styles]
    main.append(make_key(rng, styles[0], frozenset(Permission)))
    main.append(make_key(rng, styles[0], frozenset({Permission.READ})))
    second = (make_key(rng, styles[0], trade),)
    return (
        AccountSpec("main", rng.randrange(10**7, 10**9), tuple(main), amounts),
        AccountSpec("second", rng.randrange(10**7, 10**9), second, amounts),
    )


def make_key(rng: Random, style: KeyStyle, permissions: frozenset[Permission]) -> ApiKey:
    """A key of a venue's style.  Only a simulator's: a real secret never comes from such a die."""
    key = _word(rng, style.letters, style.key_length)
    match style.scheme:
        case "ed25519":
            body = b64encode(_PKCS8_ED25519 + rng.randbytes(32)).decode()
            secret = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
        case "kraken":
            secret = b64encode(rng.randbytes(64)).decode()
        case _:
            secret = _word(rng, style.letters, style.secret_length)
    passphrase = _word(rng, _ALNUM, 16) if style.passphrase else ""
    return ApiKey(key, secret, style.scheme, permissions, passphrase)


def ed25519_seed(pem: str) -> bytes:
    """The 32 bytes of an Ed25519 private key.  ValueError: the text is no such PEM."""
    from base64 import b64decode

    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    der = b64decode(body, validate=True)
    if len(der) != len(_PKCS8_ED25519) + 32 or not der.startswith(_PKCS8_ED25519):
        raise ValueError("not an Ed25519 private key")
    return der[-32:]


def _word(rng: Random, letters: str, length: int) -> str:
    return "".join(rng.choice(letters) for _ in range(length))


def _plenty(listings: Iterable[Listing]) -> dict[str, Decimal]:
    """About a million USD of each asset: 1, 2 or 5 times a power of ten."""
    assets = dict.fromkeys(asset for listing in listings for asset in (listing.base, listing.quote))
    amounts = {}
    for asset in assets:
        amount = _WORTH_USD / START_PX[asset]
        magnitude = Decimal(1).scaleb(amount.adjusted())
        digit = max(digit for digit in (1, 2, 5) if digit * magnitude <= amount)
        amounts[asset] = Decimal(f"{digit * magnitude:f}")
    return amounts


# What an account asks for, and what it has


@dataclass(frozen=True, slots=True)
class Terms:
    """An order as asked for, in decimals; exactly one of `qty` and `quote_qty` is given.

    `px` None is a market order; `quote_qty` (what a market buy spends) needs one.  `stp` None is
    the venue's default.  `note` is the face's own: what it must remember to print the order again.
    """

    symbol: str
    side: Side
    qty: Decimal | None = None
    px: Decimal | None = None
    quote_qty: Decimal | None = None
    tif: Tif = Tif.GTC
    post_only: bool = False
    client_id: str = ""
    stp: Stp | None = None
    note: Mapping[str, Any] = field(default_factory=dict)


class Why(StrEnum):
    """Why a request was refused; a face words it in its venue's terms."""

    SYMBOL = "symbol"
    NOT_TRADING = "not_trading"
    PX_TICK = "px_tick"
    PX_MIN = "px_min"
    PX_MAX = "px_max"
    PX_BAND = "px_band"  # too far from the reference price
    QTY_STEP = "qty_step"
    QTY_MIN = "qty_min"
    QTY_MAX = "qty_max"
    NOTIONAL_MIN = "notional_min"
    NOTIONAL_MAX = "notional_max"
    OPEN_MAX = "open_max"  # too many open orders
    CLIENT_ID = "client_id"  # it is in use
    FUNDS = "funds"
    POST_ONLY = "post_only"  # it would have taken
    NO_LIQUIDITY = "no_liquidity"  # a market order and an empty book
    UNKNOWN_ORDER = "unknown_order"  # never there, or no longer open
    NO_CHANGE = "no_change"  # an amendment that does not make the order smaller


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that did nothing.

    `limit` and `given` are the two figures that did not agree, `asset` what there was too little
    of, `order` what stood in the way, where that makes sense.
    """

    why: Why
    limit: Decimal | None = None
    given: Decimal | None = None
    asset: str = ""
    order: "OrderRecord | None" = None


@dataclass(frozen=True, slots=True)
class Fill:
    """One match of one order.

    `id` is the trade's id of the listing's tape (both sides have the same one); `px` in ticks,
    `qty` in lots, `quote` their value.  `cum_qty`, `cum_quote` and `leaves` are the order's right
    after it; `totals` the account's balances (free and locked) of the assets it touched.
    """

    id: int
    symbol: str
    side: Side
    px: int
    qty: int
    quote: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    time_ns: int
    cum_qty: int
    cum_quote: Decimal
    leaves: int
    totals: Mapping[str, Decimal]


@dataclass(slots=True, eq=False)
class OrderRecord:
    """An order and all that became of it.

    `id` is the engine's, `venue_id` the text clients know it by.  `qty` and `leaves` in lots; of an
    order by value `qty` is what it got.  `client_id` may be changed by a cancel where the venue
    renames (`first_client_id` stays).  `locked` is what it holds of `locked_asset`.
    """

    id: int
    venue_id: str
    account: str
    terms: Terms
    px: int | None
    qty: int
    leaves: int
    stp: Stp
    created_ns: int
    updated_ns: int
    client_id: str
    first_client_id: str
    state: OrderState = OrderState.OPEN
    reason: Reason | None = None
    cum_quote: Decimal = Decimal(0)
    fees: dict[str, Decimal] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    locked_asset: str = ""
    locked: Decimal = Decimal(0)
    note: dict[str, Any] = field(default_factory=dict)  # the face's own, may change

    @property
    def symbol(self) -> str:
        """Its listing."""
        return self.terms.symbol

    @property
    def side(self) -> Side:
        """Its side."""
        return self.terms.side

    @property
    def open(self) -> bool:
        """Whether it is on the book."""
        return self.state is OrderState.OPEN

    @property
    def filled(self) -> int:
        """Lots filled."""
        return self.fills[-1].cum_qty if self.fills else 0


@dataclass(slots=True)
class Balance:
    """An asset of an account; `total` includes what is `locked` by open orders."""

    total: Decimal
    locked: Decimal = Decimal(0)

    @property
    def free(self) -> Decimal:
        """What new orders can use."""
        return self.total - self.locked


class Account:
    """One customer: keys, balances, every order ever.  `Desk` alone changes it."""

    def __init__(self, spec: AccountSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.balances = {asset: Balance(amount) for asset, amount in spec.balances.items()}
        self.orders: list[OrderRecord] = []  # as they came
        self.open: dict[int, OrderRecord] = {}
        self.fills: list[tuple[OrderRecord, Fill]] = []  # as they happened
        self.moved: dict[str, Decimal] = {}  # deposits and withdrawals, netted
        self.by_venue_id: dict[str, OrderRecord] = {}
        self._by_client_id: dict[str, OrderRecord] = {}

    def balance(self, asset: str) -> Balance:
        """Of an asset, made empty if the account never had it."""
        return self.balances.setdefault(asset, Balance(Decimal(0)))

    def by_client_id(self, client_id: str) -> OrderRecord | None:
        """The order that has this id now; of several, the youngest (an open one always is)."""
        return self._by_client_id.get(client_id)

    def name_order(self, order: OrderRecord, client_id: str) -> None:
        """Let `client_id` mean `order` from now on; its former id means nothing any more."""
        if self._by_client_id.get(order.client_id) is order:
            del self._by_client_id[order.client_id]
        order.client_id = client_id
        if client_id:
            self._by_client_id[client_id] = order

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        """Open orders, oldest first; of one listing, or all."""
        return [order for order in self.open.values() if symbol in (None, order.symbol)]


# What an account is told


@dataclass(frozen=True, slots=True)
class Accepted:
    """The engine has taken an order, before anything else happens to it."""

    seq: int
    time_ns: int
    account: str
    order: OrderRecord


@dataclass(frozen=True, slots=True)
class Filled:
    """One match; `fill.leaves` 0 ends the order."""

    seq: int
    time_ns: int
    account: str
    order: OrderRecord
    fill: Fill


@dataclass(frozen=True, slots=True)
class Ended:
    """Cancelled or expired with something left.  `reason` None: by its owner."""

    seq: int
    time_ns: int
    account: str
    order: OrderRecord
    state: OrderState
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Reduced:
    """Made smaller in its place: `qty` and `leaves` in lots as they then were."""

    seq: int
    time_ns: int
    account: str
    order: OrderRecord
    qty: int
    leaves: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that did nothing: kept in the history, pushed to nobody."""

    seq: int
    time_ns: int
    account: str
    terms: Terms | None
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class AssetChange:
    """An asset after one engine action, and by how much its total changed in it."""

    total: Decimal
    locked: Decimal
    delta: Decimal

    @property
    def free(self) -> Decimal:
        """What new orders can use."""
        return self.total - self.locked


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """All assets one engine action touched; `order` is the account's own it happened to."""

    seq: int
    time_ns: int
    account: str
    order: OrderRecord | None
    changes: Mapping[str, AssetChange]


Event: TypeAlias = Accepted | Filled | Ended | Reduced | BalancesChanged
"""What an account is told of; `seq` rises over all accounts of the venue, without gaps between
what happens (a refusal takes a number too, but is told only in the answer)."""

Row: TypeAlias = Mapping[str, Any]
History: TypeAlias = Callable[[Row], None]
"""Writes one row of a venue's history: `seq`, `time_ns`, `account`, `what`, `data` in its terms.

A row whose `what` is `lie` was told and is not so; `lie` says in which way.
"""

WHAT: Mapping[type, str] = {
    Accepted: "order",
    Filled: "fill",
    Ended: "end",
    Reduced: "reduce",
    Refused: "refusal",
    BalancesChanged: "balance",
}
"""What a row of the history is, by the kind of event."""


def opening_rows(specs: Iterable[AccountSpec], now_ns: int) -> list[dict[str, Any]]:
    """The first rows of a history: what each account begins with."""
    return [
        {
            "seq": 0,
            "time_ns": now_ns,
            "account": spec.name,
            "what": "opening",
            "data": {"uid": spec.uid, "balances": spec.announced()["balances"]},
        }
        for spec in specs
    ]
