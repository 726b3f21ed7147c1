"""Spoiled streams: every break is noticed in time, every book comes back, none is ever wrong.

`HEAN_INTEGRITY_SEED` sets the first seed (a failure names its own); `HEAN_INTEGRITY_MUTANTS` how
many mutants a venue the storm sends.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest

from hean_router.book import BookState
from hean_router.venue import Policy
from tests.integrity.harness import SEED, Tally, Trial, storm
from tests.integrity.streams import LINEAR, RECORDED, SPOT, WIRES, Stream, recorded, simulated

STORM = int(os.environ.get("HEAN_INTEGRITY_MUTANTS", "1000000"))

SIMULATED: dict[str, Callable[[], Stream]] = {
    f"{venue} {part.value}": partial(simulated, venue, part) for venue, part in WIRES
}
SIMULATED["okx spot with checksums"] = partial(simulated, "okx", SPOT, digests=True)
SIMULATED["okx linear with checksums"] = partial(simulated, "okx", LINEAR, digests=True)
SIMULATED["kraken spot depth 10"] = partial(simulated, "kraken", SPOT, 10)
REAL: dict[str, Callable[[], Stream]] = {each.id: partial(recorded, each) for each in RECORDED}
EVERY = SIMULATED | REAL
VENUES = ("binance", "bybit", "kraken", "okx")

every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())
every_simulated = pytest.mark.parametrize("make", SIMULATED.values(), ids=SIMULATED.keys())
every_real = pytest.mark.parametrize("make", REAL.values(), ids=REAL.keys())


def heard_all(tally: Tally, stream: Stream) -> None:
    """Nothing was proved if nothing happened."""
    kinds = {"drop", "repeat", "late repeat", "delay", "cut", "garbage", "wrong_type"}
    kinds.add("missing_key")
    if stream.digests:
        kinds.add("digits")
    if any(frame.reset for frame in stream.frames[1:]):
        kinds.add("lost reset")
    assert kinds <= set(tally.kinds), kinds - set(tally.kinds)
    assert tally.breaks > tally.mutants / 10
    assert tally.alarms > tally.mutants / 20
    assert tally.compared > tally.mutants / 10


# ------------------------------------------------------------------------------ clean


@every
@pytest.mark.slow
def test_a_clean_stream_gives_no_alarm(make):
    """In its own time, under the live program's policy, looked at every 100 ms."""
    stream = make()
    trial = Trial(stream, SEED, rate=0.0, policy=Policy())
    tally = trial.run()
    assert (tally.mutants, tally.breaks, tally.alarms) == (0, 0, 0)
    assert [change.new for change in trial.changes] == [BookState.LIVE] * len(stream.symbols)
    assert trial.session.counts.malformed == 0
    for instrument in stream.instruments:
        counts = trial.session.book_counts(instrument)
        assert (counts.gaps, counts.checksums_bad, counts.crossed, counts.resyncs) == (0, 0, 0, 0)
        if stream.digests:
            assert counts.checksums_ok == counts.snapshots + counts.deltas > 0


@every_simulated
def test_a_simulated_stream_holds_what_is_to_be_spoiled(make):
    """Two books, resets where the venue has them: else the mutants would prove little."""
    stream = make()
    assert len(stream.symbols) == 2
    resets = [frame for frame in stream.frames if frame.reset]
    if stream.wire.venue in {"bybit", "okx"}:
        assert len(resets) > 2 * len(stream.symbols), "services restarted"
        seqs = [frame.said[0].seq for frame in stream.frames if frame.said]
        assert any(b < a for a, b in pairwise(seqs)), "and counted anew"


# ------------------------------------------------------------------------------ spoiled


@every_simulated
@pytest.mark.slow
def test_two_thousand_mutants(make):
    stream = make()
    heard_all(storm(stream, 2_000), stream)


@every_real
@pytest.mark.slow
def test_five_hundred_mutants_of_a_recording(make):
    stream = make()
    tally = storm(stream, 500)
    assert tally.breaks > 50
    assert tally.alarms > 30


@every_simulated
@pytest.mark.slow
def test_seldom_spoiled_under_the_live_program_s_policy(make):
    """One frame in a hundred; real waits, so that books are LIVE between."""
    stream = make()
    tally = Tally()
    for seed in range(SEED, SEED + 4):
        tally.add(Trial(stream, seed, rate=0.01, policy=Policy(), tail=600).run())
    assert tally.mutants > 50
    assert tally.alarms > 10


@every_simulated
def test_one_mutant_alone(make):
    """Each kind by itself, so that nothing hides behind the alarm of another."""
    stream = make()
    total = Tally()
    for seed in range(SEED, SEED + 12):
        trial = Trial(stream, seed, rate=0.005, tail=1_200)
        total.add(trial.run())
    assert 40 < total.mutants < 200
    assert total.alarms < total.mutants * 1.5


def test_the_same_seed_does_the_same():
    def trace(seed):
        trial = Trial(SIMULATED["bybit spot"](), seed)
        return trial.run(), [(c.at_ns, c.new, c.reason) for c in trial.changes]

    assert trace(5) == trace(5)
    assert trace(5) != trace(6)


def streams_of(venue):
    """All there is of a venue: its simulator's, and recordings where they are."""
    out = [make() for name, make in SIMULATED.items() if name.startswith(venue)]
    for name, make in REAL.items():
        if name.startswith(venue):
            try:
                out.append(make())
            except pytest.skip.Exception as why:
                print(why)
    return out


def storm_of(venue, mutants):
    total, streams = Tally(), streams_of(venue)
    for stream in streams:
        tally = storm(stream, -(-mutants // len(streams)))
        heard_all(tally, stream)
        total.add(tally)
        print(stream.name, tally)
    print(f"{venue}, from seed {SEED}: {total}")
    assert total.mutants >= mutants


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("venue", VENUES)
def test_twenty_thousand_mutants(venue):
    storm_of(venue, 20_000)


@pytest.mark.storm
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("venue", VENUES)
def test_a_million_mutants(venue):
    storm_of(venue, STORM)
