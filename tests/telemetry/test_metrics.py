"""What Prometheus reads: names, labels and figures that can be relied on."""

import re
import time
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hean_router.book import BookState
from hean_router.domain.instrument import Instrument, Pair
from hean_router.telemetry import BookReading, FeedReading, Metrics, Timing
from hean_router.telemetry.metrics import BOUNDS_NS, REASONS_MAX, kind_of
from hean_router.venue import BookCounts, SessionCounts, StateChanged

S = 1_000_000_000


def instrument(symbol="BTC/USDT", venue="okx"):
    return Instrument(
        venue=venue, pair=Pair.parse(symbol), symbol=symbol, px_decimals=2, qty_decimals=2
    )


def book(one=None, state=BookState.LIVE, confirmed_ns=5 * S, **counts):
    return BookReading(one or instrument(), state, confirmed_ns, BookCounts(**counts))


def feed(venue="okx", part="spot", books=(), **fields):
    fields = {
        "totals": SessionCounts(), "queued": 0, "connects": 0, "failures": 0, "reconnects": 0,
        "rotations": 0, "faults": 0, **fields,
    }  # fmt: skip
    return FeedReading(venue=venue, part=part, books=books, **fields)


def changed(reason, one=None, new=BookState.LOST):
    return StateChanged(one or instrument(), BookState.LIVE, new, reason, 5)


def parsed(metrics):
    """Samples by name and labels, as Prometheus' own parser reads them."""
    families = list(text_string_to_metric_families(metrics.text().decode()))
    out = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in out, f"{key} twice"
            out[key] = sample.value
    return families, out


# ------------------------------------------------------------------ names

# What dashboards and alarms are built on: a name may be added, never changed or dropped.
NAMES = {
    "hean_feed_frames": ("counter", "part venue"),
    "hean_feed_bytes": ("counter", "part venue"),
    "hean_feed_malformed": ("counter", "part venue"),
    "hean_feed_notices": ("counter", "part venue"),
    "hean_feed_queue_frames": ("gauge", "part venue"),
    "hean_feed_connects": ("counter", "part venue"),
    "hean_feed_failures": ("counter", "part venue"),
    "hean_feed_reconnects": ("counter", "part venue"),
    "hean_feed_rotations": ("counter", "part venue"),
    "hean_feed_faults": ("counter", "part venue"),
    "hean_book_live": ("gauge", "symbol venue"),
    "hean_book_age_seconds": ("gauge", "symbol venue"),
    "hean_book_snapshots": ("counter", "symbol venue"),
    "hean_book_deltas": ("counter", "symbol venue"),
    "hean_book_trades": ("counter", "symbol venue"),
    "hean_book_gaps": ("counter", "symbol venue"),
    "hean_book_checksums_ok": ("counter", "symbol venue"),
    "hean_book_checksums_bad": ("counter", "symbol venue"),
    "hean_book_crossed": ("counter", "symbol venue"),
    "hean_book_resyncs": ("counter", "symbol venue"),
    "hean_book_state_changes": ("counter", "reason state symbol venue"),
    "hean_apply_seconds": ("histogram", "le"),
    "hean_loop_lag_seconds": ("histogram", "le"),
    "hean_loop_lag_worst_seconds": ("gauge", ""),
    "hean_loop_stalls": ("counter", ""),
}


def test_names_kinds_and_labels_stay():
    metrics = Metrics(lambda: [feed(books=[book()])], lambda: 6 * S)
    metrics.changed(changed("cut"))
    families, _ = parsed(metrics)
    seen = {
        family.name: (
            family.type,
            " ".join(sorted({name for sample in family.samples for name in sample.labels})),
        )
        for family in families
    }
    assert seen == NAMES
    assert all(family.documentation for family in families)


def test_a_page_without_anything_is_a_page():
    families, samples = parsed(Metrics(list, lambda: 0))
    assert {family.name for family in families} == set(NAMES)
    assert all(value == 0 for value in samples.values())


