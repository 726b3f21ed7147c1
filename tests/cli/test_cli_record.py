"""`hean record`: what it writes is what was sent, and reads back into the same book."""

import json
from collections import defaultdict
from pathlib import Path

import orjson
import pytest

from hean_router.app import Target
from hean_router.cli.record import Recording
from hean_router.config import Settings
from hean_router.domain.instrument import Pair
from hean_router.replay import Captured, open_capture, part_of_record
from hean_router.sim import server
from hean_router.sim.contract import Send
from hean_router.sim.exchange import Side
from hean_router.sim.simulator import simulate
from hean_router.sim.virtual import run, virtual_connector

VENUES = ("binance", "bybit", "kraken", "okx")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")


def listed(venue):
    return [symbol for symbol in SYMBOLS if ":" not in symbol or venue != "kraken"]


def record_a_town(out, seed=3):
    """Record four venues for 40 virtual seconds, the last ten of them at rest."""

    async def main(world):
        sent = {venue: defaultdict(list) for venue in VENUES}
        exchanges, simulators, servers, targets = {}, [], [], []
        for venue in VENUES:
            clock = world.net.clock(venue)
            simulator, exchanges[venue] = simulate(venue, seed, clock(), symbols=listed(venue))
            with world.net.on(venue):
                served = server.Server(simulator, clock, host="0.0.0.0", port=80)
                await served.start()
            overhear(served, sent[venue])
            world.net.dns[f"{venue}.sim"] = venue
            world.net.link("router", venue).latency(20_000_000, jitter_ns=5_000_000)
            simulators.append(simulator)
            servers.append(served)
            hosts = simulator.face.hosts(f"http://{venue}.sim", f"ws://{venue}.sim")
            targets.append(Target(venue, "sim", dict(hosts)))

        def rest():
            for simulator in simulators:
                simulator.market = None

        world.loop.call_later(30, rest)
        recording = Recording(
            Settings(venues={}),
            targets,
            [Pair.parse(symbol) for symbol in SYMBOLS],
            out,
            suffix=".ndjson.gz",
            clock=world.net.clock("router"),
            rng=world.seeds.rng("router"),
            connector=virtual_connector,
        )
        await recording.run(40, 15)
        for served in servers:
            await served.stop()
        return recording.summary(), sent, exchanges

    return run(main, seed).value


def overhear(served, sent):
    """Keep every frame that the server sends, by connection."""
    dispatch = served._dispatch

    def heard(outputs):
        outputs = list(outputs)
        for output in outputs:
            if isinstance(output, Send):
                data = output.data
                sent[output.conn].append(data.encode() if isinstance(data, str) else data)
        dispatch(outputs)

    served._dispatch = heard


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record_a_town(tmp_path_factory.mktemp("captures"))


@pytest.mark.parametrize("venue", VENUES)
def test_every_frame_is_there_bit_for_bit(recorded, venue):
    summary, sent, _ = recorded
    (file,) = [file for file in summary["files"] if file["venue"] == venue]
    heard = defaultdict(list)
    with open_capture(file["path"]) as capture:
        for record in capture:
            if record.kind == "recv":
                heard[record.conn].append(record.raw)
    assert len(heard) == len({conn for conn in sent[venue] if sent[venue][conn]})
    for frames in heard.values():
        (whole,) = [each for each in sent[venue].values() if each[: len(frames)] == frames]
        assert len(frames) > 300
        assert len(whole) - len(frames) < 5, "only what was under way at the end may be missing"
    assert sum(map(len, heard.values())) == file["received"]


@pytest.mark.parametrize(("venue", "symbol"), [(v, s) for v in VENUES for s in listed(v)])
def test_a_recording_reads_back_into_the_venues_book(hean, recorded, venue, symbol):
    summary, _, exchanges = recorded
    (file,) = [file for file in summary["files"] if file["venue"] == venue]
    told = hean("book", "--venue", venue, "--symbol", symbol, "--frames", file["path"], "--json")
    assert told.code == 0
    book = told.json()
    assert (book["gaps"], book["malformed"], book["checksums_bad"]) == (0, 0, 0)
    assert (book["state"], book["snapshots"]) == ("live", 1)
    assert book["deltas"] > 100
    assert book["trades"] > 0
    listing = exchanges[venue].listings[symbol]
    for side, ours in zip((Side.BUY, Side.SELL), ("bids", "asks"), strict=True):
        theirs = exchanges[venue].book(symbol, 10)[0 if side is Side.BUY else 1]
        assert book[ours] == [
            [plain(listing.px(level.px)), plain(listing.qty(level.qty) * listing.contract_size)]
            for level in theirs
        ]


