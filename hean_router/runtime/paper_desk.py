"""An account that only pretends: fills by our own matching against the displayed books.

It never fills more than is displayed, never the same displayed quantity twice, and only after a
stated delay.  A resting order fills when the book comes to it or somebody trades through its price:
a queue that we cannot see is assumed to be wholly before us.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from hean_router.book import LiveBook
from hean_router.book.sweep import EXACT
from hean_router.domain.desk import (
    BalancesSeen,
    Budget,
    CancelAnswered,
    DeskEvent,
    DeskStanding,
    FillsSeen,
    OpenSeen,
    OrderSeen,
    PlaceAnswered,
    Sent,
    Told,
)
from hean_router.domain.errors import NotLive
from hean_router.domain.feed import Trade
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.order import (
    Accepted,
    Approved,
    Balance,
    ChildOrder,
    Fill,
    OrderReport,
    OrderState,
    Outcome,
    Rejected,
    RejectKind,
    Tif,
)
from hean_router.domain.venue import FeeIn, Fees
from hean_router.runtime.clock import Clock
from hean_router.runtime.market import Market
from hean_router.venue.gateway import DeskSink

SECOND = 1_000_000_000
LOOK_S = 0.05  # between two looks at resting orders
KEPT = 10_000  # orders that have ended and can still be asked for


class PaperOrder(Struct):
    """An order here."""

    order: ChildOrder
    venue_order_id: str
    state: OrderState = OrderState.OPEN
    filled: int = 0

    @property
    def left(self) -> int:
        """What is not filled, in the instrument's units."""
        return self.order.qty - self.filled


