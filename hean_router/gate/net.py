"""The gate's limits: price, size, pace, the same again, and trades that repeat.

They hold what the recount does not see: an order may be within what was asked for and still be
absurd.  Everything here is measured by what the shell reads from the market itself, and by orders
that this gate has let through; risk, planner and OMS are not asked.
"""

from collections import deque
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct, structs

from hean_router.domain.instrument import Side
from hean_router.domain.limits import GateLimits
from hean_router.domain.parent import Intent
from hean_router.domain.record import ChildIntended, Filled, ParentPlaced
from hean_router.gate.count import EXACT, ZERO, Scope

MS = 1_000_000
SECOND = 1_000_000_000
BPS = Decimal("0.0001")
ONE = Decimal(1)
PARENTS_MAX = 1_000  # whose pace is kept; older ones are dropped once they rest

# Venue, account, symbol, side, quantity, price; and the quantity that its parent asked for.
_Same: TypeAlias = tuple[str, str, str, Side, Decimal, Decimal, Decimal]
_Who: TypeAlias = tuple[str, str, str]  # account, strategy, symbol


class Look(Struct, frozen=True, kw_only=True):
    """What the shell sees of one symbol at that moment, past the engine.

    `mid` is half-way between the displayed bests of all venues, `good` a mid of a while ago;
    `…_ns` says when each was last known to hold, our clock.  `rate` is what one unit of the quote
    asset is worth in the reporting currency.  None: it cannot be told.
    """

    mid: Decimal | None = None
    mid_ns: int = 0
    good: Decimal | None = None
    good_ns: int = 0
    rate: Decimal | None = None
    rate_ns: int = 0


BLIND = Look()


class _Trades:
    """Trades of one strategy in one account and symbol, within the window."""

    __slots__ = ("quote", "when")

    def __init__(self) -> None:
        self.when: deque[tuple[int, Decimal]] = deque()
        self.quote = ZERO  # Σ px x qty of them

    def add(self, at_ns: int, quote: Decimal) -> None:
        self.when.append((at_ns, quote))
        self.quote = EXACT.add(self.quote, quote)

    def forget(self, before_ns: int) -> None:
        while self.when and self.when[0][0] <= before_ns:
            self.quote = EXACT.subtract(self.quote, self.when.popleft()[1])


