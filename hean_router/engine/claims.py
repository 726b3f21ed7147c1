"""What a venue's private stream says, held against its own trades: is it a lie, or only old news?

Nothing here is booked or believed; a word that no trade explains is told as an incident, once.
Volatile: after a start there is nothing to hold a word against until new trades and balances came.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from msgspec import Struct

from hean_router.book.sweep import EXACT
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.order import Balance, OrderReport
from hean_router.domain.record import BalancesSet, Filled, FillUndone, Incident, Row
from hean_router.domain.scale import plain
from hean_router.engine.core import Core

ZERO = Decimal(0)
SECOND = 1_000_000_000
APART_NS: Final = 2 * SECOND  # reports and trades of a venue are stamped so far apart at most
TOGETHER_MAX = 10  # trades within that time whose sums are looked through
ORDERS_MAX = 2_000  # orders that are followed, the newest


class _Order(Struct):
    """An order's trades, and counts of its stream that were below one told before."""

    trades: list[tuple[int, Decimal]] = []  # venue's time, quantity
    fell: list[tuple[int, Decimal]] = []
    told: bool = False


class Counts:
    """Cumulative quantities that fall.

    A stream may repeat itself, and what is old comes late: a lower count is no news.  It is a lie
    where no set of the order's trades up to its time adds up to it, all of them being known.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._orders: dict[str, _Order] = {}

    def booked(self, row: Row) -> None:
        """A row was written: a trade of an order of ours."""
        if isinstance(row, Filled) and row.key and not row.inferred:
            self._of(row.key).trades.append((row.sent_ns, row.qty))
            self._judge(row.key)

    def said(self, venue: str, account: str, report: OrderReport) -> None:
        """The stream has told how much is filled."""
        if report.cum_qty is None or not report.sent_ns:
            return
        symbol = str(report.instrument.pair)
        oms = self.core.oms
        child = oms.find(venue, account, symbol, report.key, report.venue_order_id)
        cum = report.instrument.qty_decimal(report.cum_qty)
        if child is None:
            return
        if cum >= max(child.cum or ZERO, child.filled):
            if child.key in self._orders:
                self._judge(child.key)
            return
        order = self._of(child.key)
        if not order.told and len(order.fell) < TOGETHER_MAX:
            order.fell.append((report.sent_ns, cum))
            self._judge(child.key)

    def _of(self, key: str) -> _Order:
        if (order := self._orders.get(key)) is None:
            order = self._orders[key] = _Order()
            if len(self._orders) > ORDERS_MAX:
                del self._orders[next(iter(self._orders))]
        return order

    def _judge(self, key: str) -> None:
        order, child = self._orders[key], self.core.oms.children.get(key)
        if not order.fell or child is None or child.inferred or child.cum != child.filled:
            return  # either may be ahead of the other: a trade is not told yet, or not counted
        if sum((qty for _, qty in order.trades), ZERO) != child.filled:
            return  # trades from before this process, or taken back
        for at_ns, cum in order.fell:
            if not order.told and not _explained(order.trades, at_ns, cum):
                order.told = True
                text = (
                    f"{plain(cum)} filled, said after {plain(child.filled)}: no sum of its trades"
                )
                self.core.write(
                    Incident(
                        at_ns=self.core.now_ns,
                        what="quantity_fell",
                        text=f"{text}; what is counted stays",
                        venue=child.venue,
                        account=child.account,
                        subject=key,
                    )
                )
        order.fell = []


def _explained(trades: Iterable[tuple[int, Decimal]], at_ns: int, cum: Decimal) -> bool:
    """Whether a count of that time can have been true; in doubt it can."""
    sums, near = {ZERO}, 0
    for sent_ns, qty in trades:
        if sent_ns > at_ns + APART_NS:
            continue
        if sent_ns and sent_ns < at_ns - APART_NS:
            sums = {EXACT.add(one, qty) for one in sums}
            continue
        near += 1
        if near > TOGETHER_MAX:
            return True
        sums |= {EXACT.add(one, qty) for one in sums}
    return cum in sums


class _Asset(Struct):
    """Since the last agreement: what it was, what came and went, and what the stream said."""

    start: Decimal
    came: Decimal = ZERO
    went: Decimal = ZERO
    said: list[tuple[Decimal, int]] = []  # lowest and highest, and when; nothing where nothing was
    early: list[tuple[Decimal, int]] = []  # of about the moment of the agreement: before or after

    @property
    def bounds(self) -> tuple[Decimal, Decimal]:
        """Between which it must have been."""
        return EXACT.subtract(self.start, self.went), EXACT.add(self.start, self.came)


class Words:
    """Balances of the stream.

    Between two moments at which the venue, asked, agrees with us, a balance has been nowhere
    beyond what it was, less all that went and more all that came: each of those is a trade that we
    have booked, in whatever order they were.  A word beyond is a lie.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._since_ns: dict[tuple[str, str], int] = {}
        self._start: dict[tuple[str, str], dict[str, Decimal]] = {}
        self._assets: dict[tuple[str, str], dict[str, _Asset]] = {}
        self._last: dict[tuple[str, str], dict[str, tuple[Decimal, Decimal]]] = {}
        self._told: set[tuple[str, str, str]] = set()

    def said(self, venue: str, account: str, word: Balance) -> None:
        """The stream has told a balance."""
        place = (venue, account)
        since_ns = self._since_ns.get(place)
        sent_ns = word.sent_ns - self.core.desks[place].clock_offset_ns
        if since_ns is None or sent_ns < since_ns - APART_NS:
            return  # of before the agreement
        self._heard(place, word.asset, (word.total, sent_ns))

    def _heard(self, place: tuple[str, str], name: str, word: tuple[Decimal, int]) -> None:
        asset = self._of(place, name)
        if word[1] >= self._since_ns[place] + APART_NS:
            asset.said = _ends(*asset.said, word)
        elif place in self._last:
            asset.early = _ends(*asset.early, word)

    def booked(self, row: Row) -> None:
        """A row was written: what it moves, or that balances were taken anew."""
        match row:
            case BalancesSet():
                self._last.pop((row.venue, row.account), None)
                self._begin((row.venue, row.account), row.at_ns, row.balances)
            case Filled() | FillUndone():
                place = (row.venue, row.account)
                if place not in self._since_ns:
                    return
                pair, value = Pair.parse(row.symbol), EXACT.multiply(row.qty, row.px)
                buying = (row.side is Side.BUY) is not isinstance(row, FillUndone)
                fee = row.fee if isinstance(row, FillUndone) else EXACT.minus(row.fee)
                self._move(place, pair.base, row.qty if buying else EXACT.minus(row.qty))
                self._move(place, pair.quote, EXACT.minus(value) if buying else value)
                self._move(place, row.fee_asset, fee)
            case _:
                pass

    def agreed(self, venue: str, account: str, asked_ns: int) -> None:
        """The venue, asked when nothing moved, has told what we have: judge, and begin anew.

        What was said since it was asked may be of what came after, a deposit say: the next
        agreement judges it, if there is one.
        """
        place = (venue, account)
        assets, late = self._assets.get(place, {}), list[tuple[str, tuple[Decimal, int]]]()
        for name, asset in assets.items():
            late += [(name, one) for one in asset.said if one[1] > asked_ns - APART_NS]
            asset.said = [one for one in asset.said if one[1] <= asked_ns - APART_NS]
            self._judge(place, name, asset)
        if place in self._since_ns:
            self._last[place] = {name: asset.bounds for name, asset in assets.items()}
        self._begin(place, asked_ns, self.core.ledger.balances().get(place, {}))
        for name, one in late:
            self._heard(place, name, one)

    def _begin(self, place: tuple[str, str], at_ns: int, balances: Mapping[str, Decimal]) -> None:
        self._since_ns[place], self._assets[place] = at_ns, {}
        self._start[place] = dict(balances)

    def _of(self, place: tuple[str, str], asset: str) -> _Asset:
        assets = self._assets.setdefault(place, {})
        if (found := assets.get(asset)) is None:
            found = assets[asset] = _Asset(self._start[place].get(asset, ZERO))
        return found

    def _move(self, place: tuple[str, str], name: str, amount: Decimal) -> None:
        if not amount:
            return
        asset = self._of(place, name)
        if amount > 0:
            asset.came = EXACT.add(asset.came, amount)
        else:
            asset.went = EXACT.subtract(asset.went, amount)

    def _judge(self, place: tuple[str, str], name: str, asset: _Asset) -> None:
        low, high = asset.bounds
        wrong = next((one for one, _ in asset.said if not low <= one <= high), None)
        if wrong is None and asset.early:
            before = self._last.get(place, {}).get(name, (asset.start, asset.start))
            low, high = min(low, before[0]), max(high, before[1])
            wrong = next((one for one, _ in asset.early if not low <= one <= high), None)
        if wrong is None or (*place, name) in self._told:
            return
        self._told.add((*place, name))
        self.core.write(
            Incident(
                at_ns=self.core.now_ns,
                what="impossible_balance",
                text=(
                    f"the stream told {plain(wrong)} {name}; by our trades, with which the venue "
                    f"agrees when asked, it was between {plain(low)} and {plain(high)}: not booked"
                ),
                venue=place[0],
                account=place[1],
                subject=name,
            )
        )


def _ends(*words: tuple[Decimal, int]) -> list[tuple[Decimal, int]]:
    return [min(words), max(words)]
