"""Changing connections without a gap; rules that change under us; halts that come and go."""

import asyncio
import logging

import pytest

from hean_router import kit
from hean_router.domain.feed import Notice, NoticeKind
from hean_router.domain.venue import RateLimit
from hean_router.sim.virtual import run
from tests.runtime.acme import (
    Heard,
    Listed,
    S,
    Venue,
    connector,
    encode,
    feed_of,
    feeding,
    http,
    until,
    wires,
)

PAIRS = ["BTC/USDT", "ETH/USDT"]
BTC, ETH = PAIRS


@pytest.fixture(autouse=True)
def _quiet():
    logger = logging.getLogger("websockets")
    level, logger.level = logger.level, logging.CRITICAL
    yield
    logger.level = level


def tried(main, pairs=PAIRS, *, limit_s=100_000, **options):
    async def whole(world):
        told = []
        async with feeding(world, pairs, told=told, **options) as (venue, feed, heard):
            await until(lambda: up(feed), 5, "all live")
            value = await main(world, venue, feed, heard, told)
        await asyncio.sleep(3)
        assert not world.net.connections("router")
        assert feed.counts.faults == 0
        return value

    ran = run(whole, 1, limit_s=limit_s)
    assert not ran.left_open
    return ran.value


def up(feed):
    return bool(feed.lines) and all(
        any(session.all_live for session in line.pair.sessions) for line in feed.lines
    )


def lost(heard):
    """Everything the house was told that was no good news."""
    return [
        (str(e.instrument.pair), e.new.value, e.reason)
        for e in heard.events
        if hasattr(e, "new") and e.new.value != "live"
    ]


async def changed(feed, within_s=40):
    """Wait until one connection is left after a change."""
    before = feed.counts.rotations
    await until(lambda: feed.counts.rotations > before, within_s, "a rotation")
    await until(lambda: len(feed.sessions) == len(feed.lines), within_s, "one connection is left")


# ------------------------------------------------------------------ rotation


@pytest.mark.parametrize("every_s", [0.05, 0.2, 0], ids=["lively", "slower", "quiet"])
def test_a_rotation_leaves_no_gap(every_s):
    async def main(world, venue, feed, heard, told):
        venue.every_s = every_s
        await asyncio.sleep(1)
        (old,) = feed.sessions
        feed.lines[0].rotate()
        await changed(feed)
        assert old not in feed.sessions
        assert len(venue.lines) == 1
        assert not lost(heard)
        assert not told, "what is planned and works is no news"
        assert feed.counts.reconnects == feed.counts.failures == 0
        await asyncio.sleep(1)
        (new,) = feed.sessions
        for instrument in new.instruments:
            assert new.book(instrument).seq == venue.seqs[str(instrument.pair)]

    tried(main)


HOUR_S, DAY_S = 3_600, 86_400


@pytest.mark.parametrize(
    ("life_s", "rounds"), [(HOUR_S, 3), pytest.param(DAY_S, 1, marks=pytest.mark.slow)]
)
def test_a_session_is_changed_before_the_venue_would_cut_it(life_s, rounds):
    """Virtual days with a venue that cuts at 24 h sharp, to the second."""

    async def main(world, venue, feed, heard, told):
        venue.every_s = 30
        lives = []

        async def cutter():
            while True:
                await asyncio.sleep(1)
                for line in list(venue.lines):
                    if world.now_ns - line.opened_ns >= life_s * S:
                        line.ws.transport.abort()

        cutting = asyncio.create_task(cutter())
        for number in range(rounds):
            await until(lambda n=number: feed.counts.rotations == n + 1, life_s, "a rotation", 5)
            lives.append((venue.lines[0].opened_ns - venue.all_lines[-2].opened_ns) / S)
        cutting.cancel()
        assert not lost(heard)
        assert feed.counts.reconnects == 0
        return lives

    lives = tried(main, limit_s=400_000, made=connector(session_max_ms=life_s * 1_000))
    assert all(life_s - 601 < stood_s < life_s - 290 for stood_s in lives)
    assert len({round(stood_s) for stood_s in lives}) == rounds, "not all at the same moment"


