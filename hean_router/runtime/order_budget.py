"""What a venue lets one account do: counted here for REST and sockets together."""

from collections.abc import Mapping

from msgspec import structs

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Instrument
from hean_router.domain.order import Limited
from hean_router.domain.venue import RateLimit, VenueSpec
from hean_router.runtime.clock import Clock
from hean_router.runtime.limits import JITTER_MS, SECOND, Gate
from hean_router.venue import Limiter
from hean_router.venue.order_contract import OrderLimits

ORDERS_SHARE = 0.8  # of a counter for orders; the rest is kept for cancels
HELD_NS = SECOND  # how long nothing is tried after a limit whose end the venue does not tell
_PLENTY = 1 << 30


def limits_factor(text: str) -> float | None:
    """`venue` is 1, `xN` is N, `off` is None: how the venues' own limits are scaled.

    >>> limits_factor("venue"), limits_factor("x10"), limits_factor("off")
    (1.0, 10.0, None)
    """
    if text == "venue":
        return 1.0
    if text == "off":
        return None
    try:
        factor = float(text.removeprefix("x")) if text.startswith("x") else 0.0
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise CommandError(f"--limits {text!r} is not venue, xN or off", "such as --limits x10")
    return factor


def scaled_limit(limit: RateLimit, factor: float | None) -> RateLimit:
    """`limit` as a simulator with `--limits x<factor>` counts; None: as good as none."""
    if factor is None:
        return RateLimit(_PLENTY, limit.per_ms)
    return structs.replace(limit, capacity=max(1, int(limit.capacity * factor)))


def scaled(spec: VenueSpec, factor: float | None) -> VenueSpec:
    """`spec` with all limits scaled: for `Http` and `Limits`, when simulators scale theirs."""
    limits = {name: scaled_limit(limit, factor) for name, limit in spec.rest_limits.items()}
    return structs.replace(
        spec,
        rest_limits=limits,
        connects=scaled_limit(spec.connects, factor),
        frames=scaled_limit(spec.frames, factor),
    )


def counter(limit: RateLimit) -> Limiter:
    """Counts over a window a little longer than the venue's: what left may arrive closer."""
    apart_ms = min(JITTER_MS, limit.per_ms // 4)
    return Limiter(structs.replace(limit, per_ms=limit.per_ms + apart_ms))


class OrderBudget:
    """Counters of one account.  Orders leave a fifth of each to cancels.

    `shared` are counters that REST questions pay from too, by name (Binance's weight): the `Http`
    charges them for what goes by REST, so only what goes by a socket is charged here.
    """

    def __init__(
        self,
        limits: OrderLimits,
        clock: Clock,
        shared: Mapping[str, Gate],
        factor: float | None = 1.0,
    ) -> None:
        self._limits, self._clock, self._factor = limits, clock, factor
        self._shared = shared
        self._counters: dict[str, Limiter] = {}
        self._held: dict[tuple[str, bool], int] = {}  # (counter, for cancels) -> until when

    def orders(self, instrument: Instrument) -> tuple[int, str]:
        """How many orders could leave now, and what allows no more."""
        if self._factor is None:
            return _PLENTY, ""
        now_ns = self._clock()
        found = [
            (self._room(bucket, instrument, now_ns) // cost, bucket)
            for bucket, cost in self._limits.place.items()
            if cost > 0
        ]
        return min(found, default=(_PLENTY, ""))

    def _room(self, bucket: str, instrument: Instrument, now_ns: int) -> int:
        """What orders may take of `bucket` now."""
        name = bucket.replace("{symbol}", instrument.symbol)
        if self._held.get((name, False), 0) > now_ns:
            return 0
        if (gate := self._shared.get(bucket)) is not None:
            return max(0, gate.left() - int(gate.capacity * (1 - ORDERS_SHARE)))
        limiter = self._counter(bucket, name)
        kept = limiter.capacity - max(1, int(limiter.capacity * ORDERS_SHARE))
        return max(0, limiter.left(now_ns) - kept)

    def _counter(self, bucket: str, name: str) -> Limiter:
        if (limiter := self._counters.get(name)) is None:
            limit = scaled_limit(self._limits.buckets[bucket], self._factor)
            limiter = self._counters[name] = counter(limit)
        return limiter

    def pay_order(self, instrument: Instrument, *, by_rest: bool) -> str:
        """Pay for an order; the name of the counter that does not allow it, empty if all do."""
        room, bucket = self.orders(instrument)
        if room < 1:
            return bucket
        self._pay(self._limits.place, instrument, by_rest=by_rest)
        return ""

    def pay_cancel(self, instrument: Instrument, *, by_rest: bool) -> Limited | None:
        """Pay for a cancel; which counter does not allow it, and for how long."""
        if self._factor is None:
            return None
        now_ns = self._clock()
        for bucket, cost in self._limits.cancel.items():
            name = bucket.replace("{symbol}", instrument.symbol)
            wait_ns = self._held.get((name, True), 0) - now_ns
            if bucket not in self._shared:
                wait_ns = max(wait_ns, self._counter(bucket, name).wait_ns(cost, now_ns))
            elif self._shared[bucket].left() < cost:
                wait_ns = max(wait_ns, HELD_NS)
            if wait_ns > 0:
                return Limited("no_budget", f"our own count of {name!r}", wait_ns)
        self._pay(self._limits.cancel, instrument, by_rest=by_rest)
        return None

    def _pay(self, costs: Mapping[str, int], instrument: Instrument, *, by_rest: bool) -> None:
        if self._factor is None:
            return
        now_ns = self._clock()
        for bucket, cost in costs.items():
            if (gate := self._shared.get(bucket)) is None:
                name = bucket.replace("{symbol}", instrument.symbol)
                self._counter(bucket, name).take(cost, now_ns)
            elif not by_rest:
                gate.charge(cost)

    def limited(self, instrument: Instrument, said: Limited, *, cancel: bool) -> None:
        """The venue has had enough of one kind: nothing of it before it says, or a second."""
        until_ns = self._clock() + (said.wait_ns or HELD_NS)
        for bucket in self._limits.cancel if cancel else self._limits.place:
            name = bucket.replace("{symbol}", instrument.symbol)
            held = (name, cancel)
            self._held[held] = max(self._held.get(held, 0), until_ns)
