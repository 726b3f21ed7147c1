"""What a desk tells, taken in: rows once each, whatever the order and the repetition."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from hean_router.domain import desk
from hean_router.domain.desk import (
    DeskEvent,
    FillsSeen,
    NotSent,
    OrderSeen,
    PlaceAnswered,
    StreamLost,
    Told,
)
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.order import (
    Accepted,
    Fill,
    Limited,
    OrderReport,
    OrderState,
    Rejected,
    RejectKind,
    Tif,
    Unknown,
)
from hean_router.domain.parent import Intent
from hean_router.domain.record import ChildIntended, Incident, Opened, ParentPlaced, Row, kind_of
from hean_router.domain.venue import VenueId
from hean_router.oms import Orders, intake
from hean_router.oms.intake import own_trade

D = Decimal
KEY = "habc0000000100000"
LOST_KEY = "habc0000000900000"  # our tag, and not in the journal
SECOND = 1_000_000_000
BORN = 100 * SECOND
BTC = Instrument(
    venue=VenueId("bybit"),
    pair=Pair("BTC", "USDT"),
    symbol="BTCUSDT",
    px_decimals=1,
    qty_decimals=1,
)
PLACE = ("bybit", "a")


def fresh(side: Side = Side.BUY) -> Orders:
    """One order of 2.0 at 100.0, intended and not answered."""
    orders = Orders()
    intent = Intent(
        account="a",
        client_order_id="c",
        symbol="BTC/USDT",
        side=side,
        qty=D(2),
        limit_px=D(100),
    )
    rows: tuple[Row, ...] = (
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
            account="a",
            venue="bybit",
            symbol="BTC/USDT",
            side=side,
            qty=D(2),
            px=D(100),
            tif=Tif.GTC,
            post_only=False,
            round=0,
            reserve_asset="USDT",
            reserve=D(200),
            worst_px=D(100),
        ),
    )
    for row in rows:
        orders.apply(row)
    return orders


def trade(
    trade_id: str = "1",
    qty: int = 10,
    px: int = 1000,
    key: str = KEY,
    order_id: str = "v1",
    side: Side = Side.BUY,
    sent_ns: int = BORN,
) -> Fill:
    return Fill(
        instrument=BTC,
        key=key,
        venue_order_id=order_id,
        trade_id=trade_id,
        side=side,
        px=px,
        qty=qty,
        fee=D("0.001"),
        fee_asset="BTC",
        sent_ns=sent_ns,
    )


def report(
    state: OrderState, cum: int | None = None, key: str = KEY, order_id: str = "v1"
) -> OrderReport:
    return OrderReport(
        instrument=BTC, key=key, venue_order_id=order_id, state=state, cum_qty=cum, side=Side.BUY
    )


def taken(orders: Orders, events: Sequence[DeskEvent], now_ns: int = BORN + 1) -> list[str]:
    """Feed the events; the rows' names, incidents by their code."""
    names: list[str] = []
    for event in events:
        for row in intake(orders, *PLACE, event, now_ns):
            orders.apply(row)
            names.append(row.what if isinstance(row, Incident) else kind_of(row))
        orders.check()
    return names


def answer(outcome: Accepted | Rejected | Limited | Unknown) -> PlaceAnswered:
    return PlaceAnswered(key=KEY, outcome=outcome, until_ns=BORN + 9)


def cancel(outcome: Accepted | Rejected | Limited | Unknown, key: str = KEY) -> DeskEvent:
    return desk.CancelAnswered(key=key, outcome=outcome)


