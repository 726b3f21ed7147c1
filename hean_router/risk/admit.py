"""Whether parents may come in: all of them or none, with everything open filled the worst way.

Looks at rows that were applied, and at all legs of the one question together: whoever admits must
apply the `ParentPlaced` rows before the next question.
"""

from collections.abc import Sequence
from decimal import Decimal

from hean_router.domain.instrument import Side
from hean_router.domain.limits import Bounds
from hean_router.domain.parent import Life
from hean_router.risk import rules
from hean_router.risk.exact import ZERO, money_up
from hean_router.risk.exposure import Gauge, Worth, measure, measure_all
from hean_router.risk.folded import Folded
from hean_router.risk.model import Denied, Proposed, RiskView
from hean_router.risk.scopes import Scopes, paced, priced

# (code, kind of scope, its name, worst case, limit); the worst case None: no rate for part of it
_Line = tuple[str, str, str, Decimal | None, Decimal]


class _Leg:
    """One proposed parent, resolved."""

    __slots__ = ("account", "bounds", "cell", "proposed", "quote", "reducing", "side", "symbol")

    def __init__(self, one: Proposed, folded: Folded, scopes: Scopes) -> None:
        self.proposed = one
        self.account, self.side = one.intent.account, one.intent.side
        self.symbol, pair = folded.pair(one.intent.symbol)
        self.quote = pair.quote
        self.bounds: Bounds = scopes.order(self.account, self.symbol)
        self.cell = folded.cell(self.account, self.symbol)
        self.reducing = False


def admit(
    proposed: Sequence[Proposed], view: RiskView, folded: Folded, scopes: Scopes
) -> tuple[Decimal, ...] | Denied:
    """The worst case of each in the reporting currency, to be reserved; or why none may come in.

    Raises `CommandError` for a symbol that is none.
    """
    assert all(one.qty > 0 and one.worst_px > 0 for one in proposed), "sizes are positive"
    legs = [_Leg(one, folded, scopes) for one in proposed]
    worth = scopes.worth(folded, view)
    if denied := _hurried(legs, view, folded, scopes) or _repeated(legs, view, folded):
        return denied
    done: list[_Leg] = []
    try:
        # Each leg sees those before it: two halves must not reduce the same position twice.
        reserved = []
        for leg in legs:
            leg.reducing = leg.cell.reduces(leg.side, leg.proposed.qty)
            answer = _single(leg, view, worth, folded, scopes)
            if isinstance(answer, Denied):
                return answer
            reserved.append(answer)
            leg.cell.open(leg.side, leg.proposed.qty)
            done.append(leg)
        after = _lines(legs, folded, worth, scopes)
    finally:
        for leg in done:
            leg.cell.open(leg.side, -leg.proposed.qty)
    over = [line for line in after if line[3] is None or line[3] > line[4]]
    if over and (denied := _worse(legs, over, worth, folded, scopes)):
        return denied
    return tuple(reserved)


def _hurried(legs: Sequence[_Leg], view: RiskView, folded: Folded, scopes: Scopes) -> Denied | None:
    """Rates of parents, and room for at least one order of each."""
    total = scopes.portfolio.open_orders_max
    if denied := rules.open_orders("the", "portfolio", total, folded.live_total, len(legs)):
        return denied
    for account in {leg.account: None for leg in legs}:
        bounds, more = scopes.account(account), sum(leg.account == account for leg in legs)
        live, limit = folded.live_account.get(account, 0), bounds.open_orders_max
        denied = rules.open_orders("account", account, limit, live, more)
        if denied := denied or paced("parents", account, bounds, folded, more, view.now_ns):
            return denied
    return None


def _repeated(legs: Sequence[_Leg], view: RiskView, folded: Folded) -> Denied | None:
    """The same order twice by different ids; a strategy's legs belong to a group and mean it."""
    here: dict[tuple[object, ...], tuple[int, str]] = {}
    for leg in legs:
        intent = leg.proposed.intent
        if intent.group:
            continue
        asked = folded.asked(intent)
        last = here.get(asked) or folded.recent.get(asked)
        client = intent.client_order_id
        if denied := rules.duplicate(leg.bounds, last, client, view.now_ns):
            return denied
        here[asked] = view.now_ns, client
    return None


