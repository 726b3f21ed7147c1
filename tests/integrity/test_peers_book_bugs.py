"""Bugs that other programs had with books, each by the number of its report.

Rows 22 to 26 and 29 to 31 of the list of peers' bugs; through the real codecs and the session.
"""

import json
from random import Random
from zlib import crc32

import msgspec
import pytest

from hean_router import kit
from hean_router.book import BookState
from hean_router.domain.errors import NotLive
from hean_router.domain.venue import RateLimit
from hean_router.venue import (
    Drop,
    FeedPair,
    FeedSession,
    FetchBook,
    Policy,
    ProbeTop,
    Send,
    feed_session,
)
from tests.integrity.naive import Naive, plain
from tests.integrity.streams import (
    ALIVE,
    LINEAR,
    MS,
    ORIGIN,
    SECOND,
    SPOT,
    WIRES,
    Texts,
    carried,
    connector,
    simulated,
)
from tests.integrity.wires import Said

LIVE, STALE, LOST = BookState.LIVE, BookState.STALE, BookState.LOST
every_venue = pytest.mark.parametrize(("venue", "part"), WIRES, ids=lambda key: str(key))


class Client:
    """A real codec and session on a simulated stream, with a clock."""

    def __init__(self, venue, part=SPOT, policy=None, depth=0):
        self.stream = simulated(venue, part, depth)
        self.wire = self.stream.wire
        self.codec = self.wire.codec(self.stream.instruments)
        spec = msgspec.structs.replace(connector(venue).spec, frames=RateLimit(10**6, 1_000))
        self.session = FeedSession(
            spec, self.codec, self.stream.instruments, Random(1), policy or Policy()
        )
        self.truth = {each.symbol: (self.wire.new_book(), None) for each in self.stream.instruments}
        for symbol, (book, seq) in self.stream.begin.items():
            self.truth[symbol] = (book.copy(), seq)
        self.now_ns = self.stream.frames[0].at_ns
        self.commands = []
        self.at = 0
        self.answers = True
        self.after(self.session.opened(self.now_ns))

    def after(self, _events):
        for command in self.session.take():
            self.commands.append(command)
            if isinstance(command, FetchBook) and self.answers:
                self.fetched(command.instrument)

    def fetched(self, instrument):
        book, seq = self.truth[instrument.symbol]
        snapshot = carried(
            self.codec.snapshot(instrument), lambda request: self.wire.answer(request, book, seq)
        )
        self.after(self.session.fetched(snapshot, self.now_ns))

    def hear(self, raw):
        self.after(self.session.received(raw, self.now_ns))

    def due(self, seconds):
        end = self.now_ns + round(seconds * SECOND)
        while self.session.wake_at_ns <= end:
            self.now_ns = self.session.wake_at_ns
            self.after(self.session.due(self.now_ns))
        self.now_ns = end

    def play(self, count, *, skip=None, spoil=None):
        """The next frames of the stream; `skip` says which never arrive."""
        for clean in self.stream.frames[self.at : self.at + count]:
            while self.session.wake_at_ns <= clean.at_ns:
                self.now_ns = self.session.wake_at_ns
                self.after(self.session.due(self.now_ns))
            self.now_ns = max(self.now_ns, clean.at_ns)
            for said in clean.said:
                book, _ = self.truth[said.symbol]
                book.apply(said)
                self.truth[said.symbol] = (book, said.seq)
            if not (skip and skip(clean)):
                self.hear(spoil(clean.raw) if spoil else clean.raw)
        self.at += count
        return self

    def instrument(self, index=0):
        return self.stream.instruments[index]

    def book(self, index=0):
        return self.session.book(self.instrument(index))

    def snapshot_frame(self, index=0, book=None):
        instrument = self.instrument(index)
        true, seq = self.truth[instrument.symbol]
        told = Texts(instrument.px_decimals, instrument.qty_decimals, self.now_ns // MS)
        return self.wire.snapshot(instrument.symbol, book or true, seq, told)

    def sent(self):
        return [c.frame.data for c in self.commands if isinstance(c, Send)]

    def resubscribed(self):
        return [data for data in self.sent()[1:] if b'"subscribe"' in data]


def texts(book, instrument):
    """A session's book as texts."""
    out = Naive()
    sides = [
        tuple(
            (
                f"{instrument.px_decimal(px)}",
                f"{instrument.qty_decimal(qty) / instrument.contract_size}",
            )
            for px, qty in side
        )
        for side in (book.bids, book.asks)
    ]
    out.apply(Said(instrument.symbol, "S", *sides))
    return out


# ------------------------------------------------------------------------------ 22


@every_venue
def test_ccxt_29210_snapshot_is_never_merged(venue, part):
    """After a reconnect, a resync or in mid-stream: nothing of the old book survives."""
    client = Client(venue, part).play(600)
    assert client.session.all_live
    few = Naive(client.wire.depth)
    instrument = client.instrument()
    true, seq = client.truth[instrument.symbol]
    few.bids, few.asks = map(dict, true.best(3))
    ghosts = len(client.book().bids) - 3
    assert ghosts > 20, "there is something to haunt us"
    if client.codec.fetches:
        client.truth[instrument.symbol] = (few, seq)
        client.hear(b"{")  # whatever it was, it is lost
    else:
        client.hear(client.snapshot_frame(book=few))
    assert client.book().state is LIVE
    assert texts(client.book(), instrument) == few
    # And a session that is opened anew begins with nothing.
    other = Client(venue, part)
    assert len(other.book().bids) == len(other.book().asks) == 0


def test_ccxt_29210_nor_by_a_pair_that_changes_sessions():
    old, new = Client("bybit").play(600), Client("bybit").play(300)
    pair = FeedPair()
    for client in (old, new):
        pair.add(client.session)
        for each in client.stream.instruments:
            book = client.session.book(each)
            assert book.live is not None
    reader = old.book().live
    pair.pass_on(old.session, old.session.closed("cut", old.now_ns))
    with pytest.raises(NotLive):
        reader.bids(1)
    assert texts(new.book(), new.instrument()) == new.truth[new.instrument().symbol][0]


# ------------------------------------------------------------------------------ 23


@pytest.mark.parametrize(("venue", "part"), [key for key in WIRES if key[0] != "kraken"])
def test_ccxt_8106_a_crossed_book_is_quarantined_and_never_stays(venue, part):
    client = Client(venue, part).play(600)
    instrument, book = client.instrument(), client.book()
    reader = book.live
    ask = f"{instrument.px_decimal(book.asks.best_px())}"
    client.play(200, spoil=lambda raw: crossing(client, raw, instrument.symbol, ask))
    assert client.session.book_counts(instrument).crossed
    assert not reader.usable
    crossed = [c for c in [book.state] if c is BookState.CROSSED]
    assert book.live is None or not book.crossed
    client.due(1.3)
    assert client.session.book_counts(instrument).resyncs or not crossed
    if not client.codec.fetches:
        client.hear(client.snapshot_frame())
    client.play(50)
    assert not client.book().crossed


def crossing(client, raw, symbol, ask):
    """The first change of `symbol` bids at the best ask."""
    if symbol.encode() not in raw or client.session.book_counts(client.instrument()).crossed:
        return raw
    for name in (b'"b":[', b'"bids":['):
        if name in raw and (b'"delta"' in raw or b"depthUpdate" in raw or b'"update"' in raw):
            level = b'["%s","1"]' % ask.encode()
            if client.wire.venue == "okx":
                level = b'["%s","1","0","1"]' % ask.encode()
            comma = b"" if raw.partition(name)[2][:1] == b"]" else b","
            return raw.replace(name, name + level + comma, 1)
    return raw


@every_venue
@pytest.mark.parametrize("side", ["bid", "ask"])
def test_ccxt_29485_a_frozen_side_is_found(venue, part, side):
    """Bids move on, asks do not (or the other way): what REST tells of both sides disagrees."""
    client = Client(venue, part).play(600)
    instrument = client.instrument()
    assert client.book().state is LIVE
    moved_on = client.truth[instrument.symbol][0].copy()
    frozen = moved_on.bids if side == "bid" else moved_on.asks
    best = moved_on.top[side == "ask"]
    frozen.pop(best)  # at the venue it is gone; the stream never says so
    seq = client.truth[instrument.symbol][1]
    lost_after = None
    for second in range(40):
        client.due(1)
        client.hear(ALIVE[venue])
        for command in client.commands:
            if isinstance(command, ProbeTop) and command.instrument is instrument:
                top = carried(
                    client.codec.probe(instrument),
                    lambda request: client.wire.answer(request, moved_on, seq),
                )
                client.answers = False
                client.after(client.session.probed(top, client.now_ns))
        client.commands.clear()
        if client.book().state is not LIVE:
            lost_after = second
            break
    assert lost_after is not None
    assert lost_after <= 35


# ------------------------------------------------------------------------------ 24


@pytest.mark.parametrize("venue", ["kraken"])
def test_ccxt_24461_a_bad_checksum_loses_one_book_not_all(venue):
    client = Client(venue).play(300)
    symbol = client.instrument().symbol.encode()
    spoiled = []

    def wrong_sum(raw):
        if symbol not in raw or b'"checksum":' not in raw or spoiled:
            return raw
        spoiled.append(raw)
        return raw.replace(b'"checksum":', b'"checksum":1', 1)

    before = len(client.resubscribed())
    while not spoiled:
        client.play(1, spoil=wrong_sum)
    assert client.book(0).live is None
    assert client.book(1).state is LIVE
    (again,) = client.resubscribed()[before:]
    assert symbol in again
    client.hear(client.snapshot_frame(0))
    assert client.session.all_live
    client.play(200)
    assert client.session.all_live


@every_venue
def test_ccxt_24461_nor_does_a_broken_frame_that_names_its_book(venue, part):
    client = Client(venue, part).play(300)
    client.answers = False
    symbol = client.instrument().symbol.encode()
    broken = []

    def cut(raw):
        about = client.codec.about(raw[:-3])
        if broken or about is not client.instrument() or symbol not in raw:
            return raw
        broken.append(raw)
        return raw[:-3]

    while not broken:
        client.play(1, spoil=cut)
    assert client.book(0).live is None
    assert client.book(1).state is LIVE


# ------------------------------------------------------------------------------ 25


def test_ccxt_23214_a_stream_that_repeats_an_old_time_is_stale_and_then_dropped():
    client = Client("binance").play(600)
    assert client.session.all_live
    old = client.now_ns // MS

    def frozen(raw):
        data = json.loads(raw)
        if data.get("data", {}).get("e") == "depthUpdate":
            data["data"]["E"] = old
        return json.dumps(data).encode()

    states = set()
    for _ in range(600):
        client.play(1, spoil=frozen)
        states.add(client.book().state)
        if any(isinstance(command, Drop) for command in client.commands):
            break
    assert STALE in states
    assert any(isinstance(command, Drop) for command in client.commands)
    assert client.now_ns // MS - old < 12_000
    assert client.session.live == 0


@every_venue
def test_ccxt_20412_a_stream_that_stops_is_noticed(venue, part):
    client = Client(venue, part).play(600)
    client.answers = False
    client.due(30)
    assert client.session.live == 0
    assert any(isinstance(command, Drop) for command in client.commands)


# ------------------------------------------------------------------------------ 26


@pytest.mark.parametrize("part", [SPOT, LINEAR])
def test_ccxt_29331_failed_snapshots_keep_nothing_for_ever(part, monkeypatch):
    monkeypatch.setattr(feed_session, "BACKLOG_MAX", 300)
    client = Client("binance", part)
    client.answers = False
    asked = 0
    for round_ in range(3):
        client.at = 0
        for _ in range(100):
            client.play(20)
            for command in client.commands:
                if isinstance(command, FetchBook):
                    asked += 1
                    client.after(client.session.failed(command.instrument, "503", client.now_ns))
            client.commands.clear()
        assert round_ >= 0
    slots = client.session._slots.values()
    assert all(len(slot.backlog) <= 300 for slot in slots)
    assert asked < 60, "seldomer and seldomer"
    assert client.session.live == 0
    client.answers = True
    client.due(61)
    client.play(1)
    assert sum(isinstance(command, FetchBook) for command in client.commands) <= 4


# ------------------------------------------------------------------------------ 29


def test_ccxt_30299_a_checksum_that_is_gone_is_not_taken_for_one_that_holds():
    """OKX: with a chain nothing is missing; without one there is nothing left to trust."""
    client = Client("okx").play(300)
    symbol = client.instrument().symbol.encode()
    assert client.session.book_counts(client.instrument()).checksums_ok == 0
    gone = []

    def unproven(raw):
        if gone or symbol not in raw or b'"seqId"' not in raw or b'"books"' not in raw:
            return raw
        gone.append(raw)
        message = json.loads(raw)
        for row in message["data"]:
            del row["seqId"], row["prevSeqId"]
        return json.dumps(message).encode()

    while not gone:
        client.play(1, spoil=unproven)
    assert client.book(0).live is None
    assert "nothing proves it" in client.book(0).reason


def test_ccxt_30299_a_kraken_book_without_a_checksum_is_no_book():
    client = Client("kraken").play(300)
    symbol = client.instrument().symbol.encode()
    gone = []

    def unproven(raw):
        if gone or symbol not in raw or b'"channel":"book"' not in raw:
            return raw
        gone.append(raw)
        before, _, rest = raw.partition(b'"checksum":')
        return before + rest.partition(b",")[2]

    while not gone:
        client.play(1, spoil=unproven)
    assert client.book(0).live is None
    assert "checksum" in client.book(0).reason


@every_venue
def test_gocryptotrader_2255_after_a_gap_the_old_book_is_not_served(venue, part):
    client = Client(venue, part).play(600)
    client.answers = False
    instrument, reader = client.instrument(), client.book().live
    lost = []

    def first_of_ours(clean):
        ours = any(s.symbol == instrument.symbol and len(s.bids + s.asks) for s in clean.said)
        # At Kraken a loss shows with the next checksum that covers it: at the very top, unless
        # the next change mends it by chance.  There every one is lost, until one is noticed.
        at_top = any(
            plain(px) == client.truth[s.symbol][0].top[side]
            for s in clean.said
            for side, levels in enumerate((s.bids, s.asks))
            for px, _ in levels
        )
        if ours and (at_top if venue == "kraken" else not lost):
            lost.append(clean)
            return True
        return False

    for _ in range(600):
        client.play(1, skip=first_of_ours)
        if lost and client.book().live is None:
            break
    assert lost
    with pytest.raises(NotLive):
        reader.best(kit.Side.BUY)
    assert client.book().live is None
    counts = client.session.book_counts(instrument)
    assert counts.gaps + counts.checksums_bad == 1


@every_venue
def test_gocryptotrader_2337_no_storm_of_subscriptions_while_waiting(venue, part):
    client = Client(venue, part).play(600)
    client.answers = False
    before = len(client.sent()), sum(isinstance(c, FetchBook) for c in client.commands)
    client.hear(b'{"nonsense')
    began = client.now_ns
    while client.now_ns - began < 9 * SECOND and client.at < 2_300:
        client.play(10)
    books = len(client.stream.symbols)
    resubscribed = [d for d in client.sent()[before[0] :] if b"ubscribe" in d or b"SUBSCR" in d]
    resubscribed = [d for d in resubscribed if b"LIST_SUBSCRIPTIONS" not in d]
    fetched = sum(isinstance(c, FetchBook) for c in client.commands) - before[1]
    assert len(resubscribed) <= 2 * books, "once off and once on for each"
    assert fetched <= books


# ------------------------------------------------------------------------------ 30


@pytest.mark.parametrize("part", [SPOT, LINEAR])
def test_cryptofeed_1016_no_gap_between_snapshot_and_stream(part):
    """What came while the snapshot was under way is laid on it; what is missing there, found."""
    client = Client("binance", part)
    client.answers = False
    client.play(40)  # events wait
    instrument = client.instrument()
    client.fetched(instrument)  # as it stands now
    assert client.book().state is LIVE
    # Now one that stands before the first event that we kept: it cannot be used.
    late = Client("binance", part)
    late.answers = False
    late.play(40, skip=lambda clean: clean is first_of(late, instrument.symbol))
    base, seq = late.stream.begin[late.instrument().symbol]
    snapshot = carried(
        late.codec.snapshot(late.instrument()),
        lambda request: late.wire.answer(request, base, seq),
    )
    late.after(late.session.fetched(snapshot, late.now_ns))
    assert late.book().live is None
    late.due(0.2)
    assert sum(isinstance(c, FetchBook) for c in late.commands) >= 2


def first_of(client, symbol):
    return next(f for f in client.stream.frames if f.said and f.said[0].symbol == symbol)


@every_venue
def test_cryptofeed_232_bids_and_asks_never_overlap_in_a_live_book(venue, part):
    client = Client(venue, part)
    for _ in range(120):
        client.play(20)
        for index in range(len(client.stream.symbols)):
            book = client.book(index)
            if book.live is None:
                continue
            bid, ask = book.live.best(kit.Side.SELL), book.live.best(kit.Side.BUY)
            assert bid[0] < ask[0]


@pytest.mark.parametrize(("venue", "part"), [key for key in WIRES if key[0] != "kraken"])
def test_cryptofeed_285_every_number_is_checked(venue, part):
    """Any single lost message, wherever in the stream, is noticed with the next of its book."""
    for lost in range(200, 1_400, 40):
        client = Client(venue, part)
        client.play(lost)
        client.answers = False
        missing = []

        def skip(clean, missing=missing):
            if not missing and clean.said and clean.said[0].kind == "D":
                missing.append(clean.said[0].symbol)
                return True
            return False

        while not missing:
            client.play(1, skip=skip)
        index = [each.symbol for each in client.stream.instruments].index(missing[0])
        assert client.book(index).state is LIVE, "nobody can know yet"
        while not client.stream.frames[client.at].said or (
            client.stream.frames[client.at].said[0].symbol != missing[0]
        ):
            client.play(1)
        follower = client.stream.frames[client.at].said[0]
        client.play(1)
        assert (client.book(index).live is None) == (follower.kind == "D"), lost


# ------------------------------------------------------------------------------ 31


def kraken_client(px_decimals=1, qty_decimals=8, depth=10):
    from connectors.kraken.feed import Feed

    instrument = kit.Instrument(
        venue=kit.VenueId("kraken"), pair=kit.Pair("BTC", "USD"), symbol="BTC/USD",
        px_decimals=px_decimals, qty_decimals=qty_decimals,
    )  # fmt: skip
    codec = Feed({"BTC/USD": instrument}, depth=depth)
    session = FeedSession(connector("kraken").spec, codec, [instrument], Random(1))
    session.opened(ORIGIN)
    return session, instrument


def kraken_frame(kind, bids, asks, checksum):
    sides = [
        "[" + ",".join(f'{{"price":{px},"qty":{qty}}}' for px, qty in side) + "]"
        for side in (bids, asks)
    ]
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":{sides[0]},'
        f'"asks":{sides[1]},"checksum":{checksum},"timestamp":"2026-03-02T10:00:00.1Z"}}]}}'
    ).encode()


