"""What the codecs and sessions of the twin that runs make of good and of spoiled frames.

`python -m tests.native.trace` prints one JSON object: a digest per frame and tape.  Frames are of
our own simulators, and the recordings' too where `--recorded` is given and they are there.
"""

import json
import sys
from collections.abc import Iterator
from random import Random
from zlib import crc32

from msgspec import MsgspecError

from hean_router import native
from hean_router.book import state_hash
from hean_router.domain.errors import MalformedFrame
from hean_router.domain.feed import Delta, Snapshot, Top
from hean_router.venue import StateChanged
from tests.bench import tapes

# What `FeedSession.received` takes for a malformed frame.
_MALFORMED = (MalformedFrame, MsgspecError, ValueError, KeyError, IndexError, TypeError)
_SPOILT = 3  # frames in ten that are tried in a spoilt form too
_PIECES = (
    b"0", b"9", b".", b"-", b"e5", b'"', b",", b"[", b"]", b"{", b" ", b"\n", b"\\u0031", b"null",
    b"\xff", b"00", b".50", b"0000000000", b'["1","2"],', b'["1","2","3"],', b"7" * 12,
)  # fmt: skip


def spoil(raw: bytes, rng: Random) -> bytes:
    """`raw` with one piece put in, taken out or put in another's place."""
    at = rng.randrange(len(raw))
    piece = rng.choice(_PIECES)
    match rng.randrange(4):
        case 0:
            return raw[:at] + piece + raw[at:]
        case 1:
            return raw[:at] + piece + raw[at + rng.randrange(1, 4) :]
        case 2:
            return raw[:at] + raw[at + rng.randrange(1, 30) :]
        case _:
            return raw[:at]


def decoded(codec: object, raw: bytes) -> str:
    """What a frame says, or that it says nothing that can be read."""
    said = []
    try:
        for event in codec.decode(raw):
            match event:
                case Snapshot() | Delta():
                    more = [*event.bids], [*event.asks], event.seq, event.checksum, event.sent_ns
                case Top():
                    more = event.bid, event.ask, event.sent_ns
                case _:
                    more = ()
            said.append((type(event).__name__, getattr(event.instrument, "symbol", ""), more))
    except _MALFORMED:
        return "malformed"
    return repr(said)


def run(tape: tapes.Tape) -> Iterator[int]:
    """One number per frame, and one per spoilt frame."""
    rng = Random(tape.name)
    session = tape.session()
    assert tapes.lead_in(session, tape, tape.lead)
    codec = tape.session().codec
    now_ns = tapes.START_NS
    for raw in tape.frames:
        now_ns += 1_000_000
        changed = [
            (event.instrument.symbol, event.new, event.reason)
            for event in session.received(raw, now_ns)
            if isinstance(event, StateChanged)
        ]
        books = [session.book(one) for one in session.instruments]
        tops = [(book.bids.best(), book.asks.best(), book.version, book.seq) for book in books]
        yield crc32(repr((changed, tops)).encode())
        if rng.randrange(10) < _SPOILT:
            yield crc32(decoded(codec, spoil(raw, rng)).encode())
    for one in session.instruments:
        book, counts = session.book(one), session.book_counts(one)
        book.check()
        whole = state_hash(book.bids, book.asks), book.state, book.version
        checked = counts.checksums_ok, counts.checksums_bad, counts.gaps, counts.resyncs
        yield crc32(repr((whole, checked)).encode())


def main() -> None:
    """Trace every tape."""
    found: dict[str, object] = {"native": native.status()[0]}
    for name in tapes.NAMES:
        found[name] = [*run(tapes._simulated(name))]
        if "--recorded" in sys.argv and tapes.recorded(name):
            found[f"{name}, recorded"] = [*run(tapes.tape(name))]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
