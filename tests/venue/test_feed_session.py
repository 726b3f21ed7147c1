"""A session that streams: opening, gaps, checksums, broken frames, notices, pacing."""

from itertools import pairwise
from random import Random

import msgspec
import pytest

from hean_router.domain.errors import MalformedFrame, NotLive
from hean_router.domain.feed import Delta, Notice, NoticeKind, Snapshot
from hean_router.domain.scale import TooFine
from hean_router.domain.venue import RateLimit
from hean_router.venue import FeedSession, Policy, Relist, Send, by_symbol
from tests.venue.fake_feed import (
    CROSSED,
    LIVE,
    LOST,
    MS,
    SECOND,
    START,
    SYNCING,
    A,
    B,
    FakeCodec,
    Rig,
    delta,
    levels,
    listed,
    live_streamed,
    snapshot,
    spec,
    trade,
)

# ------------------------------------------------------------------------------ opening, closing


def test_a_book_is_live_with_its_snapshot_and_not_before():
    rig = Rig()
    assert rig.sent() == ["sub AAAUSD"]
    assert rig.session.book(A).live is None
    rig.hear(delta(99, 100))
    assert (rig.state(), rig.counts().early, rig.moves()) == (SYNCING, 1, [])
    rig.hear(snapshot())
    assert rig.state() is LIVE
    assert rig.session.all_live
    assert rig.session.book(A).live is rig.moves()[-1].book


def test_every_change_is_told_once_with_its_reason():
    rig = live_streamed()
    rig.hear(delta(100, 101))
    rig.close("cut by the venue")
    told = [(c.old, c.new, c.reason, c.at_ns) for c in rig.changes()]
    assert told == [(SYNCING, LIVE, "whole", START), (LIVE, LOST, "cut by the venue", START)]
    assert len(rig.moves()) == 2


def test_readers_of_a_closed_session_s_books_are_refused():
    rig = live_streamed()
    reader = rig.session.book(A).live
    rig.close()
    with pytest.raises(NotLive):
        reader.bids(1)
    assert rig.session.live == 0


