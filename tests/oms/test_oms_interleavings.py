"""Whatever the order in which a venue's words arrive: one end, every trade once.

The model is a dictionary of trades.
"""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.domain.desk import (
    CancelAnswered,
    DeskEvent,
    FillsSeen,
    OpenSeen,
    OrderSeen,
    PlaceAnswered,
    StreamLost,
    Told,
)
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.order import (
    Accepted,
    Fill,
    OrderReport,
    OrderState,
    Rejected,
    RejectKind,
    Tif,
    Unknown,
)
from hean_router.domain.parent import Intent
from hean_router.domain.record import (
    ChildIntended,
    Opened,
    ParentPlaced,
    Row,
    decode,
    encode,
    kind_of,
)
from hean_router.domain.venue import VenueId
from hean_router.oms import Orders, Resolver, intake
from hean_router.oms.resolver import NEVER_NS, SECOND

D = Decimal
KEY = "habc0000000100000"
BORN = 100 * SECOND
UNTIL = BORN + 10 * SECOND
VISIBLE = 2 * SECOND
VENUE, ACCOUNT = "bybit", "a"
BTC = Instrument(
    venue=VenueId("bybit"),
    pair=Pair("BTC", "USDT"),
    symbol="BTCUSDT",
    px_decimals=1,
    qty_decimals=1,
)


def start(tif: Tif = Tif.GTC) -> list[Row]:
    """A parent and its one order of 2.0 at 100.0, intended."""
    intent = Intent(
        account=ACCOUNT,
        client_order_id="c",
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=D(2),
        limit_px=D(100),
    )
    return [
        Opened(at_ns=0, epoch=1, tag="abc", version="0", config_digest="", mode="paper"),
        ParentPlaced(
            at_ns=1,
            parent="00000001",
            intent=intent,
            digest=intent.digest(),
            qty=D(2),
            quote_max=None,
            worst_px=D(100),
            worst_usd=D(200),
        ),
        ChildIntended(
            at_ns=BORN,
            key=KEY,
            parent="00000001",
            account=ACCOUNT,
            venue=VENUE,
            symbol="BTC/USDT",
            side=Side.BUY,
            qty=D(2),
            px=D(100),
            tif=tif,
            post_only=False,
            round=0,
            reserve_asset="USDT",
            reserve=D(200),
            worst_px=D(100),
        ),
    ]


class Desk:
    """Orders and resolver as the engine drives them, and every row that came of it."""

    def __init__(self, tif: Tif = Tif.GTC) -> None:
        self.orders = Orders()
        self.rows: list[Row] = start(tif)
        for row in self.rows:
            self.orders.apply(row)
        self.resolver = Resolver(self.orders, VISIBLE)
        self.now_ns = BORN

    def hear(self, event: DeskEvent) -> list[Row]:
        told: list[Row] = []
        for read in (
            lambda: intake(self.orders, VENUE, ACCOUNT, event, self.now_ns),
            lambda: self.resolver.saw(VENUE, ACCOUNT, event, self.now_ns),
        ):
            for row in read():
                self.orders.apply(row)
                told.append(row)
        self.rows += told
        self.orders.check()
        return told

    def replayed(self) -> str:
        again = Orders()
        for row in self.rows:
            again.apply(decode(encode(row)))
        return again.state_hash()


def trade(number: int, qty: int, key: str = KEY) -> Fill:
    return Fill(
        instrument=BTC,
        key=key,
        venue_order_id="v1",
        trade_id=str(number),
        side=Side.BUY,
        px=990 + number,
        qty=qty,
        fee=D("0.001"),
        fee_asset="BTC",
        sent_ns=BORN,
    )


def report(state: OrderState, cum: int | None, key: str = KEY) -> OrderReport:
    return OrderReport(
        instrument=BTC, key=key, venue_order_id="v1", state=state, cum_qty=cum, side=Side.BUY
    )


