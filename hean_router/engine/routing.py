"""One round for one parent: books read now, a plan, rows and orders of it."""

from collections.abc import Sequence
from decimal import Decimal
from heapq import heapify, heappop, heapreplace

from hean_router.book import ConsolidatedBook
from hean_router.book.all_in import charge, fee_decimals
from hean_router.book.sweep import EXACT, PRECISE, scaled
from hean_router.domain.errors import NotLive
from hean_router.domain.instrument import Instrument, Part, Side, VenueId
from hean_router.domain.order import ChildOrder, Tif
from hean_router.domain.parent import Life
from hean_router.domain.record import ChildIntended, ChildWithdrawn, Decided, Incident, Seen
from hean_router.domain.scale import to_decimal
from hean_router.domain.venue import Fees
from hean_router.engine.command import PlaceOrder
from hean_router.engine.core import Core
from hean_router.engine.money import fits, floored, lot_qty, qty_for, reserve_of, spends, tick_px
from hean_router.oms import Parent
from hean_router.risk import Denied
from hean_router.route import (
    LeftOut,
    Limits,
    ParentOrder,
    Plan,
    VenueBook,
    plan,
)
from hean_router.route.live import venue_book

ZERO = Decimal(0)


def remaining(parent: Parent) -> Decimal:
    """Base that may still be ordered; all that is out, or may be, counts as filled."""
    return parent.free


def money_left(parent: Parent) -> Decimal | None:
    """Quote that may still be spent, where quote was given: worst case of what is out taken off."""
    if parent.placed.quote_max is None:
        return None
    out = sum(EXACT.multiply(c.leaves, c.intended.worst_px) for c in parent.children if c.is_live)
    return EXACT.subtract(EXACT.subtract(parent.placed.quote_max, parent.notional), out)


def usable(
    core: Core, parent: Parent, book: ConsolidatedBook, barred: dict[str, str]
) -> tuple[list[VenueBook | LeftOut], dict[str, str]]:
    """Books to plan with, and why every other venue is left out."""
    intent, out, wanted = parent.intent, dict[str, str](), remaining(parent)
    listed = core.world.instruments(book.pair)
    for venue, reason in book.left_out().items():
        out[venue] = reason
    books: list[VenueBook | LeftOut] = []
    for venue, live in book.live().items():
        if why := barred.get(venue) or core.why_not(venue, intent.account):
            out[venue] = why
        elif venue not in listed:
            out[venue] = "not listed"
        else:
            budget = core.world.budget(venue, intent.account, listed[venue])
            if budget.orders < 1:
                out[venue] = f"no budget: {budget.why}"
                continue
            try:
                books.append(venue_book(live, intent.side, wanted))
            except NotLive:
                out[venue] = "its book was lost a moment ago"
    return books, out


def planned(
    core: Core, parent: Parent, book: ConsolidatedBook, books: Sequence[VenueBook | LeftOut]
) -> Plan:
    """The best split of what is left, within money, shares and the worst price."""
    intent, pair = parent.intent, book.pair
    asset = spends(pair, intent.side)  # what is received is not asked for
    balances = {
        one.venue: {asset: free}
        for one in books
        if (free := core.free(one.venue, intent.account, asset)) is not None
    }
    limits = Limits(
        venues=frozenset(VenueId(v) for v in intent.venues.include) or None,
        exclude=frozenset(VenueId(v) for v in intent.venues.exclude),
        max_share=_share(parent),
    )
    order = ParentOrder(
        pair=pair, side=intent.side, qty=remaining(parent), limit_px=parent.placed.worst_px
    )
    fees = book.fees()
    found = plan(order, books, balances, fees, limits)
    if (money := money_left(parent)) is None:
        return found
    for _ in range(4):  # what it may cost at worst must fit, not what it costs at best
        worst = sum((EXACT.multiply(c.qty, c.limit_px) for c in found.children), Decimal(0))
        if worst <= money or not found.children:
            break
        decimals = max(one.instrument.qty_decimals for one in books if isinstance(one, VenueBook))
        qty = floored(PRECISE.divide(found.allocated * money, worst), decimals)
        if qty <= 0:
            break
        order = ParentOrder(pair=pair, side=intent.side, qty=qty, limit_px=parent.placed.worst_px)
        found = plan(order, books, balances, fees, limits)
    return found


def _share(parent: Parent) -> Decimal | None:
    """The share of what is left that keeps every venue within its share of the whole.

    Exact for the first round; later ones are stricter than they need be, never laxer.
    """
    share = parent.intent.venues.max_share
    if share is None:
        return None
    used: dict[str, Decimal] = {}
    for child in parent.children:
        out = child.leaves if child.is_live else Decimal(0)
        used[child.venue] = used.get(child.venue, Decimal(0)) + child.filled + out
    left = EXACT.multiply(parent.qty, share) - max(used.values(), default=Decimal(0))
    whole = remaining(parent)
    if left <= 0 or not whole:
        return Decimal("1e-12")  # nothing that any lot allows
    return min(Decimal(1), PRECISE.divide(left, whole))