@pytest.mark.parametrize("seed", range(3))
def test_a_day_is_left_five_to_ten_minutes_early(seed):
    """The same, reckoned: where the limit is 24 h."""

    async def whole(world):
        made = connector(session_max_ms=DAY_S * 1_000)
        async with feeding(world, PAIRS, made, told=[]) as (_venue, feed, _heard):
            await until(lambda: up(feed), 5, "all live")
            (line,) = feed.lines
            running = line._running[0]
            line._should_rotate(running)
            return (line._rotate_at_ns - running.socket.opened_ns) / S

    assert DAY_S - 600 <= run(whole, seed).value <= DAY_S - 300


def test_a_short_session_is_changed_at_half_its_life_at_the_earliest():
    made = connector(session_max_ms=120_000)

    async def main(world, venue, feed, heard, told):
        await changed(feed, 100)
        assert (venue.lines[0].opened_ns - venue.all_lines[0].opened_ns) / S >= 60
        assert not lost(heard)

    tried(main, made=made)


def test_a_closing_notice_brings_a_new_connection_at_once():
    async def main(world, venue, feed, heard, told):
        began_ns = world.now_ns
        await venue.lines[0].say(kind="closing", text="restart in 10 s")
        await until(lambda: len(venue.all_lines) == 2, 2, "another connection")
        assert (venue.all_lines[1].opened_ns - began_ns) / S < 1
        await changed(feed, 3)
        await asyncio.sleep(10)
        assert not lost(heard)
        assert len(venue.all_lines) == 2, "once, not for ever"

    tried(main)


def test_a_venue_that_warns_and_refuses_is_not_knocked_at_without_end():
    """It once got two connections a second, for the minute before its maintenance."""

    async def main(world, venue, feed, heard, told):
        venue.refuse = True
        before = venue.dialled
        await venue.lines[0].say(kind="closing", text="maintenance")
        await asyncio.sleep(60)
        assert 5 <= venue.dialled - before <= 8
        assert feed.counts.failures == venue.dialled - before
        assert feed.counts.rotations == 0
        assert all("to change to: connect: " in text and "HTTP 503" in text for text in told)
        assert not lost(heard), "the old one goes on as long as it may"
        assert feed.trouble == "", "a feed that stands is in no trouble"
        assert feed.fault is None
        assert feed.counts.reconnects == 0
        venue.refuse = False
        await changed(feed, 15)
        assert not lost(heard)

    tried(main)


def test_a_venue_that_warns_every_new_connection_is_not_changed_without_end():
    """Each of them hears of the same maintenance: two a second would be no help."""

    async def main(world, venue, feed, heard, told):
        venue.greeting = encode(kind="closing", text="maintenance")
        await venue.lines[0].say(kind="closing", text="maintenance")
        await asyncio.sleep(60)
        assert 5 <= feed.counts.rotations <= 7
        assert not lost(heard)
        assert not told

    tried(main)


def test_a_new_connection_that_never_becomes_live_is_given_up():
    async def main(world, venue, feed, heard, told):
        venue.mute = {ETH}
        (old,) = feed.sessions
        feed.lines[0].rotate()
        await until(lambda: told, 60, "told")
        assert told == ["acme spot: to change to: its books did not come up"]
        assert feed.sessions == [old]
        assert len(venue.lines) == 1
        assert feed.counts.rotations == feed.counts.reconnects == 0
        assert not lost(heard)
        await asyncio.sleep(1)
        assert old.all_live
        venue.mute = set()
        await changed(feed, 60)
        assert not lost(heard)

    tried(main)


def test_who_has_taken_over_books_gives_them_back_when_it_is_given_up():
    """One book went over to the new connection, the other never came up: nobody is without."""

    async def main(world, venue, feed, heard, told):
        (old,) = feed.sessions
        venue.mute = {ETH}
        feed.lines[0].rotate()
        await until(lambda: len(feed.sessions) == 2, 5, "two")
        btc = next(i for i in old.instruments if str(i.pair) == BTC)
        pair = feed.lines[0].pair
        await until(lambda: pair.leader(btc) is not old, 10, "taken over")
        await until(lambda: len(feed.sessions) == 1, 40, "given up")
        assert pair.leader(btc) is old
        assert not lost(heard)
        events = len(heard.events)
        await asyncio.sleep(2)
        assert any(getattr(e, "book", None) is old.book(btc).live for e in heard.events[events:]), (
            "and it is the one that is heard"
        )

    tried(main)