def all_trades(trades: list[Fill]) -> FillsSeen:
    return FillsSeen(instrument=BTC, since_ns=0, fills=trades, asked_ns=BORN)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_interleaving_ends_in_one_state_with_trades_counted_once(data: st.DataObject) -> None:
    keyless = data.draw(st.booleans(), "trades name the venue's id alone")
    parts = data.draw(st.sampled_from([(7, 5), (7, 13), (20,), ()]), "trades")
    trades = [trade(i, qty, "" if keyless else KEY) for i, qty in enumerate(parts)]
    done = sum(parts)
    end = (
        OrderState.FILLED
        if done == 20
        else data.draw(st.sampled_from([OrderState.CANCELED, OrderState.EXPIRED]), "end")
    )
    pool: list[DeskEvent] = [
        PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL),
        PlaceAnswered(key=KEY, outcome=Unknown("lost"), until_ns=UNTIL),
        CancelAnswered(key=KEY, outcome=Accepted()),
        CancelAnswered(key=KEY, outcome=Rejected(RejectKind.GONE, "1", "")),
        StreamLost("eof"),
        Told(report(OrderState.OPEN, 0)),
        Told(report(end, done)),
        Told(report(end, None)),
        OrderSeen(instrument=BTC, key=KEY, report=report(end, done), asked_ns=BORN),
        all_trades(trades),
        *map(Told, trades),
        *map(Told, trades),
    ]
    heard = data.draw(st.lists(st.sampled_from(pool), max_size=14), "heard")
    one = Desk()
    told: dict[str, int] = {}
    for event in heard:
        one.now_ns += 1
        one.hear(event)
        match event:
            case Told(event=Fill() as fill):
                told[fill.trade_id] = fill.qty
            case FillsSeen(fills=fills):
                told |= {fill.trade_id: fill.qty for fill in fills}
        filled = one.orders.children[KEY].filled
        model = D(sum(told.values())).scaleb(-1)
        assert filled <= model if keyless else filled == model
    # What every silence is followed by: the order is asked for, and then its trades.
    for event in (
        OrderSeen(instrument=BTC, key=KEY, report=report(end, done), asked_ns=BORN),
        all_trades(trades),
    ):
        one.hear(event)
    child = one.orders.children[KEY]
    assert child.status.value == end.value
    assert child.filled == D(done).scaleb(-1)
    assert child.notional == sum((D(f.qty * f.px).scaleb(-2) for f in trades), D(0))
    assert child.fees.get("BTC", D(0)) == D("0.001") * len(trades)
    assert child.settled
    left = (one.orders.live, one.orders.unsettled, one.orders.to_cancel)
    assert not any(left)
    assert not any((one.orders.breaches, one.orders.orphans))
    parent = one.orders.parents["00000001"]
    assert (parent.filled, parent.notional) == (child.filled, child.notional)
    assert one.replayed() == one.orders.state_hash()


# ------------------------------------------------------------------------- asking


def answer_nothing(desk: Desk, *, hide: str = "") -> tuple[list[str], list[Row], int]:
    """Ask when due for three minutes, find nothing; what was asked, what came of it, how often."""
    asked: list[str] = []
    rows: list[Row] = []
    rounds = 0
    while (at_ns := desk.resolver.wake_at_ns) < BORN + 180 * SECOND:
        desk.now_ns = max(desk.now_ns, at_ns)
        rounds += 1
        questions = desk.resolver.due(desk.now_ns)
        assert desk.resolver.wake_at_ns > desk.now_ns, "asked again at once"
        asked_ns = desk.now_ns
        desk.now_ns += SECOND // 100
        for question in questions:
            asked.append(question.what)
            if question.what == hide:
                continue
            match question.what:
                case "order":
                    event: DeskEvent = OrderSeen(
                        instrument=BTC, key=question.key, report=None, asked_ns=asked_ns
                    )
                case "open":
                    event = OpenSeen(instruments=[BTC], reports=[], asked_ns=asked_ns)
                case "fills":
                    event = FillsSeen(
                        instrument=BTC, since_ns=question.since_ns, fills=[], asked_ns=asked_ns
                    )
                case _:
                    continue
            rows += desk.hear(event)
    return asked, rows, rounds


def lost() -> Desk:
    desk = Desk()
    desk.hear(PlaceAnswered(key=KEY, outcome=Unknown("timeout"), until_ns=UNTIL))
    return desk


