"""`hean route`: over a file, over simulated venues, and all that is not an order."""

from decimal import Decimal

import orjson
import pytest


def venue(**changes):
    return {
        "bids": [["99", "1"]],
        "asks": [["100.00", "0.96"], ["101.00", "1.0"]],
        "taker_fee": "0.001",
        "fee_in": "quote",
        "lot": "0.00001",
        "tick": "0.01",
        "min_qty": "0",
        "max_qty": None,
        "min_notional": "10",
        "balances": {"BTC": "5", "USDT": "1000000"},
    } | changes


@pytest.fixture
def books(tmp_path):
    def write(symbol="BTC/USDT", **venues):
        path = tmp_path / "books.json"
        path.write_bytes(orjson.dumps({"symbol": symbol, "venues": venues}))
        return path

    return write


def test_the_answer_to_the_last_digit(hean, books):
    path = books(a=venue(), b=venue(asks=[["100.50", "2"]], fee_in="base"))
    told = hean("route", "BTC/USDT", "buy", "1.5", "--books", path, "--json")
    assert told.code == 0
    answer = told.json()
    # By hand: 0.96 at 100.00 and 0.54 at 100.50 (all-in 100.1 and 100.6006…), fee of b in base.
    assert answer["children"] == [
        {
            "venue": "a",
            "qty": "0.96",
            "net_qty": "0.96",
            "limit_px": "100",
            "avg_px": "100",
            "notional": "96",
            "fee": "0.096",
            "fee_asset": "USDT",
        },
        {
            "venue": "b",
            "qty": "0.54",
            "net_qty": "0.53946",
            "limit_px": "100.5",
            "avg_px": "100.5",
            "notional": "54.27",
            "fee": "0.00054",
            "fee_asset": "BTC",
        },
    ]
    assert {name: answer[name] for name in ("symbol", "side", "requested", "allocated")} == {
        "symbol": "BTC/USDT",
        "side": "buy",
        "requested": "1.5",
        "allocated": "1.5",
    }
    assert (answer["unallocated"], answer["unallocated_reason"]) == ("0", None)
    assert (answer["notional"], answer["all_in_cost"]) == ("150.27", "150.366")
    assert Decimal(answer["avg_all_in_px"]) == pytest.approx(
        Decimal("150.366") / Decimal("1.49946")
    )
    assert set(answer["best_single"]) == {"venue", "allocated", "all_in_cost"}
    assert Decimal(answer["saved_quote"]) > 0
    assert set(answer["venues"]) == {"a", "b"}


def test_a_sale_gives_proceeds(hean, books):
    answer = hean("route", "BTC/USDT", "sell", "1", "--books", books(a=venue()), "--json").json()
    assert answer["all_in_proceeds"] == "98.901"
    assert "all_in_cost" not in answer
    assert answer["best_single"] == {"venue": "a", "allocated": "1", "all_in_proceeds": "98.901"}


PARTS = [  # why not all of it, what is ordered, changes to the venue, allocated
    ("the book ends", "3", {}, "1.96"),
    ("the limit is met", "1.5", {"limit": "100"}, "0.96"),
    ("the money ends", "1.5", {"balances": {"USDT": "50.05"}}, "0.5"),
    ("the least order is larger", "0.5", {"min_qty": "1"}, "0"),
    ("the order is worth too little", "0.05", {}, "0"),
    ("finer than any lot", "0.000001", {}, "0"),
    ("nobody sells", "1", {"asks": []}, "0"),
    ("the only venue is excluded", "1", {"exclude": "a"}, "0"),
]


@pytest.mark.parametrize(
    ("qty", "given", "allocated"), [row[1:] for row in PARTS], ids=[row[0] for row in PARTS]
)
def test_what_finds_no_place_is_an_answer_with_a_reason(hean, books, qty, given, allocated):
    given = dict(given)
    more = [f"--{name}={given.pop(name)}" for name in ("limit", "exclude") if name in given]
    told = hean(
        "route", "BTC/USDT", "buy", qty, *more, "--books", books(a=venue(**given)), "--json"
    )
    assert told.code == 0
    answer = told.json()
    assert answer["allocated"] == allocated
    assert Decimal(answer["allocated"]) + Decimal(answer["unallocated"]) == Decimal(qty)
    assert answer["unallocated_reason"]
    assert answer["venues"]["a"]
    assert bool(answer["children"]) == (allocated != "0")


def test_people_see_the_split_and_why(hean, books):
    told = hean("route", "BTC/USDT", "buy", "1.5", "--books", books(a=venue(), b=venue()))
    assert told.code == 0
    assert "allocated   1.5 BTC" in told.out
    assert "saved" in told.out
    none = hean("route", "BTC/USDT", "buy", "1", "--books", books(a=venue(asks=[])))
    assert none.code == 0
    assert "unallocated 1 BTC: " in none.out


QUANTITIES = ["0", "0.0", "-1", "-0.5", "1e30", "1e3", "NaN", "inf", "0.000000000000001"]
QUANTITIES += ["9" * 30, "abc", "", "1,5", "+1", "0x10", "٣", " 1"]


