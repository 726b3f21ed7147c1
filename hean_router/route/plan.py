"""The plan: an order, split over venues by all-in price.  Pure: books in, plan out."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from hean_router.book.all_in import check_fee, fee_decimals
from hean_router.book.consolidated import group_of
from hean_router.book.sweep import EXACT, scaled
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import VenueId
from hean_router.domain.scale import to_decimal
from hean_router.domain.venue import Fees
from hean_router.route.cost import Ask, Curve, Scales, curve_of
from hean_router.route.model import (
    Balances,
    Certificate,
    Child,
    LeftOut,
    Limits,
    ParentOrder,
    Plan,
    Single,
    VenueBook,
)
from hean_router.route.reasons import Reasons
from hean_router.route.split import Split, split

NO_LIMITS = Limits()


def plan(
    order: ParentOrder,
    books: Iterable[VenueBook | LeftOut],
    balances: Balances | None,
    fees: Mapping[VenueId, Fees],
    limits: Limits = NO_LIMITS,
) -> Plan:
    """Split `order` over `books`: the most of it, at the least quote per unit received or given.

    What is best and how it is found is said in `route/split`; it is exact, and never worse than
    the best single venue.  A child never pays a displayed price worse than the order's limit, and
    obeys its venue's lot, minimum and maximum quantity and notional (of the expected fills), and
    balance (quote with its quote fee for a buy, base with its base fee for a sell).  The order
    of `books` does not matter.

    `balances` None means that money does not limit; a venue that is missing in it is only looked
    at.  `fees` names every venue that has a book.  Raises `CommandError` for a quantity that is
    not positive, a venue given twice, a fee that is missing or no fraction, a share outside 0..1.
    """
    _check(order, limits)
    reasons: dict[VenueId, str] = {}
    able: list[VenueBook] = []
    last = None
    for one in sorted(books, key=_by_venue):
        venue = one.venue
        if venue == last:
            raise CommandError(f"venue {venue} is given twice", "give one book a venue")
        last = venue
        if why := _barred(order, one, limits):
            reasons[venue] = why
        elif balances is not None and venue not in balances:
            reasons[venue] = "no account there: its balances are not known"
        else:
            assert isinstance(one, VenueBook), "what is left out is barred"
            if venue not in fees:
                raise CommandError(f"the fee of {venue} is not given", "give fees for every venue")
            check_fee(fees[venue].taker, venue)
            able.append(one)
    ask = _ask(order, able, fees, limits)
    curves: list[Curve] = []
    for book in able:
        money = None if balances is None else balances[book.venue]
        made = curve_of(ask, book, fees[book.venue], money)
        if isinstance(made, str):
            reasons[book.venue] = made
        else:
            curves.append(made)
    return _told(ask, curves, split(curves, ask.qty), reasons)


def _by_venue(one: VenueBook | LeftOut) -> VenueId:
    return one.venue


def _check(order: ParentOrder, limits: Limits) -> None:
    if not (order.qty.is_finite() and order.qty > 0):
        raise CommandError(f"quantity {order.qty} is not positive", "order more than zero")
    if (limit := order.limit_px) is not None and not (limit.is_finite() and limit > 0):
        raise CommandError(f"limit {limit} is not a price", "give a price above zero, or none")
    if (share := limits.max_share) is not None and not (share.is_finite() and 0 < share <= 1):
        raise CommandError(f"a share of {share} is not above 0 and up to 1", "write half as 0.5")


def _barred(order: ParentOrder, one: VenueBook | LeftOut, limits: Limits) -> str:
    if one.venue in limits.exclude:
        return "excluded"
    if limits.venues is not None and one.venue not in limits.venues:
        return "not among the venues asked for"
    if isinstance(one, LeftOut):
        return one.reason
    pair = one.instrument.pair
    if pair != order.pair and group_of(pair) != group_of(order.pair):
        return f"{one.instrument.pair}: no conversion"
    return ""


def _ask(
    order: ParentOrder,
    books: Sequence[VenueBook],
    fees: Mapping[VenueId, Fees],
    limits: Limits,
) -> Ask:
    listed = [book.instrument for book in books]
    scales = Scales(
        max([0, *[of.px_decimals for of in listed]]),
        max([0, *[of.qty_decimals for of in listed]]),
        fee_decimals([fees[of.venue].taker for of in listed]),
    )
    share = None
    if limits.max_share is not None:
        share = scaled(EXACT.multiply(order.qty, limits.max_share), scales.qty, up=False)
    return Ask(order, scales, scaled(order.qty, scales.qty, up=False), share)


def _told(ask: Ask, curves: Sequence[Curve], done: Split, reasons: dict[VenueId, str]) -> Plan:
    order, scales = ask.order, ask.scales
    allocated = to_decimal(sum(done.qty), scales.qty)
    single = None
    if done.single is not None:
        curve, qty = curves[done.single[0]], done.single[1]
        single = Single(
            curve.book.venue,
            to_decimal(qty, scales.qty),
            to_decimal(qty * curve.charge.base, scales.qty + scales.fee),
            to_decimal(curve.quote(qty), scales.notional + scales.fee),
        )
    return Plan(
        order=order,
        allocated=allocated,
        unallocated=EXACT.subtract(order.qty, allocated),
        children=tuple(
            [_child(ask, curve, qty) for curve, qty in zip(curves, done.qty, strict=True) if qty]
        ),
        best_single=single,
        certificate=Certificate(
            done.proved, to_decimal(done.gap, scales.notional + scales.fee), done.nodes
        ),
        story=Reasons(ask, curves, done.qty, reasons),
    )


def _child(ask: Ask, curve: Curve, qty: int) -> Child:
    scales, pair = ask.scales, curve.book.instrument.pair
    return Child(
        venue=curve.book.venue,
        side=ask.order.side,
        qty=to_decimal(qty, scales.qty),
        limit_px=to_decimal(curve.worst_px(qty), scales.px),
        notional=to_decimal(curve.notional(qty), scales.notional),
        charge=curve.charge,
        fee_asset=pair.base if curve.fee_in_base else pair.settle or pair.quote,
    )


def known_venues(names: Iterable[str], books: Iterable[VenueBook | LeftOut]) -> frozenset[VenueId]:
    """`names` as venues of `books`; raises `CommandError` with the nearest name for others."""
    known = sorted(one.venue for one in books)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise CommandError(
                f"there is no venue {name!r} here",
                f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}",
            )
    return frozenset(VenueId(name) for name in names)