def test_every_figure_is_where_it_belongs():
    one, two = instrument(), instrument("BTC/USDT:USDT")
    feeds = [
        feed(
            totals=SessionCounts(frames=1, bytes=2, malformed=3, notices=4),
            books=[book(one, gaps=11, deltas=12, trades=13, snapshots=14, resyncs=15)],
            queued=5, connects=6, failures=7, reconnects=8, rotations=9, faults=10,
        ),
        feed(part="linear", books=[book(two, BookState.STALE, checksums_ok=16, crossed=17)]),
        feed("kraken", books=[book(instrument(venue="kraken"), BookState.SYNCING, 0)]),
    ]  # fmt: skip
    _, samples = parsed(Metrics(lambda: feeds, lambda: 7 * S))

    def of(name, **labels):
        return samples[name, tuple(sorted(labels.items()))]

    spot = {"venue": "okx", "part": "spot"}
    for name, value in [
        ("frames_total", 1), ("bytes_total", 2), ("malformed_total", 3), ("notices_total", 4),
        ("queue_frames", 5), ("connects_total", 6), ("failures_total", 7), ("reconnects_total", 8),
        ("rotations_total", 9), ("faults_total", 10),
    ]:  # fmt: skip
        assert of(f"hean_feed_{name}", **spot) == value
    btc, perp = ({"venue": "okx", "symbol": str(each.pair)} for each in (one, two))
    for name, value in [
        ("gaps", 11), ("deltas", 12), ("trades", 13), ("snapshots", 14), ("resyncs", 15),
    ]:  # fmt: skip
        assert of(f"hean_book_{name}_total", **btc) == value
    assert of("hean_book_checksums_ok_total", **perp) == 16
    assert of("hean_book_crossed_total", **perp) == 17
    assert of("hean_book_live", **btc) == 1
    assert of("hean_book_live", **perp) == 0
    assert of("hean_book_age_seconds", **btc) == 2
    unknown = ("hean_book_age_seconds", (("symbol", "BTC/USDT"), ("venue", "kraken")))
    assert unknown not in samples, "a book that never was has no age"


def test_an_age_is_never_negative():
    _, samples = parsed(Metrics(lambda: [feed(books=[book(confirmed_ns=9 * S)])], lambda: 7 * S))
    assert min(samples.values()) >= 0


# ------------------------------------------------------------------ reasons


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("cut", "cut"),
        ("message 90..95 does not build on 89", "message # does not build on #"),
        ("message 7..8 does not build on 1234567890123", "message # does not build on #"),
        ("this program slept for 2.5 s", "this program slept for # s"),
        ("silent for 12 s", "silent for # s"),
        ("refused: 30001 no such pair", "refused"),
        ("snapshot failed: /depth: HTTP 503", "snapshot failed"),
        ("malformed frame: TooFine: 1.23 has more", "malformed frame"),
        ("closed by the venue (1012 restart at 12:30:05)", "closed by the venue (# restart at #)"),
        ("dead subscription: the top moved", "dead subscription"),
        ("", ""),
        ("naïve ☃ \ud800 \x00\n", "na?ve ? ? ?"),
        ("x" * 1_000_000, "x" * 40),
    ],
)
def test_reasons_of_one_kind_are_one_series(reason, kind):
    assert kind_of(reason) == kind


def test_gaps_with_their_numbers_make_one_series():
    """Each gap once made a series of its own: ten thousand a day, and then none was counted."""
    metrics = Metrics(list, lambda: 0)
    for number in range(100, 5_100):
        metrics.changed(changed(f"message {number}..{number + 3} does not build on {number - 9}"))
    _, samples = parsed(metrics)
    rows = {key: v for key, v in samples.items() if key[0] == "hean_book_state_changes_total"}
    assert list(rows.values()) == [5_000]