@pytest.mark.parametrize(
    "late",  # what may still be under way when the socket is gone
    [
        lambda rig: rig.hear(snapshot()),
        lambda rig: rig.hear_broken(),
        lambda rig: rig.wait(120),
        lambda rig: rig.fetched(),
        lambda rig: rig.failed(),
        lambda rig: rig.probed(),
        lambda rig: rig.probe_failed(),
    ],
)
@pytest.mark.parametrize("fetches", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
def test_nothing_brings_a_closed_session_back(late, fetches, dropped):
    rig = Rig(fetches=fetches, facts={"silence_ms": 5_000})
    if not fetches:
        rig.hear(snapshot())
    if dropped:
        rig.wait(6)
        assert len(rig.drops()) == 1
    else:
        rig.close()
    told, asked = len(rig.changes()), len(rig.commands)
    late(rig)
    assert rig.state() is LOST
    assert (len(rig.changes()), len(rig.commands)) == (told, asked)


def test_trades_pass_whatever_the_book_is():
    rig = Rig()
    one, two = trade(), trade()
    assert rig.hear(one) == [one]
    rig.hear(snapshot())
    rig.hear(delta(105, 106))
    assert rig.state() is not LIVE
    assert rig.hear(two) == [two]
    assert rig.counts().trades == 2


def test_books_stand_and_fall_alone():
    rig = Rig([A, B])
    rig.hear(snapshot(), snapshot(instrument=B))
    rig.hear(delta(105, 106))
    assert (rig.state(A), rig.state(B)) == (SYNCING, LIVE)
    assert (rig.session.live, rig.session.all_live) == (1, False)


# ------------------------------------------------------------------------------ gaps, resyncs


@pytest.mark.parametrize(
    ("breach", "why"),
    [
        (delta(101, 102), "does not build on 100"),  # one is missing
        (delta(98, 99), "does not build on 100"),  # old: a reset may have been lost
        (delta(1, 2), "does not build on 100"),  # the first one after a lost reset
        (delta(99, 101), "does not build on 100"),  # straddles, behind a streamed snapshot
    ],
)
def test_a_gap_loses_the_book_within_the_event_and_asks_at_once(breach, why):
    rig = live_streamed()
    reader = rig.session.book(A).live
    told = rig.hear(breach)
    assert [c.new for c in told] == [LOST, SYNCING]
    assert why in told[0].reason
    assert not reader.usable
    assert rig.sent()[1:] == ["off AAAUSD", "on AAAUSD"]
    assert (rig.counts().gaps, rig.counts().resyncs) == (1, 1)
    rig.hear(snapshot(seq=200))
    assert rig.state() is LIVE
    assert rig.session.book(A).seq == 200


def test_one_resync_in_flight_however_much_is_wrong():
    """thrasher-corp/gocryptotrader#2337: a storm of subscriptions while a snapshot is under way."""
    rig = live_streamed()
    rig.hear(delta(105, 106))
    for number in range(200):
        rig.hear(delta(110 + 2 * number, 111 + 2 * number), after_s=0.01)
        rig.hear_broken(text="AAAUSD")
    assert len(rig.asks()) == 1
    assert rig.counts().resyncs == 1


def test_waits_double_under_full_jitter_up_to_a_bound():
    policy = Policy(retry_ns=SECOND, retry_max_ns=16 * SECOND)
    waits: list[list[float]] = []
    for seed in range(40):
        rig = live_streamed(policy=policy, seed=seed)
        rig.hear(delta(105, 106))
        for _ in range(9):  # each time the snapshot never comes
            asks = len(rig.asks())
            rig.wait(30, until=lambda asks=asks, rig=rig: len(rig.asks()) > asks)
        asked = rig.asks()
        assert asked[0] == START
        # `sync_ns` for the snapshot to come, then the jittered wait.
        waits.append([(b - a) / SECOND - 10 for a, b in pairwise(asked)])
    for attempt, bound in enumerate([1, 2, 4, 8, 16, 16, 16, 16, 16]):
        seen = [wait[attempt] for wait in waits]
        assert all(bound / 4 <= wait <= bound + 0.3 for wait in seen), (attempt, seen)
        assert max(seen) - min(seen) > bound / 2, "they do not all come back at once"


def test_attempts_start_anew_after_a_settled_while_and_not_before():
    policy = Policy(settle_ns=30 * SECOND)
    rig = live_streamed(policy=policy)

    def lose_and_recover():
        before = rig.now
        seq = rig.session.book(A).seq
        rig.hear(delta(seq + 5, seq + 6))
        asks = len(rig.asks())
        if rig.asks()[-1] != before:
            rig.wait(200, until=lambda: len(rig.asks()) > asks)
        waited = rig.asks()[-1] - before
        rig.hear(snapshot(seq=seq + 10))
        assert rig.state() is LIVE
        return waited

    assert lose_and_recover() == 0
    rig.wait(20)
    second = lose_and_recover()  # too soon after the first
    assert second > 0
    rig.wait(20)
    assert lose_and_recover() > second
    rig.wait(31)
    assert lose_and_recover() == 0


def test_a_moment_of_staleness_does_not_keep_yesterday_s_backoff():
    rig = live_streamed()
    for seq in (200, 300, 400):  # attempts grow
        rig.hear(delta(seq - 50, seq - 49))
        rig.wait(70, until=lambda seq=seq: len(rig.asks()) == seq // 100 - 1)
        rig.hear(snapshot(seq=seq))
    rig.wait(100)
    rig.probed()
    rig.sleep(5)  # the program sleeps: STALE, and LIVE again a second ago
    rig.session.due(rig.now)
    rig.probed()
    rig.wait(2)
    rig.probed()
    asks = len(rig.asks())
    assert rig.state() is LIVE
    rig.hear(delta(500, 501))
    assert len(rig.asks()) == asks + 1, "at once: it was whole for a hundred seconds"


def test_a_snapshot_that_never_comes_is_asked_for_again():
    rig = Rig()
    rig.wait(9.9)
    assert rig.asks() == []
    rig.wait(0.4)
    assert len(rig.asks()) == 1
    assert rig.changes()[-2].reason == "no snapshot came"


def test_a_snapshot_in_mid_stream_replaces_all():
    rig = live_streamed()
    rig.hear(delta(100, 101, bids=[(11, 7)]))
    rig.hear(snapshot(seq=5, bids=[(8, 1)], asks=[(20, 2)]))  # a service that has restarted
    assert rig.state() is LIVE
    assert levels(rig.session.book(A)) == ([(8, 1)], [(20, 2)])
    rig.hear(delta(5, 6, bids=[(8, 0), (7, 3)]))
    assert levels(rig.session.book(A)) == ([(7, 3)], [(20, 2)])
    assert rig.states() == [LIVE]


def test_an_exact_repeat_is_passed_over():
    rig = live_streamed()
    rig.hear(delta(100, 101))
    assert rig.hear(delta(100, 101)) == []
    assert (rig.state(), rig.counts().passed_over) == (LIVE, 1)


# ------------------------------------------------------------------------------ checksums


def summed(prev=None, seq=None, checksum=22, **facts):
    return delta(prev, seq, checksum=checksum, **facts)


def standing_by_checksum():
    rig = Rig()
    rig.hear(Snapshot(A, [(10, 1)], [(12, 1)], seq=None, checksum=22))
    assert (rig.state(), rig.counts().checksums_ok) == (LIVE, 1)
    return rig


def test_a_checksum_that_holds_is_counted():
    rig = standing_by_checksum()
    rig.hear(summed(bids=[(11, 1)], checksum=23))
    assert (rig.state(), rig.counts().checksums_ok, rig.counts().checksums_bad) == (LIVE, 2, 0)


def test_a_checksum_that_does_not_hold_loses_the_book_within_the_event():
    rig = standing_by_checksum()
    told = rig.hear(summed(bids=[(11, 1)], checksum=22))
    assert [(c.new, c.reason) for c in told] == [
        (LOST, "checksum mismatch"),
        (SYNCING, "checksum mismatch"),
    ]
    assert (rig.counts().checksums_bad, len(rig.asks())) == (1, 1)
    rig.hear(summed(bids=[(11, 1)], checksum=23))  # of a book that waits: proves nothing
    assert (rig.state(), rig.counts().early) == (SYNCING, 1)
    rig.hear(Snapshot(A, [(11, 1)], [(12, 1)], seq=None, checksum=23))
    assert rig.state() is LIVE


def test_a_snapshot_with_a_bad_checksum_is_not_believed():
    rig = Rig()
    rig.hear(Snapshot(A, [(10, 1)], [(12, 1)], seq=None, checksum=23))
    assert rig.state() is SYNCING
    assert rig.counts().checksums_bad == 1
    assert len(rig.asks()) == 1


def test_a_checksum_of_none_is_not_verified():
    rig = live_streamed()
    rig.hear(delta(100, 101, checksum=None))
    assert (rig.state(), rig.counts().checksums_ok) == (LIVE, 0)


# ------------------------------------------------------------------------------ crossed


def test_a_crossed_book_is_quarantined_at_once_and_asked_for_after_a_second():
    rig = live_streamed()
    reader = rig.session.book(A).live
    rig.hear(delta(100, 101, bids=[(12, 1)]))
    assert (rig.state(), rig.counts().crossed) == (CROSSED, 1)
    assert not reader.usable
    rig.wait(0.9)
    assert rig.asks() == []
    rig.wait(0.3)
    assert len(rig.asks()) == 1
    assert rig.states()[-2:] == [LOST, SYNCING]
    rig.hear(snapshot(seq=300))
    assert rig.state() is LIVE


def test_a_book_that_uncrosses_is_live_again():
    rig = live_streamed()
    rig.hear(delta(100, 101, bids=[(13, 1)]))
    rig.hear(delta(101, 102, bids=[(11, 1)]), after_s=0.5)
    assert (rig.state(), rig.counts().crossed) == (CROSSED, 1)
    rig.hear(delta(102, 103, bids=[(13, 0)]), after_s=0.2)
    assert rig.state() is LIVE
    rig.wait(2)
    assert rig.asks() == []


def test_a_crossed_snapshot_is_not_live():
    rig = Rig()
    rig.hear(snapshot(bids=[(12, 1)], asks=[(12, 1)]))
    assert rig.state() is CROSSED


def test_one_side_alone_is_a_book():
    rig = Rig()
    rig.hear(snapshot(asks=[]))
    assert rig.state() is LIVE


# ------------------------------------------------------------------------------ broken frames


@pytest.mark.parametrize(
    "fault",
    [
        MalformedFrame("fake", b"x", "why"),
        msgspec.DecodeError("cut"),
        msgspec.ValidationError("wrong type"),
        ValueError("no number"),
        KeyError("b"),
        IndexError("level without a quantity"),
        TypeError("unhashable"),
        RecursionError("brackets by the thousand"),
        OverflowError("int too big to convert"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    ],
)
def test_a_malformed_frame_loses_what_it_may_have_been_about(fault):
    rig = Rig([A, B])
    rig.hear(snapshot(), snapshot(instrument=B))
    rig.hear_broken(fault, "AAAUSD")
    assert (rig.state(A), rig.state(B)) == (SYNCING, LIVE)  # ccxt/ccxt#24461
    assert "malformed frame" in rig.changes(A)[-1].reason
    assert rig.session.counts.malformed == 1
    rig.hear(snapshot(seq=200))
    rig.hear_broken(fault, "AAAUSD BBBUSD")  # could be either
    assert (rig.state(A), rig.state(B)) == (LOST, SYNCING)  # A's second loss waits its turn
    rig.wait(2)
    assert rig.state(A) is SYNCING


def test_a_frame_of_nobody_loses_all():
    rig = Rig([A, B])
    rig.hear(snapshot(), snapshot(instrument=B))
    rig.hear_broken(text="\x00\x01")
    assert (rig.state(A), rig.state(B)) == (SYNCING, SYNCING)


def test_what_a_bug_raises_is_not_taken_for_a_broken_frame():
    rig = live_streamed()
    with pytest.raises(ZeroDivisionError):
        rig.hear_broken(ZeroDivisionError())


def test_too_fine_a_number_asks_for_the_rules_anew():
    rig = Rig([A, B])
    rig.hear(snapshot(), snapshot(instrument=B))
    rig.hear_broken(TooFine("1.234 has more than 2 decimals"), "AAAUSD")
    assert [c.instrument for _, c in rig.commands if isinstance(c, Relist)] == [A]
    assert (rig.state(A), rig.state(B)) == (SYNCING, LIVE)
    rig.hear_broken(TooFine("1.234 has more than 2 decimals"), "whose?")
    assert rig.count(Relist) == 1, "of nobody in particular: nothing to ask for"


def test_half_a_frame_is_not_applied():
    """A codec reads a frame whole before it says anything: else the first half would stay."""
    rig = live_streamed()
    rig.hear_broken(text="AAAUSD")
    assert levels(rig.session.book(A)) == ([(10, 1), (9, 1)], [(12, 1), (13, 1)])


# ------------------------------------------------------------------------------ notices


def test_a_closing_notice_is_remembered_and_passed_on():
    rig = live_streamed()
    notice = Notice(NoticeKind.CLOSING, "maintenance in a minute")
    assert rig.hear(notice) == [notice]
    assert rig.session.closing == "maintenance in a minute"
    assert (rig.state(), rig.session.counts.notices) == (LIVE, 1)
    rig.hear(Notice(NoticeKind.CLOSING, ""))
    assert rig.session.closing, "even one without words"


def test_a_refused_book_is_asked_for_with_growing_patience():
    rig = Rig([A, B])
    rig.hear(snapshot(instrument=B))
    refused = Notice(NoticeKind.REFUSED, "no such topic", A)
    for _ in range(6):
        asks = len(rig.asks())
        rig.hear(refused)
        assert "refused: no such topic" in rig.session.book(A).reason
        rig.wait(120, until=lambda asks=asks: len(rig.asks()) > asks)
        rig.hear(delta(rig.session.book(B).seq, rig.session.book(B).seq + 1, instrument=B))
    asked = rig.asks()
    assert asked[0] == START, "the first time at once"
    assert len(asked) == 6
    assert asked[-1] - asked[-2] > 3 * SECOND
    assert rig.state(B) is LIVE
    rig.hear(snapshot())
    assert rig.state(A) is LIVE


def test_a_refusal_of_nobody_s_book_touches_none():
    rig = live_streamed()
    rig.hear(Notice(NoticeKind.REFUSED, "too many requests"))
    assert (rig.state(), len(rig.asks())) == (LIVE, 0)


@pytest.mark.parametrize("kind", [NoticeKind.HALTED, NoticeKind.RESUMED, NoticeKind.INFO])
def test_other_notices_are_passed_on_and_change_no_book(kind):
    rig = live_streamed()
    notice = Notice(kind, "maintenance", A)
    assert rig.hear(notice) == [notice]
    assert rig.state() is LIVE


# ------------------------------------------------------------------------------ pings, pacing


def test_pings_are_sent_in_time_and_not_kept_waiting():
    rig = Rig(facts={"ping_every_ms": 5_000, "frames": RateLimit(1, 60_000)})
    rig.hear(snapshot())
    rig.hear(delta(105, 106))  # its resubscription waits for a minute; pings do not
    rig.wait(30.5)
    sends = [(at, c.frame.data) for at, c in rig.commands if isinstance(c, Send)]
    pings = [at - START for at, data in sends if data == b"ping"]
    assert len(pings) == 6
    assert all(abs(at - 5 * SECOND * n) <= 100 * MS * n for n, at in enumerate(pings, 1))


def test_no_ping_where_the_venue_wants_none():
    rig = live_streamed()
    rig.wait(60)
    assert "ping" not in rig.sent()


def test_silence_drops_the_connection_and_its_books_at_once():
    rig = live_streamed(facts={"silence_ms": 12_000})
    rig.wait(11.9)
    assert (rig.drops(), rig.state()) == ([], LIVE)
    rig.wait(0.3)
    assert rig.drops() == ["silent for 12 s"]
    assert rig.state() is LOST, "nobody reads it while the socket is being closed"
    rig.wait(60)
    assert len(rig.drops()) == 1


def test_any_frame_breaks_the_silence():
    rig = live_streamed(facts={"silence_ms": 12_000})
    for _ in range(20):
        rig.wait(10)
        rig.hear()  # a heartbeat: nothing said
    assert rig.drops() == []


@pytest.mark.parametrize("seed", range(10))
def test_our_frames_never_come_faster_than_the_venue_takes_them(seed):
    rng = Random(seed)
    limit = RateLimit(rng.randrange(2, 10), rng.choice([500, 1_000, 5_000]))
    instruments = [listed(f"C{number:02}") for number in range(30)]
    rig = Rig(instruments, facts={"frames": limit}, chunk=3, seed=seed)
    for _ in range(300):
        rig.wait(rng.random() * 0.3)
        chosen = rng.choice(instruments)
        whole = rng.random() < 0.5
        rig.hear(snapshot(instrument=chosen) if whole else delta(5, 6, instrument=chosen))
    rig.wait(120)
    at = [when for when, c in rig.commands if isinstance(c, Send)]
    assert len(at) > 30
    window = limit.per_ms * MS
    for index, when in enumerate(at):
        in_window = sum(1 for other in at[: index + 1] if other > when - window)
        assert in_window <= max(1, int(limit.capacity * 0.8))


def test_requests_do_not_pile_up_behind_our_own_limit():
    """OKX takes 480 an hour: a book must not queue one pair of frames for each retry meanwhile."""
    rig = live_streamed(facts={"frames": RateLimit(4, 3_600_000)})  # 3 an hour: 2 are left
    rig.hear(delta(105, 106))
    assert rig.sent()[1:] == ["off AAAUSD", "on AAAUSD"]
    rig.wait(3_500)  # the snapshot never comes
    assert rig.counts().resyncs == 2
    assert len(rig.session._paced) == 2, "one more pair waits, not one a retry"
    rig.wait(200)
    assert rig.sent()[3:5] == ["off AAAUSD", "on AAAUSD"]


def test_a_book_whose_request_waits_in_our_own_queue_is_not_late():
    rig = Rig(facts={"frames": RateLimit(1, 30_000)})
    rig.hear(snapshot())
    rig.hear(delta(105, 106))
    rig.wait(60, until=lambda: len(rig.asks()) == 1)
    assert rig.now - START >= 59 * SECOND  # 1 frame in 30 s: subscribed, off, on
    rig.wait(5)
    assert rig.counts().resyncs == 1
    rig.hear(snapshot(seq=300))
    assert rig.state() is LIVE


def test_wake_at_is_always_near_and_never_behind():
    rig = Rig()
    assert rig.session.wake_at_ns == START + 100 * MS
    rig.wait(3)
    assert 0 < rig.session.wake_at_ns - rig.now <= 100 * MS
    rig.close()
    rig.wait(1)
    assert rig.session.wake_at_ns > rig.now


# ------------------------------------------------------------------------------ small things


def test_a_session_knows_what_it_carries():
    codec = FakeCodec()
    session = FeedSession(spec(), codec, [A], Random(1))
    assert (session.carries(A), session.carries(B)) == (True, False)
    assert by_symbol([A, B]) == {"AAAUSD": A, "BBBUSD": B}


def test_counts_add_up():
    rig = live_streamed()
    rig.hear(delta(100, 101))
    rig.hear(delta(100, 101))
    rig.hear(delta(200, 201))
    counts = rig.counts()
    assert (counts.snapshots, counts.deltas, counts.passed_over, counts.gaps) == (1, 3, 1, 1)
    assert rig.session.counts.frames == 4
    assert rig.session.counts.bytes == 4 * len(b"frame 0")


def test_a_delta_without_levels_is_a_sign_of_life():
    rig = live_streamed()
    rig.wait(20)
    rig.hear(Delta(A, [], [], 100, 100))
    assert rig.state() is LIVE
    assert rig.session.book(A).confirmed_ns == rig.now