class Net:
    """Each rule says why not, as "code: reason"; empty if nothing speaks against it."""

    def __init__(self, limits: GateLimits) -> None:
        self.limits = limits
        self._paces: dict[Scope, deque[int]] = {}  # when orders left, by venue and account
        self._parents: dict[str, deque[int]] = {}
        self._last: dict[_Same, tuple[int, ParentPlaced]] = {}  # when it left, and of whom
        self._left: deque[tuple[int, _Same]] = deque()
        self._trades: dict[_Who, _Trades] = {}
        self._rates: dict[str, Decimal] = {}  # by symbol: what its quote was worth, last seen
        self._refused: dict[Scope, deque[int]] = {}

    # ------------------------------------------------------------------------- one order

    def verdict(self, row: ChildIntended, parent: ParentPlaced, now_ns: int, look: Look) -> str:
        """Why it must not leave, if it must not; what is seen of its market is kept."""
        if look.rate is not None:
            self._rates[row.symbol] = look.rate
        return (
            self._collar(row, now_ns, look)
            or self._size(row, now_ns, look)
            or self._pace(row, now_ns)
            or self._same(row, parent, now_ns)
        )

    def _collar(self, row: ChildIntended, now_ns: int, look: Look) -> str:
        """By the mid and by what was good before it: an empty book cannot set our price."""
        bps, stale_ms = self.limits.collar_bps, self.limits.stale_ms
        for name, px, at_ns in (("mid", look.mid, look.mid_ns), ("last", look.good, look.good_ns)):
            if px is None:
                if bps is None and stale_ms is None:
                    continue
                return f"no_reference: {row.symbol} has no {name} price"
            if stale_ms is not None and now_ns - at_ns > stale_ms * MS:
                age_ms = (now_ns - at_ns) // MS
                return f"no_reference: the {name} price of {row.symbol} is {age_ms} ms old"
            if bps is None or row.px is None:
                continue
            buys = row.side is Side.BUY
            away = EXACT.multiply(bps, BPS)
            edge = EXACT.multiply(px, EXACT.add(ONE, away if buys else EXACT.minus(away)))
            if row.px > edge if buys else row.px < edge:
                return f"collar: {row.side} at {row.px} is more than {bps} bps from the {name} {px}"
        return ""

    def _size(self, row: ChildIntended, now_ns: int, look: Look) -> str:
        most_qty, most = self.limits.qty_max.get(row.symbol), self.limits.order_notional_max
        if most_qty is not None and row.qty > most_qty:
            return f"size: {row.qty} of {row.symbol}, {most_qty} are allowed"
        if most is None:
            return ""
        if look.rate is None:
            return f"no_rate: nobody knows what an order on {row.symbol} is worth"
        stale_ms = self.limits.stale_ms
        if stale_ms is not None and now_ns - look.rate_ns > 4 * stale_ms * MS:
            # Rates go through quiet books too; what they are used for here is a power of ten.
            return f"no_rate: the rate of {row.symbol} is {(now_ns - look.rate_ns) // MS} ms old"
        px = row.worst_px if row.px is None else max(row.px, row.worst_px)
        worth = EXACT.multiply(EXACT.multiply(row.qty, px), look.rate)
        return "" if worth <= most else f"size: worth {worth:.2f}, {most} is allowed"

    def _pace(self, row: ChildIntended, now_ns: int) -> str:
        limits = self.limits
        if limits.orders_per_second is not None:
            times = self._paces.get((row.venue, row.account), ())
            if _within(times, now_ns) >= limits.orders_per_second:
                return (
                    f"throttle: {limits.orders_per_second} orders of {row.account} "
                    f"at {row.venue} in a second"
                )
        if limits.parent_orders_per_second is not None:
            times = self._parents.get(row.parent, ())
            if _within(times, now_ns) >= limits.parent_orders_per_second:
                return (
                    f"throttle: {limits.parent_orders_per_second} orders of one parent in a second"
                )
        return ""

    def _same(self, row: ChildIntended, parent: ParentPlaced, now_ns: int) -> str:
        """Twins alone: two orders that differ may well take the same level of a book at once."""
        window = self.limits.duplicate_window_ms
        if not window or row.px is None:
            return ""
        at_ns, other = self._last.get(_same_of(row, parent), (0, parent))
        twins = abs(parent.at_ns - other.at_ns) < window * MS
        if other.parent == row.parent or not twins or now_ns - at_ns >= window * MS:
            return ""
        if _nameless(other) != _nameless(parent):
            return ""  # one at the market, say, and one with a limit
        return (
            f"duplicate: {other.parent} sent the same order {(now_ns - at_ns) // MS} ms ago; "
            f"within {window} ms that is taken for a router that runs in circles"
        )

    def left(self, row: ChildIntended, parent: ParentPlaced, now_ns: int) -> None:
        """It leaves."""
        limits = self.limits
        if (most := limits.orders_per_second) is not None:
            place = (row.venue, row.account)
            self._paces.setdefault(place, deque(maxlen=max(1, most))).append(now_ns)
        if (most := limits.parent_orders_per_second) is not None:
            if len(self._parents) >= PARENTS_MAX:
                self._forget_parents(now_ns)
            self._parents.setdefault(row.parent, deque(maxlen=max(1, most))).append(now_ns)
        if (window := limits.duplicate_window_ms) and row.px is not None:
            same = _same_of(row, parent)
            self._last[same] = (now_ns, parent)
            self._left.append((now_ns, same))
            while self._left[0][0] <= now_ns - window * MS:
                at_ns, old = self._left.popleft()
                if old in self._last and self._last[old][0] == at_ns:
                    del self._last[old]

    def _forget_parents(self, now_ns: int) -> None:
        for parent, times in list(self._parents.items()):
            if now_ns - times[-1] > SECOND:
                del self._parents[parent]

    # ------------------------------------------------------------------------- what repeats

    def filled(self, row: Filled) -> str:
        """Take in a trade that is new; why its account is to be shut, if it is."""
        limits = self.limits
        if limits.fills_max is None and limits.turnover_max is None:
            return ""
        who = (row.account, row.strategy, row.symbol)
        trades = self._trades.setdefault(who, _Trades())
        trades.add(row.at_ns, EXACT.multiply(row.px, row.qty))
        trades.forget(row.at_ns - limits.fills_window_s * SECOND)
        whose = f"{row.strategy or 'orders'} on {row.symbol}"
        if limits.fills_max is not None and len(trades.when) > limits.fills_max:
            return f"{whose}: {len(trades.when)} trades in {limits.fills_window_s} s"
        rate = self._rates.get(row.symbol)
        if limits.turnover_max is None or rate is None:
            return ""
        worth = EXACT.multiply(trades.quote, rate)
        if worth <= limits.turnover_max:
            return ""
        return f"{whose}: traded {worth:.0f} in {limits.fills_window_s} s"

    def refused(self, place: Scope, now_ns: int) -> str:
        """An order was refused there that should never have come so far; why to shut it, if so."""
        most, window_s = self.limits.refusals_max, self.limits.refusals_window_s
        if most is None:
            return ""
        times = self._refused.setdefault(place, deque())
        times.append(now_ns)
        while times[0] <= now_ns - window_s * SECOND:
            times.popleft()
        return "" if len(times) < most else f"{len(times)} orders refused in {window_s} s"

    def dump(self) -> list[tuple[_Who, list[tuple[int, Decimal]]]]:
        """The trades within the window, as rows have told of them."""
        return [(who, list(one.when)) for who, one in self._trades.items() if one.when]

    def load(self, state: list[tuple[_Who, list[tuple[int, Decimal]]]]) -> None:
        """Take them up again."""
        for who, when in state:
            trades = self._trades.setdefault(who, _Trades())
            for at_ns, quote in when:
                trades.add(at_ns, quote)

    def reset(self) -> None:
        """A person has looked: what repeated is counted anew."""
        self._trades.clear()
        self._refused.clear()


def _nameless(parent: ParentPlaced) -> Intent:
    """What was asked for, whatever it was called."""
    return structs.replace(parent.intent, client_order_id="")


def _same_of(row: ChildIntended, parent: ParentPlaced) -> _Same:
    assert row.px is not None, "what has no price is never let through"
    return (row.venue, row.account, row.symbol, row.side, row.qty, row.px, parent.qty)


def _within(times: "deque[int] | tuple[()]", now_ns: int) -> int:
    """How many of the last left within a second; all that are kept, once the first is."""
    if times and now_ns - times[0] < SECOND:
        return len(times)
    return sum(1 for at_ns in times if now_ns - at_ns < SECOND)
