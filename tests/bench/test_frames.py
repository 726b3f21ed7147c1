"""From a frame to the best bid and ask, every check on, beside what else one could use.

The captures are read by the real path (`FeedSession.received`, then the book), by `msgspec`
without types (bytes cost that anyhow), by `orjson` and a float `SortedDict` a side with the same
proof of continuity, and by ccxt.pro as its own websocket client calls it.  Two mixes: all frames,
and those alone that change a book.

Every contender starts each round with nothing remembered but the snapshots, and must end with the
best bid and ask that ours has.
"""

import asyncio
from statistics import median

import pytest

from tests.bench import meter
from tests.bench.contenders import Ccxt, Ours, Sorted, SortedWithDigest, Untyped
from tests.bench.tapes import NAMES, recorded, tape, told

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

WIDTHS = (14, 8, 8, 9, 9, 9, 11, 9, 9, 11)
TITLES = (
    "µs a frame", "frames", "ours", "decode", "sorted", "ccxt.pro",
    "ours/decode", "sorted/", "ccxt/", "sorted+crc/",
)  # fmt: skip
CCXT_TIMES, SORTED_TIMES = 2.0, 1.0  # the targets
TURN_S = 0.25  # about how long one turn of the slowest contender takes, so that none is too short


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module", autouse=True)
def _titles():
    missing = [name for name in NAMES if not recorded(name)]
    if missing:
        print(f"\nno recording of {', '.join(missing)} in HEAN_RECORDINGS: our simulators instead")
    print("\n" + meter.row(*TITLES, widths=WIDTHS))


@pytest.mark.parametrize("mix", ["all", "books"])
@pytest.mark.parametrize("name", NAMES)
def test_frame_to_top(name, mix, loop):
    whole = tape(name)
    one = whole if mix == "all" else whole.books_only()
    count = len(one.frames)
    ends = {}
    kinds = [Ours, Untyped, Sorted]
    if whole.connector.spec.id == "okx":
        kinds.append(SortedWithDigest)

    def turn(make):
        def run():
            # A capture of a second is read several times, each time from its beginning.
            taken, repeats = 0, max(1, 3_000 // count)
            for _ in range(repeats):
                contender = make()
                taken += contender.read(one.frames, one.book_of)
                if ends.setdefault(make, contender.tops()) != contender.tops():
                    pytest.fail("not the same twice")
                if isinstance(contender, Ccxt):
                    contender.close()
            return taken / repeats / count / 1_000

        return run

    def native(kind):
        return lambda: kind(one)

    makers = {kind.__name__: native(kind) for kind in kinds}
    makers["Ccxt"] = lambda: Ccxt(one, loop)
    figures = meter.rounds({label: turn(make) for label, make in makers.items()}, count=7)

    ours = ends[makers["Ours"]]
    for label, make in makers.items():
        if label != "Untyped":
            assert ends[make] == ours, f"{label} ends with another book"
    by_ccxt = meter.ratio(figures, "Ccxt", "Ours")
    by_sorted = meter.ratio(figures, "Sorted", "Ours")
    digest = ""
    if "SortedWithDigest" in figures:
        digest = f"{meter.ratio(figures, 'SortedWithDigest', 'Ours'):.2f}"
    print(meter.row(
        f"{name}, {mix}", count, *(median(figures[k.__name__]) for k in (Ours, Untyped, Sorted)),
        median(figures["Ccxt"]), meter.ratio(figures, "Ours", "Untyped"), by_sorted, by_ccxt,
        digest, widths=(22, *WIDTHS[1:]),
    ))  # fmt: skip
    fair = meter.ratio(figures, "SortedWithDigest", "Ours") if digest else by_sorted
    assert by_ccxt >= CCXT_TIMES * (1 - meter.NOISE), f"{by_ccxt:.2f} times ccxt.pro's speed"
    assert fair >= SORTED_TIMES * (1 - meter.NOISE), f"{fair:.2f} times a SortedDict's speed"


def test_tapes_are_what_they_say():
    for name in NAMES:
        print(told(tape(name)))
        assert any(tape(name).book_of)
