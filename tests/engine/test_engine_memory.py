"""What was forgotten stays what it was: nothing old is taken for new, and nothing new for old."""

from decimal import Decimal

import pytest
from msgspec import structs

from hean_router.domain.desk import (
    BalancesSeen,
    DeskStanding,
    FillsSeen,
    OpenSeen,
    OrderSeen,
    PlaceAnswered,
    Told,
)
from hean_router.domain.errors import HeanError
from hean_router.domain.instrument import Side
from hean_router.domain.order import Accepted, Fill, OrderReport, OrderState, Tif
from hean_router.domain.parent import Intent, Status
from hean_router.domain.record import (
    Checkpoint,
    ChildAcked,
    ChildIntended,
    Filled,
    Incident,
    Opened,
    ParentEnded,
    ParentPlaced,
)
from hean_router.engine import CancelOrder, Due, Keep, Refused, Submit
from hean_router.engine.memory import CLOCKS_APART_NS, SOON_NS
from hean_router.oms import Orders
from tests.engine.bench import SECOND, Bench, listing

D = Decimal
AT = 100 * SECOND
OPENED = Opened(at_ns=1, epoch=1, tag="tst", version="0", config_digest="", mode="live")
KEEP = Keep(parents=2, parent_ns=60 * SECOND, trade_ns=300 * SECOND, at_once=4, rows=10**6)


def name(number):
    return f"{number:08}"


def key(number):
    return f"htst{number:08}00100"


def life(number, at_ns=AT):
    """A parent that bought one at 10 by one order at `a`, and ended."""
    intent = Intent(
        account="main",
        client_order_id=f"c{number}",
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=D(1),
        limit_px=D(10),
    )
    yield ParentPlaced(
        at_ns=at_ns, parent=name(number), intent=intent, digest=intent.digest(), qty=D(1),
        quote_max=None, worst_px=D(10), worst_usd=D(10),
    )  # fmt: skip
    yield ChildIntended(
        at_ns=at_ns, key=key(number), parent=name(number), account="main", venue="a",
        symbol="BTC/USDT", side=Side.BUY, qty=D(1), px=D(10), tif=Tif.IOC, post_only=False,
        round=1, reserve_asset="USDT", reserve=D(10), worst_px=D(10),
    )  # fmt: skip
    yield ChildAcked(at_ns=at_ns, key=key(number), venue_order_id=f"v{number}")
    yield Filled(
        at_ns=at_ns, venue="a", account="main", symbol="BTC/USDT", trade_id=f"t{number}",
        key=key(number), parent=name(number), strategy="", venue_order_id=f"v{number}",
        side=Side.BUY, px=D(10), qty=D(1), fee=D(0), fee_asset="USDT", maker=False, sent_ns=at_ns,
    )  # fmt: skip
    yield ParentEnded(at_ns=at_ns, parent=name(number), status=Status.FILLED, why="")


class Book:
    """A past that is a list of rows; `broken` cannot be read."""

    def __init__(self, rows=()):
        self.rows, self.broken, self.asked = list(rows), False, 0

    def parent(self, account, client_order_id):
        self._look()
        orders = Orders()
        for row in self.rows:
            if not isinstance(row, Checkpoint):
                orders.apply(row)
        found = orders.by_client.get((account, client_order_id))
        return None if found is None else orders.parents[found]

    def trade(self, venue, account, symbol, trade_id):
        self._look()
        named = (venue, account, symbol, trade_id)
        return any(
            (row.venue, row.account, row.symbol, row.trade_id) == named
            for row in self.rows
            if isinstance(row, Filled)
        )

    def _look(self):
        self.asked += 1
        if self.broken:
            raise HeanError("the disk does not answer")


def bench(count=8, keep=KEEP, now_s=1_000):
    """A router whose `count` parents have ended long ago; those that are not kept are forgotten."""
    made = Bench(keep=keep)
    rows = [OPENED, *(row for number in range(1, count + 1) for row in life(number))]
    made.engine.core.past = made.past = Book(rows)
    made.now_ns = now_s * SECOND
    made.started(*rows)
    made.told("a", DeskStanding(ready=True, fresh=True))
    made.told("a", BalancesSeen(balances=(), asked_ns=made.now_ns))
    made.told("a", OpenSeen(instruments=(listing("a"),), reports=(), asked_ns=made.now_ns))
    for _ in range(4):
        made.step(Due(), 1)
    made.taken()
    made.rows.clear()
    return made