def by_hand(bids, asks):
    """The sum as Kraken's guide spells it: texts as sent, no point, no zeros in front."""
    levels = [*asks[:10], *bids[:10]]
    return crc32("".join((px + qty).replace(".", "") for px, qty in _cut(levels)).encode())


def _cut(levels):
    return [
        (px.replace(".", "").lstrip("0"), qty.replace(".", "").lstrip("0")) for px, qty in levels
    ]


def test_xchange_4571_trailing_zeros_count():
    """`0.50000000` is summed as 50000000, and a price of 100.0 as 1000."""
    session, instrument = kraken_client()
    bids = [(f"{100 - n}.0", "0.50000000") for n in range(10)]
    asks = [(f"{101 + n}.0", "1.00000000") for n in range(10)]
    session.received(kraken_frame("snapshot", bids, asks, by_hand(bids, asks)), ORIGIN)
    counts = session.book_counts(instrument)
    assert (session.live, counts.checksums_ok, counts.checksums_bad) == (1, 1, 0)
    # Stripped, it is another number: whoever sums that way would fail on each message.
    stripped = [(px.rstrip("0").rstrip("."), qty.rstrip("0").rstrip(".")) for px, qty in bids]
    assert by_hand(stripped, asks) != by_hand(bids, asks)


def test_kraken_net_20_zeros_in_front_do_not():
    session, instrument = kraken_client(px_decimals=5)
    bids = [(f"0.0500{9 - n}", "0.00100000") for n in range(10)]
    asks = [(f"0.0501{n}", "12345.00000001") for n in range(10)]
    session.received(kraken_frame("snapshot", bids, asks, by_hand(bids, asks)), ORIGIN)
    assert session.live == 1
    assert session.book_counts(instrument).checksums_ok == 1