def test_ten_thousand_hostile_reasons_are_bounded_and_all_counted():
    metrics = Metrics(list, lambda: 0)
    words = ["".join(chr(97 + (n // 26**k) % 26) for k in range(4)) for n in range(10_000)]
    assert len(set(words)) == 10_000
    for number, word in enumerate(words):
        one = instrument(venue=("okx", "kraken")[number % 2])
        metrics.changed(changed(f'{word} "}} hean_feed_frames_total 9\n\\', one))
    text = metrics.text()
    assert len(text) < 64_000
    _, samples = parsed(metrics)
    rows = {key: v for key, v in samples.items() if key[0] == "hean_book_state_changes_total"}
    assert sum(rows.values()) == 10_000, "none is lost: the rest is `other`"
    assert len(rows) <= 2 * (REASONS_MAX + 1)
    assert any(("reason", "other") in labels for _, labels in rows)
    metrics.changed(changed("cut"))
    metrics.changed(changed("cut", instrument(venue="bybit")))
    _, samples = parsed(metrics)
    quiet = [dict(labels) for name, labels in samples if dict(labels).get("venue") == "bybit"]
    assert [labels["reason"] for labels in quiet] == ["cut"], "one venue's noise is not another's"


@given(st.text(max_size=60))
def test_any_reason_at_all_leaves_a_page_that_can_be_read(reason):
    metrics = Metrics(list, lambda: 0)
    metrics.changed(changed(reason))
    _, samples = parsed(metrics)
    (row,) = [key for key in samples if key[0] == "hean_book_state_changes_total"]
    assert dict(row[1])["reason"] == kind_of(reason)


@pytest.mark.parametrize("venue", ['ccxt:we"ird\\', "new\nline", "ünïcode"])
def test_odd_names_are_escaped(venue):
    metrics = Metrics(lambda: [feed(venue)], lambda: 0)
    _, samples = parsed(metrics)
    assert {dict(labels).get("venue") for _, labels in samples} - {None} == {venue}


# ------------------------------------------------------------------ counters rise


def test_counters_are_monotone_over_scrapes():
    from random import Random

    rng, frames = Random(5), [0, 0]
    metrics = Metrics(
        lambda: [
            feed(v, totals=SessionCounts(frames=n)) for v, n in zip("ab", frames, strict=True)
        ],
        lambda: 0,
    )
    before = {}
    for _ in range(50):
        frames[rng.randrange(2)] += rng.randrange(5)
        metrics.apply.observe(rng.randrange(10**9))
        metrics.changed(changed(rng.choice(["cut", "silent for 3 s", "x"])))
        families, samples = parsed(metrics)
        counters = {f.name for f in families if f.type in {"counter", "histogram"}}
        for key, value in before.items():
            if any(key[0].startswith(name) for name in counters):
                assert samples[key] >= value, key
        before = samples


# ------------------------------------------------------------------ histograms


@given(st.lists(st.integers(0, 10**11), max_size=200))
def test_a_histogram_agrees_with_a_list(took):
    timing = Timing()
    for each in took:
        timing.observe(each)
    assert timing.count == len(took)
    assert timing.total_ns == sum(took)
    buckets = timing.buckets()
    assert [le for le, _ in buckets][-1] == "+Inf"
    for (le, count), bound in zip(buckets, (*BOUNDS_NS, 10**30), strict=True):
        assert count == sum(each <= bound for each in took), le
        assert le == "+Inf" or float(le) == bound / 1e9


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([0.5, 0.99, 1]))
def test_a_quantile_is_the_bound_of_the_bucket_that_holds_it(took, share):
    timing = Timing()
    for each in took:
        timing.observe(each)
    rank = max(1, -(-len(took) * share // 1))
    exact = sorted(took)[int(rank) - 1]
    bounds = (*BOUNDS_NS, BOUNDS_NS[-1] * 10)
    assert timing.quantile_ns(share) == bounds[bisect_left(BOUNDS_NS, exact)]


def test_a_quantile_of_nothing_is_nothing():
    assert Timing().quantile_ns(0.99) == 0


def test_a_histogram_on_the_page_adds_up():
    metrics = Metrics(list, lambda: 0)
    for took_ns in (5_000, 15_000, 15_000, 3 * S):
        metrics.apply.observe(took_ns)
    _, samples = parsed(metrics)
    name = "hean_apply_seconds"
    assert samples[f"{name}_count", ()] == 4
    assert samples[f"{name}_sum", ()] == pytest.approx(3.000035)
    buckets = [
        (dict(labels)["le"], value)
        for (sample, labels), value in samples.items()
        if sample == f"{name}_bucket"
    ]
    buckets.sort(key=lambda pair: float(pair[0]))
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1] == ("+Inf", 4)
    assert float(buckets[0][0]) == 1e-05, "from 10 µs"
    assert dict(buckets)["1e-05"] == 1
    assert dict(buckets)["2e-05"] == 3


def test_the_bounds_begin_at_ten_microseconds_and_rise():
    assert BOUNDS_NS[0] == 10_000
    assert list(BOUNDS_NS) == sorted(set(BOUNDS_NS))
    assert BOUNDS_NS[-1] >= S // 2


def test_an_observation_is_cheap():
    timing = Timing()
    began = time.process_time()
    for _ in range(100_000):
        timing.observe(123_456)
    assert time.process_time() - began < 0.5


def test_the_page_is_plain_text_with_help_for_every_name():
    text = Metrics(list, lambda: 0).text().decode()
    for name in NAMES:
        assert re.search(rf"^# HELP {name}\w* \S", text, re.MULTILINE), name