def test_absence_only_past_every_deadline_and_after_two_looks_in_each_place() -> None:
    desk = lost()
    asked, rows, rounds = answer_nothing(desk)
    assert [type(row).__name__ for row in rows] == ["ChildAbsent"]
    assert rows[0].at_ns >= UNTIL + VISIBLE + SECOND, "two looks, a second apart"
    assert rows[0].at_ns < UNTIL + VISIBLE + 15 * SECOND, "and no longer than it takes"
    assert min(map(asked.count, ("order", "open"))) >= 2
    assert "fills" in asked
    assert rounds < 30
    assert desk.resolver.wake_at_ns == NEVER_NS, "what is settled is not asked about"


@pytest.mark.parametrize("hidden", ["order", "open", "fills"])
def test_absence_is_never_proven_with_one_place_unanswered(hidden: str) -> None:
    desk = lost()
    _, rows, rounds = answer_nothing(desk, hide=hidden)
    assert rows == []
    assert desk.orders.children[KEY].status == "unknown"
    assert rounds < 60, "it goes on asking, at a pace"


def test_a_desk_that_never_answers_ends_in_unknown_and_then_in_proof() -> None:
    _, rows, _ = answer_nothing(Desk())
    assert [type(row).__name__ for row in rows] == ["ChildUnknown", "ChildAbsent"]


def test_an_open_order_missing_among_the_open_ones_is_asked_for_and_ends_with_an_incident() -> None:
    desk = Desk()
    desk.hear(PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL))
    assert desk.resolver.wake_at_ns == NEVER_NS
    desk.now_ns = BORN + 20 * SECOND
    desk.hear(OpenSeen(instruments=[BTC], reports=[], asked_ns=desk.now_ns))
    _, rows, _ = answer_nothing(desk)
    assert [type(row).__name__ for row in rows] == ["Incident", "ChildReported"]
    assert desk.orders.children[KEY].status == "canceled"


def test_a_ghost_is_cancelled_until_its_end_is_told() -> None:
    desk = Desk()
    desk.hear(PlaceAnswered(key=KEY, outcome=Rejected(RejectKind.FUNDS, "1", ""), until_ns=UNTIL))
    desk.hear(Told(report(OrderState.OPEN, 0)))
    assert desk.orders.children[KEY].ghost
    desk.now_ns += SECOND
    assert "cancel" in [question.what for question in desk.resolver.due(desk.now_ns)]
    desk.hear(Told(report(OrderState.CANCELED, 0)))
    assert not desk.orders.children[KEY].ghost
    assert desk.resolver.wake_at_ns == NEVER_NS


def nothing(what: str, asked_ns: int) -> DeskEvent:
    """An answer of `what` that has found nothing."""
    if what == "order":
        return OrderSeen(instrument=BTC, key=KEY, report=None, asked_ns=asked_ns)
    if what == "open":
        return OpenSeen(instruments=[BTC], reports=[], asked_ns=asked_ns)
    return FillsSeen(instrument=BTC, since_ns=0, fills=[], asked_ns=asked_ns)


@pytest.mark.parametrize("early", ["order", "open", "fills", ""])
def test_a_look_before_the_last_possible_moment_counts_for_nothing(early: str) -> None:
    desk = lost()
    floor = UNTIL + VISIBLE
    rows: list[Row] = []
    for step in range(2):
        for what in ("order", "open", "fills"):
            asked_ns = (floor - 3 * SECOND if what == early else floor + 1) + step * SECOND
            desk.now_ns = floor + 10 * SECOND
            rows += desk.hear(nothing(what, asked_ns))
    assert [type(row).__name__ for row in rows] == ([] if early else ["ChildAbsent"])


@pytest.mark.parametrize("single", ["order", "open"])
def test_two_looks_less_than_a_second_apart_are_one(single: str) -> None:
    desk = lost()
    at_ns = desk.now_ns = UNTIL + VISIBLE + 1
    for step in range(2):
        for what in ("order", "open", "fills"):
            apart = SECOND - 1 if what == single else SECOND
            assert desk.hear(nothing(what, at_ns + step * apart)) == []