@pytest.mark.parametrize(
    ("fill", "waits", "why"),
    [
        (trade(key=""), True, "side, quantity, limit and time fit"),
        (trade(key="", qty=20), True, "exactly all that is left"),
        (trade(key="", qty=21), False, "more than is left of the order"),
        (trade(key="", px=1001), False, "dearer than the limit"),
        (trade(key="", px=999), True, "better than the limit"),
        (trade(key="", side=Side.SELL), False, "the other side"),
        (trade(key="", sent_ns=BORN - 5 * SECOND), True, "clocks may be that far apart"),
        (trade(key="", sent_ns=BORN - 5 * SECOND - 1), False, "before the order was thought of"),
        (trade(key="", sent_ns=0), True, "the venue did not say when"),
        (trade(key=LOST_KEY), False, "our tag and a key that the journal does not know"),
        (trade(key="manual"), False, "somebody else's key"),
    ],
)
def test_a_trade_waits_only_for_an_order_it_can_be_of(fill: Fill, waits: bool, why: str) -> None:
    orders = fresh()
    assert own_trade(orders, *PLACE, fill) is waits, why
    names = taken(orders, [Told(fill)])
    assert names == ([] if waits else ["filled", "orphan_fill"]), why
    assert orders.children[KEY].filled == 0, why


def test_a_sale_below_its_limit_is_not_waited_for() -> None:
    orders = fresh(Side.SELL)
    assert not own_trade(orders, *PLACE, trade(key="", side=Side.SELL, px=999))
    assert own_trade(orders, *PLACE, trade(key="", side=Side.SELL, px=1001))


def withdrawn() -> NotSent:
    return NotSent(KEY, "no_budget", "spent")


OPEN, FILLED, CANCELED, EXPIRED, REFUSED = (
    OrderState.OPEN,
    OrderState.FILLED,
    OrderState.CANCELED,
    OrderState.EXPIRED,
    OrderState.REJECTED,
)
ACK = answer(Accepted("v1"))
NO = answer(Rejected(RejectKind.FUNDS, "1", "no money"))
LIMITED = answer(Limited("2", "slow down"))
GONE = answer(Rejected(RejectKind.GONE, "3", "no such order"))
LOST = answer(Unknown("timeout"))
ONE, TWO, ALL = Told(trade("1")), Told(trade("2")), Told(trade("3", qty=20))


def say(state: OrderState, cum: int | None = None) -> Told:
    return Told(report(state, cum))


