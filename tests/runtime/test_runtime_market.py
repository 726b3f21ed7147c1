"""The market: who sits where, who is left out and why, and what a reader that waits is told."""

import asyncio
import dataclasses
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.book import Book, BookState
from hean_router.book.consolidated import group_of
from hean_router.domain.errors import NotLive
from hean_router.domain.feed import Notice, NoticeKind, Snapshot, Trade
from hean_router.domain.instrument import Instrument, Pair, Part, Side, Trading
from hean_router.domain.venue import Fees
from hean_router.runtime.market import TEXT_MAX, Market
from hean_router.venue import BookMoved, StateChanged

BTC, ETH, PERP = (Pair.parse(text) for text in ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"))
FEES = Fees(taker=Decimal("0.001"), maker=Decimal("0.001"))


def listed(pair, venue="okx", **fields):
    fields = {"px_decimals": 2, "qty_decimals": 3, **fields}
    return Instrument(venue=venue, pair=pair, symbol=str(pair), **fields)


class Source:
    """One book of one venue, driven by hand; speaks as a session does."""

    def __init__(self, market, instrument):
        self.market, self.instrument = market, instrument
        self.book = Book(instrument)
        self.say = market.sink(instrument.venue)

    def enter(self, state, reason="", now_ns=5):
        old = self.book.state
        if state is BookState.LIVE:
            px = self.instrument.px("100")
            new = Snapshot(self.instrument, [(px, 1)], [(px + 1, 1)], self.book.version + 1)
            self.book.snapshot(new, now_ns)
        if self.book.enter(state, reason, now_ns):
            self.say([StateChanged(self.instrument, old, state, reason, now_ns)], now_ns)
        if state is BookState.LIVE:
            self.move()

    def move(self):
        self.say([BookMoved(self.instrument, self.book.live)], 5)

    def notice(self, kind, text="", about=None):
        self.say([Notice(kind, text, about)], 5)


def seated(*instruments):
    """A market with these instruments joined; and their sources."""
    market = Market(list(dict.fromkeys(one.pair for one in instruments)))
    for venue, part in dict.fromkeys((one.venue, one.part) for one in instruments):
        mine = [one for one in instruments if (one.venue, one.part) == (venue, part)]
        market.join(venue, part, mine, FEES)
    return market, [Source(market, one) for one in instruments]


def live_at(market, pair):
    market.book(pair).check()
    return sorted(market.book(pair).live())


# ------------------------------------------------------------------ seats


def test_a_seat_follows_its_books_state():
    market, (okx, kraken) = seated(listed(BTC), listed(BTC, "kraken"))
    assert market.standing(BTC) == {"okx": "syncing: connecting", "kraken": "syncing: connecting"}
    okx.enter(BookState.LIVE)
    assert live_at(market, BTC) == ["okx"]
    assert not market.all_live
    kraken.enter(BookState.LIVE)
    assert market.all_live
    for state in (BookState.STALE, BookState.CROSSED, BookState.LOST, BookState.SYNCING):
        okx.enter(state, f"for {state.value}")
        assert live_at(market, BTC) == ["kraken"]
        assert market.book(BTC).left_out() == {"okx": f"not live: {state.value}, for {state.value}"}
        okx.enter(BookState.LIVE)
        assert live_at(market, BTC) == ["kraken", "okx"], "and it comes back"


def test_after_a_reconnect_the_new_sessions_book_sits_in_the_same_place():
    market, (old,) = seated(listed(BTC))
    old.enter(BookState.LIVE)
    kept = market.book(BTC).live()["okx"]
    old.enter(BookState.LOST, "cut")
    with pytest.raises(NotLive):
        kept.best(Side.BUY)
    new = Source(market, old.instrument)
    new.enter(BookState.LIVE)
    assert market.book(BTC).live() == {"okx": new.book.live}


def test_a_hand_over_without_a_loss_changes_the_book_that_is_read():
    market, (old,) = seated(listed(BTC))
    old.enter(BookState.LIVE)
    new = Source(market, old.instrument)
    new.book.snapshot(Snapshot(old.instrument, [(1, 1)], [(2, 1)], 7), 5)
    new.book.enter(BookState.LIVE, "whole", 5)
    new.move()  # the pair says nothing but that
    old.book.enter(BookState.LOST, "closed by us", 6)
    assert market.book(BTC).live()["okx"].seq == 7


def test_refreshed_rules_take_the_seat_with_the_first_word_under_them():
    market, (old,) = seated(listed(BTC))
    old.enter(BookState.LIVE)
    old.enter(BookState.LOST, "rules")
    new = Source(market, listed(BTC, px_decimals=4))
    new.enter(BookState.SYNCING, "subscribed")
    new.book.enter(BookState.LOST, "x", 5)
    new.enter(BookState.LIVE)
    assert live_at(market, BTC) == ["okx"]
    assert market.listed["okx", BTC] is new.instrument
    assert market.seat("okx", BTC).instrument is new.instrument
    assert market.book(BTC).px_decimals == 4
    assert len(market.standing(BTC)) == 1


def test_rules_that_close_an_instrument_leave_it_out_by_name():
    """Told by a state alone: such a book may never move again."""
    market, (old,) = seated(listed(BTC))
    old.enter(BookState.LIVE)
    old.enter(BookState.LOST, "rules")
    shut = Source(market, listed(BTC, trading=Trading.HALTED))
    shut.say([StateChanged(shut.instrument, BookState.LOST, BookState.SYNCING, "asked", 5)], 5)
    assert market.book(BTC).left_out() == {"okx": "not trading: halted"}
    assert market.all_live, "of the books that may trade none is missing"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (["halted"], "all"),
        (["halted BTC"], "BTC"),
        (["halted", "resumed"], ""),
        (["halted BTC", "resumed BTC"], ""),
        # The venue is back: that says nothing of an instrument that was halted by itself.
        (["halted BTC", "halted", "resumed"], "BTC"),
        (["halted", "halted BTC", "resumed BTC"], "all"),
        (["halted", "halted", "resumed"], ""),
        (["resumed"], ""),
        (["info", "closing", "refused", "subscribed"], ""),
    ],
)
def test_a_halt_empties_the_seat_however_good_the_book(said, left):
    market, (btc, eth, other) = seated(listed(BTC), listed(ETH), listed(BTC, "kraken"))
    for source in (btc, eth, other):
        source.enter(BookState.LIVE)
    for words in said:
        kind, _, name = words.partition(" ")
        btc.notice(NoticeKind(kind), "work", btc.instrument if name else None)
        btc.move()
        eth.move()
    assert ("okx" in live_at(market, BTC)) == (left == "")
    assert ("okx" in live_at(market, ETH)) == (left != "all")
    assert "kraken" in live_at(market, BTC), "another venue is not concerned"
    if left:
        assert market.standing(BTC)["okx"] == "live: halted: work"
        assert market.book(BTC).left_out()["okx"] == "not live: live, halted: work"
        assert not market.all_live