class PaperDesk:
    """One pretended account at one venue; an `OrderDesk`."""

    def __init__(
        self,
        venue: str,
        account: str,
        market: Market,
        clock: Clock,
        balances: Mapping[str, Decimal],
        *,
        delay_ns: int = 20_000_000,
    ) -> None:
        self.venue, self.account = VenueId(venue), account
        self.delay_ns = delay_ns
        self.balances = dict(balances)
        self._market, self._clock = market, clock
        self._sink: DeskSink | None = None
        self._orders: dict[str, PaperOrder] = {}
        self._open: dict[str, PaperOrder] = {}
        self._fills: list[Fill] = []
        # What we have taken of a displayed level, for as long as it stands: what else changes there
        # is others' doing, and only what is displayed beyond that is new.
        self._taken: dict[tuple[str, Side, int], int] = {}
        self._number = 0
        self._prefix = f"p{clock() // 1_000_000:x}"
        self._tasks: set[asyncio.TimerHandle] = set()

    # ------------------------------------------------------------------------- OrderDesk

    @property
    def visibility_ns(self) -> int:
        return self.delay_ns

    @property
    def flight_ns(self) -> int:
        return self.delay_ns

    @property
    def question_ns(self) -> int:
        return 0

    def budget(self, instrument: Instrument) -> Budget:
        return Budget(1_000)

    def grant_nonces(self, below: int) -> None:
        return None

    def doubt_clock(self) -> None:
        return None  # it has no clock but ours

    def restore(self, order: ChildOrder, filled: int, venue_order_id: str) -> None:
        """An order that was resting here when the last process ended."""
        one = PaperOrder(order, venue_order_id or self._id(), filled=filled)
        self._orders[order.key] = self._open[order.key] = one

    def place(self, order: Approved) -> None:
        now_ns = self._clock()
        self._later(0, Sent(order.order.key, now_ns, now_ns))
        self._after(lambda: self._take(order.order))

    def cancel(self, instrument: Instrument, key: str, venue_order_id: str) -> None:
        self._after(lambda: self._cancel(key))

    def ask_order(self, instrument: Instrument, key: str, venue_order_id: str) -> None:
        asked_ns = self._clock()

        def answer() -> None:
            one = self._orders.get(key)
            report = None if one is None else self._report(one)
            self._tell(OrderSeen(instrument=instrument, key=key, report=report, asked_ns=asked_ns))

        self._after(answer)

    def ask_open(self, instruments: Sequence[Instrument]) -> None:
        asked_ns = self._clock()

        def answer() -> None:
            reports = [self._report(one) for one in self._open.values()]
            self._tell(OpenSeen(instruments=tuple(instruments), reports=reports, asked_ns=asked_ns))

        self._after(answer)

    def ask_fills(self, instrument: Instrument, since_ns: int) -> None:
        asked_ns = self._clock()

        def answer() -> None:
            fills = [
                fill
                for fill in self._fills
                if fill.instrument.key == instrument.key and fill.sent_ns >= since_ns
            ]
            self._tell(
                FillsSeen(instrument=instrument, since_ns=since_ns, fills=fills, asked_ns=asked_ns)
            )

        self._after(answer)

    def ask_balances(self) -> None:
        asked_ns = self._clock()

        def answer() -> None:
            found = [
                Balance(asset=asset, total=total, locked=self._locked(asset))
                for asset, total in sorted(self.balances.items())
            ]
            self._tell(BalancesSeen(balances=found, asked_ns=asked_ns))

        self._after(answer)

    def relist(self, instrument: Instrument) -> None:
        """The market knows."""

    async def run(self, instruments: Sequence[Instrument], sink: DeskSink) -> None:
        self._sink = sink
        self._market.on_trade.append(self._printed)
        try:
            self._tell(DeskStanding(ready=True, fresh=True))
            while True:
                await asyncio.sleep(LOOK_S)
                self._forget()
                for one in list(self._open.values()):
                    self._match(one, maker=True)
        finally:
            self._market.on_trade.remove(self._printed)
            self._sink = None
            for handle in self._tasks:
                handle.cancel()
            self._tasks.clear()

    # ------------------------------------------------------------------------- matching

    def _take(self, order: ChildOrder) -> None:
        if order.key in self._orders:
            self._refuse(order, RejectKind.REQUEST, "duplicate", "that key was used before")
            return
        book = self._book(order.instrument)
        if book is None:
            self._refuse(order, RejectKind.HALTED, "no_book", "no live book to fill against")
            return
        if why := self._unfunded(order):
            self._refuse(order, RejectKind.FUNDS, "funds", why)
            return
        can = sum(qty for _, qty in self._available(book, order))
        if order.post_only and can:
            self._refuse(order, RejectKind.WOULD_TRADE, "post_only", "it would trade at once")
            return
        if order.tif is Tif.FOK and can < order.qty:
            self._refuse(order, RejectKind.WOULD_NOT_FILL, "fok", "not all of it is displayed")
            return
        one = PaperOrder(order, self._id())
        self._orders[order.key] = self._open[order.key] = one
        while len(self._orders) > KEPT:
            oldest = next(iter(self._orders))
            if oldest in self._open:
                break
            del self._orders[oldest]
        self._answer(order, Accepted(one.venue_order_id))
        self._match(one, maker=False)
        if one.left and order.tif is not Tif.GTC:
            self._close(one, OrderState.EXPIRED)
        elif one.left and not one.filled:
            self._tell(Told(self._report(one)))

    def _available(self, book: LiveBook, order: ChildOrder) -> list[tuple[int, int]]:
        """Displayed levels that the order meets, on its lot, less what we have taken of them."""
        out, buying = [], order.side is Side.BUY
        symbol, lot = str(order.instrument.pair), order.instrument.lot
        want = order.qty
        for px, displayed in book.facing(order.side):
            if order.px is not None and (px > order.px if buying else px < order.px):
                break
            room = displayed - self._taken.get((symbol, order.side, px), 0)
            room -= room % lot
            if room > 0:
                out.append((px, room))
                want -= room
            if want <= 0:
                break
        return out

    def _match(self, one: PaperOrder, *, maker: bool) -> None:
        order = one.order
        book = self._book(order.instrument)
        if book is None or one.state is not OrderState.OPEN:
            return
        for px, room in self._available(book, order):
            qty = min(room, one.left)
            if qty <= 0:
                break
            level = (str(order.instrument.pair), order.side, px)
            self._taken[level] = self._taken.get(level, 0) + qty
            self._fill(one, order.px if maker and order.px is not None else px, qty, maker=maker)

    def _forget(self) -> None:
        """A level that has gone takes with it what we had of it; what comes after is new.

        While the book is not live nothing is known to have gone.
        """
        shown: dict[tuple[str, Side], set[int] | None] = {}
        for symbol, side, px in list(self._taken):
            if (symbol, side) not in shown:
                of = self._market.listed.get((self.venue, Pair.parse(symbol)))
                book = None if of is None else self._book(of)
                there = None if book is None else {at for at, _ in book.facing(side)}
                shown[symbol, side] = there
            levels = shown[symbol, side]
            if levels is not None and px not in levels:
                del self._taken[symbol, side, px]

    def _printed(self, trade: Trade) -> None:
        """Somebody traded through a resting order's price: it would have been filled before."""
        if trade.instrument.venue != self.venue:
            return
        left = trade.qty
        for one in list(self._open.values()):
            order = one.order
            if order.px is None or order.instrument.key != trade.instrument.key:
                continue
            buying = order.side is Side.BUY
            through = trade.px < order.px if buying else trade.px > order.px
            qty = min(left, one.left)
            qty -= qty % order.instrument.lot
            if through and qty > 0:
                left -= qty
                self._fill(one, order.px, qty, maker=True)

    def _fill(self, one: PaperOrder, px: int, qty: int, *, maker: bool) -> None:
        order, of = one.order, one.order.instrument
        amount = of.qty_decimal(qty)
        worth = EXACT.multiply(amount, of.px_decimal(px))
        fee, asset = self._fee(order, amount, worth, maker=maker)
        base, quote = of.pair.base, of.pair.quote
        sign = 1 if order.side is Side.BUY else -1
        self._move(base, amount * sign)
        self._move(quote, -worth * sign)
        self._move(asset, -fee)
        one.filled += qty
        self._number += 1
        fill = Fill(
            instrument=of,
            key=order.key,
            venue_order_id=one.venue_order_id,
            trade_id=f"{self._prefix}-{self._number}",
            side=order.side,
            px=px,
            qty=qty,
            fee=fee,
            fee_asset=asset,
            maker=maker,
            sent_ns=self._clock(),
        )
        self._fills.append(fill)
        del self._fills[:-KEPT]
        self._tell(Told(fill))
        if not one.left:
            self._close(one, OrderState.FILLED)

    def _fee(
        self, order: ChildOrder, amount: Decimal, worth: Decimal, *, maker: bool
    ) -> tuple[Decimal, str]:
        pair = order.instrument.pair
        fees = self._fees(pair)
        rate = fees.maker if maker else fees.taker
        buying = order.side is Side.BUY
        if fees.fee_in is FeeIn.BASE or (fees.fee_in is FeeIn.RECEIVED and buying):
            return EXACT.multiply(amount, rate), pair.base
        return EXACT.multiply(worth, rate), pair.quote

    def _fees(self, pair: Pair) -> Fees:
        return self._market.book(pair).fees()[self.venue]

    def _move(self, asset: str, amount: Decimal) -> None:
        self.balances[asset] = EXACT.add(self.balances.get(asset, Decimal(0)), amount)

    def _locked(self, asset: str) -> Decimal:
        total = Decimal(0)
        for one in self._open.values():
            given, amount = self._given(one.order, one.left)
            if given == asset:
                total = EXACT.add(total, amount)
        return total

    def _given(self, order: ChildOrder, qty: int) -> tuple[str, Decimal]:
        """What an order may come to give at worst, a fee in the same asset in."""
        of, pair = order.instrument, order.instrument.pair
        amount = of.qty_decimal(qty)
        fees = self._fees(pair)
        rate = max(Decimal(0), fees.taker, fees.maker)
        buying = order.side is Side.BUY
        if buying:
            assert order.px is not None, "market orders are sent with a limit"
            amount = EXACT.multiply(amount, of.px_decimal(order.px))
        if fees.fee_in is (FeeIn.QUOTE if buying else FeeIn.BASE):
            amount = EXACT.multiply(amount, EXACT.add(Decimal(1), rate))
        return pair.quote if buying else pair.base, amount

    def _unfunded(self, order: ChildOrder) -> str:
        asset, amount = self._given(order, order.qty)
        free = self.balances.get(asset, Decimal(0)) - self._locked(asset)
        return "" if amount <= free else f"{amount} {asset} wanted, {free} free"

    def _cancel(self, key: str) -> None:
        one = self._open.get(key)
        if one is None:
            gone = Rejected(RejectKind.GONE, "gone", "no such open order")
            self._tell(CancelAnswered(key=key, outcome=gone))
            return
        self._tell(CancelAnswered(key=key, outcome=Accepted(one.venue_order_id)))
        self._close(one, OrderState.CANCELED)

    def _close(self, one: PaperOrder, state: OrderState) -> None:
        one.state = state
        self._open.pop(one.order.key, None)
        self._tell(Told(self._report(one)))

    # ------------------------------------------------------------------------- small things

    def _book(self, of: Instrument) -> LiveBook | None:
        seat = self._market.seat(self.venue, of.pair)
        if seat is None or seat.live is None:
            return None
        try:
            seat.live.best(Side.BUY)
        except NotLive:
            return None
        return seat.live

    def _id(self) -> str:
        self._number += 1
        return f"{self._prefix}o{self._number}"

    def _report(self, one: PaperOrder) -> OrderReport:
        order = one.order
        return OrderReport(
            instrument=order.instrument,
            key=order.key,
            venue_order_id=one.venue_order_id,
            state=one.state,
            cum_qty=one.filled,
            qty=order.qty,
            px=order.px,
            side=order.side,
            sent_ns=self._clock(),
        )

    def _refuse(self, order: ChildOrder, kind: RejectKind, code: str, text: str) -> None:
        self._answer(order, Rejected(kind, code, text))

    def _answer(self, order: ChildOrder, outcome: Outcome) -> None:
        self._tell(PlaceAnswered(key=order.key, outcome=outcome, until_ns=self._clock()))

    def _tell(self, event: DeskEvent) -> None:
        if self._sink is not None:
            self._sink(event)

    def _later(self, delay_ns: int, event: DeskEvent) -> None:
        self._call(delay_ns, lambda: self._tell(event))

    def _after(self, work: Callable[[], None]) -> None:
        self._call(self.delay_ns, work)

    def _call(self, delay_ns: int, work: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle

        def go() -> None:
            self._tasks.discard(handle)
            work()

        handle = loop.call_later(delay_ns / SECOND, go)
        self._tasks.add(handle)