def round_of(core: Core, parent: Parent, barred: dict[str, str]) -> str:
    """Decide and order what can be had now; why nothing was ordered, empty if something was."""
    intent = parent.intent
    book = core.world.book(intent.pair)
    if book is None:
        return f"{intent.symbol} is not followed any more"
    books, out = usable(core, parent, book, barred)
    able = [one for one in books if isinstance(one, VenueBook)]
    if not able:
        return _nothing(core, parent, book, out, "no venue can be used")
    made = planned(core, parent, book, books)
    for venue, why in made.story.untaken().items():
        out.setdefault(venue, why)
    short = made.allocated < remaining(parent)
    if not made.children or (intent.life is Life.FOK and short):
        why = made.unallocated_reason or "nothing can be had within the limit"
        return _nothing(core, parent, book, out, why)
    fees = book.fees()
    _decide(core, parent, book, able, out, made, fees)
    ordered = 0
    number = len(parent.decisions)
    listed = core.world.instruments(book.pair)
    whole = intent.life is Life.FOK
    tif, refused = Tif.FOK if whole else Tif.IOC, ""
    for child in made.children:
        of = listed[child.venue]
        for qty in _pieces(core, parent, of, child.qty):
            why = intend(core, parent, of, qty, child.limit_px, tif, fees[child.venue], number)
            ordered, refused = ordered + (not why), refused or why
    if whole and refused:  # a part of it must not leave when another part may not
        take_back(core, {parent.id}, by="routing", code="not_whole", why=refused)
        return refused
    return "" if ordered else refused


def take_back(core: Core, parents: set[str] | None, *, by: str, code: str, why: str) -> None:
    """Withdraw what this step was to send, of `parents` or of all: it certainly never left."""
    core.commands = [
        one
        for one in core.commands
        if not isinstance(one, PlaceOrder)
        or (parents is not None and one.intended.parent not in parents)
    ]
    sent = {one.intended.key for one in core.commands if isinstance(one, PlaceOrder)}
    for row in list(core.rows):
        if not isinstance(row, ChildIntended) or row.key in sent:
            continue
        child = core.oms.children.get(row.key)
        if (parents is None or row.parent in parents) and child is not None and child.is_live:
            core.write(ChildWithdrawn(at_ns=core.now_ns, key=row.key, by=by, code=code, why=why))


