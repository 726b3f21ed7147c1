"""Key figures, each with its window and how many samples it stands on.

Statistics are worked out in floating point, from exact values; nothing here goes back into money.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from math import sqrt
from statistics import fmean, stdev

from msgspec import Struct

from hean_router.domain.rates import Rates
from hean_router.portfolio.curve import EquityCurve, OrderCounts, Uptime
from hean_router.portfolio.day import DAY_NS, DayResult
from hean_router.portfolio.money import PRECISE, total
from hean_router.portfolio.trips import RoundTrip

_S = 1_000_000_000
_YEAR_NS = 365 * DAY_NS  # markets that never close
LATENCY_MIN = 20  # observations; a P99 of fewer is the slowest of a few
RETURNS_MIN = 30
TRIPS_MIN = 5
RATE_MIN_NS = 5 * _S


class Latency(Struct, frozen=True):
    """What a histogram says: observations, and the upper bounds of P50's and P99's buckets."""

    count: int
    p50_ns: int
    p99_ns: int


class Kpi(Struct, frozen=True, kw_only=True):
    """`value` in `unit`, over `window` seconds, from `samples`; None: `note` says what it lacks."""

    name: str
    value: Decimal | None
    unit: str
    window_s: int
    samples: int
    note: str = ""

    @property
    def window(self) -> str:
        """The window in words, such as `3600 s`."""
        return f"{self.window_s} s"


class KpiInputs(Struct, frozen=True, kw_only=True):
    """All that the key figures are worked out from, at `now_ns`; the window began at `since_ns`.

    `messages` are frames of market data and private news; `trips` of the accounts in question.
    """

    now_ns: int
    since_ns: int
    tick_to_trade: Latency
    submit: Latency
    messages: int
    orders: OrderCounts
    uptime: Uptime
    day: Sequence[DayResult]
    equity: EquityCurve
    trips: Sequence[RoundTrip]
    rates: Rates
    reporting: str = "USD"


def kpis(data: KpiInputs) -> list[Kpi]:
    """Every key figure, in a fixed order, whether it can be known yet or not."""
    return [*_speed(data), *_flow(data), *_money(data), *_trades(data)]


def _short(what: str, have: int, need: int) -> str:
    return f"not enough data: {have} of at least {need} {what}"


def _stat(value: float) -> Decimal:
    """Six decimals, for a figure of statistics."""
    return Decimal(f"{value:.6f}")


def _speed(data: KpiInputs) -> list[Kpi]:
    window = _window(data)
    out = []
    for name, latency in (
        ("tick_to_trade", data.tick_to_trade),
        ("submission_latency", data.submit),
    ):
        enough = latency.count >= LATENCY_MIN
        for share, took_ns in (("p50", latency.p50_ns), ("p99", latency.p99_ns)):
            out.append(
                Kpi(
                    name=f"{name}_{share}",
                    value=PRECISE.divide(Decimal(took_ns), Decimal(1_000_000)) if enough else None,
                    unit="ms",
                    window_s=window,
                    samples=latency.count,
                    note="at most: upper bound of its bucket"
                    if enough
                    else _short("observations", latency.count, LATENCY_MIN),
                )
            )
    return out


def _window(data: KpiInputs) -> int:
    return max(0, data.now_ns - data.since_ns) // _S


def _rate(data: KpiInputs, name: str, count: int, unit: str) -> Kpi:
    took_ns = data.now_ns - data.since_ns
    if took_ns < RATE_MIN_NS:
        value, note = None, _short("seconds", max(0, took_ns) // _S, RATE_MIN_NS // _S)
    else:
        value, note = _stat(count * _S / took_ns), ""
    return Kpi(name=name, value=value, unit=unit, window_s=_window(data), samples=count, note=note)


def _flow(data: KpiInputs) -> list[Kpi]:
    orders, window = data.orders, _window(data)
    took_ns = data.now_ns - data.uptime.since_ns
    ready_ns = data.uptime.ready_ns(data.now_ns)
    return [
        _rate(data, "message_rate", data.messages, "messages/s"),
        _rate(data, "order_throughput", orders.parents, "parents/s"),
        Kpi(
            name="maker_fill_rate",
            value=_stat(float(orders.maker_share) / orders.rested) if orders.rested else None,
            unit="share",
            window_s=window,
            samples=orders.rested,
            note="filled as maker, of the quantity of each order that rested"
            if orders.rested
            else _short("orders that rested and ended", 0, 1),
        ),
        Kpi(
            name="uptime",
            value=_stat(ready_ns / took_ns) if took_ns >= RATE_MIN_NS else None,
            unit="share",
            window_s=max(0, took_ns) // _S,
            samples=ready_ns // _S,
            note=f"could have routed in {ready_ns // _S} s"
            if took_ns >= RATE_MIN_NS
            else _short("seconds", max(0, took_ns) // _S, RATE_MIN_NS // _S),
        ),
    ]


def _money(data: KpiInputs) -> list[Kpi]:
    why = "; ".join(f"{one.account}: {one.why}" for one in data.day if one.pnl is None)
    since = max((one.since_ns for one in data.day), default=data.now_ns)
    curve = data.equity
    points = curve.points
    span = (points[-1][0] - points[0][0]) // _S if points else 0
    return [
        Kpi(
            name="daily_pnl",
            value=total(one.pnl for one in data.day if one.pnl is not None)
            if data.day and not why
            else None,
            unit=data.reporting,
            window_s=max(0, data.now_ns - since) // _S,
            samples=len(data.day),
            note=why or ("" if data.day else "not enough data: no account has traded"),
        ),
        _sharpe(data),
        Kpi(
            name="max_drawdown",
            value=_stat(float(curve.drawdown))
            if curve.drawdown is not None and curve.samples > 1
            else None,
            unit="share",
            window_s=span,
            samples=curve.samples,
            note="" if curve.samples > 1 else _short("samples of equity", curve.samples, 2),
        ),
    ]


def _sharpe(data: KpiInputs) -> Kpi:
    points = data.equity.points
    returns = [
        float(PRECISE.divide(later - earlier, earlier))
        for (_, earlier), (_, later) in pairwise(points)
        if earlier > 0
    ]
    span_ns = points[-1][0] - points[0][0] if points else 0
    value, note = None, _short("returns", len(returns), RETURNS_MIN)
    if len(returns) >= RETURNS_MIN:
        if spread := stdev(returns):
            every_ns = span_ns / len(returns)
            value = _stat(fmean(returns) / spread * sqrt(_YEAR_NS / every_ns))
            note = f"returns of {every_ns / _S:.1f} s, annualised, risk-free 0"
        else:
            note = "not enough data: equity did not move"
    return Kpi(
        name="sharpe",
        value=value,
        unit="ratio",
        window_s=span_ns // _S,
        samples=len(returns),
        note=note,
    )


def _trades(data: KpiInputs) -> list[Kpi]:
    worths = [trip.worth(data.rates) for trip in data.trips]
    results = [worth for worth in worths if worth is not None]
    count, unvalued = len(results), len(worths) - len(results)
    aside = f"{unvalued} without rate left out" if unvalued else ""
    won = total(one for one in results if one > 0)
    lost = total(one for one in results if one < 0).copy_abs()
    wins = sum(one > 0 for one in results)
    enough = count >= TRIPS_MIN
    lacking = _short("closed round trips", count, TRIPS_MIN)
    if aside:
        lacking += f"; {aside}"
    began = min((trip.opened_ns for trip in data.trips), default=data.now_ns)
    window = max(0, data.now_ns - began) // _S
    factor_note = aside if lost else "no round trip has lost: no factor"
    took = [(trip.closed_ns - trip.opened_ns) / _S for trip in data.trips]
    return [
        Kpi(
            name="win_rate",
            value=_stat(wins / count) if enough else None,
            unit="share",
            window_s=window,
            samples=count,
            note=aside if enough else lacking,
        ),
        Kpi(
            name="profit_factor",
            value=_stat(float(won / lost)) if enough and lost else None,
            unit="ratio",
            window_s=window,
            samples=count,
            note=factor_note if enough else lacking,
        ),
        Kpi(
            name="trade_duration_avg",
            value=_stat(fmean(took)) if len(took) >= TRIPS_MIN else None,
            unit="s",
            window_s=window,
            samples=len(took),
            note=""
            if len(took) >= TRIPS_MIN
            else _short("closed round trips", len(took), TRIPS_MIN),
        ),
    ]
