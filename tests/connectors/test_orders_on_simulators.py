"""Our order codecs against the simulated venues, which were written apart: both read one protocol.

Without sockets: requests and frames are handed over in the process, time is an argument.
"""

from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from hean_router.domain.instrument import Part, Side
from hean_router.domain.order import (
    Accepted,
    Approved,
    ChildOrder,
    Credentials,
    Fill,
    LoggedIn,
    OrderReport,
    OrderState,
    Rejected,
    RejectKind,
    Reply,
    Stamp,
    Tif,
)
from hean_router.sim.contract import Request, Send
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate
from hean_router.venue import Answer, registry

VENUES = [name for name in registry.names() if registry.connector(name).orders is not None]
ORIGIN_NS = 1_767_000_000_000_000_000
MS = 1_000_000
REST, WS = "http://sim", "ws://sim"


class Desk:
    """One venue, its face, and our codec for its first account."""

    def __init__(self, venue, **how):
        self.now_ns = self.nonce = ORIGIN_NS
        self.conns, self.pushed = 0, []
        self.simulator, self.exchange = simulate(
            venue, 5, ORIGIN_NS, symbols=["BTC/USDT"], pace=Pace(updates_per_s=5), **how
        )
        self.face = self.simulator.face
        keys = self.simulator.accounts[0].announced()["keys"]
        # The first key may trade and not withdraw; its scheme is the venue's common one.
        hmac = next(key for key in keys if "trade" in key["permissions"])
        self.connector = registry.connector(venue)
        listed = self.ask(self.connector.instruments(Part.SPOT), sign=None)
        (self.btc,) = [i for i in listed if str(i.pair) == "BTC/USDT"]
        credentials = Credentials(
            account="main",
            key=hmac["key"],
            secret=hmac["secret"],
            passphrase=hmac.get("passphrase", ""),
        )
        self.codec = self.connector.orders(credentials, {self.btc.symbol: self.btc})

    def stamp(self, request_id="r1", token=""):
        self.nonce += 1
        venue_ms = self.now_ns // MS
        return Stamp(
            venue_ms=venue_ms,
            deadline_ms=venue_ms + 4_000,
            nonce=self.nonce,
            request_id=request_id,
            token=token,
        )

    def pass_time(self, ms=1_100):
        """Let the venue do what is due; what it pushes is kept by connection."""
        for _ in range(ms // 20):
            self.now_ns += 20 * MS
            self.pushed += [o for o in self.simulator.due(self.now_ns) if isinstance(o, Send)]

    def answer(self, request):
        self.pass_time()
        sent = Request(
            method=request.method,
            path=request.path,
            query=request.query,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.body,
        )
        response = self.face.request(sent, self.now_ns)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, response.body)

    def ask(self, ask, sign=True):
        """Carry a dialogue to its end, signing what wants it."""
        try:
            request = next(ask)
            while True:
                if request.signed:
                    assert sign, "a public question is not signed"
                    request = self.codec.sign(request, self.stamp())
                request = ask.send(self.answer(request))
        except StopIteration as end:
            return end.value

    def send(self, request):
        """One signed request that is no dialogue, and what its answer means."""
        return self.codec.outcome(self.answer(self.codec.sign(request, self.stamp())))

    def open(self, socket):
        """Connect a private socket and log in; its connection, stamps' token, and events."""
        token = ""
        if (asked := socket.token()) is not None:
            token = self.ask(asked)
        hosts = dict(self.face.hosts(REST, WS))
        url = urlsplit(socket.url(hosts))
        self.conns += 1
        conn = self.conns
        request = Request("GET", url.path, url.query, {"upgrade": "websocket"})
        assert self.face.accept(request, self.now_ns) is None
        self.pushed += self.face.opened(conn, request, self.now_ns)
        events = self.say(socket, conn, socket.login(self.stamp(token=token)))
        ready = [event for event in events if isinstance(event, LoggedIn)]
        assert ready, events
        if not ready[-1].ready:
            self.say(socket, conn, socket.subscribe(self.stamp(token=token)))
        return conn, token

    def say(self, socket, conn, frames):
        for frame in frames:
            data = frame.data if frame.binary else frame.data.decode()
            self.pushed += self.face.received(conn, data, self.now_ns)
        return self.hear(socket, conn)

    def hear(self, socket, conn, ms=1_100):
        self.pass_time(ms)
        mine = [o for o in self.pushed if getattr(o, "conn", 0) == conn and isinstance(o, Send)]
        self.pushed = [o for o in self.pushed if getattr(o, "conn", 0) != conn]
        events = []
        for output in mine:
            data = output.data.encode() if isinstance(output.data, str) else output.data
            events += socket.decode(data)
        return events

    def order(self, key, side=Side.BUY, *, away="0.997", qty="0.002", **changes):
        """A limit order at `away` times the best price of its own side."""
        best = self.exchange.best("BTC/USDT", "buy" if side is Side.BUY else "sell")
        px = self.exchange.listings["BTC/USDT"].px(best.px) * Decimal(away)
        tick, lot = self.btc.tick, self.btc.lot
        scaled = int(px.scaleb(self.btc.px_decimals)) // tick * tick
        amount = int(Decimal(qty).scaleb(self.btc.qty_decimals)) // lot * lot
        facts = {
            "key": key,
            "account": "main",
            "instrument": self.btc,
            "side": side,
            "qty": amount,
            "px": scaled,
        }
        return Approved(ChildOrder(**{**facts, **changes}))


