"""A books file is right, or one sentence says what is wrong and how to mend it."""

import copy
import json

import pytest

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair
from hean_router.route import load_books, read_books

GOOD = {
    "symbol": "BTC/USDT",
    "venues": {
        "a": {
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
        }
    },
}


def changed(path, value):
    """The good file with one thing changed; `...` removes it."""
    values = copy.deepcopy(GOOD)
    *way, last = path
    at = values
    for key in way:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(values)


def test_the_issues_example_is_read_exactly():
    file = read_books(json.dumps(GOOD))
    (book,) = file.books
    of = book.instrument
    assert (str(file.pair), book.venue) == ("BTC/USDT", "a")
    assert (of.px_decimals, of.qty_decimals, of.tick, of.lot) == (2, 5, 1, 1)
    assert book.asks == ((10000, 96000), (10100, 100000))
    assert book.bids == ((9900, 100000),)
    assert file.balances["a"]["BTC"] == 5


def test_books_of_another_pair_are_refused():
    file = read_books(json.dumps(GOOD))
    file.expect(file.pair)
    with pytest.raises(CommandError, match="books of BTC/USDT, not of ETH/USDT"):
        file.expect(Pair.parse("ETH/USDT"))


def test_levels_may_stand_in_any_order():
    text = changed(("venues", "a", "asks"), [["101.00", "1"], ["100", "0.96"]])
    assert read_books(text).books[0].asks == ((10000, 96000), (10100, 100000))


def test_sizes_finer_than_the_lot_are_kept():
    text = changed(("venues", "a", "asks"), [["100", "0.1234567890123"]])
    assert read_books(text).books[0].instrument.lot == 10**8


def test_a_number_of_33_digits_is_exact():
    text = changed(("venues", "a", "bids"), [["99", "999999999999999.999999999999999999"]])
    assert read_books(text).books[0].bids == ((9900, 10**33 - 1),)


@pytest.mark.parametrize("key", sorted(GOOD["venues"]["a"]))
def test_every_field_is_needed(key):
    with pytest.raises(CommandError, match=f"a: '{key}' is missing") as error:
        read_books(changed(("venues", "a", key), ...))
    assert error.value.fix.startswith("add")


