"""One matching engine per venue: price-time priority, integers, no clock.

Quantities are whole `lots` and prices whole `ticks` of the listing, so arithmetic is exact; the
texts a venue prints are made by `Listing.px_text` and `Listing.qty_text`.

An action (`place`, `reduce`, `cancel`) answers with a `Step`: the order as it stands, the trades it
made, and each price level it changed, once, with its new total and a running `update_id` of that
listing.  Whoever keeps a book from those levels has exactly `Exchange.book`, at any id.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedDict

from hean_router.sim.listing import Kind, Listing, decimals_of, text

__all__ = [
    "BookLevel",
    "Exchange",
    "Kind",
    "Level",
    "Listing",
    "Order",
    "OrderState",
    "Reason",
    "Side",
    "Status",
    "Step",
    "Stp",
    "Tif",
    "Trade",
    "decimals_of",
    "text",
]


class Side(StrEnum):
    """Which side an order is on."""

    BUY = "buy"
    SELL = "sell"

    @property
    def other(self) -> "Side":
        """The side it trades with."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Status(StrEnum):
    """What a listing allows."""

    TRADING = "trading"
    POST_ONLY = "post_only"  # resting orders and cancels, no matching
    CANCEL_ONLY = "cancel_only"
    HALT = "halt"  # nothing at all


class Tif(StrEnum):
    """Time in force."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class Stp(StrEnum):
    """Self-trade prevention: whose order ends when an account meets itself.  The taker's counts."""

    NONE = "none"  # the account trades with itself
    MAKER = "maker"  # the resting order ends, the taker goes on
    TAKER = "taker"  # the taker ends, after what it filled before
    BOTH = "both"


class OrderState(StrEnum):
    """Where an order is in its life."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"  # by its owner
    EXPIRED = "expired"  # by its own terms: the rest of an IOC, a FOK, a market order
    REJECTED = "rejected"  # never reached the book


class Reason(StrEnum):
    """Why an order was rejected or expired."""

    NOT_TRADING = "not_trading"
    QTY_MIN = "qty_min"
    QTY_MAX = "qty_max"
    PX = "px"
    NOTIONAL_MIN = "notional_min"
    POST_ONLY = "post_only"  # it would have taken
    FOK = "fok"  # not fillable whole
    NO_LIQUIDITY = "no_liquidity"  # the rest of an IOC or market order
    STP = "stp"  # it met an order of its own account
    VENUE = "venue"  # the venue took it off the book: maintenance, an administrator
    DEADMAN = "deadman"  # its owner's dead man's switch fired


@dataclass(slots=True)
class Order:
    """One order; `px` in ticks (None: market), `qty` and `leaves` in lots."""

    id: int
    symbol: str
    side: Side
    px: int | None
    qty: int
    leaves: int
    tif: Tif
    post_only: bool
    owner: str | None  # an account; None is the market's own makers and takers
    client_id: str
    time_ns: int
    state: OrderState = OrderState.OPEN
    reason: Reason | None = None
    stp: Stp = Stp.NONE
    budget: Decimal | None = None  # quote left to spend; only a buy has one


class Level(NamedTuple):
    """A price level as it now stands; `qty` 0 means it is gone."""

    side: Side
    px: int
    qty: int
    orders: int
    update_id: int


class Trade(NamedTuple):
    """One match at the maker's price.  `side` is the taker's."""

    id: int
    px: int
    qty: int
    side: Side
    maker: Order
    taker: Order


class BookLevel(NamedTuple):
    """A level of the full book: ticks, lots, number of orders."""

    px: int
    qty: int
    orders: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine action did, whole: between two steps no book is crossed."""

    symbol: str
    time_ns: int
    order: Order | None
    levels: tuple[Level, ...] = ()
    trades: tuple[Trade, ...] = ()
    status: Status | None = None  # set when the listing's status changed
    prevented: tuple[Order, ...] = ()  # resting orders that ended instead of meeting their own


@dataclass(slots=True)
class _Queue:
    """Orders at one price, oldest first."""

    orders: dict[int, Order] = field(default_factory=dict)
    qty: int = 0