def test_trades_are_looked_at_once_where_the_venue_never_spoke_of_the_order() -> None:
    """No trade is without an order, and that was asked for twice, among the open and the ended."""
    desk = lost()
    at_ns = desk.now_ns = UNTIL + VISIBLE + 1
    rows: list[Row] = []
    for step in range(2):
        for what in ("order", "open"):
            rows += desk.hear(nothing(what, at_ns + step * SECOND))
    assert not rows
    rows += desk.hear(nothing("fills", at_ns))
    assert [type(row).__name__ for row in rows] == ["ChildAbsent"]


MS = SECOND // 1000


@pytest.mark.parametrize(
    ("heard", "tif", "after_ms", "asked", "why"),
    [
        ((), Tif.GTC, 3000, ["order"], "a placement without an answer"),
        (("lost",), Tif.GTC, 200, ["order"], "the stream mostly tells first"),
        (("ack",), Tif.IOC, 2000, ["order"], "an IOC is over at once"),
        (("ack", "filled"), Tif.GTC, 300, ["fills"], "counted by the venue, trades missing"),
        (("ack", "ended"), Tif.GTC, 300, ["order", "fills"], "ended, and how much is not told"),
        (("refused", "open"), Tif.GTC, 100, ["order", "cancel"], "a ghost is ended"),
    ],
)
def test_when_and_what_is_asked_first(
    heard: tuple[str, ...], tif: Tif, after_ms: int, asked: list[str], why: str
) -> None:
    desk = Desk(tif)
    words: dict[str, DeskEvent] = {
        "ack": PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL),
        "lost": PlaceAnswered(key=KEY, outcome=Unknown("timeout"), until_ns=UNTIL),
        "refused": PlaceAnswered(
            key=KEY, outcome=Rejected(RejectKind.FUNDS, "1", ""), until_ns=UNTIL
        ),
        "filled": Told(report(OrderState.FILLED, 20)),
        "ended": Told(report(OrderState.CANCELED, None)),
        "open": Told(report(OrderState.OPEN, 0)),
    }
    for word in heard:
        desk.hear(words[word])
    at_ns = desk.resolver.wake_at_ns
    assert at_ns == BORN + after_ms * MS, why
    assert desk.resolver.due(at_ns - 1) == []
    assert [one.what for one in desk.resolver.due(at_ns)] == asked, why
    assert desk.resolver.due(at_ns) == [], "once"


def test_a_keyless_trade_that_waited_is_booked_to_its_order_once_that_is_named() -> None:
    desk = Desk()
    assert desk.hear(Told(trade(1, 5, key=""))) == []
    desk.hear(PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL))
    questions = desk.resolver.due(desk.now_ns)
    assert [one.what for one in questions] == ["fills"], "asked for again at once, and once"
    assert desk.resolver.due(desk.now_ns) == []
    desk.hear(all_trades([trade(1, 5, key="")]))
    assert desk.orders.children[KEY].filled == D("0.5")
    assert not desk.orders.orphans


def test_a_waiting_trade_is_asked_for_again_once_it_no_longer_fits_a_nameless_order() -> None:
    desk = Desk()
    assert desk.hear(Told(trade(1, 20, key=""))) == []
    desk.hear(Told(msgspec.structs.replace(trade(2, 5), venue_order_id="")))
    assert desk.orders.nameless, "its id is still unknown"
    assert desk.resolver.wake_at_ns <= desk.now_ns
    assert [one.what for one in desk.resolver.due(desk.now_ns)] == ["fills"]
    desk.hear(all_trades([trade(1, 20, key="")]))
    assert len(desk.orders.orphans) == 1, "booked, whosever it is"


# ------------------------------------------------------------------------- bugs of peers


def open_desk() -> Desk:
    desk = Desk()
    desk.hear(PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL))
    return desk


def restarted(desk: Desk) -> Desk:
    """A new process that has read the journal of `desk`, byte for byte."""
    again = Desk.__new__(Desk)
    again.orders = Orders()
    again.rows = [decode(encode(row)) for row in desk.rows]
    for row in again.rows:
        again.orders.apply(row)
    again.resolver = Resolver(again.orders, VISIBLE)
    again.now_ns = desk.now_ns
    return again