@pytest.mark.parametrize("late_s", [0.05, 0.15, 0.6, 3])
def test_the_old_connection_dies_while_the_new_one_comes_up(late_s):
    async def main(world, venue, feed, heard, told):
        venue.mute = {"*"}
        feed.lines[0].rotate()
        await until(lambda: len(venue.lines) == 2, 5, "two connections", 0.01)
        await asyncio.sleep(late_s)
        venue.lines[0].ws.transport.abort()
        await until(lambda: len(venue.lines) == 1, 1, "cut", 0.01)
        assert len(venue.all_lines) == 2, "the new one is still there"
        venue.mute = set()
        line = venue.lines[0]
        for symbol in PAIRS:
            await line.say(kind="snapshot", symbol=symbol, seq=venue.seqs[symbol])
            line.symbols.append(symbol)
        await until(lambda: up(feed), 5, "live on the new one")
        assert len(venue.all_lines) == 2, "and nobody made a third"
        await asyncio.sleep(0.3)
        assert feed.counts.reconnects == 1
        assert feed.counts.rotations == 0, "that was no change without a gap"
        assert "acme spot: connection ended: cut" in told
        assert lost(heard)[0][1] == "lost"

    tried(main)


def test_both_connections_die_during_a_change():
    async def main(world, venue, feed, heard, told):
        venue.mute = {"*"}
        feed.lines[0].rotate()
        await until(lambda: len(venue.lines) == 2, 5, "two connections", 0.01)
        venue.mute = set()
        for line in list(venue.lines):
            line.ws.transport.abort()
        await asyncio.sleep(2)
        await until(lambda: up(feed), 5, "live again")
        assert len(feed.sessions) == 1
        assert feed.counts.reconnects == 2

    tried(main)


def test_a_rotation_during_a_black_hole_ends_where_it_should():
    """The network swallows new connections: the old one, which works, is kept."""

    async def main(world, venue, feed, heard, told):
        link = world.net.link("router", "acme")
        (wire,) = wires(world)
        link.blackhole()
        wire.heal()  # only what stands already passes
        feed.lines[0].rotate()
        await asyncio.sleep(12)
        link.heal()
        await changed(feed, 40)
        assert len(feed.sessions) == 1
        assert feed.counts.reconnects == 0

    tried(main)


def test_a_book_behind_the_old_one_waits_until_it_is_as_new():
    """The new connection begins in the past: what the house reads never goes back in time."""
    read = []

    async def main(world, venue, feed, heard, told):
        venue.every_s = 0.1
        await asyncio.sleep(15)  # 150 changes

        def watch(events, now_ns):
            read.extend((str(e.instrument.pair), e.book.seq) for e in events if hasattr(e, "book"))

        feed.lines[0]._sink = watch
        venue.behind = 100
        feed.lines[0].rotate()
        await until(lambda: len(venue.lines) == 2, 5, "two", 0.01)
        await changed(feed, 60)
        for symbol in PAIRS:
            seqs = [seq for name, seq in read if name == symbol]
            assert seqs == sorted(seqs)
            assert set(range(min(seqs), max(seqs) + 1)) == set(seqs), "and skips nothing"

    tried(main)


def test_many_rotations_leave_one_connection_and_no_growth():
    async def main(world, venue, feed, heard, told):
        for _ in range(40):
            feed.lines[0].rotate()
            await changed(feed)
        assert len(venue.lines) == len(feed.sessions) == len(feed.lines[0]._running) == 1
        assert len(venue.all_lines) == 41
        assert not lost(heard)
        assert feed.counts.rotations == 40
        assert len(asyncio.all_tasks()) < 20

    tried(main)