class _Ladder:
    """One side of a book, best price first."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._sign = -1 if side is Side.BUY else 1
        self._queues: SortedDict[int, _Queue] = SortedDict()

    def __len__(self) -> int:
        return len(self._queues)

    def best(self) -> int | None:
        return self._queues.peekitem(0)[0] * self._sign if self._queues else None

    def first(self) -> Order | None:
        if not self._queues:
            return None
        queue: _Queue = self._queues.peekitem(0)[1]
        return next(iter(queue.orders.values()))

    def last(self) -> Order | None:
        if not self._queues:
            return None
        queue: _Queue = self._queues.peekitem(-1)[1]
        return next(reversed(queue.orders.values()))

    def queue(self, px: int) -> _Queue | None:
        queue: _Queue | None = self._queues.get(px * self._sign)
        return queue

    def __iter__(self) -> Iterator[tuple[int, _Queue]]:
        for key, queue in self._queues.items():
            yield key * self._sign, queue

    def rest(self, order: Order) -> None:
        assert order.px is not None, "only a limit order rests"
        key = order.px * self._sign
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        queue.orders[order.id] = order
        queue.qty += order.leaves

    def reduce(self, order: Order, qty: int) -> None:
        """Take `qty` lots off a resting order; it leaves when nothing is left."""
        assert order.px is not None, "only a limit order rests"
        assert 0 < qty <= order.leaves, "cannot take more than is there"
        key = order.px * self._sign
        queue = self._queues[key]
        order.leaves -= qty
        queue.qty -= qty
        if order.leaves == 0:
            del queue.orders[order.id]
            if not queue.orders:
                del self._queues[key]


class _Market:
    """One listing's book and counters."""

    def __init__(self, listing: Listing, first_update_id: int, first_trade_id: int) -> None:
        self.listing = listing
        self.told = listing
        self.gone = False
        self.status = Status.TRADING
        self.ladders = {side: _Ladder(side) for side in Side}
        self.update_id = first_update_id
        self.trade_id = first_trade_id
        self.last: Trade | None = None

    def level(self, side: Side, px: int) -> Level:
        """The level as it stands, under a fresh update id."""
        self.update_id += 1
        queue = self.ladders[side].queue(px)
        if queue is None:
            return Level(side, px, 0, 0, self.update_id)
        return Level(side, px, queue.qty, len(queue.orders), self.update_id)


