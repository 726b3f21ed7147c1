"""A trade that came without our key and before its order's name: everybody's, once it is known."""

from decimal import Decimal

from msgspec import structs

from hean_router.domain.desk import OpenSeen, PlaceAnswered, Told
from hean_router.domain.instrument import Side
from hean_router.domain.order import Accepted, OrderReport, OrderState, Unknown
from hean_router.domain.record import BalancesSet, Filled, FillUndone, ForeignOrder, Incident
from hean_router.oms.resolver import SECOND
from hean_router.portfolio.positions import View
from tests.oms.test_oms_inferred import House, trade
from tests.oms.test_oms_interleavings import ACCOUNT, BORN, BTC, KEY, UNTIL, VENUE

D = Decimal
NOBODYS = structs.replace(trade(7, 15), key="", venue_order_id="v9", side=Side.SELL)
OURS = structs.replace(trade(8, 15), key="", venue_order_id="v1", sent_ns=BORN - 6 * SECOND)


def orphaned():
    """A trade older than our order by the venue's clock, which turns out to be wrong."""
    house = House()
    house.hear(PlaceAnswered(key=KEY, outcome=Unknown("cut"), until_ns=UNTIL))
    rows = house.hear(Told(OURS))
    assert [type(row) for row in rows] == [Filled, Incident]
    assert (rows[0].key, rows[1].what) == ("", "orphan_fill")
    return house


def named(house):
    return house.hear(PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=UNTIL))


def test_an_orphan_trade_that_is_an_orders_counts_as_that_orders_everywhere():
    house = orphaned()
    assert house.child.filled == 0
    assert house.count.children[KEY].filled == 0
    _, undone, fill = named(house)
    assert (undone.trade_id, undone.key, undone.whole, undone.why) == ("8", "", True, "claimed")
    assert (fill.trade_id, fill.key, fill.parent) == ("8", KEY, "00000001")
    assert house.child.filled == D("1.5")
    assert house.count.children[KEY].filled == D("1.5")
    assert house.watch.facts.parents["00000001"].by_children == D("1.5")
    assert house.risk.position(ACCOUNT, "BTC/USDT") == D("1.485")
    assert house.risk.reserved(VENUE, ACCOUNT, "USDT") == D(50), "a quarter is still out"
    (line,) = house.ledger.positions(View.VENUE)
    assert (line.qty, line.fills) == (D("1.485"), 1)
    assert not house.orders.orphans
    assert not house.orders.claimed
    again = house.hear(Told(structs.replace(OURS, key=KEY)))
    assert again == [], "it is booked"


def test_a_strategys_trade_is_its_own_from_then_on():
    house = orphaned()
    parent = house.orders.parents["00000001"]
    parent.intent = structs.replace(parent.intent, strategy="arb")
    named(house)
    lines = {one.strategy: (one.qty, one.fills) for one in house.ledger.positions(View.STRATEGY)}
    assert lines == {"": (0, 0), "arb": (D("1.485"), 1)}


def test_balances_that_hold_the_trade_already_are_not_moved_by_the_claim():
    house = orphaned()
    held = {"BTC": D(2), "USDT": D(7)}
    house.now_ns += SECOND
    house.write(
        BalancesSet(
            at_ns=house.now_ns, venue=VENUE, account=ACCOUNT, balances=held, why="reconciled"
        )
    )
    house.now_ns += SECOND
    rows = named(house)
    assert [row.in_balances for row in rows if isinstance(row, Filled | FillUndone)] == [True] * 2
    assert house.ledger.balances()[VENUE, ACCOUNT] == held
    assert house.watch.facts.balances[VENUE, ACCOUNT] == held


def test_what_was_taken_for_somebody_elses_order_and_is_ours_is_foreign_no_more():
    house = House()
    house.hear(PlaceAnswered(key=KEY, outcome=Unknown("cut"), until_ns=UNTIL))
    other = OrderReport(
        instrument=BTC,
        key="",
        venue_order_id="v1",
        state=OrderState.OPEN,
        cum_qty=0,
        qty=7,
        px=900,
        side=Side.SELL,
    )
    rows = house.hear(OpenSeen(instruments=[BTC], reports=[other], asked_ns=house.now_ns))
    assert [type(row) for row in rows] == [ForeignOrder]
    assert house.risk.locked(VENUE, ACCOUNT, "BTC") == D("0.7")
    rows = named(house)
    assert [row.open for row in rows if isinstance(row, ForeignOrder)] == [False]
    assert not house.orders.foreign
    assert not house.orders.claimed
    assert house.risk.locked(VENUE, ACCOUNT, "BTC") == 0


def test_nobodys_trade_stays_nobodys():
    house = orphaned()
    house.hear(Told(NOBODYS))
    named(house)
    assert [row.trade_id for rows in house.orders.orphans.values() for row in rows] == ["7"]
