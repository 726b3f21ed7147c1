"""Orders as venues know them: one instruction to one venue, and what may become of it.

An outcome is accepted, refused for sure, held back by a limit (sure not to have been done), or
unknown.  Unknown is asked about and never sent again.
"""

import re
from decimal import Decimal
from enum import Enum, StrEnum
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.feed import Notice
from hean_router.domain.instrument import Instrument, Side

_KEY = re.compile(r"[a-z][0-9a-z]{1,17}")  # what all four venues take (Kraken's free text: 18)


class Tif(StrEnum):
    """How long an order lives."""

    GTC = "gtc"  # until filled or cancelled
    IOC = "ioc"  # what trades at once; the rest is cancelled
    FOK = "fok"  # all of it at once, or nothing


class ChildOrder(Struct, frozen=True, kw_only=True):
    """One order for one venue.

    `key` is our id for it at the venue: at most 18 of [0-9a-z], a letter first, never used twice.
    `qty` is base in the instrument's units, a whole number of lots; `px` is the limit, None for a
    market order (which is sent by base quantity, never by value).
    """

    key: str
    account: str
    instrument: Instrument
    side: Side
    qty: int
    px: int | None
    tif: Tif = Tif.GTC
    post_only: bool = False

    def __post_init__(self) -> None:
        assert _KEY.fullmatch(self.key), f"key {self.key!r}"
        assert self.qty > 0, f"quantity {self.qty}"
        assert self.qty % self.instrument.lot == 0, f"{self.qty} is off the lot"
        assert self.px is None or (self.px > 0 and self.px % self.instrument.tick == 0), self.px
        assert not self.post_only or (self.px is not None and self.tif is Tif.GTC), (
            "post-only rests"
        )
        assert self.px is not None or self.tif is Tif.IOC, "a market order is IOC by nature"


class Approved(Struct, frozen=True):
    """An order that risk has let through, by `risk.review` alone; sessions take no other."""

    order: ChildOrder


# ------------------------------------------------------------------------- outcomes


class RejectKind(Enum):
    """Why a venue refused for sure, as far as it changes what we do next."""

    FUNDS = "insufficient funds"
    FILTER = "price, quantity or notional outside the venue's rules"
    WOULD_TRADE = "post-only would have traded"
    WOULD_NOT_FILL = "fill-or-kill, or market, without the liquidity"
    HALTED = "the instrument or the venue takes no such orders now"
    TOO_MANY = "too many open orders"
    CLOCK = "timestamp, deadline or nonce outside the venue's window: not executed"
    ACCESS = "key, signature or permission: stop trading"
    GONE = "to a cancel: no such open order (filled, cancelled, or never there): ask"
    REQUEST = "our request was malformed: a bug of ours, stop"


class Accepted(Struct, frozen=True):
    """The venue has taken the request.  What became of the order is told by events."""

    venue_order_id: str = ""


class Rejected(Struct, frozen=True):
    """The venue has refused, and certainly did nothing."""

    kind: RejectKind
    code: str
    text: str


class Limited(Struct, frozen=True):
    """Too much was asked; certainly nothing was done.  `wait_ns` 0: the venue does not say."""

    code: str
    text: str
    wait_ns: int = 0


class Unknown(Struct, frozen=True):
    """It may or may not have been done: ask, and never send again."""

    why: str


Outcome: TypeAlias = Accepted | Rejected | Limited | Unknown


# ------------------------------------------------------------------------- what venues tell


class OrderState(Enum):
    """Where an order stands at the venue."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"  # by the engine, after the request was accepted
    EXPIRED = "expired"  # what an IOC or FOK left, or the venue's own doing


class OrderReport(Struct, frozen=True, kw_only=True):
    """An order as the venue tells it: cumulative, so never to be added up.

    `key` is empty where the venue did not tell ours; then `venue_order_id` names it.  `cum_qty` is
    base filled so far in instrument units, None where the message does not say.
    """

    instrument: Instrument
    key: str
    venue_order_id: str
    state: OrderState
    cum_qty: int | None = None
    qty: int | None = None
    px: int | None = None
    side: Side | None = None
    reason: str = ""
    sent_ns: int = 0


class Fill(Struct, frozen=True, kw_only=True):
    """One trade of ours; counted once, by (venue, account, instrument, `trade_id`).

    `fee` is what was charged, in `fee_asset`; negative for a rebate; exact, as the venue says.
    """

    instrument: Instrument
    key: str
    venue_order_id: str
    trade_id: str
    side: Side
    px: int
    qty: int
    fee: Decimal
    fee_asset: str
    maker: bool | None = None
    sent_ns: int = 0


class Balance(Struct, frozen=True, kw_only=True):
    """What we have of an asset at a venue.  `locked` is held by open orders, None where untold."""

    asset: str
    total: Decimal
    locked: Decimal | None = None
    sent_ns: int = 0


class LoggedIn(Struct, frozen=True):
    """A private socket is ours: `ready` once its events flow too."""

    ready: bool = True


class LoginFailed(Struct, frozen=True):
    """A private socket refused us; `final` if trying again can not help (a bad key)."""

    text: str
    final: bool


class Reply(Struct, frozen=True):
    """The answer on a socket to our request `request_id`."""

    request_id: str
    outcome: Outcome


class Missed(Struct, frozen=True):
    """A private stream has lost messages: everything must be asked for anew.

    `lie`: one was whole and said what cannot be, and is taken as not said.
    """

    why: str
    lie: bool = False


OrderEvent: TypeAlias = (
    OrderReport | Fill | Balance | Reply | LoggedIn | LoginFailed | Missed | Notice
)


class Permissions(Struct, frozen=True, kw_only=True):
    """What a key may do.  None: the venue does not say, which counts as the worse answer."""

    read: bool | None
    trade: bool | None
    withdraw: bool | None
    ip_bound: bool | None = None


class Stamp(Struct, frozen=True, kw_only=True):
    """What the shell adds to a request at the moment it is sent.

    `venue_ms` is the venue's clock as we know it; the request must not be carried out after
    `deadline_ms` of the same clock.  `nonce` rises strictly per key, over restarts too.
    `token` is what `OrderSocket.token` returned, for venues that want one.
    """

    venue_ms: int
    deadline_ms: int
    nonce: int
    request_id: str = ""
    token: str = ""


class Credentials(Struct, frozen=True, kw_only=True):
    """A key at a venue.  Prints nothing that could be used."""

    account: str
    key: str
    secret: str
    passphrase: str = ""
    scheme: str = "hmac"  # or ed25519: then `secret` is the private key in PEM

    def __repr__(self) -> str:
        return f"Credentials(account={self.account!r}, key='{self.key[:4]}…', secret='…')"

    def __rich_repr__(self) -> "list[tuple[str, str]]":
        return [("account", self.account), ("key", f"{self.key[:4]}…")]