def plain(number):
    return format(number.normalize(), "f")


def test_a_recording_says_who_wrote_it_where_and_what_was_asked(recorded):
    summary, _, _ = recorded
    for file in summary["files"]:
        with open_capture(file["path"]) as capture:
            head = orjson.loads(capture.header)
            records = list(capture)
        assert (head["venue"], head["env"]) == (file["venue"], "sim")
        assert "hean-router" in head["versions"]
        kinds = [record.kind for record in records]
        assert kinds.count("sent") == file["sent"] > 0
        assert kinds.count("http") == file["answers"] > 0
        assert kinds.count("connect") == file["connections"] > 0
        assert kinds.index("http") < kinds.index("recv"), "the rules come first"
        ends = [record.raw for record in records if record.kind == "note"]
        assert len(ends) == file["connections"], f"ends, and no missing end mark: {ends}"
        times = [record.at_ns for record in records]
        assert times == sorted(times)


def test_the_command_records_and_sums_up(hean, town, tmp_path):
    told = hean(
        *("record", "okx", "kraken", "--out", tmp_path / "deep" / "er", "--no-gzip"),
        *("--symbols", "BTC/USDT", "--seconds", "0.6", "--venues-from", town, "--json"),
    )
    assert told.code == 0
    summary = told.json()
    assert [file["venue"] for file in summary["files"]] == ["kraken", "okx"]
    for file in summary["files"]:
        lines = Path(file["path"]).read_bytes().splitlines()
        assert json.loads(lines[-1])["kind"] == "end"
        asked = ("book", "--venue", file["venue"], "--symbol", "BTC/USDT", "--frames", file["path"])
        assert hean(*asked, "--json").json()["state"] == "live"


def test_a_connections_name_tells_its_part_whatever_the_address_says():
    # `perp` stands for perpetuals in addresses; here it is somebody's coin.
    url = "http://127.0.0.1:80/api/v3/depth?symbol=PERPUSDT&limit=500"
    answer = Captured(0, "http", "binance.spot.rest", b"{}", url)
    assert part_of_record(answer) == "spot"


BAD = [  # what is wrong, arguments, exit code, what the error says
    ("an unknown venue", ("okxx",), 2, 'did you mean "okx"'),
    ("a venue behind a library", ("ccxt:kucoin",), 2, "in "),
    ("a symbol that nobody lists", ("okx", "--symbols", "NOPE/USDT"), 2, "no venue lists"),
    ("a symbol that is none", ("okx", "--symbols", "NOPE"), 2, "not BASE/QUOTE"),
]


@pytest.mark.parametrize(
    ("args", "code", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_what_cannot_be_recorded_is_refused_and_leaves_no_file(
    refused, town, tmp_path, args, code, says
):
    said = refused(code, "record", *args, "--out", tmp_path / "out", "--venues-from", town)
    assert says in said
    assert not list(tmp_path.rglob("*.ndjson*"))


def test_a_library_shows_no_frames(refused, tmp_path):
    said = refused(2, "record", "ccxt:kucoin", "--out", tmp_path, "--config", tmp_path)
    assert "shows no frames" in said


def test_a_folder_that_cannot_be_made_is_refused(refused, town, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    out = tmp_path / "file" / "captures"
    assert str(out) in refused(2, "record", "okx", "--out", out, "--venues-from", town)


def test_where_nothing_answers_nothing_is_left(hean, nowhere, tmp_path):
    told = hean("record", "okx", "--out", tmp_path, "--venues-from", nowhere(okx="closed"))
    assert told.code == 6
    assert not list(tmp_path.glob("*.ndjson*"))


def test_a_full_disk_ends_the_recording_with_what_was_written(hean, town, tmp_path, monkeypatch):
    from hean_router.replay import record

    writes = iter(range(40))
    really = record._write_whole

    def write(file, line):
        if next(writes, None) is None:
            raise OSError(28, "No space left on device")
        really(file, line)

    monkeypatch.setattr(record, "_write_whole", write)
    told = hean(
        *("record", "okx", "--symbols", "BTC/USDT", "--out", tmp_path, "--no-gzip"),
        *("--seconds", "20", "--venues-from", town, "--json"),
    )
    assert told.code == 1
    assert "No space left" in told.json()["error"]["what"]
    monkeypatch.undo()
    (path,) = tmp_path.glob("*.ndjson")
    asked = ("book", "--venue", "okx", "--symbol", "BTC/USDT", "--frames", path, "--json")
    assert hean(*asked).json()["state"] == "live"
