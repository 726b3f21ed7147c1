"""A session whose snapshots are fetched: the backlog, stale answers, windows."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.venue import Freshness, Policy, feed_session
from tests.venue.fake_feed import (
    LIVE,
    LOST,
    SECOND,
    STALE,
    START,
    SYNCING,
    A,
    Rig,
    delta,
    levels,
    live_fetched,
)


def fetching(**facts):
    """The stream runs, the snapshot is under way."""
    rig = Rig(fetches=True, **facts)
    rig.hear(delta(95, 99, bids=[(8, 99)]))
    assert len(rig.asks()) == 1
    return rig


# ------------------------------------------------------------------------------ asking


def test_the_first_event_asks_and_no_other_does():
    rig = Rig(fetches=True)
    assert rig.asks() == []
    for seq in range(100, 130):
        rig.hear(delta(seq - 1, seq))
    assert rig.asks() == [START]


def test_a_silent_stream_is_asked_for_anyway():
    rig = Rig(fetches=True)
    rig.wait(2.2)
    assert len(rig.asks()) == 1
    rig.fetched(seq=70)
    assert rig.state() is LIVE


def test_an_answer_that_nobody_waits_for_changes_nothing():
    rig = live_fetched()
    rig.fetched(seq=500, bids=[(1, 1)])
    assert rig.session.book(A).seq == 100
    assert rig.counts().snapshots == 1


def test_a_request_without_an_answer_is_made_again():
    rig = fetching()
    rig.wait(10.3)
    assert len(rig.asks()) == 2
    rig.fetched()
    assert rig.state() is LIVE


# ------------------------------------------------------------------------------ the backlog


@pytest.mark.parametrize(
    ("backlog", "live", "seq", "bid_8", "passed_over"),
    [  # (prev, seq) of what was kept; the snapshot stands at 100
        ([], True, 100, 0, 0),  # nothing to lay on it
        ([(90, 95)], True, 100, 0, 1),  # all of it is inside the snapshot
        ([(90, 95), (95, 100)], True, 100, 0, 2),  # ends exactly where the snapshot stands
        ([(90, 95), (95, 100), (100, 105)], True, 105, 1, 2),  # and one that follows
        ([(95, 105)], True, 105, 1, 0),  # straddles: applied once
        ([(95, 105), (105, 110)], True, 110, 1, 0),
        ([(90, 95), (95, 105), (105, 110)], True, 110, 1, 1),
        ([(100, 105), (105, 110)], True, 110, 1, 0),
        ([(95, 105), (95, 105)], True, 105, 1, 1),  # repeated
        ([(101, 105)], False, None, None, 0),  # too old a snapshot: one is missing between
        ([(110, 120), (120, 130)], False, None, None, 0),
        ([(90, 95), (101, 105)], False, None, None, 1),  # a hole just there
        ([(95, 105), (106, 110)], False, None, None, 0),  # a hole in the backlog itself
        ([(100, 105), (90, 95)], False, None, None, 0),  # out of order behind an applied one
    ],
)
def test_what_is_laid_on_a_snapshot(backlog, live, seq, bid_8, passed_over):
    rig = Rig(fetches=True)
    for prev, last in backlog:
        rig.hear(delta(prev, last, bids=[(8, 1)]))
    if not backlog:
        rig.wait(3)
    rig.fetched()
    book = rig.session.book(A)
    if live:
        assert rig.state() is LIVE
        assert (book.seq, book.bids.qty_at(8)) == (seq, bid_8)
    else:
        assert book.live is None
        rig.wait(1)
        assert len(rig.asks()) == 2, "it is asked for again"
    assert rig.counts().passed_over == passed_over


def test_too_old_an_answer_keeps_the_backlog_for_the_next():
    rig = fetching()
    rig.hear(delta(99, 110, bids=[(7, 7)]))
    rig.fetched(seq=50)
    assert (rig.state(), rig.counts().snapshots) == (SYNCING, 0)
    rig.wait(0.2)
    assert len(rig.asks()) == 2
    rig.fetched(seq=100)
    assert rig.state() is LIVE
    assert (rig.session.book(A).seq, rig.session.book(A).bids.qty_at(7)) == (110, 7)


def test_old_answers_are_asked_for_with_growing_patience():
    rig = fetching()
    for _ in range(6):
        asks = len(rig.asks())
        rig.fetched(seq=50)
        rig.wait(100, until=lambda asks=asks: len(rig.asks()) > asks)
    asked = rig.asks()
    assert asked[-1] - asked[-2] >= 4 * SECOND  # 16 s / 4 at least
    assert len(asked) == 7


def test_a_backlog_is_bounded_and_says_so_by_asking_again(monkeypatch):
    monkeypatch.setattr(feed_session, "BACKLOG_MAX", 50)
    rig = fetching()
    for seq in range(100, 200):
        rig.hear(delta(seq - 1, seq))
    rig.fetched(seq=120)  # what follows it has been thrown away
    assert rig.state() is SYNCING
    rig.wait(0.2)
    rig.fetched(seq=160)
    assert rig.state() is LIVE
    assert rig.session.book(A).seq == 199


def test_behind_the_snapshot_the_stream_may_still_be_old():
    rig = live_fetched()
    rig.hear(delta(90, 95))
    rig.hear(delta(95, 100))
    assert (rig.state(), rig.session.book(A).seq) == (LIVE, 100)
    rig.hear(delta(95, 105))
    rig.hear(delta(90, 95))  # from now on nothing old is forgiven
    assert rig.state() is SYNCING


# ------------------------------------------------------------------------------ gaps


def test_the_event_that_shows_a_gap_binds_the_next_snapshot():
    """Else a cached answer from before the gap would be LIVE although newer events were seen."""
    rig = live_fetched()
    rig.hear(delta(107, 108, bids=[(7, 7)]))
    assert rig.state() is SYNCING
    rig.fetched(seq=103)  # older than what we saw: 104 to 107 are missing
    assert rig.session.book(A).live is None
    rig.wait(3)
    rig.fetched(seq=107)
    assert rig.state() is LIVE
    assert rig.session.book(A).seq == 108


def test_events_behind_a_hole_in_the_backlog_bind_the_next_snapshot():
    rig = fetching()
    rig.hear(delta(99, 105))
    rig.hear(delta(107, 110))  # a hole
    rig.hear(delta(110, 120, bids=[(7, 7)]))
    rig.fetched(seq=100)
    assert rig.state() is SYNCING
    rig.fetched(seq=106)  # before the hole: too old
    assert rig.session.book(A).live is None
    rig.wait(5)
    rig.fetched(seq=108)
    assert rig.state() is LIVE
    assert (rig.session.book(A).seq, rig.session.book(A).bids.qty_at(7)) == (120, 7)


def test_a_broken_frame_does_not_unsee_what_waits_for_a_snapshot():
    rig = fetching()
    rig.hear(delta(99, 110))
    rig.hear_broken(text="AAAUSD")
    rig.fetched(seq=105)  # older than the event that was seen at 110
    assert (rig.state(), rig.session.book(A).seq) == (LIVE, 110), "it links, and is laid upon it"


def test_an_answer_behind_a_broken_frame_and_older_than_its_backlog():
    rig = fetching()
    rig.hear(delta(107, 110))
    rig.hear_broken(text="AAAUSD")
    rig.fetched(seq=105)
    assert rig.session.book(A).live is None
    rig.wait(5)
    rig.fetched(seq=109)
    assert (rig.state(), rig.session.book(A).seq) == (LIVE, 110)


@pytest.mark.parametrize("how", ["malformed", "gap"])
def test_a_snapshot_older_than_the_lost_book_is_not_taken(how):
    rig = live_fetched()
    for seq in range(101, 111):
        rig.hear(delta(seq - 1, seq))
    if how == "gap":
        rig.hear(delta(50, 51))  # old: nothing newer was seen
    else:
        rig.hear_broken(text="AAAUSD")
    rig.fetched(seq=105)
    assert rig.session.book(A).live is None, "we have been at 110 already"
    rig.wait(3)
    rig.fetched(seq=110)
    assert rig.state() is LIVE


def test_an_old_event_out_of_order_does_not_vouch_for_an_old_snapshot():
    rig = live_fetched()
    for seq in range(101, 111):
        rig.hear(delta(seq - 1, seq))
    rig.hear(delta(105, 106))  # late, and not the last: a break
    rig.fetched(seq=105)  # a cache; that old event links to it
    assert rig.session.book(A).live is None, "110 has been seen"
    rig.wait(3)
    rig.fetched(seq=110)
    assert (rig.state(), rig.session.book(A).seq) == (LIVE, 110)


def test_a_venue_that_counts_anew_is_believed_in_the_end():
    rig = live_fetched()
    rig.hear(delta(100, 101))
    rig.hear(delta(1, 2))
    answers = 0
    while rig.state() is not LIVE:
        rig.fetched(seq=2)
        answers += 1
        rig.wait(70, until=lambda: rig.state() is LIVE or rig.asks()[-1] == rig.now)
    assert (answers, rig.session.book(A).seq) == (4, 2)
    assert rig.now - START < 10 * SECOND


def test_one_request_in_flight_however_many_gaps():
    rig = live_fetched()
    for seq in range(200, 400, 2):
        rig.hear(delta(seq, seq + 1))
        rig.hear_broken(text="AAAUSD")
    assert len(rig.asks()) == 2  # the first, and one more
    rig.fetched(seq=399)
    assert rig.state() is LIVE


def test_a_failed_request_is_made_again_with_growing_patience():
    rig = fetching()
    waits = []
    for _ in range(8):
        failed_at = rig.now
        asks = len(rig.asks())
        rig.failed()
        assert rig.state() in {LOST, SYNCING}
        assert "snapshot failed: 503" in rig.session.book(A).reason
        rig.wait(100, until=lambda asks=asks: len(rig.asks()) > asks)
        waits.append(rig.asks()[-1] - failed_at)
    assert waits[0] == 0
    for bound_s, wait in zip([1, 2, 4, 8, 16, 32], waits[1:7], strict=True):
        assert bound_s / 4 <= wait / SECOND <= bound_s + 0.2
    assert waits[-1] <= 60.2 * SECOND
    rig.fetched()
    assert rig.state() is LIVE


# ------------------------------------------------------------------------------ windows


def windowed(levels=500, window_min=100):
    """A book of which `levels` a side are known, and more may stand behind."""
    rig = Rig(fetches=True, window_min=window_min)
    rig.hear(delta(95, 99, bids=()))
    rig.fetched(**ladder(100, levels))
    assert rig.state() is LIVE
    return rig


def ladder(seq, count, mid=10_000):
    return {
        "seq": seq,
        "bids": [(mid - n, 1) for n in range(1, count + 1)],
        "asks": [(mid + n, 1) for n in range(1, count + 1)],
        "window": count,
    }


def eaten(rig, count, mid=10_000):
    """The best `count` bids go, one message each."""
    for n in range(1, count + 1):
        seq = rig.session.book(A).seq
        rig.hear(delta(seq, seq + 1, bids=[(mid - n, 0)]))


def test_a_window_that_runs_short_is_renewed_without_leaving_live():
    rig = windowed()
    reader = rig.session.book(A).live
    eaten(rig, 400)
    rig.wait(1)
    assert len(rig.asks()) == 1
    seq = rig.session.book(A).seq
    rig.hear(delta(seq, seq + 1, bids=[(9_599, 0)]))
    rig.wait(0.2)
    assert len(rig.asks()) == 2
    rig.hear(delta(seq + 1, seq + 2, bids=[(9_598, 5)]))  # moves on while it is under way
    rig.wait(1)
    assert len(rig.asks()) == 2, "one at a time"
    rig.fetched(**ladder(seq + 1, 500, mid=9_599))
    book = rig.session.book(A)
    assert rig.states() == [LIVE]
    assert reader.usable
    assert (book.seq, book.bids.qty_at(9_599), book.bids.qty_at(9_598)) == (seq + 2, 0, 5)
    assert book.within_window() > 400


def test_a_renewal_that_fails_or_never_comes_leaves_the_book_live():
    rig = windowed()
    eaten(rig, 401)
    rig.wait(0.2)
    assert len(rig.asks()) == 2
    rig.failed()
    assert rig.state() is LIVE
    rig.wait(0.2)
    assert len(rig.asks()) == 3
    for _ in range(100):
        seq = rig.session.book(A).seq
        rig.hear(delta(seq, seq + 1))
        rig.wait(0.5)
    assert rig.states() == [LIVE]
    assert len(rig.asks()) <= 9, "one in ten seconds"
    rig.fetched(**ladder(rig.session.book(A).seq, 500, mid=9_600))
    assert rig.states() == [LIVE]


def test_a_renewal_that_fails_while_stale_leaves_the_book_whole():
    rig = windowed()
    eaten(rig, 401)
    rig.wait(0.2)
    rig.sleep(5)
    rig.session.due(rig.now)
    assert rig.state() is STALE
    rig.failed()
    assert rig.state() is STALE
    rig.wait(25)  # nor does one that never comes
    assert rig.state() is STALE
    assert len(rig.asks()) == 3
    rig.probed(bid=9_598, ask=10_001)
    assert rig.state() is LIVE


def test_a_renewal_older_than_the_book_is_not_taken():
    """A cache would take a LIVE book back in time."""
    rig = windowed()
    eaten(rig, 401)
    rig.wait(0.2)
    seq = rig.session.book(A).seq
    rig.fetched(**ladder(seq - 5, 500))
    book = rig.session.book(A)
    assert (rig.state(), book.seq, book.bids.best_px()) == (LIVE, seq, 9_598)
    rig.wait(0.5)
    assert len(rig.asks()) == 3, "it is asked for again"


def test_a_price_beyond_what_was_fetched_is_not_readable():
    rig = windowed(levels=150, window_min=100)
    eaten(rig, 149)
    rig.wait(0.2)
    assert rig.state() is LIVE
    eaten(rig, 150)  # the last known bid goes; others may stand below that nobody told us of
    rig.hear(delta(rig.session.book(A).seq, 1_000, bids=[(9_000, 1)]))
    rig.wait(0.2)
    assert rig.session.book(A).live is None
    assert "left what was fetched" in rig.changes()[1].reason
    rig.fetched(**ladder(1_000, 150, mid=9_001))
    assert rig.state() is LIVE


def test_a_whole_book_has_no_window():
    rig = Rig(fetches=True, window_min=100)
    rig.hear(delta(95, 99))
    rig.fetched(**ladder(100, 30) | {"window": 500})  # asked for 500, 30 came: all there is
    eaten(rig, 30)
    rig.wait(30)
    assert (rig.state(), len(rig.asks())) == (LIVE, 1)


# ------------------------------------------------------------------------------ a naive model


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_comes_in_whatever_order_a_live_book_is_never_wrong(seed):
    """Truth is a list of (bid 8's quantity by event); snapshots of any age come at any time."""
    rng = Random(seed)
    rig = Rig(fetches=True, policy=Policy(retry_ns=SECOND // 10, fresh=Freshness(late_ns=0)))
    ends = [100]
    while len(ends) < 60:
        ends.append(ends[-1] + rng.randrange(1, 5))
    stream = list(pairwise(ends))
    newest = 0  # of what it has heard of
    for position, (prev, last) in enumerate(stream):
        for _ in range(rng.choice([0, 1, 1, 1, 1, 1, 2])):
            rig.hear(delta(prev, last, bids=[(8, last)]))
            newest = max(newest, last)
            right_or_not_live(rig, newest, ends)
        if rng.random() < 0.2:
            rig.wait(0.3)
        if rng.random() < 0.3:
            at = max(0, position - rng.choice([0, 0, 1, 2, 10]))
            seq = rng.randint(ends[at], ends[at + 1])  # may fall inside an event
            taken = seq if seq in ends else ends[at]
            before = rig.counts().snapshots
            rig.fetched(seq=seq, bids=[(8, taken)] if taken > 100 else [], asks=[(12, 1)])
            right_or_not_live(rig, newest, ends)
            if rig.counts().snapshots > before and rig.state() is LIVE:
                assert rig.session.book(A).seq >= newest, "it has seen newer events"
    last = ends[-1]
    rig.hear(delta(last, last + 1, bids=[(8, last + 1)]))
    rig.wait(70, until=lambda: rig.state() is LIVE or (rig.asks() and rig.asks()[-1] == rig.now))
    if rig.state() is not LIVE:
        rig.fetched(seq=last + 1, bids=[(8, last + 1)])
    assert rig.state() is LIVE
    assert levels(rig.session.book(A))[0][-1] == (8, last + 1)


def right_or_not_live(rig, newest, ends):
    book = rig.session.book(A)
    if book.live is None or book.seq == 100:
        return
    if book.seq in ends:
        assert book.bids.qty_at(8) == book.seq, "the quantity is the event's number"
