"""Frames that no venue sends: nothing but the books they may have been about comes to harm."""

from random import Random

import pytest

from hean_router.venue import FeedSession
from tests.connectors import golden_text
from tests.integrity import mutate
from tests.integrity.harness import SEED
from tests.integrity.streams import WIRES, connector
from tests.integrity.test_peers_book_bugs import Client
from tests.integrity.wires import Broken

DEEP = 200_000
BOOK = {
    "binance": b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":%s,"s":"BTCUSDT",'
    b'"U":%s,"u":%s,"pu":1,"b":%s,"a":[]}}',
    "bybit": b'{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":%s,"data":{"s":"BTCUSDT",'
    b'"x":%s,"u":%s,"b":%s,"a":[]},"cts":1}',
    "okx": b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"ts":"%s",'
    b'"prevSeqId":%s,"seqId":%s,"bids":%s,"asks":[]}]}',
    "kraken": b'{"channel":"book","type":"update","data":[{"timestamp":"%s","x":%s,"symbol":'
    b'"BTC/USDT","checksum":%s,"bids":%s,"asks":[]}]}',
}
TEMPLATES = {  # time, number, number, levels
    "endless digits in the time": (b"9" * 5_000, b"1", b"2", b"[]"),
    "endless digits in a number": (b"1", b"1", b"9" * 5_000, b"[]"),
    "a price of five thousand digits": (b"1", b"1", b"2", b'[["1%s","1"]]' % (b"0" * 5_000)),
    "levels nested without end": (b"1", b"1", b"2", b"[" * DEEP + b"]" * DEEP),
    "a number that is not one": (b"1", b"1", b"1e999", b"[]"),
    "negative numbers": (b"-1", b"-5", b"-4", b"[]"),
    "no levels but words": (b"1", b"1", b"2", b'"none"'),
    "a level of three": (b"1", b"1", b"2", b'[["1","2","3"]]'),
    "a level of one": (b"1", b"1", b"2", b'[["1"]]'),
    "NaN": (b"1", b"1", b"2", b"[[NaN,NaN]]"),
}
BARE = {
    "nothing": b"",
    "blanks": b"   \n",
    "no text": b"\xff\xfe\x00" * 50,
    "open brackets": b"[" * DEEP,
    "open braces": b'{"a":' * DEEP,
    "brackets in an unknown field": b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "brackets in data": b'{"data":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "null": b"null",
    "a number": b"17",
    "a text": b'"x"',
    "true": b"true",
    "an empty object": b"{}",
    "an empty list": b"[]",
    "two values": b"{}{}",
    "a lone surrogate": b'{"e":"\\ud800"}',
    "a zero byte": b'{"e":"depthUpdate\x00"}',
    "five megabytes": b'{"x":"' + b"a" * 5_000_000 + b'"}',
}

every_venue = pytest.mark.parametrize(("venue", "part"), WIRES, ids=lambda key: str(key))


def hears(client, raw):
    """What happens is what may happen: books that are lost, never an exception, never a bad one."""
    client.hear(raw)
    for each in client.stream.instruments:
        book = client.session.book(each)
        book.check()
        assert book.live is None or book.live.usable


@every_venue
@pytest.mark.parametrize("what", BARE)
def test_a_frame_of_nothing_we_know(venue, part, what):
    client = Client(venue, part).play(200)
    client.answers = False
    malformed = client.session.counts.malformed
    hears(client, BARE[what])
    if client.session.counts.malformed > malformed:
        assert client.session.live == 0, "of nobody in particular: all may have lost something"
    client.answers = True
    client.play(50)


@every_venue
@pytest.mark.parametrize("what", TEMPLATES)
def test_a_frame_that_claims_to_be_a_book_s(venue, part, what):
    client = Client(venue, part).play(200)
    client.answers = False
    hears(client, BOOK[venue] % TEMPLATES[what])
    client.answers = True
    client.play(50)


VENUES = sorted({venue for venue, _ in WIRES})
GOLDEN = [(venue, path) for venue in VENUES for path in golden_text.files(venue)]


@pytest.mark.parametrize(("venue", "path"), GOLDEN, ids=lambda value: getattr(value, "stem", value))
def test_mutants_of_golden_frames(venue, path):
    """Every kind of frame that the protocol sheets know, spoiled in every way."""
    golden = golden_text.read(path, venue)
    link = connector(venue)
    rng = Random(f"{path.name}/{SEED}")
    symbols = frozenset(golden.by_symbol)
    read = WIRES[venue, golden.part].read
    tried = 0
    for case in golden.cases:
        if not case.frame:
            continue
        for spoil in (*mutate.SYNTAX, mutate.other_digit):
            for _ in range(12):
                tried += one_mutant(golden, link, spoil(case.frame, rng), read, symbols)
    assert tried > 60 * len(golden.cases) * 0.9


def one_mutant(golden, link, raw, read, symbols):
    codec = link.feed(golden.part, golden.by_symbol)
    session = FeedSession(link.spec, codec, golden.instruments, Random(1))
    session.opened(1)
    for case in golden.cases[:2]:
        session.received(case.frame, 2)
    session.received(raw, 3)
    broken = ""
    try:
        read(raw, symbols)
    except Broken as why:
        broken = str(why)
    # Binance's tickers are told by their name and not read at all: there is nothing to lose.
    if broken and b'bookTicker"' not in raw[:75]:
        assert session.counts.malformed, f"{broken}: {raw[:300]!r}"
    for instrument in golden.instruments:
        session.book(instrument).check()
    return True
