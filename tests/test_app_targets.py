"""Which venues are used: out of the settings, the command line, or a file of `hean sim`."""

from decimal import Decimal

import pytest

from hean_router.app import Target, targets
from hean_router.config import Settings, VenueSettings
from hean_router.domain.errors import CommandError
from hean_router.domain.venue import FeeIn

WHOLE = '{"venues":{"okx":{"env":"sim","hosts":{"rest":"http://h:1","ws":"ws://h:1"}}}}'


def names(chosen):
    return [target.venue for target in chosen]


def test_all_configured_venues_by_name():
    assert names(targets(Settings())) == ["binance", "bybit", "kraken", "okx"]
    okx = targets(Settings())[-1]
    assert okx.env == "live"
    assert okx.hosts["rest"] == "https://openapi.okx.com"


def test_settings_reach_the_target():
    okx = VenueSettings(
        env="demo", hosts={"ws": "wss://other"}, taker_fee=Decimal("0.0002"), fee_in=FeeIn.QUOTE
    )
    (target,) = targets(Settings(venues={"okx": okx}))
    assert target == Target(
        "okx",
        "demo",
        {"rest": "https://openapi.okx.com", "ws": "wss://other"},
        Decimal("0.0002"),
        FeeIn.QUOTE,
    )


def test_a_venue_that_is_off_is_used_when_it_is_named_and_as_it_is_configured():
    """It once went to the live venue instead of the demo that was configured."""
    off = Settings(
        venues={"okx": VenueSettings(enabled=False, env="demo"), "kraken": VenueSettings()}
    )
    assert names(targets(off)) == ["kraken"]
    (okx,) = targets(off, ["okx"])
    assert okx.env == "demo"


def test_venues_are_picked_once_each_and_in_order():
    assert names(targets(Settings(), ["okx", "binance", "okx"])) == ["binance", "okx"]
    only = Settings(venues={"okx": VenueSettings()})
    assert names(targets(only, ["kraken"])) == ["kraken"], "one we speak needs no configuration"
    assert names(targets(only, ["ccxt:kucoin"])) == ["ccxt:kucoin"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("okxx", "unknown venue 'okxx'; did you mean \"okx\"?"),
        ("OKX", "unknown venue 'OKX'; did you mean \"okx\"?"),
        ("", "unknown venue ''"),
        ("nowhere", "unknown venue 'nowhere'"),
    ],
)
def test_an_unknown_venue_is_told_with_the_nearest(asked, said):
    with pytest.raises(CommandError) as caught:
        targets(Settings(), [asked])
    assert str(caught.value).startswith(said)
    assert "binance, bybit, kraken, okx" in caught.value.fix


def test_no_venue_at_all_is_a_mistake():
    with pytest.raises(CommandError, match="names no venue to use"):
        targets(Settings(venues={"okx": VenueSettings(enabled=False)}))
    with pytest.raises(CommandError, match="names no venue to use"):
        targets(Settings(venues={}))


# ------------------------------------------------------------------ a file of `hean sim`


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "venues.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE + '\n{"more":1}\nlog line\n',  # what follows the first line is not ours
        WHOLE.replace(":{", ":\n {"),  # laid out by somebody
        "  " + WHOLE + "\n",
    ],
)
def test_the_first_line_of_the_simulators(file, text):
    (okx,) = targets(Settings(), venues_from=file(text))
    assert okx == Target("okx", "sim", {"rest": "http://h:1", "ws": "ws://h:1"})


def test_ccxt_may_speak_to_the_same_place(file):
    (okx,) = targets(Settings(), ["ccxt:okx"], file(WHOLE))
    assert okx == Target("ccxt:okx", "sim", {"rest": "http://h:1", "ws": "ws://h:1"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'not {"venues":'),
        ("\n\n", 'not {"venues":'),
        ("{", 'not {"venues":'),
        (b"\xff\xfe", 'not {"venues":'),
        ("[]", "(TypeError"),
        ("null", "(TypeError"),
        ("3", "(TypeError"),
        ('"venues"', "(TypeError"),
        ("{}", "(KeyError"),
        ('{"venues":[]}', "(AttributeError"),
        ('{"venues":null}', "(AttributeError"),
        ('{"venues":{"okx":null}}', "(TypeError"),
        ('{"venues":{"okx":[]}}', "(TypeError"),
        ('{"venues":{"okx":{}}}', "(KeyError"),
        ('{"venues":{"okx":{"env":"sim"}}}', "(KeyError"),
        ('{"venues":{"okx":{"env":"sim","hosts":[]}}}', "(AttributeError"),
        ('{"venues":{"okx":{"env":"sim","hosts":{"rest":null}}}}', "hosts.rest = 'None'"),
        ('{"venues":{"okx":{"env":"sim","hosts":{"rest":"x"}}}}', "hosts.rest = 'x' is not a http"),
        ('{"venues":{"okx":{"env":"sim","hosts":{"ws":"http://x"}}}}', "hosts.ws = 'http://x'"),
        ('{"venues":{}}', "names no venue to use"),
        (WHOLE[:-1], 'not {"venues":'),
        ("[" * 100_000, 'not {"venues":'),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(file, text, said):
    path = file(text)
    with pytest.raises(CommandError) as caught:
        targets(Settings(), venues_from=path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.fix


def test_a_file_that_cannot_be_read(tmp_path):
    for path, why in ((tmp_path / "gone", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(CommandError, match=f"cannot be read: {why}"):
            targets(Settings(), venues_from=path)


def test_a_venue_that_the_file_does_not_have(file):
    with pytest.raises(CommandError) as caught:
        targets(Settings(), ["okxx"], file(WHOLE))
    assert 'did you mean "okx"?' in str(caught.value)
    assert f"in {file(WHOLE)}: okx" in caught.value.fix