def _pieces(core: Core, parent: Parent, of: Instrument, qty: Decimal) -> list[Decimal]:
    """`qty` in orders no larger than risk lets one be, as even as lots allow."""
    most = core.risk.child_qty_max(parent.placed, of.venue)
    if most is None or most >= qty:
        return [qty]
    lots = lot_qty(of, most) // of.lot
    if lots <= 0:
        return [qty]  # refused by name, with its limit
    whole = lot_qty(of, qty) // of.lot
    count = -(-whole // lots)
    return [
        of.qty_decimal((whole // count + (part < whole % count)) * of.lot) for part in range(count)
    ]


def _nothing(
    core: Core,
    parent: Parent,
    book: ConsolidatedBook,
    out: dict[str, str],
    why: str,
) -> str:
    """A decision to send nothing is a decision too; told once, not at every look."""
    last = parent.decisions[-1] if parent.decisions else None
    if last is None or last.allocated or last.why != why:
        core.write(
            Decided(
                at_ns=core.now_ns,
                parent=parent.id,
                round=len(parent.decisions) + 1,
                wanted=remaining(parent),
                allocated=Decimal(0),
                why=why,
                seen=(),
                left_out={str(venue): reason for venue, reason in sorted(out.items())},
                expected_px=None,
                mid=_mid_of(core, book),
            )
        )
    return why


def _decide(
    core: Core,
    parent: Parent,
    book: ConsolidatedBook,
    able: Sequence[VenueBook],
    out: dict[str, str],
    made: Plan,
    fees: dict[VenueId, Fees],
) -> None:
    sent = {child.venue: child.qty for child in made.children}
    live = book.live()
    seen = tuple(
        Seen(
            venue=one.venue,
            version=live[one.venue].version,
            age_ms=max(0, (core.now_ns - live[one.venue].confirmed_ns) // 1_000_000),
            best_px=_best(one, parent.intent.side),
            qty=sent.get(one.venue, ZERO),
        )
        for one in able
    )
    single = made.best_single
    whole = single is not None and single.allocated == made.allocated
    core.write(
        Decided(
            at_ns=core.now_ns,
            parent=parent.id,
            round=len(parent.decisions) + 1,
            wanted=remaining(parent),
            allocated=made.allocated,
            why=made.unallocated_reason or "",
            seen=seen,
            left_out={str(venue): reason for venue, reason in sorted(out.items())},
            expected_px=made.avg_all_in_px,
            single_venue=single.venue if single is not None else "",
            single_px=single.avg_all_in_px if single is not None and whole else None,
            greedy_px=greedy_px(able, parent.intent.side, made.allocated, fees),
            mid=_mid_of(core, book),
            proved=made.certificate.proved,
            gap=made.certificate.gap,
        )
    )


def _mid_of(core: Core, book: ConsolidatedBook) -> Decimal | None:
    found = core.mid(book.pair)
    return None if found is None else found[0]


def _best(one: VenueBook, side: Side) -> Decimal | None:
    levels = one.asks if side is Side.BUY else one.bids
    return one.instrument.px_decimal(levels[0][0]) if levels else None


def greedy_px(
    books: Sequence[VenueBook], side: Side, qty: Decimal, fees: dict[VenueId, Fees]
) -> Decimal | None:
    """All-in average of taking the best displayed prices first, fees found out afterwards.

    What a plain router does; without lots and minimums.  Exact but for the quotient of 28 digits;
    None where it falls short.
    """
    listed = [one.instrument for one in books]
    px_decimals = max([of.px_decimals for of in listed])
    qty_decimals = max([of.qty_decimals for of in listed])
    buying = side is Side.BUY
    sign = 1 if buying else -1
    steps = [
        (
            one.asks if buying else one.bids,
            sign * 10 ** (px_decimals - of.px_decimals),
            10 ** (qty_decimals - of.qty_decimals),
        )
        for one, of in zip(books, listed, strict=True)
    ]
    heads = [
        (levels[0][0] * px_mul, of.venue, i, 0)
        for i, ((levels, px_mul, _), of) in enumerate(zip(steps, listed, strict=True))
        if levels
    ]
    heapify(heads)
    taken, worth = [0] * len(books), [0] * len(books)  # by venue: quantity, price times quantity
    left = scaled(qty, qty_decimals, up=False)
    assert to_decimal(left, qty_decimals) == qty, "finer than any venue counts"
    while left:
        if not heads:
            return None
        key, venue, i, at = heads[0]
        levels, px_mul, qty_mul = steps[i]
        size = levels[at][1] * qty_mul
        take = size if size < left else left  # noqa: FURB136 - hot
        taken[i] += take
        worth[i] += take * key
        left -= take
        at += 1
        if at < len(levels):
            heapreplace(heads, (levels[at][0] * px_mul, venue, i, at))
        else:
            heappop(heads)
    decimals = fee_decimals([fees[of.venue].taker for of in listed])
    quote = net = 0
    for of, amount, value in zip(listed, taken, worth, strict=True):
        if amount:
            cost = charge(fees[of.venue], side, Part.SPOT, decimals)
            quote += value * cost.quote
            net += amount * cost.base
    return PRECISE.divide(to_decimal(sign * quote, px_decimals), Decimal(net)) if net else None


def intend(
    core: Core,
    parent: Parent,
    of: Instrument,
    qty: Decimal,
    px: Decimal,
    tif: Tif,
    fees: Fees,
    number: int,
    *,
    post_only: bool = False,
) -> str:
    """Write an order that may leave, if risk lets it; why not, empty if it did."""
    if len(parent.children) >= core.policy.child_max:
        return f"it has had {core.policy.child_max} orders"
    intent = parent.intent
    key = core.oms.child_key(parent.id, len(parent.children) + 1)
    size, price = lot_qty(of, qty), tick_px(of, px, intent.side)
    if size <= 0 or price <= 0:
        return "nothing is left of it on the venue's lot and tick"
    if (money := money_left(parent)) is not None:
        # Planned at the book's price: the tick to send it at may be coarser, or have changed since.
        most = qty_for(of, money, of.px_decimal(price))
        if most < size and tif is Tif.FOK:
            return f"{of.venue}: at {of.px_decimal(price)} it would go beyond the money given"
        size = min(size, most)
    # The plan looks at what it expects to be filled at; venues look at the limit.
    if why := fits(of, size, of.px_decimal(price)):
        return f"{of.venue}: {why}"
    order = ChildOrder(
        key=key,
        account=intent.account,
        instrument=of,
        side=intent.side,
        qty=size,
        px=price,
        tif=tif,
        post_only=post_only,
    )
    approved = core.risk.review(order, parent.placed, core.view())
    if isinstance(approved, Denied):
        told = core.denied.setdefault(parent.id, set())
        if (of.venue, approved.code) not in told:  # what rests is tried again and again
            told.add((of.venue, approved.code))
            core.write(
                Incident(
                    at_ns=core.now_ns,
                    what="order_denied",
                    text=f"{approved.code}: {approved.reason}",
                    venue=of.venue,
                    account=intent.account,
                    subject=parent.id,
                )
            )
        return f"{approved.code}: {approved.reason}"
    amount, price_of = of.qty_decimal(size), of.px_decimal(price)
    intended = ChildIntended(
        at_ns=core.now_ns,
        key=key,
        parent=parent.id,
        account=intent.account,
        venue=of.venue,
        symbol=intent.symbol,
        side=intent.side,
        qty=amount,
        px=price_of,
        tif=tif,
        post_only=post_only,
        round=number,
        reserve_asset=intent.pair.quote if intent.side is Side.BUY else intent.pair.base,
        reserve=reserve_of(intent.side, amount, price_of, fees),
        worst_px=price_of,
    )
    core.write(intended)
    core.commands.append(PlaceOrder(intended, approved))
    if (health := core.desks.get((of.venue, intent.account))) is not None:
        health.active_ns = core.now_ns
    return ""