def test_rotations_wait_for_the_connect_limit():
    pairs = [f"A{number}/USDT" for number in range(6)]
    made = connector(topics_max=1, connects=RateLimit(3, 1_000))

    async def main(world, venue, feed, heard, told):
        for line in feed.lines:
            line.rotate()
        await until(lambda: feed.counts.rotations == 6, 60, "all changed")
        for begin in venue.dialled_ns:
            assert sum(begin <= at < begin + S for at in venue.dialled_ns) <= 3
        assert not lost(heard)

    async def whole(world):
        async with feeding(world, pairs, made, told=[]) as (venue, feed, heard):
            await until(lambda: up(feed), 30, "all live")
            await main(world, venue, feed, heard, [])

    run(whole, 1, limit_s=600)


def test_a_rotation_asked_for_before_there_is_a_connection_waits_for_one():
    async def whole(world):
        async with feeding(world, PAIRS, told=[]) as (venue, feed, heard):
            feed.lines[0].rotate()
            await asyncio.sleep(20)
            assert up(feed)
            assert len(venue.lines) == 1
            assert not lost(heard)

    run(whole, 1, limit_s=600)


# ------------------------------------------------------------------ rules


def test_a_frame_finer_than_the_rules_brings_the_new_ones():
    async def main(world, venue, feed, heard, told):
        (old,) = feed.sessions
        venue.listed[0].decimals = 2
        await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.25")
        await until(lambda: up(feed) and feed.sessions[0] is not old, 5, "live under new rules")
        assert told == ["acme spot: rules have changed: BTC/USDT"]
        (new,) = feed.sessions
        btc, eth = new.instruments
        assert btc.px_decimals == 2
        assert eth is old.instruments[1], "what has not changed stays the same instrument"
        assert ("BTC/USDT", "lost") in {(symbol, state) for symbol, state, _ in lost(heard)}
        assert feed.lines[0].instruments == [btc, eth]
        assert "malformed frame: TooFine" in lost(heard)[0][2]
        reading = feed.reading()
        assert [book.counts.deltas > 0 for book in reading.books] == [True, True]

    tried(main)


def test_a_broken_frame_that_only_looks_finer_costs_one_book_not_the_connection():
    """A flipped digit once tore down every book of the connection."""

    async def main(world, venue, feed, heard, told):
        await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.25")
        await asyncio.sleep(5)
        assert len(venue.all_lines) == 1
        assert up(feed)
        assert {symbol for symbol, _, _ in lost(heard)} == {BTC}
        assert told == ["acme spot: BTC/USDT: a frame did not fit rules that have not changed"]

    tried(main)


def test_frames_that_never_fit_do_not_make_a_storm_of_questions():
    async def main(world, venue, feed, heard, told):
        before = len(venue.asked)
        for _ in range(600):
            await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.25")
            await asyncio.sleep(0.1)
        lists = [head for _, head in venue.asked[before:] if "/pairs" in head]
        assert 4 <= len(lists) <= 8
        assert len(venue.all_lines) == 1
        assert {symbol for symbol, _, _ in lost(heard)} == {BTC}, "the other book is untouched"

    tried(main)


def test_rules_that_cannot_be_had_are_asked_for_again_while_the_rest_goes_on():
    async def main(world, venue, feed, heard, told):
        venue.answers["/pairs"] = http(500)
        venue.listed[0].decimals = 2
        await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.25")
        await asyncio.sleep(25)
        assert told[0] == "acme spot: rules: pairs: HTTP 500"
        assert {symbol for symbol, _, _ in lost(heard)} == {BTC}
        del venue.answers["/pairs"]
        await until(lambda: feed.sessions and feed.sessions[0].instruments[0].px_decimals == 2,
                    15, "new rules")  # fmt: skip
        await until(lambda: up(feed), 5, "live")

    tried(main)


def test_what_is_not_listed_any_more_is_off_the_list():
    async def main(world, venue, feed, heard, told):
        del venue.listed[0]
        await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.25")
        await until(lambda: feed.lines[0].instruments[0].trading is kit.Trading.UNLISTED, 5, "gone")
        assert feed.lines[0].instruments[0].symbol == BTC

    tried(main)


