"""`hean book SYMBOL` on simulated venues, on venues that are not there, and on none at all."""

import time
from decimal import Decimal

import orjson
import pytest

from hean_router.book import DepthFollower, Took, depth_message

VENUES = ["binance", "bybit", "kraken", "okx"]


def test_one_look_holds_every_venue_best_all_in_first(hean, town):
    told = hean("book", "BTC/USDT", "--venues-from", town, "--depth", "40", "--json")
    assert told.code == 0
    book = told.json()
    assert sorted(book["venues"]) == VENUES
    assert (book["left_out"], book["steps"]) == ({}, {})
    assert len(book["bids"]) == len(book["asks"]) == 40
    weights = book["weights"]
    for side, way, sign in (("asks", "buy", 1), ("bids", "sell", -1)):
        costs = [sign * Decimal(px) * int(weights[venue][way]) for px, _, venue in book[side]]
        assert costs == sorted(costs)
        assert len({(px, venue) for px, _, venue in book[side]}) == 40, "a level twice"
    best = book["best"]
    assert [best["bid"]["px"], best["bid"]["venue"]] == [book["bids"][0][0], book["bids"][0][2]]
    assert Decimal(best["bid"]["all_in_px"]) < Decimal(best["bid"]["px"])
    assert Decimal(best["ask"]["all_in_px"]) > Decimal(best["ask"]["px"])


def test_people_see_a_ladder(hean, town):
    told = hean("book", "BTC/USDT", "--venues-from", town)
    assert told.code == 0
    assert "BTC/USDT, all venues as one book" in told.out
    assert told.err == ""


def test_only_the_venues_that_are_named(hean, town):
    told = hean("book", "BTC/USDT", "--venues", "okx, kraken", "--venues-from", town, "--json")
    assert sorted(told.json()["venues"]) == ["kraken", "okx"]


def test_the_stream_rebuilds_into_the_view(hean, town):
    told = hean(
        *("book", "ETH/USDT", "--venues-from", town, "--watch", "--json"),
        *("--depth", "5", "--seconds", "1.5"),
    )
    assert told.code == 0
    messages = told.lines()
    assert messages[0]["type"] == "snapshot"
    assert len(messages) > 2
    follower = DepthFollower("ETH/USDT")
    for message in messages:
        assert follower.take(depth_message(message)) is Took.APPLIED
    assert len(follower.bids()) == len(follower.asks()) == 5
    assert follower.venues.keys() | follower.left_out.keys() <= set(VENUES)


def test_a_watch_without_a_terminal_writes_lines(hean, town):
    told = hean("book", "ETH/USDT", "--venues-from", town, "--watch", "--seconds", "2")
    assert told.code == 0
    assert all(line.startswith("bid ") for line in told.out.splitlines())
    assert len(told.out.splitlines()) > 2


def test_a_venue_that_is_away_is_named_beside_the_book(hean, town, nowhere, tmp_path):
    some = orjson.loads(town.read_bytes())["venues"]
    gone = orjson.loads(nowhere(bybit="closed").read_bytes())["venues"]
    path = tmp_path / "some.json"
    path.write_bytes(orjson.dumps({"venues": {"okx": some["okx"], **gone}}))
    told = hean("book", "BTC/USDT", "--venues-from", path, "--json")
    assert told.code == 0
    book = told.json()
    assert list(book["venues"]) == ["okx"]
    assert book["steps"] == {"bybit": "connect"}
    assert "refused" in book["left_out"]["bybit"].lower()
    assert "left out: bybit      connect: " in hean("book", "BTC/USDT", "--venues-from", path).out


AWAY = [  # what the venue does, the step that fails
    ("its name is not in the DNS", "venue.invalid", "dns"),
    ("nobody listens", "closed", "connect"),
    ("it takes the connection and says nothing", "silent", "instruments"),
]


@pytest.mark.parametrize(("where", "step"), [row[1:] for row in AWAY], ids=[row[0] for row in AWAY])
def test_where_nothing_can_be_reached_the_step_is_named(hean, nowhere, where, step):
    path = nowhere(okx=where, kraken=where)
    began = time.monotonic()
    told = hean("book", "BTC/USDT", "--venues-from", path, "--timeout", "4", "--json")
    assert time.monotonic() - began < 15
    assert told.code == 6
    error = told.json()["error"]
    assert {name: one["step"] for name, one in error["venues"].items()} == {
        "kraken": step,
        "okx": step,
    }
    assert error["fix"]
    assert told.err.count("error: ") == 1


