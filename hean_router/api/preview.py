"""What would become of an intent now: the engine's own admission and first round, nothing kept."""

from hean_router.domain.errors import CommandError
from hean_router.domain.parent import Intent, Life
from hean_router.domain.record import ParentPlaced
from hean_router.engine.admission import Denial, check_money, size
from hean_router.engine.command import Refused
from hean_router.engine.core import Core
from hean_router.engine.routing import planned, usable
from hean_router.oms import Parent
from hean_router.risk import Denied, Proposed
from hean_router.route import Plan, VenueBook


def preview(core: Core, intent: Intent, now_ns: int) -> Plan | Refused:
    """The plan, or why it would not be taken.  To be called between steps; writes no row."""
    core.begin(now_ns)
    try:
        sized = size(core, intent)
        verdict = core.risk.admit(
            [Proposed(intent=intent, qty=sized.qty, worst_px=sized.worst_px)], core.view()
        )
        if isinstance(verdict, Denied):
            return Refused(code=verdict.code, reason=verdict.reason)
        check_money(core, sized)
    except Denial as denied:
        return denied.answer
    except CommandError as fault:
        return Refused(code="invalid_order", reason=str(fault), fix=fault.fix)
    parent = Parent(
        ParentPlaced(
            at_ns=now_ns,
            parent="preview",
            intent=intent,
            digest="",
            qty=sized.qty,
            quote_max=sized.quote_max,
            worst_px=sized.worst_px,
            worst_usd=verdict[0],
        )
    )
    book = core.world.book(intent.pair)
    assert book is not None, "it was sized by it"
    books, out = usable(core, parent, book, {})
    if not any(isinstance(one, VenueBook) for one in books):
        why = "; ".join(f"{venue}: {reason}" for venue, reason in sorted(out.items()))
        return Refused(code="nothing_to_route", reason=f"no venue can be used: {why}")
    plan = planned(core, parent, book, books)
    if intent.life is Life.FOK and plan.unallocated:
        return Refused(
            code="nothing_to_route",
            reason=f"not all of it can be had at once: {plan.unallocated_reason}",
        )
    return plan