def _single(
    leg: _Leg, view: RiskView, worth: Worth, folded: Folded, scopes: Scopes
) -> Decimal | Denied:
    """What can be said of one leg without its exposure: its worst case, or why not."""
    one, bounds = leg.proposed, leg.bounds
    rests = one.intent.life in {Life.GTC, Life.GTD}
    if denied := rules.state(folded.state, folded.reason, leg.reducing, rests):
        return denied
    denied, mid = priced(bounds, leg.symbol, leg.side, one.worst_px, view)
    if denied:
        return denied
    rate = worth.asset(leg.quote)
    if rate is None:
        return Denied("no_rate", _no_rate(leg.quote, scopes))
    # A sale may fetch more than its worst price: what it moves is worth the mid at least.
    px = one.worst_px if leg.side is Side.BUY else max(one.worst_px, mid)
    usd = money_up(one.qty * px * rate)
    if denied := rules.parent_notional(bounds, usd):
        return denied
    if not leg.reducing:  # a loss must not keep us from leaving the position that makes it
        account = scopes.account(leg.account)
        if denied := rules.daily_loss(
            leg.account, account.daily_loss_max, scopes.portfolio.daily_loss_max, view.day_pnl
        ):
            return denied
    return usd


def _lines(legs: Sequence[_Leg], folded: Folded, worth: Worth, scopes: Scopes) -> list[_Line]:
    """Every limit on exposure that these legs touch, and what stands against it."""
    lines: list[_Line] = []
    for leg in legs if len(legs) == 1 else {id(leg.cell): leg for leg in legs}.values():
        worst = leg.cell.worst
        qty_max, money_max = leg.bounds.position_qty_max, leg.bounds.position_max
        if qty_max is not None:
            lines.append(("limit_position", leg.account, leg.symbol + " (base)", worst, qty_max))
        if money_max is not None and worst:
            px = worth.base(leg.symbol)
            value = None if px is None else worst * px
            lines.append(("limit_position", leg.account, leg.symbol, value, money_max))
    for name in {leg.symbol: None for leg in legs}:
        gauge = measure(folded.by_symbol[name], worth)
        gauge_lines(lines, "symbol", name, gauge, scopes.symbol(name))
    accounts, whole = measure_all(folded, worth)
    for name in {leg.account: None for leg in legs}:
        gauge_lines(lines, "account", name, accounts[name], scopes.account(name))
    gauge_lines(lines, "the", "portfolio", whole, scopes.portfolio)
    return lines


def gauge_lines(lines: list[_Line], kind: str, name: str, gauge: Gauge, bounds: Bounds) -> None:
    """Add the limits on gross and net of one scope, as far as there are any."""
    if bounds.gross_max is not None:
        gross = None if gauge.lacking else gauge.gross
        lines.append(("limit_gross_exposure", kind, name, gross, bounds.gross_max))
    if bounds.net_max is not None:
        net = None if gauge.lacking else gauge.net
        lines.append(("limit_net_exposure", kind, name, net, bounds.net_max))


def _worse(
    legs: Sequence[_Leg],
    over: Sequence[_Line],
    worth: Worth,
    folded: Folded,
    scopes: Scopes,
) -> Denied | None:
    """Of limits that are passed afterwards: the first that these legs make worse."""
    if folded.state != "normal":
        return None  # nothing but reducing legs came this far: getting out needs no room
    before = {line[:3]: line[3] for line in _lines(legs, folded, worth, scopes)}
    for code, kind, name, amount, limit in over:
        if amount is None:
            if all(leg.reducing for leg in legs):
                continue
            return Denied("no_rate", f"no rate that is fresh enough to value {kind} {name}")
        was = before.get((code, kind, name), ZERO)
        if denied := rules.exposure(code, f"{kind} {name}", was, amount, limit):
            return denied
    return None


def _no_rate(asset: str, scopes: Scopes) -> str:
    return (
        f"no rate from {asset} to {scopes.limits.reporting} that is fresh enough "
        f"({scopes.limits.rate_stale_ms} ms)"
    )
