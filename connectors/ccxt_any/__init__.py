"""Any venue that ccxt knows, as `ccxt:ID`: its books and trades, at the gateway.

ccxt does its own I/O, so it cannot be a codec.  `feed.py`, the one file below the runtime that
may wait, reads `watch_order_book` (where the venue lacks it, `fetch_order_book` in turn) and hands
each answer, a whole book with a running number, to the same `FeedSession` that judges every native
venue: so states, freshness, quarantine and backoff are the same.  Nothing proves such a book
complete (`Integrity.NONE`).  `library.py` makes ccxt's objects and names its errors, `listing.py`
reads its markets and its numbers.

A stream that stops without an exception is found by its top, asked for over REST: within
`doubt_max_ns` + 2 x `again_ns` + two round trips, as natively (35 s with the defaults, 8 s where
the book is lively).

ccxt is loaded when a `ccxt:ID` is first used, and not before: 0.9 s and 95 MB.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from connectors.ccxt_any import library
from connectors.ccxt_any.feed import AnyGateway
from hean_router import kit

# Where ccxt does not tell a fee it is taken for this: rather too dear than too cheap.  Say what you
# pay with `taker_fee` in config/venues.toml.
UNKNOWN_FEE = Decimal("0.002")
_HAS = {kit.Part.SPOT: "spot", kit.Part.LINEAR: "swap"}


def gateway(
    id: str,
    part: kit.Part,
    hosts: Mapping[str, str],
    now_ns: Callable[[], int],
    rng: kit.Dice,
    *,
    env: str = "live",
    policy: kit.Policy = kit.Policy(),  # noqa: B008 - frozen, a value
) -> AnyGateway | None:
    """The gateway of ccxt's venue `id`; None if it has no such part.

    `hosts` replaces scheme and host of the venue's URLs (`rest`, `ws`, `linear.rest`, …).  `env`
    is `live`, `sim` (with `hosts`; the environment's proxy is kept out) or, where ccxt knows one,
    `testnet`.  `rng` gives the jitter of the waits.  Raises `CommandError` for an ID or an
    environment that ccxt does not know.
    """

    def make() -> Any:
        return library.exchange(id, part, hosts, env)

    rest = make()
    if not rest.has.get(_HAS[part]):
        return None
    return AnyGateway(kit.VenueId(f"ccxt:{id}"), part, make, rest, now_ns, rng, policy)


def fees(id: str, part: kit.Part) -> kit.Fees:
    """What ccxt says `id` charges at its lowest tier; `UNKNOWN_FEE` where it says nothing."""
    table: Mapping[str, Any] = library.venue_class(id)().fees
    kinds = ("spot",) if part is kit.Part.SPOT else ("linear", "swap")
    trading = table.get("trading") or {}
    places = [*(table.get(kind) for kind in kinds), *(trading.get(kind) for kind in kinds)]
    for place in (*places, trading, table):
        told = (place or {}).get("trading") or place or {}
        if (taker := told.get("taker")) is not None:
            break
    else:
        return kit.Fees(taker=UNKNOWN_FEE, maker=UNKNOWN_FEE, fee_in=_fee_in(None, part))
    maker = taker if told.get("maker") is None else told["maker"]
    return kit.Fees(
        taker=Decimal(str(taker)),
        maker=Decimal(str(maker)),
        fee_in=_fee_in(told.get("feeSide"), part),
    )


def _fee_in(side: str | None, part: kit.Part) -> kit.FeeIn:
    """The currency a fee is taken in, from ccxt's `feeSide`; where it is silent, what is usual."""
    usual = kit.FeeIn.RECEIVED if part is kit.Part.SPOT else kit.FeeIn.QUOTE
    table = {"get": kit.FeeIn.RECEIVED, "quote": kit.FeeIn.QUOTE, "base": kit.FeeIn.BASE}
    return table.get(side or "", usual)