def test_rules_that_change_while_a_connection_is_being_changed():
    """Both at once: neither is lost, and no session is asked for a book it never had."""

    async def main(world, venue, feed, heard, told):
        venue.mute = {ETH}
        feed.lines[0].rotate()
        await until(lambda: len(feed.sessions) == 2, 5, "two connections")
        venue.listed[0].decimals = 3
        await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.125")
        await asyncio.sleep(1)
        venue.mute = set()
        await until(
            lambda: len(feed.sessions) == 1 and feed.sessions[0].instruments[0].px_decimals == 3,
            60,
            "new rules",
        )
        await until(lambda: up(feed), 10, "live")

    tried(main)


# ------------------------------------------------------------------ halts


def notices(heard):
    return [
        (e.kind.value, e.text, e.instrument and str(e.instrument.pair))
        for e in heard.events
        if isinstance(e, Notice)
    ]


def test_a_halt_that_ended_while_there_was_no_connection_is_asked_about():
    """Nobody told us that it was over: without asking it would have lasted for ever."""

    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", symbol=BTC, text="auction")
        await venue.tell(kind="halted", text="maintenance")
        await asyncio.sleep(1)
        before = len(venue.asked)
        await asyncio.sleep(30)
        (look,) = venue.asked[before:]
        assert look[1].startswith("GET /pairs "), "whether it is for good: the rest it tells itself"
        await venue.lines[0].ws.close(1012, "maintenance")
        await until(lambda: len(notices(heard)) == 4, 5, "asked and told")
        assert notices(heard)[2:] == [
            ("resumed", "listed as open", BTC),
            ("resumed", "no maintenance any more", None),
        ]
        await venue.lines[0].ws.close(1012, "again")
        before = len(venue.asked)
        await asyncio.sleep(5)
        assert len(venue.asked) == before, "no halt, no question"

    tried(main)


def test_a_halt_told_by_the_new_connection_is_believed_more_than_an_old_list():
    """The list may be older than the notice: what the venue has just told stands."""

    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", symbol=BTC, text="auction")
        await venue.tell(kind="halted", text="maintenance")
        await asyncio.sleep(1)
        venue.greeting = encode(kind="halted", symbol=BTC, text="another auction")
        await venue.lines[0].ws.close(1012, "maintenance")
        await asyncio.sleep(5)
        assert notices(heard)[2:] == [
            ("halted", "another auction", BTC),
            ("resumed", "no maintenance any more", None),
        ]

    tried(main)


def test_an_answer_that_is_older_than_what_the_stream_told_halts_nothing():
    """Asked while the venue was down, answered when it was back: it would have lasted for ever."""

    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", text="maintenance")
        venue.status = ["halted"]
        await asyncio.sleep(1)
        ask = feed.http.ask

        async def slow(part, question, *more):
            found = await ask(part, question, *more)
            await asyncio.sleep(2)
            return found

        feed.http.ask = slow
        await venue.lines[0].ws.close(1012, "maintenance")
        await asyncio.sleep(2)
        await venue.tell(kind="resumed", text="online")
        await asyncio.sleep(20)
        assert [kind for kind, _, _ in notices(heard)] == ["halted", "resumed"]

    tried(main)


def test_a_halt_that_goes_on_stays():
    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", symbol=BTC, text="auction")
        await venue.tell(kind="halted", text="maintenance")
        venue.status = ["halted"]
        venue.listed[0].trading = kit.Trading.HALTED
        await asyncio.sleep(1)
        await venue.lines[0].ws.close(1012, "maintenance")
        await asyncio.sleep(5)
        assert "resumed" not in [kind for kind, _, _ in notices(heard)]

    tried(main)


def test_a_halt_that_ended_while_connections_were_changed_is_asked_about():
    """The old one was stalled and missed it, the new one came too late: shut for ever, once."""

    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", symbol=BTC, text="auction")
        await venue.tell(kind="halted", text="maintenance")
        await asyncio.sleep(1)
        feed.lines[0].rotate()
        await changed(feed)
        await until(lambda: len(notices(heard)) == 4, 15, "asked and told")
        assert [kind for kind, _, _ in notices(heard)[2:]] == ["resumed", "resumed"]

    tried(main)


