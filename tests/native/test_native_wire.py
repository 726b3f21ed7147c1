"""Levels and digests, both twins: the same numbers, or both say what is wrong."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.book import compiled, wire
from hean_router.book.ladder import Ladder
from hean_router.domain.instrument import Digits, Instrument, Pair, VenueId
from hean_router.domain.scale import TooFine
from tests.native.twins import WIRES, compiled_ladder, core, needs_native


def instrument(px_decimals=2, qty_decimals=3, contract_size="1"):
    return Instrument(
        venue=VenueId("x"), pair=Pair("A", "B"), symbol="AB",
        px_decimals=px_decimals, qty_decimals=qty_decimals, contract_size=Decimal(contract_size),
    )  # fmt: skip


def read(twin, raw, of, kind="levels"):
    """A side of a book as a codec of that twin reads it; an error by its kind."""
    shape = twin.Pairs if kind == "levels" else twin.Rows
    message = msgspec.defstruct("Message", [("side", shape, twin.UNTOLD)])
    try:
        side = msgspec.json.decode(b'{"side":%s}' % raw, type=message).side
        return list(getattr(twin, kind)(side, of))
    except TooFine:
        return "too fine"
    except (ValueError, msgspec.MsgspecError):
        return "wrong"


TEXTS = [  # px 2 decimals, quantity 3
    (b'[["1.5","2"],["0.25","0.000"]]', [(150, 2000), (25, 0)], "plain"),
    (b' [ [ "1.5" ,\n"2" ] ,\t["0.25","0"]\r] ', [(150, 2000), (25, 0)], "blanks between"),
    (b"[]", [], "nothing"),
    (b'[["65114.20000000","0.00100000"]]', [(6511420, 1)], "zeros behind, as Binance writes"),
    (b'[["007","02.5"]]', [(700, 2500)], "zeros in front"),
    (b'[["1.234","1"]]', "too fine", "price"),
    (b'[["1","1.2345"]]', "too fine", "quantity"),
    (b'[["1e5","1"]]', "wrong", "exponent"),
    (b'[["-1","1"]]', "wrong", "sign"),
    (b'[["+1","1"]]', "wrong", "sign"),
    (b'[[" 1","1"]]', "wrong", "a blank inside"),
    (b'[[".5","1"]]', "wrong", "no digit before the dot"),
    (b'[["5.","1"]]', "wrong", "none behind it"),
    (b'[["","1"]]', "wrong", "nothing"),
    ('[["٣","1"]]'.encode(), "wrong", "a digit of another alphabet"),
    (b'[["\\u0031","2"]]', [(100, 2000)], "an escape, which is a 1 all the same"),
    (b'[[1.5,"2"]]', "wrong", "not a text"),
    (b'[["1.5"]]', "wrong", "no quantity"),
    (b"null", "wrong", "no side"),
    (b'{"1":"2"}', "wrong", "another shape"),
    (b'[["1","2"],null]', "wrong", "a level that is none"),
    (b'[["1234567890123456789012345.25","1"]]', [(123456789012345678901234525, 1000)], "long"),
]


@pytest.mark.parametrize("twin", WIRES)
@pytest.mark.parametrize(("raw", "expected", "why"), TEXTS, ids=[why for *_, why in TEXTS])
@pytest.mark.parametrize("kind", ["levels", "rows"])
def test_a_side_is_read_or_refused(twin, raw, expected, why, kind):
    assert read(twin, raw, instrument(), kind) == expected


@pytest.mark.parametrize("twin", WIRES)
def test_only_rows_go_on(twin):
    raw = b'[["1.5","2","0","7"],["0.25","0",null,{"a":[]}]]'
    assert read(twin, raw, instrument(), "levels") == "wrong"
    assert read(twin, raw, instrument(), "rows") == [(150, 2000), (25, 0)]


@pytest.mark.parametrize("twin", WIRES)
@pytest.mark.parametrize(("size", "expected"), [
    ("1", [(100, 2000)]), ("0.1", [(100, 200)]), ("10", [(100, 20_000)]), ("25", [(100, 50_000)]),
])  # fmt: skip
def test_contracts_are_multiplied_out(twin, size, expected):
    assert read(twin, b'[["1","2"]]', instrument(contract_size=size)) == expected


@pytest.mark.parametrize("twin", WIRES)
def test_lists_of_texts_are_read_too(twin):
    of = instrument()
    assert list(twin.levels([["1.5", "2"], ("0.25", "0", "rest")], of)) == [(150, 2000), (25, 0)]
    with pytest.raises(TooFine):
        twin.levels([("1.555", "2")], of)


@needs_native
def test_what_no_ladder_could_hold_is_refused_when_it_is_read():
    of = instrument(px_decimals=18)
    raw = b'[["%s","1"]]' % (b"9" * 21)
    assert isinstance(read(wire, raw, of), list)
    assert read(compiled, raw, of) == "wrong"
    with pytest.raises(ValueError, match="127 bits"):
        compiled.levels([("9" * 60, "1")], of)


numbers = st.from_regex(r"[0-9]{1,22}(\.[0-9]{1,10})?", fullmatch=True)
odd = st.text("0123456789.-+eE \\u", max_size=8)
texts = st.one_of(numbers, numbers, odd)
rows = st.lists(st.lists(texts, min_size=1, max_size=4), max_size=5)
blanks = st.sampled_from(["", "", " ", "\n", "\t "])


@needs_native
@given(rows, st.integers(0, 12), st.integers(0, 12), st.sampled_from(["levels", "rows"]), blanks)
def test_both_read_the_same_or_nothing(rows, px_decimals, qty_decimals, kind, blank):
    of = [instrument(px_decimals, qty_decimals) for _ in range(2)]
    text = msgspec.json.format(msgspec.json.encode(rows), indent=len(blank))
    raw = text.replace(b",", blank.encode() + b",")
    assert read(compiled, raw, of[0], kind) == read(wire, raw, of[1], kind)


@needs_native
@given(st.binary(max_size=40))
def test_bytes_that_are_no_book_do_no_harm(raw):
    found = core.read(raw, 2, 3, 1, True, False)
    assert found is None or list(found) == read(wire, raw, instrument(), "rows")


@needs_native
def test_who_wants_to_see_every_text_is_shown_it():
    class Heard(Digits):
        pass

    of = instrument()
    object.__setattr__(of, "px_of", Heard(2))
    assert read(compiled, b'[["1.5","2"]]', of) == [(150, 2000)]
    assert dict(of.px_of) == {"1.5": 150}


@needs_native
def test_needless_zeros_in_rows_are_remembered_and_plain_texts_are_not():
    of = instrument()
    assert read(compiled, b'[["1.5","2"]]', of, "rows") == [(150, 2000)]
    assert (dict(of.px_of), dict(of.qty_of)) == ({}, {})
    assert read(compiled, b'[["1.50","2"]]', of, "rows") == [(150, 2000)]
    assert (dict(of.px_of), dict(of.qty_of)) == ({"1.50": 150}, {"2": 2000})


# ---------------------------------------------------------------------------------- digests

sides = st.lists(
    st.tuples(st.integers(1, 10**24), st.integers(1, 10**24)), max_size=8, unique_by=lambda x: x[0]
)


def pair_of(bids, asks):
    for make in (Ladder, compiled_ladder):
        ladders = make(bids=True), make(bids=False)
        for ladder, levels in zip(ladders, (bids, asks), strict=True):
            ladder.replace(levels)
        yield ladders


@needs_native
@given(sides, sides, st.integers(0, 9), st.integers(0, 20), st.sampled_from(["1", "0.01", "100"]))
def test_both_spell_a_book_alike(bids, asks, depth, decimals, size):
    of = instrument(decimals, max(decimals, 2), size)
    factor = of.qty_of.factor
    asks, bids = ([(px, qty * factor) for px, qty in side] for side in (asks, bids))
    spec, twin = pair_of(bids, asks)
    assert compiled.spelled(*twin, depth, of) == wire.spelled(*spec, depth, of)
    for ladder, other in zip(twin, spec, strict=True):
        assert compiled.digits(ladder, depth) == wire.digits(other, depth)


def test_the_specification_spells_as_the_venues_write():
    spec, _ = (Ladder(bids=True), Ladder(bids=False)), None
    spec[0].replace([(33661, 7), (33662, 700)])
    spec[1].replace([(33663, 8), (33664, 90), (33665, 1)])
    of = instrument(1, 2)
    assert wire.spelled(*spec, 25, of) == b"3366.2:7:3366.3:0.08:3366.1:0.07:3366.4:0.9:3366.5:0.01"
    assert wire.digits(spec[1], 2) == b"3366383366490"