@pytest.mark.parametrize(
    ("path", "value", "what", "fix"),
    [
        (("symbol",), ..., "'symbol' is missing", "add"),
        (("symbol",), "BTCUSDT", "not BASE/QUOTE", "BTC/USDT"),
        (("symbol",), 5, "symbol is not text", "BTC/USDT"),
        (("venues",), ..., "'venues' is missing", "add"),
        (("venues",), {}, "no venues", "at least one"),
        (("venues",), [], "not an object", "braces"),
        (("venues", " "), {}, "without a name", "name"),
        (("venue",), {}, "unknown key 'venue'", "'venues'"),
        (("venues", "a", "taker_fees"), "0", "unknown key 'taker_fees'", "'taker_fee'"),
        (("venues", "a", "zzz"), "0", "unknown key 'zzz'", "known are"),
        (("venues", "a"), "x", "a is not an object", "braces"),
        (("venues", "a", "bids"), [["100.00", "1"]], "crossed", "exchanged"),  # locked is crossed
        (("venues", "a", "bids"), [["105", "1"]], "bid 105 is not below ask 100", "sides"),
        (("venues", "a", "bids"), None, "not a list", "price and quantity"),
        (("venues", "a", "bids"), [["99"]], r"bids\[0\] is not a pair", "price and quantity"),
        (("venues", "a", "bids"), [["99", "1", "2"]], "not a pair", "price and quantity"),
        (("venues", "a", "bids"), ["99"], "not a pair", "price and quantity"),
        (
            ("venues", "a", "bids"),
            [["99", "1"], ["99.0", "1"]],
            "price 99 stands there twice",
            "join",
        ),
        (("venues", "a", "bids"), [["0", "1"]], "price is zero", "more than zero"),
        (("venues", "a", "bids"), [["-1", "1"]], "price is negative", "plain decimal"),
        (("venues", "a", "bids"), [["99", "0"]], "quantity is zero", "more than zero"),
        (("venues", "a", "bids"), [["99", "1e30"]], "not a plain decimal", "plain decimal"),
        (("venues", "a", "bids"), [["99", "1" + "0" * 30]], "absurd", "15 digits"),
        (("venues", "a", "bids"), [["99", 1]], "bare number", "quotes"),
        (("venues", "a", "bids"), [["99", 0.1]], "bare number 0.1", "quotes"),
        (("venues", "a", "bids"), [["99", True]], "true or false", "quotes"),
        (
            ("venues", "a", "bids"),
            [["98.005", "1"]],
            "98.005 is not a multiple of its tick",
            "tick",
        ),
        (("venues", "a", "tick"), "0.3", "not a multiple of its tick 0.3", "tick"),
        (("venues", "a", "tick"), "0", "tick is zero", "more than zero"),
        (("venues", "a", "tick"), "0.000000000000000001", None, None),  # fine enough, and legal
        (("venues", "a", "lot"), "0", "lot is zero", "more than zero"),
        (("venues", "a", "lot"), "-0.1", "lot is negative", "plain decimal"),
        (("venues", "a", "taker_fee"), "0.7", "not a plausible fraction", "0.001"),
        (("venues", "a", "taker_fee"), "0,1", "not a plain decimal", "plain decimal"),
        (("venues", "a", "taker_fee"), "-0.0001", None, None),  # a rebate
        (("venues", "a", "taker_fee"), None, "null", "quotes"),
        (("venues", "a", "fee_in"), "coins", 'fee_in is "coins"', "quote, base or received"),
        (("venues", "a", "fee_in"), None, "fee_in is null", "quote, base or received"),
        (("venues", "a", "min_qty"), "-1", "min_qty is negative", "plain decimal"),
        (("venues", "a", "max_qty"), "0", "max_qty is zero", "more than zero"),
        (("venues", "a", "max_qty"), "0.1", None, None),
        (("venues", "a", "max_notional"), "9", "max_notional is below min_notional", "exchange"),
        (("venues", "a", "max_notional"), "90", None, None),
        (("venues", "a", "balances"), None, "balances is not an object", "braces"),
        (("venues", "a", "balances"), {"BTC": "x"}, "balance of BTC is not a plain", "quotes"),
        (("venues", "a", "balances"), {}, None, None),  # nothing there
        (("venues", "a", "asks"), [], None, None),  # an empty side is no mistake
    ],
)
def test_one_clear_error(path, value, what, fix):
    text = changed(path, value)
    if what is None:
        read_books(text, "file.json")
        return
    with pytest.raises(CommandError, match=what) as error:
        read_books(text, "file.json")
    assert fix in error.value.fix
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("NaN", "not an object"),
        ("[" * 100_000, "not JSON"),
        ('{"symbol": "A/B", "symbol": "A/B", "venues": {}}', "given twice"),
        ("1" * 10_000, "not "),  # a number longer than Python reads
    ],
)
def test_what_is_no_books_file(text, what):
    with pytest.raises(CommandError, match=what):
        read_books(text)


def test_a_maximum_below_the_minimum_quantity():
    values = copy.deepcopy(GOOD)
    values["venues"]["a"].update(min_qty="2", max_qty="1")
    with pytest.raises(CommandError, match="max_qty is below min_qty"):
        read_books(json.dumps(values))


def test_files(tmp_path):
    path = tmp_path / "books.json"
    with pytest.raises(CommandError, match="cannot read"):
        load_books(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="UTF-8"):
        load_books(path)
    with pytest.raises(CommandError, match="cannot read"):
        load_books(tmp_path)
    path.write_text(json.dumps(GOOD))
    assert len(load_books(path).books) == 1