def test_a_halt_that_goes_on_is_asked_about_now_and_then():
    """Whoever missed one notice may miss the next; but a venue that rests is not to be hammered."""

    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", symbol=BTC, text="auction")
        venue.listed[0].trading = kit.Trading.HALTED
        await venue.lines[0].ws.close(1012, "maintenance")
        await asyncio.sleep(5)
        before = len(venue.asked)
        await asyncio.sleep(600)
        asked = [head for _, head in venue.asked[before:] if "/status" in head]
        assert 9 <= len(asked) <= 11
        assert len(notices(heard)) == 1
        venue.listed[0].trading = kit.Trading.OPEN
        await until(lambda: len(notices(heard)) == 2, 70, "over")
        before = len(venue.asked)
        await asyncio.sleep(600)
        assert not [head for _, head in venue.asked[before:] if "/status" in head]

    tried(main)


def test_a_question_about_halts_waits_for_one_about_rules():
    """It was dropped where another was under way, and asked by nobody any more."""

    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", text="maintenance")
        venue.answers["/pairs"] = http(500)
        await venue.move(BTC, px=f"{venue.seqs[BTC] + 1}.25")
        await asyncio.sleep(1)
        await venue.lines[0].ws.close(1012, "maintenance")
        await asyncio.sleep(15)
        assert len(notices(heard)) == 1
        del venue.answers["/pairs"]
        await until(lambda: len(notices(heard)) == 2, 60, "over")

    tried(main)


def test_a_question_about_halts_is_repeated_until_it_is_answered():
    async def main(world, venue, feed, heard, told):
        await asyncio.sleep(1)
        await venue.tell(kind="halted", text="maintenance")
        await asyncio.sleep(0.5)
        venue.answers["/status"] = http(503)
        await venue.lines[0].ws.close(1012, "maintenance")
        await asyncio.sleep(25)
        assert [text for text in told if "rules: " in text]
        venue.answers["/status"] = http(200, b"[]")
        await until(lambda: len(notices(heard)) == 2, 15, "over")

    tried(main)


def test_an_instrument_that_opens_is_listed_anew():
    """It was closed when we listed it: its rules say so until they are asked for again."""

    def closed(venue):
        venue.listed[0] = Listed(BTC, trading=kit.Trading.HALTED)

    async def main(world, venue, feed, heard, told):
        assert feed.lines[0].instruments[0].trading is kit.Trading.HALTED
        venue.listed[0] = Listed(BTC)
        await venue.tell(kind="resumed", symbol=BTC)
        await until(lambda: feed.lines[0].instruments[0].trading is kit.Trading.OPEN, 5, "open")
        await until(lambda: up(feed), 5, "live")

    tried(main, prepare=closed)


def test_notices_of_the_same_halt_are_passed_on_as_they_come():
    async def main(world, venue, feed, heard, told):
        for kind in (NoticeKind.HALTED, NoticeKind.HALTED, NoticeKind.RESUMED, NoticeKind.INFO):
            await venue.tell(kind=kind.value, symbol=BTC, text=kind.value)
        await asyncio.sleep(0.1)
        assert [kind for kind, _, _ in notices(heard)] == ["halted", "halted", "resumed", "info"]

    tried(main)


def test_a_quiet_book_whose_numbers_began_anew_is_not_lost_by_a_rotation():
    """The venue restarted its numbering: by number the new book looks old, for ever."""

    async def main(world, venue, feed, heard, told):
        venue.every_s = 0
        await asyncio.sleep(1)
        venue.answers["/top"] = http(503)  # nothing else shall find it
        venue.seqs = dict.fromkeys(PAIRS, 5)
        feed.lines[0].rotate()
        await until(lambda: len(venue.all_lines) == 2, 5, "another connection")
        await until(lambda: len(feed.sessions) == 1, 60, "one is left")
        await asyncio.sleep(1)
        (session,) = feed.sessions
        for symbol, instrument in zip(PAIRS, session.instruments, strict=True):
            assert session.book(instrument).live
            assert feed.lines[0].pair.leader(instrument) is session
            assert heard.states(symbol)[-1][0] == "live", "and the house knows"
            book = [e.book for e in heard.events if getattr(e, "book", None)][-1]
            assert book.usable

    tried(main)