def test_peer_4_an_order_filled_before_its_ack_is_neither_stuck_nor_doubled() -> None:
    desk = Desk()
    desk.hear(Told(trade(1, 20)))
    desk.hear(Told(report(OrderState.FILLED, 20)))
    assert desk.hear(PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL)) == []
    child = desk.orders.children[KEY]
    assert (child.status, child.filled, child.settled) == ("filled", D(2), True)


def test_peer_5_a_trade_told_again_after_a_restart_is_not_booked_again() -> None:
    desk = open_desk()
    desk.hear(Told(trade(1, 5)))
    again = restarted(desk)
    assert again.hear(Told(trade(1, 5))) == []
    assert again.hear(all_trades([trade(1, 5)])) == []
    assert again.orders.parents["00000001"].filled == D("0.5")


def test_peer_6_stream_and_query_racing_count_a_trade_once_and_miss_none() -> None:
    for first, second in (
        (Told(trade(1, 5)), all_trades([trade(1, 5), trade(2, 7)])),
        (all_trades([trade(1, 5), trade(2, 7)]), Told(trade(1, 5))),
    ):
        desk = open_desk()
        desk.hear(first)
        desk.hear(second)
        desk.hear(Told(trade(2, 7)))
        assert desk.orders.children[KEY].filled == D("1.2")


def test_peer_11_a_count_ahead_of_its_trades_invents_no_trade() -> None:
    desk = open_desk()
    seen = OrderSeen(
        instrument=BTC, key=KEY, report=report(OrderState.FILLED, 20), asked_ns=BORN + 1
    )
    assert "filled" not in [kind_of(row) for row in desk.hear(seen)]
    assert desk.orders.children[KEY].filled == 0
    assert KEY in desk.orders.unsettled
    desk.now_ns += SECOND
    assert [one.what for one in desk.resolver.due(desk.now_ns)] == ["fills"]
    for event in (Told(trade(1, 7)), Told(trade(2, 13)), all_trades([trade(1, 7), trade(2, 13)])):
        assert "incident" not in [kind_of(row) for row in desk.hear(event)]
    assert desk.orders.children[KEY].filled == D(2)
    assert desk.orders.children[KEY].settled


def test_peer_12_rows_read_twice_raise_nothing_and_change_no_amount() -> None:
    desk = open_desk()
    desk.hear(Told(trade(1, 5)))
    for row in [row for row in desk.rows if kind_of(row) == "filled"]:
        desk.orders.apply(row)
    desk.orders.check()
    assert desk.orders.children[KEY].filled == D("0.5")
    assert restarted(desk).orders.state_hash() == desk.orders.state_hash()


def test_peer_15_reconciling_twice_leaves_the_same_hash() -> None:
    desk = open_desk()
    stranger = OrderReport(
        instrument=BTC, key="", venue_order_id="v9", state=OrderState.OPEN, side=Side.SELL
    )
    foreign = Fill(
        instrument=BTC,
        key="",
        venue_order_id="v9",
        trade_id="77",
        side=Side.SELL,
        px=1000,
        qty=1,
        fee=D(0),
        fee_asset="USDT",
    )
    answers: list[DeskEvent] = [
        OpenSeen(
            instruments=[BTC], reports=[report(OrderState.OPEN, 5), stranger], asked_ns=BORN + 1
        ),
        all_trades([trade(1, 5), foreign]),
    ]
    for event in answers:
        desk.hear(event)
    once = desk.orders.state_hash()
    again = restarted(desk)
    for one in (desk, again):
        one.now_ns += SECOND
        assert [row for event in answers for row in one.hear(event)] == []
        assert one.orders.state_hash() == once


def test_peer_18_cancelled_by_timeout_yet_filled_is_a_position_that_we_know() -> None:
    desk = open_desk()
    desk.hear(CancelAnswered(key=KEY, outcome=Unknown("timeout")))
    assert KEY in desk.orders.live, "a cancel nobody answered ends nothing"
    desk.hear(CancelAnswered(key=KEY, outcome=Rejected(RejectKind.GONE, "1", "")))
    assert KEY in desk.orders.live, "gone may mean filled"
    desk.hear(Told(trade(1, 20)))
    assert desk.orders.parents["00000001"].filled == D(2)
    assert desk.orders.children[KEY].status == "filled"