@pytest.mark.parametrize("qty", QUANTITIES)
def test_a_quantity_that_is_none_is_refused(refused, books, qty):
    said = refused(2, "route", "BTC/USDT", "buy", qty, "--books", books(a=venue()))
    assert "quantity" in said


BAD = [  # what is wrong, arguments, what the error says
    ("a side that is none", ("BTC/USDT", "bye", "1"), "neither buy nor sell"),
    ("a symbol that is none", ("BTC", "buy", "1"), "not BASE/QUOTE"),
    ("a limit of nothing", ("BTC/USDT", "buy", "1", "--limit", "0"), "limit is zero"),
    ("a limit that is no number", ("BTC/USDT", "buy", "1", "--limit", "x"), "limit"),
    ("--all-in alone", ("BTC/USDT", "buy", "1", "--all-in"), "--all-in needs --limit"),
    ("books of another pair", ("ETH/USDT", "buy", "1"), "not of ETH/USDT"),
    ("a venue that is not in it", ("BTC/USDT", "buy", "1", "--venues", "b"), "no venue 'b'"),
    ("an exclusion of nobody", ("BTC/USDT", "buy", "1", "--exclude", "b"), "no venue 'b'"),
    (
        "one both wanted and not",
        ("BTC/USDT", "buy", "1", "--venues", "a", "--exclude", "a"),
        "both",
    ),
]


@pytest.mark.parametrize(("args", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_orders_are_refused(refused, books, args, says):
    assert says in refused(2, "route", *args, "--books", books(a=venue()))


FILES = [  # what is wrong with the file, what is changed, what the error says
    ("a field is missing", lambda entry: entry.pop("lot"), "'lot' is missing"),
    ("its book is crossed", lambda entry: entry.update(bids=[["100.5", "1"]]), "crossed"),
    ("a bare number", lambda entry: entry.update(tick=0.01), "not decimal text"),
    ("a price off the tick", lambda entry: entry.update(asks=[["100.001", "1"]]), "tick"),
    ("a key that is unknown", lambda entry: entry.update(fee="0"), "unknown key"),
]


@pytest.mark.parametrize(
    ("change", "says"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_a_bad_books_file_is_refused(refused, books, change, says):
    entry = venue()
    change(entry)
    assert says in refused(2, "route", "BTC/USDT", "buy", "1", "--books", books(a=entry))


@pytest.mark.parametrize("text", [None, b"", b"{", b"[]", b'{"symbol":"BTC/USDT","venues":{}}'])
def test_no_books_file_at_all_is_refused(refused, tmp_path, text):
    path = tmp_path / "books.json"
    if text is not None:
        path.write_bytes(text)
    assert str(path) in refused(2, "route", "BTC/USDT", "buy", "1", "--books", path)


# ------------------------------------------------------------------ over live books


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_large_order_is_split_over_simulated_venues(hean, town, side):
    told = hean("route", "BTC/USDT", side, "5", "--venues-from", town, "--json")
    assert told.code == 0
    answer = told.json()
    assert answer["allocated"] == "5"
    assert sum(Decimal(child["qty"]) for child in answer["children"]) == 5
    assert len(answer["children"]) > 1
    assert sorted(answer["venues"]) == ["binance", "bybit", "kraken", "okx"]
    if answer["saved_quote"] is not None:
        assert Decimal(answer["saved_quote"]) >= 0, "worse than one venue alone"


def test_live_venues_can_be_left_out(hean, town):
    told = hean(
        *("route", "BTC/USDT", "buy", "0.5", "--exclude", "kraken,okx"),
        *("--venues-from", town, "--json"),
    )
    answer = told.json()
    assert {child["venue"] for child in answer["children"]} <= {"binance", "bybit"}
    assert answer["venues"]["kraken"] == answer["venues"]["okx"] == "excluded"


def test_a_venue_that_is_away_gets_nothing_and_is_told_why(hean, town, nowhere, tmp_path):
    okx = orjson.loads(town.read_bytes())["venues"]["okx"]
    gone = orjson.loads(nowhere(bybit="closed").read_bytes())["venues"]
    path = tmp_path / "some.json"
    path.write_bytes(orjson.dumps({"venues": {"okx": okx, **gone}}))
    answer = hean("route", "BTC/USDT", "buy", "0.1", "--venues-from", path, "--json").json()
    assert [child["venue"] for child in answer["children"]] == ["okx"]
    assert answer["venues"]["bybit"].startswith("connect: ")


def test_without_any_venue_there_is_no_plan(hean, town, nowhere, refused):
    away = nowhere(okx="closed")
    told = hean("route", "BTC/USDT", "buy", "1", "--venues-from", away, "--json")
    assert told.code == 6
    assert told.json()["error"]["venues"]["okx"]["step"] == "connect"
    everyone = "binance,bybit,kraken,okx"
    args = ("route", "BTC/USDT", "buy", "1", "--exclude", everyone, "--venues-from", town)
    assert "every venue is excluded" in refused(2, *args)