# ------------------------------------------------------------------ off the list, and back


def test_a_pair_off_the_list_is_asked_about_by_the_list_alone_and_ever_more_rarely():
    """Its halt is no halt that status tells of: asked every minute it cost a whole list each."""

    async def main(world, venue, feed, heard, told):
        venue.every_s = 0
        await asyncio.sleep(1)
        row = venue.listed.pop(0)
        await venue.tell(kind="halted", symbol=BTC, text="gone")
        await until(
            lambda: feed.lines[0].instruments[0].trading is kit.Trading.UNLISTED, 30, "gone"
        )
        before = len(venue.asked)
        await asyncio.sleep(3_600)
        paths = [head.split(" ")[1] for _, head in venue.asked[before:]]
        assert paths.count("/status") == 0
        assert 5 <= paths.count("/pairs") <= 12
        venue.listed.insert(0, row)
        await until(lambda: feed.lines[0].instruments[0].trading is kit.Trading.OPEN, 700, "back")
        await until(lambda: up(feed), 5, "live")
        assert [kind for kind, _, _ in notices(heard)][-1] == "resumed"

    tried(main)


def test_a_pair_that_is_back_by_the_time_its_rules_are_told_is_taken_up():
    """The line had nothing left to carry and slept; who was told of the rules did not wake it."""

    async def main(world, venue, feed, heard, told):
        line, venue.every_s = feed.lines[0], 0
        await asyncio.sleep(1)
        await venue.tell(kind="halted", symbol=BTC, text="gone")
        venue.answers["/pairs"] = http(500)
        line.relist(line.instruments[0])  # asked again ten seconds later
        await asyncio.sleep(5)
        del venue.answers["/pairs"]
        venue.listed[0].pair = ETH
        await until(lambda: line.idle, 30, "nothing to carry")
        venue.listed[0].pair = BTC
        await until(lambda: feed.sessions and up(feed), 700, "back")
        assert not line.idle

    tried(main, [BTC])


def test_a_feed_that_is_started_again_asks_about_the_halts_that_it_had_told_of():
    """Its lines were new and knew of none: what they had shut stayed shut for ever."""

    async def main(world):
        venue, heard = Venue(world, PAIRS), Heard()
        async with venue.open():
            feed = feed_of(world)
            listed = await feed.instruments()
            first = asyncio.create_task(feed.run(listed, heard))
            await until(lambda: up(feed), 5, "live")
            await venue.tell(kind="halted", symbol=BTC, text="auction")
            await venue.tell(kind="halted", text="maintenance")
            await until(lambda: len(notices(heard)) == 2, 5, "told")
            first.cancel()
            await asyncio.wait({first})
            second = asyncio.create_task(feed.run(listed, heard))
            await until(lambda: len(notices(heard)) == 4, 20, "asked and told")
            assert [kind for kind, _, _ in notices(heard)[2:]] == ["resumed", "resumed"]
            second.cancel()
            await asyncio.wait({second})
            await feed.close()

    assert not run(main, 1).left_open


def test_who_hears_of_a_pair_off_the_list_may_fail_and_its_venue_goes_on():
    """Its fault ended every book of the venue: it came outside what looks past such things."""

    async def main(world):
        async with feeding(world, [BTC], told=[]) as (venue, feed, _heard):
            await until(lambda: up(feed), 5, "live")
            venue.every_s = 0
            await asyncio.sleep(1)
            venue.listed[0].pair = ETH
            await venue.tell(kind="halted", symbol=BTC, text="gone")
            await asyncio.sleep(0.1)
            tell = feed.lines[0]._tell_unlisted

            def broken():
                tell()
                raise RuntimeError("the sink broke")

            feed.lines[0]._tell_unlisted = broken
            await until(lambda: feed.lines[0].idle, 30, "nothing to carry")
            feed.lines[0]._tell_unlisted = tell
            await asyncio.sleep(1)
            assert feed.counts.faults == 1
            venue.listed[0].pair = BTC
            await until(lambda: feed.sessions and up(feed), 700, "back")

    run(main, 1, limit_s=10_000)