class Exchange:
    """One venue's engine.

    `first_update_id` and `first_trade_id` only make ids look as long as the venue's.
    """

    def __init__(
        self,
        venue: str,
        listings: Iterable[Listing],
        *,
        first_update_id: int = 0,
        first_trade_id: int = 0,
    ) -> None:
        self.venue = venue
        self._markets = {
            listing.symbol: _Market(listing, first_update_id, first_trade_id)
            for listing in listings
        }
        self._open: dict[int, Order] = {}
        self._order_id = 0

    # Reading

    @cached_property
    def listings(self) -> Mapping[str, Listing]:
        """Listings by symbol, in the order given."""
        return {symbol: market.listing for symbol, market in self._markets.items()}

    def told(self, symbol: str) -> Listing:
        """The listing with the tick and lot that new orders must keep now: see `set_steps`."""
        return self._markets[symbol].told

    def gone(self, symbol: str) -> bool:
        """Whether it is not listed now: see `set_gone`."""
        return self._markets[symbol].gone

    def status(self, symbol: str) -> Status:
        """What the listing allows now."""
        return self._markets[symbol].status

    def update_id(self, symbol: str) -> int:
        """Id of the last level change of the listing."""
        return self._markets[symbol].update_id

    def trade_id(self, symbol: str) -> int:
        """Id of the last trade of the listing."""
        return self._markets[symbol].trade_id

    def last_trade(self, symbol: str) -> Trade | None:
        """The last trade, if there was one."""
        return self._markets[symbol].last

    def order(self, order_id: int) -> Order | None:
        """An open order, or None."""
        return self._open.get(order_id)

    def open_orders(self, owner: str) -> list[Order]:
        """An account's open orders, oldest first."""
        return [order for order in self._open.values() if order.owner == owner]

    def best(self, symbol: str, side: Side) -> BookLevel | None:
        """The best level of a side."""
        return next(self._walk(symbol, side, 1), None)

    def depth(self, symbol: str, side: Side) -> int:
        """How many levels a side has.  O(1)."""
        return len(self._markets[symbol].ladders[side])

    def book(
        self, symbol: str, depth: int | None = None
    ) -> tuple[list[BookLevel], list[BookLevel]]:
        """Bids and asks, best first: the whole truth, or the best `depth` levels of it."""
        bids = list(self._walk(symbol, Side.BUY, depth))
        return bids, list(self._walk(symbol, Side.SELL, depth))

    def first_order(self, symbol: str, side: Side) -> Order | None:
        """The order next to trade on a side."""
        return self._markets[symbol].ladders[side].first()

    def last_order(self, symbol: str, side: Side) -> Order | None:
        """The youngest order at the worst price of a side."""
        return self._markets[symbol].ladders[side].last()

    def sweep(self, symbol: str, side: Side, lots: int) -> list[tuple[int, int]]:
        """What an order of `side` for `lots` would take at any price: (ticks, lots) by level."""
        taken: list[tuple[int, int]] = []
        for level in self._walk(symbol, side.other, None):
            if lots <= 0:
                break
            taken.append((level.px, min(lots, level.qty)))
            lots -= level.qty
        return taken

    def _walk(self, symbol: str, side: Side, depth: int | None) -> Iterator[BookLevel]:
        for px, queue in islice(self._markets[symbol].ladders[side], depth):
            yield BookLevel(px, queue.qty, len(queue.orders))

    # Acting

    def place(
        self,
        symbol: str,
        side: Side,
        qty: int,
        px: int | None = None,
        *,
        now_ns: int,
        tif: Tif = Tif.GTC,
        post_only: bool = False,
        owner: str | None = None,
        client_id: str = "",
        stp: Stp = Stp.NONE,
        budget: Decimal | None = None,
        crumbs: int = 0,
    ) -> Step:
        """Match an order, then rest what is left of it if its terms say so.

        `qty` in lots, `px` in ticks, None for a market order.  With a `budget` a market buy takes
        whole lots while they cost no more quote than that, at most `qty`; the order then counts as
        one for what it got.  The first `crumbs` matches are of one lot each, and an IOC then ends
        with a rest below the minimum notional.  A refusal is an answer, not an error: see
        `Step.order.state` and `.reason`.  KeyError: no such listing.
        """
        assert budget is None or (side is Side.BUY and px is None), "only a market buy spends"
        market = self._markets[symbol]
        self._order_id += 1
        order = Order(
            self._order_id,
            symbol,
            side,
            px,
            qty,
            qty,
            tif,
            post_only,
            owner,
            client_id,
            now_ns,
            stp=stp,
            budget=budget,
        )
        if reason := self._refusal(market, order):
            order.state, order.reason = OrderState.REJECTED, reason
            return Step(symbol, now_ns, order)
        if tif is Tif.FOK and not self._fillable(market, order):
            order.state, order.reason = OrderState.EXPIRED, Reason.FOK
            return Step(symbol, now_ns, order)
        trades, prevented, places = self._match(market, order, crumbs)
        touched = dict.fromkeys((side.other, place) for place in places)
        spent = budget is not None and order.reason is None and len(market.ladders[side.other]) > 0
        if budget is not None:  # it counts as an order for what it got
            order.qty, order.leaves = order.qty - order.leaves, 0
        if order.leaves == 0 and (budget is None or spent):
            order.state = OrderState.FILLED
        elif order.reason is Reason.STP:
            order.state = OrderState.EXPIRED
        elif px is None or tif is not Tif.GTC:
            order.state, order.reason = OrderState.EXPIRED, Reason.NO_LIQUIDITY
        else:
            market.ladders[side].rest(order)
            self._open[order.id] = order
            touched[side, px] = None
        levels = tuple(market.level(*place) for place in touched)
        return Step(symbol, now_ns, order, levels, tuple(trades), prevented=tuple(prevented))

    def reduce(self, order_id: int, qty: int, *, now_ns: int) -> Step | None:
        """Take `qty` lots (fewer than its leaves) off an open order; it keeps its place.

        None: no such open order, or the listing is halted.  ValueError: nothing would be left, or
        nothing taken.
        """
        order = self._changeable(order_id)
        if order is None:
            return None
        if not 0 < qty < order.leaves:
            raise ValueError(f"can take 1 to {order.leaves - 1} lots off, not {qty}")
        return self._shrink(order, qty, now_ns)

    def hit(self, order_id: int, qty: int, *, now_ns: int) -> Step | None:
        """Somebody trades `qty` lots with this very order, out of its turn, at its price.

        Priority is passed over so that nothing else on the book changes.  None: no such open order,
        or the listing does not trade.
        """
        order = self._open.get(order_id)
        if order is None or self._markets[order.symbol].status is not Status.TRADING:
            return None
        assert order.px is not None, "only a limit order rests"
        assert 0 < qty <= order.leaves, "cannot take more than is there"
        market, side = self._markets[order.symbol], order.side.other
        self._order_id += 1
        taker = Order(
            self._order_id,
            order.symbol,
            side,
            order.px,
            qty,
            0,
            Tif.IOC,
            False,
            None,
            "",
            now_ns,
            state=OrderState.FILLED,
        )
        market.ladders[order.side].reduce(order, qty)
        if order.leaves == 0:
            order.state = OrderState.FILLED
            del self._open[order_id]
        market.trade_id += 1
        trade = market.last = Trade(market.trade_id, order.px, qty, side, order, taker)
        levels = (market.level(order.side, order.px),)
        return Step(order.symbol, now_ns, taker, levels, (trade,))

    def cancel(self, order_id: int, *, now_ns: int, by_venue: bool = False) -> Step | None:
        """Take an open order off the book.

        None: no such open order, or the listing is halted; the venue itself may even then.
        """
        order = self._open.get(order_id) if by_venue else self._changeable(order_id)
        if order is None:
            return None
        leaves = order.leaves
        del self._open[order_id]
        step = self._shrink(order, leaves, now_ns)
        order.leaves = leaves  # what was not filled, for whoever reports the order
        order.state = OrderState.CANCELED
        return step

    def set_status(self, symbol: str, status: Status, *, now_ns: int) -> Step:
        """Change what a listing allows.  Orders on the book stay."""
        self._markets[symbol].status = status
        return Step(symbol, now_ns, None, status=status)

    def set_steps(self, symbol: str, tick: int, lot: int, *, now_ns: int) -> Step:
        """Ask for prices and quantities in multiples of `tick` ticks and `lot` lots from now on.

        The engine's own units stay, and so does what is on the book.  The step has the status that
        the listing has, so that whoever tells of listings tells it again.
        """
        assert tick > 0, "a multiple"
        assert lot > 0, "a multiple"
        market = self._markets[symbol]
        listing = market.listing
        step = listing.lot * lot
        lowest = (listing.min_qty + step - listing.lot) // step * step  # up
        highest = listing.max_qty // step * step
        market.told = replace(
            listing, tick=listing.tick * tick, lot=step, min_qty=lowest, max_qty=highest
        )
        return Step(symbol, now_ns, None, status=market.status)

    def set_gone(self, symbol: str, gone: bool, *, now_ns: int) -> Step:
        """Take it off the list, or put it back.  Orders on its book stay; nothing trades."""
        market = self._markets[symbol]
        market.gone = gone
        return self.set_status(symbol, Status.HALT if gone else Status.TRADING, now_ns=now_ns)

    def _changeable(self, order_id: int) -> Order | None:
        order = self._open.get(order_id)
        if order is None or self._markets[order.symbol].status is Status.HALT:
            return None
        return order

    def _shrink(self, order: Order, qty: int, now_ns: int) -> Step:
        assert order.px is not None, "only a limit order rests"
        market = self._markets[order.symbol]
        market.ladders[order.side].reduce(order, qty)
        return Step(order.symbol, now_ns, order, (market.level(order.side, order.px),))

    def _refusal(self, market: _Market, order: Order) -> Reason | None:
        listing = market.listing
        if market.status in (Status.HALT, Status.CANCEL_ONLY):
            return Reason.NOT_TRADING
        if order.qty < max(1, listing.min_lots):
            return Reason.QTY_MIN
        if order.qty > listing.max_lots:
            return Reason.QTY_MAX
        if order.px is not None and order.px <= 0:
            return Reason.PX
        px = order.px if order.px is not None else market.ladders[order.side.other].best()
        if order.budget is not None:
            if order.budget < listing.min_notional:
                return Reason.NOTIONAL_MIN
        elif px is not None and listing.notional(px, order.qty) < listing.min_notional:
            return Reason.NOTIONAL_MIN
        takes = self._crosses(market, order)
        if market.status is Status.POST_ONLY and (takes or order.px is None):
            return Reason.NOT_TRADING
        if order.post_only and takes:
            return Reason.POST_ONLY
        return None

    @staticmethod
    def _crosses(market: _Market, order: Order) -> bool:
        best = market.ladders[order.side.other].best()
        return best is not None and _reaches(order, best)

    @staticmethod
    def _fillable(market: _Market, order: Order) -> bool:
        found = 0
        for px, queue in market.ladders[order.side.other]:
            if found >= order.qty or not _reaches(order, px):
                break
            if order.stp is Stp.NONE or order.owner is None:
                found += queue.qty
                continue
            for maker in queue.orders.values():
                if maker.owner != order.owner:
                    found += maker.leaves
                elif order.stp is not Stp.MAKER:
                    return found >= order.qty
        return found >= order.qty

    def _match(
        self, market: _Market, taker: Order, crumbs: int = 0
    ) -> tuple[list[Trade], list[Order], list[int]]:
        """Trades, own makers that ended instead, and the prices of both as they came."""
        trades: list[Trade] = []
        prevented: list[Order] = []
        places: list[int] = []
        listing, ladder = market.listing, market.ladders[taker.side.other]
        while taker.leaves and (maker := ladder.first()):
            assert maker.px is not None, "only a limit order rests"
            if not _reaches(taker, maker.px):
                break
            if taker.stp is not Stp.NONE and taker.owner is not None and maker.owner == taker.owner:
                if taker.stp is not Stp.TAKER:
                    self._prevent(ladder, maker)
                    prevented.append(maker)
                    places.append(maker.px)
                if taker.stp is not Stp.MAKER:
                    taker.reason = Reason.STP
                    break
                continue
            qty = min(taker.leaves, maker.leaves)
            if taker.budget is not None:
                qty = min(qty, int(taker.budget // listing.notional(maker.px, 1)))
                if qty == 0:
                    break
                taker.budget -= listing.notional(maker.px, qty)
            elif crumbs:
                qty = _crumb(listing, taker, maker.px, qty, crumbs - len(trades))
                if qty == 0:
                    break
            ladder.reduce(maker, qty)
            taker.leaves -= qty
            if maker.leaves == 0:
                maker.state = OrderState.FILLED
                del self._open[maker.id]
            market.trade_id += 1
            trades.append(Trade(market.trade_id, maker.px, qty, taker.side, maker, taker))
            places.append(maker.px)
        if trades:
            market.last = trades[-1]
        return trades, prevented, places

    def _prevent(self, ladder: _Ladder, maker: Order) -> None:
        """End a resting order that would have met its own account."""
        leaves = maker.leaves
        ladder.reduce(maker, leaves)
        maker.leaves = leaves  # what was not filled, for whoever reports the order
        maker.state, maker.reason = OrderState.EXPIRED, Reason.STP
        del self._open[maker.id]

    def check(self) -> None:
        """Assert every invariant.  O(orders); for tests."""
        seen: set[int] = set()
        for symbol, market in self._markets.items():
            bid, ask = (market.ladders[side].best() for side in (Side.BUY, Side.SELL))
            assert bid is None or ask is None or bid < ask, f"{symbol} is crossed"
            for side, ladder in market.ladders.items():
                for px, queue in ladder:
                    assert queue.orders, "an empty level stays"
                    assert queue.qty == sum(order.leaves for order in queue.orders.values())
                    ids = list(queue.orders)
                    assert ids == sorted(ids), "time priority"
                    for order in queue.orders.values():
                        assert (order.side, order.px, order.symbol) == (side, px, symbol)
                        assert 0 < order.leaves <= order.qty
                        assert order.state is OrderState.OPEN
                        seen.add(order.id)
        assert seen == set(self._open)


def _reaches(order: Order, px: int) -> bool:
    """Whether `order` may trade at `px`."""
    if order.px is None:
        return True
    return order.px >= px if order.side is Side.BUY else order.px <= px


def _crumb(listing: Listing, taker: Order, px: int, qty: int, crumbs: int) -> int:
    """How much of a match of `qty` lots there is; 0 ends the order.

    A lot while `crumbs` are left; then what leaves an IOC with a rest below the minimum notional.
    """
    if crumbs > 0:
        return 1
    if taker.tif is not Tif.IOC:
        return qty
    rest = int(listing.min_notional // listing.notional(px, 1))
    rest -= listing.notional(px, rest) == listing.min_notional
    return min(qty, max(0, taker.leaves - max(1, rest)))