def test_a_halt_without_a_text_is_one():
    market, (btc,) = seated(listed(BTC))
    btc.enter(BookState.LIVE)
    btc.notice(NoticeKind.HALTED)
    assert live_at(market, BTC) == []
    assert market.standing(BTC) == {"okx": "live: halted: halted"}


def test_a_halt_outlives_refreshed_rules_and_reaches_them():
    """A venue in maintenance was LIVE again as soon as its rules had been asked for."""
    market, (old, eth) = seated(listed(BTC), listed(ETH))
    old.enter(BookState.LIVE)
    old.notice(NoticeKind.HALTED, "maintenance")
    old.notice(NoticeKind.HALTED, "auction", eth.instrument)
    new, new_eth = (Source(market, listed(pair, px_decimals=5)) for pair in (BTC, ETH))
    new.enter(BookState.LIVE)
    new_eth.enter(BookState.LIVE)
    assert live_at(market, BTC) == live_at(market, ETH) == []
    new.notice(NoticeKind.RESUMED)
    assert live_at(market, BTC) == ["okx"]
    assert live_at(market, ETH) == []
    # Said of the instrument as it is now, by whichever object.
    new_eth.notice(NoticeKind.RESUMED, "", new_eth.instrument)
    assert live_at(market, ETH) == ["okx"]
    new_eth.notice(NoticeKind.HALTED, "x", eth.instrument)
    assert live_at(market, ETH) == []


def test_a_part_that_joins_during_a_maintenance_is_halted_too():
    market = Market([BTC, PERP])
    market.join("okx", Part.SPOT, [listed(BTC)], FEES)
    market.sink("okx")([Notice(NoticeKind.HALTED, "maintenance")], 5)
    market.join("okx", Part.LINEAR, [listed(PERP)], FEES)
    Source(market, market.listed["okx", PERP]).enter(BookState.LIVE)
    assert live_at(market, PERP) == []


# ------------------------------------------------------------------ who is left out


def test_why_a_venue_has_no_book_is_said():
    market = Market([BTC, ETH, PERP])
    wanted = market.join("okx", Part.SPOT, [listed(Pair.parse("BTC/USDC")), listed(ETH)], FEES)
    assert [str(one.pair) for one in wanted] == ["ETH/USDT"]
    assert market.book(BTC).left_out() == {"okx": "BTC/USDC: no conversion"}
    market.join("kraken", Part.SPOT, [], FEES)
    assert market.book(BTC).left_out()["kraken"] == "not listed"
    market.leave_out("kraken", PERP, "no linear market")
    assert market.standing(PERP) == {"kraken": "no linear market"}
    market.leave_out("bybit", ETH, "instruments: HTTP 503")
    assert market.standing(ETH)["bybit"] == "instruments: HTTP 503"
    market.join("bybit", Part.SPOT, [listed(ETH, "bybit")], FEES)
    assert market.standing(ETH)["bybit"] == "syncing: connecting", "it has come after all"
    assert "bybit" in market.book(BTC).left_out()


