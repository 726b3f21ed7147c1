"""A venue's facts, as one record."""

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, StrEnum

from msgspec import Struct

from hean_router.domain.instrument import Part, VenueId


class Integrity(Enum):
    """What proves that a book is complete."""

    CHAIN = "chain"  # every delta names the one it builds on
    CHECKSUM = "checksum"  # every message carries a digest of the result
    NONE = "none"  # nothing does; such a book is worth less


class FeeIn(StrEnum):
    """The currency a fee is taken in."""

    QUOTE = "quote"
    BASE = "base"
    RECEIVED = "received"  # base when buying, quote when selling


class Fees(Struct, frozen=True, kw_only=True):
    """Rates as fractions of notional (0.001 = 0.1 %), negative for a rebate."""

    taker: Decimal
    maker: Decimal
    fee_in: FeeIn = FeeIn.RECEIVED


class RateLimit(Struct, frozen=True):
    """`capacity` tokens per `per_ms`, as the venue counts them.

    `decays`: it keeps a count that falls all the time, by all of `capacity` in `per_ms`, and never
    lets it pass `capacity`; else it counts what came in a window of `per_ms`.
    """

    capacity: int
    per_ms: int
    decays: bool = False


class VenueSpec(Struct, frozen=True, kw_only=True):
    """What a venue is, without how it speaks.

    `hosts` maps an environment (live, testnet, demo, a region) to named URLs: `rest`, `ws`, and
    with a part's name in front where the parts differ (`linear.rest`, `linear.ws`).  All can be
    overridden by configuration or `--venues-from`.  `headers` maps an environment to what each of
    its REST requests must carry (OKX tells its demo from the live venue by nothing else).
    """

    id: VenueId
    name: str
    parts: frozenset[Part]
    hosts: Mapping[str, Mapping[str, str]]
    fees: Mapping[Part, Fees]  # lowest public tier; the account's own override them
    rest_limits: Mapping[str, RateLimit]  # bucket -> limit; a request names bucket and cost
    connects: RateLimit  # socket openings
    frames: RateLimit  # our own frames on one socket
    topics_max: int  # topics on one socket
    ping_every_ms: int  # how often the codec's `ping` is sent; 0 = never
    silence_ms: int  # a socket that says nothing this long is dead
    session_max_ms: int = 0  # the venue closes a socket at this age; 0 = no limit documented
    docs: str = ""  # where the facts come from
    headers: Mapping[str, Mapping[str, str]] = {}
    by_key: frozenset[str] = frozenset()  # of `rest_limits`: counted by key, not by address
    # Of its dead man's switch: least and most seconds that may be asked for, None where there is
    # none; what it ends, or why there is none.
    dead_man_s: tuple[int, int] | None = None
    dead_man: str = ""

    def host(self, hosts: Mapping[str, str], part: Part, name: str) -> str:
        """URL `name` for `part` out of one environment's `hosts`; the part's own comes first.

        Raises `KeyError` if the environment has neither.
        """
        own = f"{part.value}.{name}"
        return hosts[own] if own in hosts else hosts[name]
