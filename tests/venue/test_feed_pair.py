"""Several sessions, one house: who leads, what is heard, and what is not."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.domain.feed import Notice, NoticeKind, Snapshot
from hean_router.venue import BookMoved, FeedPair, FeedSession, Policy, StateChanged
from tests.venue.fake_feed import (
    LIVE,
    LOST,
    MS,
    SECOND,
    STALE,
    START,
    SYNCING,
    A,
    B,
    FakeCodec,
    delta,
    snapshot,
    spec,
    trade,
)


class House:
    """Sessions through one pair; keeps what the house hears."""

    def __init__(self, sessions=2, instruments=(A,), policy=None):
        self.pair = FeedPair()
        self.now = START
        self.heard: list[object] = []
        self.told = dict.fromkeys(instruments, SYNCING)  # the state as told
        self.shown: dict[object, object] = {}  # the LiveBook as last told
        self.instruments = list(instruments)
        self.policy = policy or Policy()
        self.sessions = [self.open() for _ in range(sessions)]

    def open(self, instruments=None):
        session = FeedSession(
            spec(), FakeCodec(), instruments or self.instruments, Random(1), self.policy
        )
        self.pair.add(session)
        self.pass_on(session, session.opened(self.now))
        return session

    def hear(self, who, *events):
        session = self.sessions[who] if isinstance(who, int) else who
        self.now += MS
        return self.pass_on(session, session.received(session.codec.frame(*events), self.now))

    def close(self, who):
        session = self.sessions[who] if isinstance(who, int) else who
        told = self.pass_on(session, session.closed("cut", self.now))
        self.pair.remove(session)
        return told

    def settle(self):
        return self.keep(self.pair.settle())

    def pass_on(self, session, events):
        return self.keep(self.pair.pass_on(session, events))

    def keep(self, events):
        for event in events:
            if isinstance(event, StateChanged):
                assert event.old is self.told.get(event.instrument, SYNCING), "from what was told"
                assert event.new is not event.old, "a change"
                self.told[event.instrument] = event.new
            elif isinstance(event, BookMoved):
                self.shown[event.instrument] = event.book
        self.heard += events
        return list(events)

    def changes(self):
        return [(e.old, e.new) for e in self.heard if isinstance(e, StateChanged)]

    def lead(self, instrument=A):
        leader = self.pair.leader(instrument)
        return None if leader is None else self.sessions.index(leader)

    def check(self):
        """What the house holds is what its leader has, LIVE or not."""
        for instrument in self.instruments:
            leader = self.pair.leader(instrument)
            live = leader.book(instrument).live if leader else None
            assert (self.told[instrument] is LIVE) == (live is not None), instrument
            if live is not None:
                assert self.shown[instrument] is live, "the reader it holds is the leader's"
                assert live.usable


def both_live():
    house = House()
    house.hear(0, snapshot())
    house.hear(1, snapshot())
    assert house.changes() == [(SYNCING, LIVE)]
    house.check()
    return house


def test_the_first_live_book_leads_and_the_second_is_not_heard():
    house = House()
    house.hear(1, snapshot())
    assert (house.lead(), house.changes()) == (1, [(SYNCING, LIVE)])
    heard = len(house.heard)
    house.hear(0, snapshot())
    house.hear(0, delta(100, 101))
    assert (house.lead(), len(house.heard)) == (1, heard)
    house.hear(1, delta(100, 101))
    assert isinstance(house.heard[-1], BookMoved)


def test_one_loss_is_invisible():
    house = both_live()
    house.hear(0, delta(100, 101))
    house.hear(1, delta(100, 101))
    told = house.hear(0, delta(200, 201))  # a gap
    assert house.lead() == 1
    assert [type(event) for event in told] == [BookMoved], "the new reader, and no change of state"
    assert told[0].book is house.sessions[1].book(A).live
    assert house.changes() == [(SYNCING, LIVE)]
    house.hear(0, snapshot(seq=300))
    assert house.lead() == 1, "who comes back follows"
    house.check()


def test_a_closed_leader_is_invisible_too():
    house = both_live()
    told = house.close(0)
    assert [type(event) for event in told] == [BookMoved]
    assert house.pair.leader(A) is house.sessions[1]
    house.check()


def test_both_lost_is_told_once():
    house = both_live()
    house.close(0)
    told = house.close(1)
    assert [(e.old, e.new) for e in told] == [(LIVE, LOST)]
    assert house.lead() is None
    house.sessions = [house.open()]
    house.hear(0, snapshot(seq=500))
    assert house.changes()[-1] == (SYNCING if house.changes()[-2][1] is SYNCING else LOST, LIVE)
    house.check()


def test_an_older_follower_does_not_take_over_at_once():
    house = both_live()
    for seq in range(100, 110):
        house.hear(0, delta(seq, seq + 1))
    told = house.hear(0, delta(200, 201))
    assert [(e.old, e.new) for e in told if isinstance(e, StateChanged)] == [
        (LIVE, LOST),
        (LOST, SYNCING),
    ]
    assert house.lead() is None
    house.hear(1, delta(100, 101))  # slower, but whole: better than nothing
    assert (house.lead(), house.told[A]) == (1, LIVE)
    house.check()


def test_without_numbers_the_venue_s_clock_says_who_is_newer():
    house = House()

    def state(ms):
        return Snapshot(A, [(10, 1)], [(12, 1)], seq=None, sent_ns=START + ms * MS)

    house.hear(0, state(5))
    house.hear(1, state(3))
    house.pass_on(house.sessions[0], house.sessions[0].received(b"broken", house.now))
    assert house.lead() is None, "it is older"
    house.hear(0, state(7))
    house.hear(1, state(7))
    house.pass_on(house.sessions[0], house.sessions[0].received(b"broken", house.now))
    assert house.lead() == 1
    house.check()


def test_trades_come_from_the_leader_alone():
    house = both_live()
    assert len(house.hear(0, trade())) == 1
    assert house.hear(1, trade()) == []
    house.close(0)
    assert len(house.hear(1, trade())) == 1


def test_before_anybody_leads_trades_are_heard():
    house = House(sessions=1)
    assert len(house.hear(0, trade())) == 1


def test_notices_are_heard_from_all():
    house = both_live()
    notice = Notice(NoticeKind.CLOSING, "soon")
    assert house.hear(1, notice) == [notice]


def test_books_have_leaders_of_their_own():
    house = House(instruments=(A, B))
    house.hear(0, snapshot())
    house.hear(1, snapshot(instrument=B))
    house.hear(0, snapshot(instrument=B))
    house.hear(1, snapshot())
    assert (house.lead(A), house.lead(B)) == (0, 1)
    house.close(0)
    assert (house.lead(A), house.lead(B)) == (1, 1)
    house.check()


def test_a_stale_leader_is_replaced():
    house = both_live()
    session = house.sessions[0]
    house.hear(1, delta(100, 101))
    house.now += 3 * SECOND
    house.sessions[1].due(START + SECOND * 3 // 2)  # one of them was looked at in between
    told = house.pass_on(session, session.due(house.now))
    assert session.book(A).state is STALE
    assert (house.lead(), [type(e) for e in told]) == (1, [BookMoved])
    house.check()


# ------------------------------------------------------------------------------ rotation


def test_a_planned_change_of_connections_leaves_no_gap():
    house = House(sessions=1)
    house.hear(0, snapshot())
    house.sessions.append(house.open())
    house.pair.retire(house.sessions[0])
    house.hear(0, delta(100, 101))
    house.hear(1, snapshot(seq=100))  # not as new yet
    assert house.lead() == 0
    assert house.settle() == []
    assert not house.pair.retired(house.sessions[0])
    house.hear(1, delta(100, 101))
    assert house.lead() == 1
    assert house.pair.retired(house.sessions[0])
    assert house.close(0) == []
    assert house.changes() == [(SYNCING, LIVE)]
    house.check()


def test_a_quiet_book_changes_hands_when_settled():
    house = House(sessions=1)
    house.hear(0, snapshot())
    house.sessions.append(house.open())
    house.hear(1, snapshot())
    house.pair.retire(house.sessions[0])
    assert house.lead() == 0
    told = house.settle()
    assert [type(event) for event in told] == [BookMoved]
    assert house.lead() == 1
    assert house.settle() == [], "once"
    house.check()


def test_a_retirement_taken_back():
    house = both_live()
    house.pair.retire(house.sessions[0])
    house.pair.keep(house.sessions[0])
    assert house.settle() == []
    house.hear(1, delta(100, 101))
    assert house.lead() == 0


def test_a_retiring_leader_is_not_replaced_by_another_retiring_one():
    house = both_live()
    house.pair.retire(house.sessions[0])
    house.pair.retire(house.sessions[1])
    assert house.settle() == []
    assert house.lead() == 0


def test_a_retiring_session_may_still_save_the_day():
    house = both_live()
    house.pair.retire(house.sessions[1])
    house.close(0)
    assert house.lead() == 1
    house.check()


def test_rules_refreshed_between_two_sessions():
    """A new session may carry other instruments: refreshed rules make others."""
    house = House(sessions=1, instruments=(A,))
    house.hear(0, snapshot())
    renewed = house.open([B])
    house.sessions.append(renewed)
    house.instruments.append(B)
    house.told[B] = SYNCING
    house.pair.retire(house.sessions[0])
    house.hear(1, snapshot(instrument=B))
    assert house.settle() == []
    told = house.hear(0, delta(105, 106))
    assert [(e.old, e.new) for e in told] == [(LIVE, LOST), (LOST, SYNCING)]
    house.hear(0, snapshot(seq=300))
    told = house.close(0)
    assert [(e.old, e.new) for e in told] == [(LIVE, LOST)]
    assert house.told == {A: LOST, B: LIVE}


def test_a_removed_session_leads_nothing():
    house = both_live()
    house.pair.remove(house.sessions[0])
    assert house.lead() is None
    assert house.pair.sessions == (house.sessions[1],)


# ------------------------------------------------------------------------------ a naive model


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_house_holds_its_leader_s_book(seed):
    rng = Random(seed)
    house = House(sessions=rng.choice([1, 2, 3]), instruments=(A, B))
    truth = {A: 100, B: 100}
    for _ in range(120):
        step = rng.random()
        instrument = rng.choice([A, B])
        if not house.sessions or (step < 0.04 and len(house.sessions) < 4):
            house.sessions.append(house.open())
            continue
        session = rng.choice(house.sessions)
        book = session.book(instrument)
        others = [s for s in house.sessions if s is not session]
        seq_before = shown_seq(house, instrument)
        spare = any(
            other.book(each).live and other.book(each).seq >= session.book(each).seq
            for each in (A, B)
            for other in others
            if house.pair.leader(each) is session
        )
        told: list[object] = []
        if step < 0.06:
            told = house.close(session)
            house.sessions.remove(session)
        elif step < 0.10:
            house.pair.retire(session)
        elif step < 0.12:
            house.pair.keep(session)
        elif step < 0.17:
            house.settle()
        elif step < 0.22:
            told = house.hear(session, delta(5, 6, instrument=instrument))  # a gap
        elif step < 0.40 or book.seq is None:
            house.hear(session, snapshot(seq=truth[instrument], instrument=instrument))
        elif book.seq < truth[instrument]:
            house.hear(session, delta(book.seq, book.seq + 1, instrument=instrument))
        else:
            truth[instrument] += 1
            last = truth[instrument]
            house.hear(session, delta(last - 1, last, instrument=instrument))
        lost = {e.instrument for e in told if isinstance(e, StateChanged) and e.new is not LIVE}
        assert not (lost and spare and len(lost) == 2), "a spare book was not used"
        house.check()
        if seq_before is not None and house.told[instrument] is LIVE and instrument not in lost:
            assert shown_seq(house, instrument) >= seq_before, "never back in time while LIVE"
        for each in (A, B):
            leader = house.pair.leader(each)
            others = [s for s in house.sessions if s is not leader]
            if leader is None and house.told[each] is LIVE:
                raise AssertionError("LIVE without a leader")


def shown_seq(house, instrument):
    return house.shown[instrument].seq if house.told[instrument] is LIVE else None