@pytest.mark.parametrize("more", [("--watch",), ("--watch", "--json")])
def test_a_watch_of_nothing_ends_too(hean, nowhere, more):
    told = hean("book", "BTC/USDT", "--venues-from", nowhere(okx="closed"), *more)
    assert told.code == 6


def test_a_socket_that_stays_silent_is_found_out(hean, town, nowhere, tmp_path):
    """REST answers, the socket takes the connection and says nothing."""
    okx = orjson.loads(town.read_bytes())["venues"]["okx"]
    silent = orjson.loads(nowhere(okx="silent").read_bytes())["venues"]["okx"]["hosts"]["ws"]
    okx["hosts"]["ws"] = silent
    path = tmp_path / "half.json"
    path.write_bytes(orjson.dumps({"venues": {"okx": okx}}))
    told = hean("book", "BTC/USDT", "--venues-from", path, "--timeout", "1", "--json")
    assert told.code == 6
    assert told.json()["error"]["venues"]["okx"]["step"] == "connect"


BAD = [  # what is wrong, arguments, what the error says
    ("no symbol", (), "which symbol?"),
    ("a symbol that is none", ("BTCUSDT",), "not BASE/QUOTE"),
    ("a symbol that nobody lists", ("BTCC/USDT",), "did you mean BTC/USDT"),
    ("a venue that is not in the file", ("BTC/USDT", "--venues", "okxx"), 'did you mean "okx"'),
    ("--tops without a capture", ("BTC/USDT", "--tops"), "--tops needs --frames"),
]


@pytest.mark.parametrize(("args", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_requests_are_refused(refused, town, args, says):
    assert says in refused(2, "book", *args, "--venues-from", town)


FILES = [  # what is wrong with the file of venues, its text
    ("it is not there", None),
    ("it is empty", b""),
    ("it is no JSON", b"okx"),
    ("it is something else", b'{"symbol":"BTC/USDT"}'),
    ("a venue without hosts", b'{"venues":{"okx":{"env":"sim"}}}'),
]


@pytest.mark.parametrize("text", [row[1] for row in FILES], ids=[row[0] for row in FILES])
def test_a_bad_file_of_venues_is_refused(refused, tmp_path, text):
    path = tmp_path / "venues.json"
    if text is not None:
        path.write_bytes(text)
    assert str(path) in refused(2, "book", "BTC/USDT", "--venues-from", path)


def test_a_venue_without_a_socket_is_a_configuration_mistake(refused, tmp_path):
    path = tmp_path / "venues.json"
    path.write_bytes(b'{"venues":{"okx":{"env":"sim","hosts":{"rest":"http://127.0.0.1:1"}}}}')
    assert "has no 'ws' host" in refused(3, "book", "BTC/USDT", "--venues-from", path)


CONFIGS = [  # what is wrong, the file, its text, what the error says
    ("no TOML", "router.toml", "mode = ", "not valid TOML"),
    ("a key that is unknown", "router.toml", "[feedz]\n", 'did you mean "feeds"'),
    ("a value out of bounds", "router.toml", "[metrics]\nport = 70000\n", "metrics.port = 70000"),
    ("a venue that is unknown", "venues.toml", "[venues.okxx]\n", 'did you mean "okx"'),
    ("an environment that is unknown", "venues.toml", '[venues.okx]\nenv = "life"\n', '"live"'),
]


@pytest.mark.parametrize(
    ("name", "text", "says"), [row[1:] for row in CONFIGS], ids=[row[0] for row in CONFIGS]
)
@pytest.mark.parametrize(
    "command",
    [
        ("book", "BTC/USDT"),
        ("route", "BTC/USDT", "buy", "1"),
        ("record", "okx", "--out", "captures"),
    ],
)
def test_a_bad_configuration_ends_every_command(
    refused, tmp_path, monkeypatch, command, name, text, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    said = refused(3, *command, "--config", tmp_path)
    assert says in said
    assert str(tmp_path / name) in said