@pytest.mark.parametrize(
    ("events", "names", "status", "filled", "why"),
    [
        ([ACK], ["child_acked"], "open", "0", "taken"),
        ([ACK, ACK], ["child_acked"], "open", "0", "an ack twice says nothing new"),
        ([NO], ["child_rejected"], "rejected", "0", "refused for sure"),
        ([NO, NO], ["child_rejected"], "rejected", "0", "refused twice"),
        ([LIMITED], ["child_rejected"], "rejected", "0", "a limit surely did nothing"),
        ([GONE], ["child_unknown"], "unknown", "0", "GONE makes no sense of a placement"),
        ([ACK, GONE], ["child_acked"], "open", "0", "GONE after the ack proves nothing"),
        ([LOST], ["child_unknown"], "unknown", "0", "never a refusal"),
        ([LOST, LOST], ["child_unknown"], "unknown", "0", "the same deadline"),
        ([LOST, ACK], ["child_unknown", "child_acked"], "open", "0", "the answer came late"),
        ([ACK, NO], ["child_acked", "illegal_transition"], "open", "0", "taken, then refused"),
        ([withdrawn()], ["child_withdrawn"], "withdrawn", "0", "never left"),
        ([withdrawn()] * 2, ["child_withdrawn"], "withdrawn", "0", "never left, twice"),
        ([ACK, withdrawn()], ["child_acked", "illegal_transition"], "open", "0", "it did leave"),
        ([ONE], ["filled"], "open", "1", "a fill first of all: it exists"),
        ([ONE, ACK], ["filled"], "open", "1", "an ack after a fill says nothing new"),
        ([ONE, ONE, TWO], ["filled", "filled"], "filled", "2", "replayed trades count once"),
        ([ALL, say(FILLED, 20)], ["filled"], "filled", "2", "all traded: FILLED says nothing new"),
        ([say(FILLED, 20)] * 2, ["child_reported"], "filled", "0", "FILLED twice"),
        ([say(FILLED), ALL, ALL], ["child_reported", "filled"], "filled", "2", "fill after FILLED"),
        ([say(CANCELED), ONE], ["child_reported", "filled"], "canceled", "1", "late after cancel"),
        ([say(EXPIRED), ONE], ["child_reported", "filled"], "expired", "1", "late after expiry"),
        ([say(CANCELED, 0), ALL], ["child_reported", "filled"], "filled", "2", "the race was lost"),
        (
            [say(REFUSED), ONE],
            ["child_reported", "late_appearance", "filled"],
            "rejected",
            "1",
            "late after the engine's refusal",
        ),
        (
            [NO, ONE],
            ["child_rejected", "late_appearance", "filled"],
            "rejected",
            "1",
            "late after a refusal",
        ),
        (
            [withdrawn(), ONE],
            ["child_withdrawn", "late_appearance", "filled"],
            "withdrawn",
            "1",
            "late after never having left",
        ),
        (
            [ACK, cancel(Accepted())],
            ["child_acked", "cancel_answered"],
            "open",
            "0",
            "a cancel that is taken is no end",
        ),
        (
            [ACK, cancel(Rejected(RejectKind.GONE, "3", ""))],
            ["child_acked", "cancel_answered"],
            "open",
            "0",
            "GONE is asked about: filled, cancelled or never there",
        ),
        (
            [ACK, cancel(Limited("2", ""))],
            ["child_acked", "cancel_answered"],
            "open",
            "0",
            "held back",
        ),
        (
            [ACK, cancel(Unknown("?"))],
            ["child_acked", "cancel_answered"],
            "open",
            "0",
            "nobody knows",
        ),
        ([cancel(Accepted(), LOST_KEY)], ["stray_answer"], "intended", "0", "of no order of ours"),
        ([NotSent(LOST_KEY, "x", "y")], ["stray_answer"], "intended", "0", "nor this"),
        ([StreamLost("eof")], [], "intended", "0", "not about orders"),
        (
            [ACK, say(CANCELED, 0), say(OPEN, 0)],
            ["child_acked", "child_reported"],
            "canceled",
            "0",
            "old news",
        ),
        (
            [Told(trade(qty=30))],
            ["overfill", "filled"],
            "filled",
            "3",
            "more than was asked: booked, and told",
        ),
        (
            [Told(trade(key=LOST_KEY, order_id="v7"))] * 2,
            ["filled", "orphan_fill"],
            "intended",
            "0",
            "an orphan, once",
        ),
        (
            [Told(report(OPEN, key="manual", order_id="v9"))] * 2,
            ["foreign_order"],
            "intended",
            "0",
            "somebody else's, told once",
        ),
        (
            [Told(report(OPEN, key=LOST_KEY, order_id="v9"))],
            ["orphan_order", "foreign_order"],
            "intended",
            "0",
            "ours by its key, and forgotten",
        ),
        (
            [FillsSeen(instrument=BTC, since_ns=0, fills=[trade(), trade()], asked_ns=BORN)],
            ["filled"],
            "open",
            "1",
            "twice in one answer",
        ),
        (
            [OrderSeen(instrument=BTC, key=KEY, report=None, asked_ns=BORN)],
            [],
            "intended",
            "0",
            "not found once is no proof",
        ),
        (
            [OrderSeen(instrument=BTC, key=KEY, report=report(CANCELED, 0, key=""), asked_ns=BORN)],
            ["child_reported"],
            "canceled",
            "0",
            "an answer without our key is about what was asked",
        ),
    ],
)
def test_what_a_desk_tells(
    events: Sequence[DeskEvent], names: list[str], status: str, filled: str, why: str
) -> None:
    orders = fresh()
    assert taken(orders, events) == names, why
    child = orders.children[KEY]
    assert (child.status, child.filled) == (status, D(filled)), why
    assert child.parent.filled == child.filled, why
    assert not orders.breaches, "what intake writes, the fold allows"
