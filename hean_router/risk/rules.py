"""The rules: each a small pure function that says why not, or None.

`bounds` are the tightest that apply; a limit of None never denies.  Money is in the reporting
currency, times are ns.  All run within `exactly`.
"""

from collections.abc import Mapping
from decimal import Decimal

from hean_router.domain.instrument import Side
from hean_router.domain.limits import Bounds
from hean_router.domain.scale import plain
from hean_router.risk.exact import ONE
from hean_router.risk.model import Denied

_BPS = Decimal("0.0001")
MS = 1_000_000


def state(now: str, reason: str, reducing: bool, rests: bool) -> Denied | None:
    """Reduce-only and halted let through what brings a position nearer zero, and nothing else.

    Halted, nothing that would rest: whoever pressed the switch wants no order of ours to stand.
    """
    if now == "normal" or (reducing and not (rests and now == "halted")):
        return None
    if reducing:
        return Denied("risk_halted", f"risk is halted ({reason}): no order may rest")
    return Denied(
        f"risk_{now}", f"risk is {now.replace('_', ' ')} ({reason}): only reducing orders pass"
    )


def venue_health(venue: str, why: str | None) -> Denied | None:
    """`why` a venue is not well; None: nothing is known of it, which is no better."""
    if why == "":
        return None
    return Denied("venue_unhealthy", f"{venue}: {why or 'its health is not known'}")


def stale(
    bounds: Bounds,
    symbol: str,
    mid: tuple[Decimal, int] | None,
    last_good: Decimal | None,
    now_ns: int,
) -> Denied | None:
    """Without a mid of now and a reference before it nobody knows what a price is worth."""
    if mid is None:
        return Denied("stale_data", f"{symbol} has no consolidated mid")
    age_ns = now_ns - mid[1]
    if bounds.stale_ms is not None and age_ns > bounds.stale_ms * MS:
        return Denied(
            "stale_data",
            f"the mid of {symbol} is {age_ns // MS} ms old, {bounds.stale_ms} ms are allowed",
        )
    if last_good is None:
        return Denied("stale_data", f"{symbol} has no last good reference price")
    return None


def collar_px(bps: Decimal, side: Side, mid: Decimal, last_good: Decimal) -> Decimal:
    """The furthest price that stays within `bps` of both references; exact.

    >>> collar_px(Decimal(100), Side.BUY, Decimal(102), Decimal(100))
    Decimal('101.0000')
    """
    if side is Side.BUY:
        return min(mid, last_good) * (ONE + bps * _BPS)
    return max(mid, last_good) * (ONE - bps * _BPS)


def collar(
    bounds: Bounds, side: Side, px: Decimal, mid: Decimal, last_good: Decimal
) -> Denied | None:
    """No price that gives away more than the collar, by either reference."""
    bps = bounds.collar_bps
    if bps is None:
        return None
    edge = collar_px(bps, side, mid, last_good)
    if px <= edge if side is Side.BUY else px >= edge:
        return None
    return Denied(
        "collar",
        f"{side} at {plain(px)} is more than {plain(bps)} bps from the mid {plain(mid)} "
        f"or the last good price {plain(last_good)}: {plain(edge)} is the edge",
    )


def within_parent(side: Side, px: Decimal, worst_px: Decimal) -> Denied | None:
    """A child's price is no worse than what its parent was let through with."""
    if px <= worst_px if side is Side.BUY else px >= worst_px:
        return None
    return Denied("collar", f"{side} at {plain(px)} is worse than the parent's {plain(worst_px)}")


def order_notional(bounds: Bounds, notional: Decimal) -> Denied | None:
    """One order at one venue."""
    limit = bounds.order_notional_max
    if limit is None or notional <= limit:
        return None
    return Denied(
        "limit_order_notional", f"the order is worth {_money(notional)}, {plain(limit)} is allowed"
    )


def parent_notional(bounds: Bounds, notional: Decimal) -> Denied | None:
    """One parent, at its worst price."""
    limit = bounds.parent_notional_max
    if limit is None or notional <= limit:
        return None
    return Denied(
        "limit_parent_notional",
        f"the order is worth up to {_money(notional)}, {plain(limit)} is allowed",
    )


def open_orders(kind: str, name: str, limit: int | None, live: int, more: int) -> Denied | None:
    """Orders that are live, those whose fate is unknown with them."""
    if limit is None or live + more <= limit:
        return None
    return Denied("limit_open_orders", f"{kind} {name} has {live} open orders, {limit} are allowed")


def order_rate(what: str, account: str, count: int, limit: int | None, span: str) -> Denied | None:
    """`count` in the last `span`, the new ones counted."""
    if limit is None or count <= limit:
        return None
    return Denied(
        "limit_order_rate",
        f"account {account} would make {count} {what} in a {span}, {limit} are allowed",
    )


def duplicate(
    bounds: Bounds, last: tuple[int, str] | None, client_order_id: str, now_ns: int
) -> Denied | None:
    """`last`: when the same was asked for, and by which other client id."""
    window = bounds.duplicate_window_ms
    if not window or last is None or last[1] == client_order_id:
        return None
    age_ns = now_ns - last[0]
    if age_ns >= window * MS:
        return None
    return Denied(
        "duplicate_window",
        f"the same order was placed {age_ns // MS} ms ago as {last[1]!r}: "
        f"within {window} ms that is taken for a mistake",
    )


def self_cross(side: Side, px: Decimal, resting: Decimal | None) -> Denied | None:
    """`resting`: our own best price on the other side, at any venue and account."""
    if resting is None or (px < resting if side is Side.BUY else px > resting):
        return None
    return Denied(
        "self_cross", f"{side} at {plain(px)} would meet our own order at {plain(resting)}"
    )


def daily_loss(
    account: str,
    limit: Decimal | None,
    total_limit: Decimal | None,
    day_pnl: Mapping[str, Decimal | None],
) -> Denied | None:
    """Once the day's loss has reached a limit, of the account or of all."""
    if limit is not None:
        pnl = day_pnl.get(account)
        if pnl is None:
            return Denied("no_rate", f"this day's profit of account {account} is not known")
        if -pnl >= limit:
            return Denied(
                "limit_daily_loss",
                f"account {account} has lost {_money(-pnl)} this day, {plain(limit)} is the limit",
            )
    if total_limit is not None:
        total = Decimal(0)
        for name, pnl in day_pnl.items():
            if pnl is None:
                return Denied("no_rate", f"this day's profit of account {name} is not known")
            total += pnl
        if -total >= total_limit:
            return Denied(
                "limit_daily_loss",
                f"all accounts have lost {_money(-total)} this day, "
                f"{plain(total_limit)} is the limit",
            )
    return None


def exposure(
    code: str, scope: str, before: Decimal | None, after: Decimal, limit: Decimal | None
) -> Denied | None:
    """The worst case afterwards; what does not make it worse passes (prices may have moved).

    `before` None: it was within the limit.
    """
    if limit is None or after <= limit or (before is not None and after <= before):
        return None
    what = code.removeprefix("limit_").replace("_", " ")
    return Denied(
        code,
        f"{what} of {scope} could become {_money(after)}, {plain(limit)} is allowed",
    )


def _money(amount: Decimal) -> str:
    return plain(amount.quantize(Decimal("0.01")))