def fill(number, trade=None, *, sent_ns=AT, key_=""):
    return Fill(
        instrument=listing("a"), key=key_ or key(number), venue_order_id=f"v{number}",
        trade_id=trade or f"t{number}", side=Side.BUY, px=100, qty=10_000, fee=D(0),
        fee_asset="USDT", sent_ns=sent_ns,
    )  # fmt: skip


def report(number, state):
    return OrderReport(
        instrument=listing("a"), key=key(number), venue_order_id=f"v{number}", state=state,
        cum_qty=10_000, qty=10_000, px=100, side=Side.BUY,
    )  # fmt: skip


def test_the_newest_are_kept_and_a_few_at_a_time_go():
    made = Bench(keep=KEEP)
    rows = [OPENED, *(row for number in range(1, 12) for row in life(number))]
    made.engine.core.past = Book(rows)
    made.now_ns = 1_000 * SECOND
    made.started(*rows)
    gone = []
    for number in range(4):
        step = made.step(Due(), 1)
        soon = step.wake_at_ns <= made.now_ns + SOON_NS
        assert soon == (number == 0), "while more wait, as after a start on an old journal"
        gone.append([row.parents for row in step.rows if isinstance(row, Checkpoint)])
    assert gone == [
        [tuple(map(name, (1, 2, 3, 4)))],
        [tuple(map(name, (5, 6, 7, 8)))],
        [],  # one is left that could go: not worth a row yet
        [],
    ]
    made.step(Due(), 600)
    assert set(made.engine.oms.parents) == {name(10), name(11)}, "it goes when its time has come"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"now_s": 150}, "ended a moment ago: a desk may answer still"),
        ({"count": 2}, "no more than are kept"),
        ({"count": 5, "now_s": 400}, "too few to be worth a row, and not long since"),
    ],
)
def test_what_is_not_forgotten(how, why):
    made = bench(**how)
    assert not made.engine.oms.forgotten, why


def test_where_nobody_could_tell_later_nothing_is_forgotten():
    made = Bench(keep=KEEP)
    made.now_ns = 1_000 * SECOND
    made.started(OPENED, *(row for number in range(1, 9) for row in life(number)))
    made.step(Due(), 1)
    assert len(made.engine.oms.parents) == 8


def test_an_id_that_was_used_names_its_parent_for_ever():
    made = bench()
    assert name(1) not in made.engine.oms.parents
    intent = next(iter(life(1))).intent
    again = made.step(Submit((intent,), "me"))
    assert (again.answer.parents, again.answer.existing, again.rows) == ((name(1),), True, ())
    other = made.step(Submit((structs.replace(intent, qty=D(2)),), "me"))
    assert isinstance(other.answer, Refused)
    assert other.answer.code == "duplicate_client_order_id"
    assert name(1) in other.answer.reason
    view = made.engine.crew.look.parent("main", "c1")
    assert (view.id, view.filled, view.status) == (name(1), D(1), Status.FILLED), (
        "a leg of long ago"
    )
    made.past.broken = True
    unread = made.step(Submit((intent,), "me"))
    assert unread.answer.code == "journal_unavailable", "not known to be new"
    assert made.engine.risk.state == "normal", "and no fault of ours"
    assert made.engine.oms.next_parent_id() == name(9), "no name is given twice"


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Told(fill(1)), "told again by the stream, as Kraken does for the last fifty of any age"),
        (Told(fill(1, sent_ns=0)), "without its time"),
        (Told(fill(1, key_="x")), "without our key"),
        (Told(report(1, OrderState.FILLED)), "its end, told again"),
        (Told(report(1, OrderState.CANCELED)), "another end"),
        (
            FillsSeen(
                instrument=listing("a"), since_ns=0, asked_ns=1, fills=(fill(1), fill(2), fill(8))
            ),
            "in a list, with one that is remembered",
        ),
        (
            OrderSeen(
                instrument=listing("a"), key=key(1), report=report(1, OrderState.FILLED), asked_ns=1
            ),
            "asked for long ago",
        ),
    ],
)  # fmt: skip
def test_what_is_told_again_of_a_forgotten_order_changes_nothing(event, why):
    made = bench()
    before = [part.state_hash() for part in (made.engine.oms, made.engine.risk, made.engine.ledger)]
    step = made.told("a", event)
    assert step.rows == (), why
    after = [part.state_hash() for part in (made.engine.oms, made.engine.risk, made.engine.ledger)]
    assert after == before


