"""What a person, a client or a strategy wants done: a parent order, and where it stands."""

import hashlib
import re
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.scale import plain

_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class OrderKind(StrEnum):
    """How its price is bound: by a collar that risk sets, or by the caller's limit."""

    MARKET = "market"
    LIMIT = "limit"


class Life(StrEnum):
    """How long a parent works."""

    GTC = "gtc"  # until filled or cancelled
    GTD = "gtd"  # the same, until `expire_ns`
    IOC = "ioc"  # what can be had now, in bounded rounds
    FOK = "fok"  # all of it at once, or nothing: never sent unless the plan is whole


class VenueChoice(Struct, frozen=True, kw_only=True):
    """Which venues may be used; `max_share` is of the quantity at any one of them, 0 to 1."""

    include: tuple[str, ...] = ()  # only these; () = all
    exclude: tuple[str, ...] = ()
    max_share: Decimal | None = None


class Status(StrEnum):
    """Where a parent stands, as the API says it."""

    PENDING_NEW = "pending_new"  # durable, no child acknowledged yet
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"  # a child's fate is: asked about, its reservation kept

    @property
    def is_final(self) -> bool:
        """Whether nothing of it can trade any more."""
        return self in _FINAL


_FINAL = frozenset({Status.FILLED, Status.CANCELED, Status.REJECTED, Status.EXPIRED})


class Intent(Struct, frozen=True, kw_only=True):
    """A parent order as it was asked for.

    Exactly one of `qty` (base) and `quote_qty` (quote, fees apart, never exceeded) is given.
    `client_order_id` is the idempotency key within `account`.  `group` names the decision that
    several legs belong to; a strategy's parents carry its instance name.
    """

    account: str
    client_order_id: str
    symbol: str  # as ccxt spells it
    side: Side
    kind: OrderKind = OrderKind.LIMIT
    life: Life = Life.GTC
    qty: Decimal | None = None
    quote_qty: Decimal | None = None
    limit_px: Decimal | None = None
    post_only: bool = False
    expire_ns: int | None = None
    venues: VenueChoice = VenueChoice()
    strategy: str = ""
    group: str = ""

    @property
    def pair(self) -> Pair:
        """The symbol as a pair; raises `CommandError` for one that cannot be read."""
        return Pair.parse(self.symbol)

    def check(self, now_ns: int) -> None:
        """Raise `CommandError` for what contradicts itself; knows no venue and no limit."""
        if not _CLIENT_ID.fullmatch(self.client_order_id):
            raise CommandError(
                f"client_order_id {self.client_order_id[:80]!r} will not do",
                "use 1 to 64 letters, digits, '.', '_', ':' or '-'",
            )
        if self.pair.settle:
            raise CommandError(f"{self.symbol} is no spot pair", "only spot is traded so far")
        if (self.qty is None) == (self.quote_qty is None):
            raise CommandError("give quantity or quote_quantity", "exactly one of the two")
        for name, number in (
            ("quantity", self.qty),
            ("quote_quantity", self.quote_qty),
            ("limit_price", self.limit_px),
        ):
            if number is not None and not (number.is_finite() and number > 0):
                raise CommandError(f"{name} {number} is not positive", "give more than zero")
        if (self.kind is OrderKind.LIMIT) != (self.limit_px is not None):
            raise CommandError(
                f"a {self.kind} order {'needs' if self.limit_px is None else 'takes no'} "
                "limit_price",
                "give limit_price with type limit, and only there",
            )
        self._check_life(now_ns)
        share = self.venues.max_share
        if share is not None and not (share.is_finite() and 0 < share <= 1):
            raise CommandError(f"max_share {share} is not above 0 and up to 1", "half is 0.5")

    def _check_life(self, now_ns: int) -> None:
        if self.kind is OrderKind.MARKET and self.life not in {Life.IOC, Life.FOK}:
            raise CommandError(
                f"a market order cannot be {self.life.upper()}", "use IOC or FOK, or a limit order"
            )
        if self.post_only and self.life not in {Life.GTC, Life.GTD}:
            raise CommandError(
                "post_only cannot be IOC or FOK", "a post-only order rests: use GTC or GTD"
            )
        if self.post_only and self.quote_qty is not None:
            raise CommandError("post_only takes no quote_quantity", "give quantity")
        if self.quote_qty is not None and self.life in {Life.GTC, Life.GTD}:
            raise CommandError(
                "quote_quantity cannot rest in a book", "use IOC or FOK, or give quantity"
            )
        if (self.life is Life.GTD) != (self.expire_ns is not None):
            raise CommandError(
                "expire_time and GTD go together", "give expire_time with GTD, and only there"
            )
        if self.expire_ns is not None and self.expire_ns <= now_ns:
            raise CommandError("expire_time is in the past", "give a time to come")

    def digest(self) -> str:
        """Hash of what was asked; equal for equal numbers, however they were spelled."""
        spelled = msgspec.to_builtins(self, builtin_types=(Decimal,))
        text = msgspec.json.encode(_plainly(spelled), order="deterministic")
        return hashlib.sha256(text).hexdigest()[:32]


def _plainly(value: object) -> object:
    match value:
        case Decimal():
            return plain(value)
        case dict():
            return {key: _plainly(one) for key, one in value.items()}
        case list() | tuple():
            return [_plainly(one) for one in value]
        case _:
            return value