def test_xchange_4063_a_level_that_fell_off_the_end_is_gone():
    """A better level pushes the eleventh out unsaid; when one goes, it must not come back."""
    session, instrument = kraken_client()
    book = session.book(instrument)
    bids = [(f"{100 - n}.0", "1.00000000") for n in range(10)]
    asks = [(f"{101 + n}.0", "1.00000000") for n in range(10)]
    session.received(kraken_frame("snapshot", bids, asks, by_hand(bids, asks)), ORIGIN)
    bids.insert(0, ("100.5", "2.00000000"))
    bids.pop()  # 91.0 falls off the end; no message ever says so
    frame = kraken_frame("update", bids[:1], [], by_hand(bids, asks))
    session.received(frame, ORIGIN)
    assert (session.live, len(book.bids), book.bids.qty_at(910)) == (1, 10, 0)
    # The best goes, and the venue names who comes in at the end: 90.5, not our ghost of 91.0.
    bids.pop(0)
    bids.append(("90.5", "3.00000000"))
    gone = [("100.5", "0.00000000"), ("90.5", "3.00000000")]
    session.received(kraken_frame("update", gone, [], by_hand(bids, asks)), ORIGIN)
    counts = session.book_counts(instrument)
    assert (session.live, counts.checksums_bad) == (1, 0)
    assert texts(book, instrument).bids == {
        px.removesuffix(".0"): qty.rstrip("0").rstrip(".") for px, qty in bids
    }


def test_kraken_net_20_recorded_books_need_the_truncation():
    """A simulated stream at depth 10 in which levels fall off all the time: every sum holds."""
    client = Client("kraken", depth=10).play(2_000)
    for index in range(2):
        counts = client.session.book_counts(client.instrument(index))
        assert counts.checksums_bad == 0
        assert counts.checksums_ok > 100
        assert max(len(client.book(index).bids), len(client.book(index).asks)) <= 10
