"""Whether a parent can be taken at all: its own sense, books, sizes, money, risk.

Everything is found out before anything is written; several legs are taken all or none.
"""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.book.sweep import EXACT, PRECISE
from hean_router.domain.errors import CommandError, HeanError
from hean_router.domain.instrument import Instrument, Pair, Side, Trading, VenueId
from hean_router.domain.parent import Intent, OrderKind
from hean_router.domain.record import ParentPlaced
from hean_router.domain.scale import plain
from hean_router.engine.command import Placed, Refused
from hean_router.engine.core import Core
from hean_router.engine.money import collared, floored, reserve_of, smallest, spends
from hean_router.oms import Parent
from hean_router.risk import Denied, Proposed


class Denial(Exception):
    """Raised inside admission, answered as `Refused`."""

    def __init__(self, code: str, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.answer = Refused(code=code, reason=reason, fix=fix)


class Sized(Struct, frozen=True):
    """An intent with what had to be worked out."""

    intent: Intent
    qty: Decimal
    quote_max: Decimal | None
    worst_px: Decimal
    venues: dict[str, Instrument]  # that may be used


def admit(core: Core, intents: Sequence[Intent], by: str) -> Placed | Refused:
    """Write a `ParentPlaced` for each, or say why for none."""
    try:
        if (known := _known(core, intents)) is not None:
            return known
        core.note_references(tuple(intent.pair for intent in intents), only_new=True)
        sized = [size(core, intent) for intent in intents]
        verdict = core.risk.admit(
            [Proposed(intent=one.intent, qty=one.qty, worst_px=one.worst_px) for one in sized],
            core.view(),
        )
        if isinstance(verdict, Denied):
            return Refused(code=verdict.code, reason=verdict.reason)
        for one in sized:
            check_money(core, one)
    except Denial as denied:
        return denied.answer
    except CommandError as fault:
        return Refused(code="invalid_order", reason=str(fault), fix=fault.fix)
    except HeanError as fault:  # whether it was placed before is in the journal, and nowhere else
        return Refused(code="journal_unavailable", reason=str(fault), fix=fault.fix)
    parents = []
    for one, usd in zip(sized, verdict, strict=True):
        parent = core.oms.next_parent_id()
        core.write(
            ParentPlaced(
                at_ns=core.now_ns,
                parent=parent,
                intent=one.intent,
                digest=one.intent.digest(),
                qty=one.qty,
                quote_max=one.quote_max,
                worst_px=one.worst_px,
                worst_usd=usd,
                by=by,
            )
        )
        parents.append(parent)
    return Placed(tuple(parents))


def _known(core: Core, intents: Sequence[Intent]) -> Placed | Refused | None:
    """The answer to what has been asked before; same id and other body is a conflict."""
    found = []
    for intent in intents:
        parent = placed_as(core, intent.account, intent.client_order_id)
        if parent is None:
            continue
        if parent.placed.digest != intent.digest():
            return Refused(
                code="duplicate_client_order_id",
                reason=f"client_order_id {intent.client_order_id!r} names another order: "
                f"{parent.id}",
                fix="use a new client_order_id for a new order",
            )
        found.append(parent.id)
    if not found:
        return None
    if len(found) < len(intents):
        return Refused(
            code="duplicate_client_order_id", reason="some of these legs have been placed before"
        )
    return Placed(tuple(found), existing=True)


def placed_as(core: Core, account: str, client_order_id: str) -> Parent | None:
    """The parent of that id, though it be forgotten; raises `HeanError` if nobody can tell."""
    if (name := core.oms.by_client.get((account, client_order_id))) is not None:
        return core.oms.parents[name]
    return core.past.parent(account, client_order_id) if core.oms.forgotten else None


def size(core: Core, intent: Intent) -> Sized:
    """Check the intent against books and rules; its base quantity and worst price.

    Raises `Denial` and `CommandError`.
    """
    intent.check(core.now_ns)
    pair = intent.pair
    book = core.world.book(pair)
    if book is None or str(book.pair) != str(pair):
        known = ", ".join(str(one) for one in core.world.pairs if not one.settle)
        raise Denial("unknown_symbol", f"{pair} is not followed here", f"known are {known}")
    venues = _venues(core, intent, pair)
    if not any(name in venues for name in book.live()):
        reasons = "; ".join(f"{venue}: {why}" for venue, why in _reasons(core, intent, book))
        raise Denial("no_live_book", f"no venue can be used for {pair} now: {reasons}")
    worst_px = _worst_px(core, intent, pair)
    qty, quote_max = _quantity(intent, book, venues, worst_px)
    return Sized(intent, qty, quote_max, worst_px, venues)


def _venues(core: Core, intent: Intent, pair: Pair) -> dict[str, Instrument]:
    """Venues that may be asked for this intent, as they list the pair; raises `Denial`."""
    listed = core.world.instruments(pair)
    chosen = intent.venues
    every = {venue for venue, _ in core.desks} | set(listed)
    for name in (*chosen.include, *chosen.exclude):
        if name not in every:
            raise Denial(
                "unknown_venue", f"there is no venue {name!r}", f"known: {', '.join(sorted(every))}"
            )
    usable = {
        venue: of
        for venue, of in listed.items()
        if (not chosen.include or venue in chosen.include)
        and venue not in chosen.exclude
        and of.trading is Trading.OPEN
        and (venue, intent.account) in core.desks
    }
    if not usable:
        raise Denial(
            "nothing_to_route",
            f"account {intent.account!r} has no venue that lists {pair} and may be used",
            "see /v1/venues",
        )
    ready = {venue: of for venue, of in usable.items() if not core.why_not(venue, intent.account)}
    if not ready:
        why = "; ".join(f"{venue}: {core.why_not(venue, intent.account)}" for venue in usable)
        raise Denial("not_reconciled", f"no venue takes orders now: {why}", "wait for /ready")
    return ready


def _reasons(core: Core, intent: Intent, book: ConsolidatedBook) -> list[tuple[str, str]]:
    out = dict(book.left_out())
    for venue, account in core.desks:
        if account == intent.account and (why := core.why_not(venue, account)):
            out.setdefault(VenueId(venue), why)
    return sorted((str(venue), why) for venue, why in out.items())


def _worst_px(core: Core, intent: Intent, pair: Pair) -> Decimal:
    if intent.limit_px is not None:
        return intent.limit_px
    assert intent.kind is OrderKind.MARKET, "a limit order has a limit"
    found = core.mid(pair)
    if found is None:
        raise Denial("no_live_book", f"{pair} has no mid price: one side of its book is empty")
    worst = collared(found[0], intent.side, core.policy.collar_bps)
    bound = core.risk.collar_px(intent.account, intent.symbol, intent.side, core.view())
    if isinstance(bound, Denied):
        raise Denial(bound.code, bound.reason)
    if bound is not None:  # risk's own collar may be tighter
        worst = min(worst, bound) if intent.side is Side.BUY else max(worst, bound)
    return worst


def _quantity(
    intent: Intent, book: ConsolidatedBook, venues: dict[str, Instrument], worst_px: Decimal
) -> tuple[Decimal, Decimal | None]:
    decimals = max([of.qty_decimals for of in venues.values()])
    if intent.quote_qty is not None:
        best = book.displayed(intent.side)
        if best is None:
            raise Denial("no_live_book", f"nothing stands on that side of {book.pair}")
        px = best[0]
        qty = floored(PRECISE.divide(intent.quote_qty, px), decimals)
        if (least := _too_little(qty, venues, worst_px)) is not None:
            raise Denial(
                "below_minimum",
                f"{plain(intent.quote_qty)} {book.pair.quote} buys less than the smallest order "
                f"({plain(least)} {book.pair.base})",
                "give more",
            )
        return qty, intent.quote_qty
    assert intent.qty is not None, "one of the two is given"
    qty = intent.qty
    if all(EXACT.remainder(qty, of.qty_decimal(of.lot)) for of in venues.values()):
        fine = min(of.qty_decimal(of.lot) for of in venues.values())
        raise Denial(
            "off_lot",
            f"quantity {plain(qty)} is no multiple of the lot of any venue that may be used",
            f"the finest lot is {plain(fine)} {book.pair.base}",
        )
    if (least := _too_little(qty, venues, worst_px)) is not None:
        raise Denial(
            "below_minimum",
            f"quantity {plain(qty)} is below the smallest order of every venue that may be used",
            f"order at least {plain(least)} {book.pair.base}",
        )
    return qty, None


def _too_little(qty: Decimal, venues: dict[str, Instrument], px: Decimal) -> Decimal | None:
    """The smallest order of all, where `qty` is below that of every venue."""
    if any(qty >= smallest(of, px) for of in venues.values()):
        return None  # mostly by the first
    return min(smallest(of, px) for of in venues.values())


def check_money(core: Core, sized: Sized) -> None:
    """Enough money over all venues that may be used; else it would only be found out piecemeal."""
    intent, pair = sized.intent, sized.intent.pair
    book = core.world.book(pair)
    assert book is not None, "it was there a moment ago"
    fees, asset = book.fees(), spends(pair, intent.side)
    # At the best price there is: what cannot be paid even so cannot be paid at all.
    best = book.displayed(intent.side)
    px = sized.worst_px if best is None else best[0]
    if intent.side is Side.BUY:
        px = min(px, sized.worst_px)
    can, want = Decimal(0), sized.qty
    for venue in sized.venues:
        free, tier = core.free(venue, intent.account, asset), fees.get(VenueId(venue))
        if free is not None and tier is not None:
            can += PRECISE.divide(free, reserve_of(intent.side, Decimal(1), px, tier))
            if can >= want:
                return
    raise Denial(
        "insufficient_funds",
        f"free {asset} at the venues that may be used is enough for "
        f"{plain(floored(can, 8))} {pair.base}, not for {plain(want)}",
        "see /v1/portfolio/balances",
    )
