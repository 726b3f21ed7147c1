"""A quiet book is not a stale one: a recorded minute, and a twin with 26 s between two changes.

Kraken's sheet tells of 26 s between changes of MINA/GBP; in the recording that we have the book's
longest silence is 9 s.
"""

import os
from itertools import pairwise
from pathlib import Path
from random import Random
from zlib import crc32

import pytest

from connectors.kraken import CONNECTOR
from hean_router import kit
from hean_router.book import BookState
from hean_router.replay import open_capture
from hean_router.venue import Drop, FeedSession, ProbeTop, StateChanged

RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))
PATH = RECORDINGS / "kraken" / "v2_book_minagbp_d25_20260816.ndjson"
SECOND = 1_000_000_000
TWIN_SILENCE_S = 26


def frames():
    """Recorded frames and their times; or, without the recording, a twin with such a silence."""
    if PATH.exists():
        with open_capture(PATH) as capture:
            return [(each.at_ns, each.raw) for each in capture if each.kind == "recv"]
    pytest.skip(f"no recording {PATH}: set HEAN_RECORDINGS")


def twin():
    """A book, some changes, 26 s of heartbeats, one change: with true checksums."""
    start = 1_700_000_000 * SECOND
    asks = '[{"price":0.1600,"qty":10.00000000}]'
    out = [(start, _frame("snapshot", 100, 0, asks))]
    out += [(start + n * SECOND // 2, _frame("update", 100 + n, n // 2)) for n in range(1, 11)]
    end = start + 5 * SECOND + TWIN_SILENCE_S * SECOND
    beats = range(start + 6 * SECOND, end, SECOND)
    out += [(at, b'{"channel":"heartbeat"}') for at in beats]
    out += [
        (end, _frame("update", 200, TWIN_SILENCE_S + 5)),
        (end + SECOND, b'{"channel":"heartbeat"}'),
    ]
    return out


def _frame(kind, qty, second, asks="[]"):
    digest = crc32(f"16001000000000{1500}{qty}00000000".encode())
    time = f"2023-11-14T22:{13 + (20 + second) // 60}:{(20 + second) % 60:02}.000000Z"
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"MINA/GBP",'
        f'"bids":[{{"price":0.1500,"qty":{qty}.00000000}}],"asks":{asks},"checksum":{digest},'
        f'"timestamp":"{time}"}}]}}'
    ).encode()


def mina():
    return kit.Instrument(
        venue=CONNECTOR.spec.id,
        pair=kit.Pair("MINA", "GBP"),
        symbol="MINA/GBP",
        px_decimals=4,
        qty_decimals=8,
    )


@pytest.mark.parametrize(("source", "silence_s"), [(frames, 8.9), (twin, 25.9)])
@pytest.mark.parametrize("answer", ["never", "fails", "agrees"])
def test_a_quiet_book_stays_live_whether_or_not_anybody_answers(source, silence_s, answer):
    """Driven by its own times, looked at every 100 ms, under the policy of the live program."""
    recorded = source()
    instrument = mina()
    codec = CONNECTOR.feed(kit.Part.SPOT, {instrument.symbol: instrument})
    session = FeedSession(CONNECTOR.spec, codec, [instrument], Random(1))
    book, told, commands, unchanged = session.book(instrument), [], [], []
    was_live = False

    def carry_out(events, now_ns):
        told.extend(event for event in events if isinstance(event, StateChanged))
        for command in session.take():
            commands.append(command)
            if not isinstance(command, ProbeTop) or answer == "never":
                continue
            if answer == "fails":
                carry_out(session.probe_failed(instrument, "503", now_ns), now_ns)
            else:
                best = next(iter(book.bids)), next(iter(book.asks))
                carry_out(session.probed(kit.Top(instrument, *best), now_ns), now_ns)

    carry_out(session.opened(recorded[0][0]), recorded[0][0])
    for at_ns, raw in recorded:
        while session.wake_at_ns <= at_ns:
            now_ns = session.wake_at_ns
            carry_out(session.due(now_ns), now_ns)
            assert not was_live or book.state is BookState.LIVE, f"{book.reason} at {now_ns}"
        carry_out(session.received(raw, at_ns), at_ns)
        was_live = was_live or book.state is BookState.LIVE
        assert not was_live or book.state is BookState.LIVE
        unchanged.append(book.changed_ns)
    assert [change.new for change in told] == [BookState.LIVE], told
    ends = [*sorted({at_ns for at_ns in unchanged if at_ns}), recorded[-1][0]]
    silences = [(b - a) / SECOND for a, b in pairwise(ends)]
    assert max(silences) > silence_s, "else this proves nothing"
    assert not any(isinstance(command, Drop) for command in commands)
    assert any(isinstance(command, ProbeTop) for command in commands), "it was doubted"
    counts = session.book_counts(instrument)
    assert (counts.gaps, counts.checksums_bad, counts.resyncs, counts.crossed) == (0, 0, 0, 0)
    assert counts.checksums_ok >= 12