def test_spot_and_perpetual_are_two_books():
    market, (spot, perp) = seated(listed(BTC), listed(PERP))
    spot.enter(BookState.LIVE)
    assert live_at(market, BTC) == ["okx"]
    assert live_at(market, PERP) == []
    perp.enter(BookState.LIVE)
    assert live_at(market, PERP) == ["okx"]
    assert market.standing(BTC) == market.standing(PERP) == {"okx": "live"}


def test_a_pair_asked_for_twice_is_one():
    market = Market([BTC, BTC, ETH])
    assert market.pairs == [BTC, ETH]
    assert len(market.books) == 2
    with pytest.raises(KeyError):
        market.book(PERP)


# ------------------------------------------------------------------ what is kept, who hears


def test_notices_are_bounded_in_number_and_length():
    market, (btc,) = seated(listed(BTC))
    for number in range(1_000):
        btc.notice(NoticeKind.INFO, f"{number} " + "x" * 100_000, btc.instrument)
        btc.notice(NoticeKind.SUBSCRIBED, "an acknowledgement is no news")
    assert len(market.notices) == 100
    assert sum(len(notice.text) for _, notice in market.notices) <= 100 * TEXT_MAX
    assert market.notices[-1][1].text.startswith("999 ")
    assert market.notices[0][0] == "okx"
    btc.notice(NoticeKind.HALTED, "y" * 100_000)
    assert len(market.standing(BTC)["okx"]) < 2 * TEXT_MAX


def test_listeners_hear_changes_and_trades():
    market, (btc,) = seated(listed(BTC))
    changes, trades = [], []
    market.on_change += [changes.append, lambda change: changes.append(change.reason)]
    market.on_trade.append(trades.append)
    btc.enter(BookState.LIVE, "whole")
    btc.enter(BookState.LOST, "cut")
    assert [each for each in changes if isinstance(each, str)] == ["whole", "cut"]
    trade = Trade(btc.instrument, 1, 1, Side.BUY, 5)
    btc.say([trade], 5)
    assert trades == [trade]


# ------------------------------------------------------------------ who waits


def reader(market, seen):
    """A reader that is slow: it sleeps between two looks, and keeps what it saw last."""

    async def read(rng):
        while True:
            for group in await market.changed():
                seen[group] = stand(market.books[group])
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

    return read


def stand(book):
    return ({venue: one.version for venue, one in book.live().items()}, book.left_out())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["move", "lose", "halt", "resume", "leave", "join", "refresh"]),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.integers(0, 99),
)
def test_a_slow_reader_has_seen_the_last_state_of_everything(steps, seed):
    """However it is slowed down, and whatever happens meanwhile."""

    async def main():
        market, sources = seated(
            listed(BTC), listed(ETH), listed(BTC, "kraken"), listed(ETH, "kraken")
        )
        seen = {}
        task = asyncio.create_task(reader(market, seen)(Random(seed)))
        for number, what, pause in steps:
            source = sources[number]
            one = source.instrument
            match what:
                case "move":
                    source.enter(BookState.LIVE)
                case "lose":
                    source.enter(BookState.LOST, "cut")
                case "halt":
                    source.notice(NoticeKind.HALTED, "x", one)
                case "resume":
                    source.notice(NoticeKind.RESUMED, "", one)
                case "leave":
                    market.leave_out("bybit", one.pair, f"instruments: {number}")
                case "join":
                    market.join("bybit", Part.SPOT, [listed(one.pair, "bybit")], FEES)
                case "refresh":
                    source.enter(BookState.LOST, "rules")
                    sources[number] = Source(market, dataclasses.replace(one, tick=2))
                    sources[number].enter(BookState.LIVE)
            if pause:
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        for pair in (BTC, ETH):
            group = group_of(pair)
            assert seen[group] == stand(market.books[group])
            market.books[group].check()
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(main())


def test_a_reader_that_gives_up_waiting_loses_nothing():
    async def main():
        market, (btc,) = seated(listed(BTC))
        assert await market.changed() == {group_of(BTC)}, "who sits down is news"
        for _ in range(50):
            waiting = asyncio.create_task(market.changed())
            await asyncio.sleep(0)
            btc.enter(BookState.LIVE)
            waiting.cancel()  # at the very moment when it would have been told
            await asyncio.wait({waiting})
            told = waiting.result() if not waiting.cancelled() else await market.changed()
            assert told == {group_of(BTC)}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await market.changed()

    asyncio.run(main())


def test_who_is_left_out_is_news_too():
    async def main():
        market, _ = seated(listed(BTC))
        await market.changed()
        market.leave_out("bybit", BTC, "instruments: HTTP 503")
        assert await market.changed() == {group_of(BTC)}

    asyncio.run(main())