def test_a_late_answer_to_a_placement_is_told_and_changes_nothing():
    made = bench()
    step = made.told("a", PlaceAnswered(key=key(1), outcome=Accepted("v1"), until_ns=0))
    assert [(row.what, row.subject) for row in step.rows] == [("stray_answer", key(1))]


@pytest.mark.parametrize(
    ("sent_s", "held"),
    [
        (0, False),  # untimed
        (100, True),  # what the venue said we have, since then, holds it already
        (1_003, False),
    ],
)
def test_a_new_trade_of_a_forgotten_order_is_booked_once_and_told(sent_s, held):
    made = bench()
    told = fill(1, "t-late", sent_ns=sent_s * SECOND)
    position = made.engine.ledger.position("main", "BTC/USDT")
    step = made.told("a", Told(told))
    assert [type(row) for row in step.rows] == [Filled, Incident]
    assert step.rows[1].what == "orphan_fill"
    assert (step.rows[0].key, step.rows[0].in_balances) == ("", held)
    assert made.engine.ledger.position("main", "BTC/USDT") == position + 1
    made.past.rows += step.rows
    assert made.told("a", Told(told)).rows == ()
    assert made.engine.ledger.position("main", "BTC/USDT") == position + 1


def test_an_order_that_is_open_though_forgotten_is_told_and_taken_back():
    made = bench()
    made.told("a", Told(report(1, OrderState.OPEN)))
    assert "orphan_order" in [row.what for row in made.rows if isinstance(row, Incident)]
    cancels = [one for one in made.taken() if isinstance(one, CancelOrder)]
    assert [one.key for one in cancels] == [key(1)]


def test_the_journal_is_asked_for_old_trades_alone():
    made = bench()
    made.told("a", Told(fill(1, "t-new", sent_ns=made.now_ns)))
    assert not made.past.asked, "booked since the ids that are kept begin, if at all"
    made.told("a", Told(fill(1, "t-old", sent_ns=AT)))
    assert made.past.asked == 1
    edge_ns = made.engine.oms.trades_before_ns + CLOCKS_APART_NS
    made.told("a", Told(fill(1, "t-edge", sent_ns=edge_ns - 1)))
    assert made.past.asked == 2


def test_a_trade_that_cannot_be_looked_up_shuts_the_desk_and_is_asked_for_again():
    made = bench()
    made.past.broken = True
    step = made.told("a", Told(fill(1)))
    assert not [row for row in step.rows if isinstance(row, Filled)], "neither new nor old"
    assert "could not be read" in made.why("a")
    made.past.broken = False
    made.wait(3)
    assert "open" in [getattr(one, "what", "") for one in made.taken()], "it is reconciled"


def test_replay_forgets_the_same():
    made = bench()
    assert made.engine.oms.forgotten
    again = Bench(keep=KEEP)
    replayed = [*made.past.rows]
    live = Bench(keep=KEEP)
    live.engine.core.past = made.past
    live.now_ns = 1_000 * SECOND
    live.started(*replayed)
    for _ in range(4):
        live.step(Due(), 1)
    again.engine.replay([*replayed, *live.rows])
    assert again.engine.oms.state_hash() == live.engine.oms.state_hash()
    again.engine.oms.check()


def test_a_timer_of_what_is_forgotten_is_gone():
    made = bench(count=0)
    made.engine.core.wake(10**18, name(1))
    made.engine.core.wake(10**18, name(8))
    for number in range(1, 9):
        made.engine.replay(life(number))
    made.step(Due(), 600)
    assert [subject for _, subject in made.engine.core._timers if subject == name(1)] == []
    assert (10**18, name(8)) in made.engine.core._timers