@pytest.fixture(params=VENUES)
def desk(request):
    return Desk(request.param)


def usdt(desk):
    return {b.asset: b.total for b in desk.ask(desk.codec.balances())}["USDT"]


def test_an_order_rests_is_found_and_is_cancelled_by_rest(desk):
    codec, btc = desk.codec, desk.btc
    order = desk.order("hk1a")
    assert isinstance(desk.send(codec.place(order)), Accepted)
    found = desk.ask(codec.order(btc, "hk1a", ""))
    assert (found.key, found.state, found.cum_qty) == ("hk1a", OrderState.OPEN, 0)
    assert [o.key for o in desk.ask(codec.open_orders([btc]))] == ["hk1a"]
    cancel = codec.cancel(btc, "hk1a", found.venue_order_id)
    assert isinstance(desk.send(cancel), Accepted)
    ended = desk.ask(codec.order(btc, "hk1a", found.venue_order_id))
    assert ended.state is OrderState.CANCELED
    assert desk.ask(codec.open_orders([btc])) == []
    again = desk.send(codec.cancel(btc, "hk1a", found.venue_order_id))
    assert isinstance(again, Rejected)
    assert again.kind is RejectKind.GONE


def test_an_order_that_trades_tells_fills_that_explain_the_balances(desk):
    codec, btc = desk.codec, desk.btc
    before = {b.asset: b.total for b in desk.ask(codec.balances())}
    since_ns = desk.now_ns
    order = desk.order("hk2a", away="1.002", tif=Tif.IOC)
    assert isinstance(desk.send(codec.place(order)), Accepted)
    report = desk.ask(codec.order(btc, "hk2a", ""))
    assert report.state is OrderState.FILLED
    fills = desk.ask(codec.fills(btc, since_ns))
    assert sum(fill.qty for fill in fills) == order.order.qty == report.cum_qty
    assert len({fill.trade_id for fill in fills}) == len(fills)
    after = {b.asset: b.total for b in desk.ask(codec.balances())}
    paid = sum(btc.px_decimal(f.px) * btc.qty_decimal(f.qty) for f in fills)
    fees = {asset: sum(f.fee for f in fills if f.fee_asset == asset) for asset in ("BTC", "USDT")}
    assert before["USDT"] - after["USDT"] == paid + fees["USDT"]
    assert after["BTC"] - before["BTC"] == btc.qty_decimal(order.order.qty) - fees["BTC"]


def test_what_the_account_cannot_pay_is_refused_for_sure(desk):
    rich = desk.order("hk3a", qty="5000")
    outcome = desk.send(desk.codec.place(rich))
    assert isinstance(outcome, Rejected), outcome
    assert outcome.kind in {RejectKind.FUNDS, RejectKind.FILTER}  # the size limit may come first


def test_an_order_nobody_placed_is_not_found(desk):
    assert desk.ask(desk.codec.order(desk.btc, "hknever", "")) is None


def test_permissions_and_fees_are_told(desk):
    may = desk.ask(desk.codec.permissions())
    assert may.trade
    assert may.withdraw is False
    fees = desk.ask(desk.codec.fees([desk.btc]))
    assert Decimal(0) < fees[desk.btc.symbol].taker < Decimal("0.01")


def test_a_socket_takes_orders_and_tells_what_becomes_of_them(desk):
    sockets = desk.codec.sockets()
    opened = [(socket, *desk.open(socket)) for socket in sockets]
    orders = next(entry for entry in opened if entry[0].takes_orders)

    def everywhere(ms=1_100):
        told = []
        for socket, conn, _ in opened:
            told += desk.hear(socket, conn, ms)
        return told

    socket, conn, token = orders
    resting = desk.order("hk5a")
    told = desk.say(socket, conn, [socket.place(resting, desk.stamp("7", token))]) + everywhere()
    replies = [event for event in told if isinstance(event, Reply)]
    assert [r.request_id for r in replies] == ["7"], told
    assert isinstance(replies[0].outcome, Accepted)
    opens = [e for e in told if isinstance(e, OrderReport) and e.key == "hk5a"]
    assert any(report.state is OrderState.OPEN for report in opens), told
    venue_id = next(report.venue_order_id for report in opens if report.venue_order_id)

    taking = desk.order("hk5b", away="1.002", tif=Tif.IOC)
    told = desk.say(socket, conn, [socket.place(taking, desk.stamp("8", token))]) + everywhere()
    fills = {e.trade_id: e for e in told if isinstance(e, Fill)}
    assert sum(fill.qty for fill in fills.values()) == taking.order.qty, told
    states = [e.state for e in told if isinstance(e, OrderReport) and e.key == "hk5b"]
    assert OrderState.FILLED in states, told

    cancel = socket.cancel(desk.btc, "hk5a", venue_id, desk.stamp("9", token))
    told = desk.say(socket, conn, [cancel]) + everywhere()
    assert any(isinstance(e, Reply) and isinstance(e.outcome, Accepted) for e in told), told
    ended = [e for e in told if isinstance(e, OrderReport) and e.state is OrderState.CANCELED]
    assert [e.venue_order_id or e.key for e in ended][:1], told
