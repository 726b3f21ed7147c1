"""Settings: every mistake is told with file, key, value, what is allowed and what was meant."""

import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from hean_router import config
from hean_router.config import Settings, load
from hean_router.domain.errors import ConfigError
from hean_router.domain.limits import Bounds, RiskLimits
from hean_router.domain.venue import FeeIn

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    """No variable of ours, and a working directory without a configuration."""
    for name in os.environ:
        if name.upper().startswith("HEAN_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    def write(router=None, venues=None, limits=None):
        home = tmp_path / "settings"
        home.mkdir(exist_ok=True)
        if router is not None:
            (home / "router.toml").write_text(router)
        if venues is not None:
            (home / "venues.toml").write_text(venues)
        if limits is not None:
            (home / "limits.toml").write_text(limits)
        return home

    return write


def refused(home):
    with pytest.raises(ConfigError) as caught:
        load(home)
    said, fix = str(caught.value), caught.value.fix
    assert "\n" not in said + fix, "one line each"
    assert fix, "it says how to mend it"
    return said, fix


# file, its text, what the error must say after the file's name, what the fix must say
MISTAKES = [
    ("router", 'mod = "paper"', "unknown key mod", 'did you mean "mode"?'),
    (
        "router",
        'mode = "papr"',
        "mode = \"papr\": input should be 'paper'",
        'did you mean "paper"?',
    ),
    ("router", 'mode = "real"', "mode = \"real\": input should be 'paper' or 'live'", ""),
    ("router", "feeds = 3", "feeds = 3: input should be a section", ""),
    ("router", "[feeds]\nsymbol = []", "unknown key feeds.symbol", 'did you mean "symbols"?'),
    ("router", "[feeds]\nsymbols = []", "feeds.symbols = []: input should not be empty", "ccxt"),
    ("router", '[feeds]\nsymbols = "A/B"', 'feeds.symbols = "A/B": input should be a list', "ccxt"),
    ("router", '[feeds]\nsymbols = ["BTCUSDT"]', "symbol 'BTCUSDT' is not BASE/QUOTE", "ccxt"),
    ("router", "[feeds]\nsymbols = [3]", "feeds.symbols.0 = 3: input should be a valid string", ""),
    ("router", "[feeds.freshness]\nstale_s = 0", "feeds.freshness.stale_s = 0", "above 0, at most"),
    ("router", "[feeds.freshness]\nstale_s = -1", "feeds.freshness.stale_s = -1", "above 0"),
    (
        "router",
        "[feeds.freshness]\nstale_s = 3601",
        "feeds.freshness.stale_s = 3601",
        "at most 3600",
    ),
    ("router", "[feeds.freshness]\nstale_s = nan", "feeds.freshness.stale_s = nan", "above 0"),
    ("router", "[feeds.freshness]\nstale_s = inf", "feeds.freshness.stale_s = inf", "at most 3600"),
    ("router", '[feeds.freshness]\nstale_s = "x"', 'stale_s = "x": input should be a valid nu', ""),
    ("router", "[feeds.freshness]\nstale_s = true", "stale_s = true: input should not be true", ""),
    ("router", "[feeds.freshness]\nstal_s = 5", "unknown key feeds.freshness.stal_s", "stale_s"),
    (
        "router",
        "[feeds.freshness]\ndoubt_min_s = 31",
        'feeds.freshness = {"doubt_min_s":31}: doubt_min_s (31) is above doubt_max_s (30)',
        "",
    ),
    ("router", "[metrics]\nport = 65536", "metrics.port = 65536", "at least 0, at most 65535"),
    ("router", "[metrics]\nport = -1", "metrics.port = -1", "at least 0, at most 65535"),
    ("router", "[metrics]\nport = true", "metrics.port = true", "0 = any free port"),
    ("router", "[metrics]\nport = 1.5", "metrics.port = 1.5", "0 = any free port"),
    ("router", '[metrics]\nhost = ""', 'metrics.host = "": input should not be empty', ""),
    # Names that pydantic-settings would take for orders to itself.
    ("router", '_env_prefix = "X_"', "unknown key _env_prefix", "allowed here: accounts, api"),
    ("router", "_cli_parse_args = true", "unknown key _cli_parse_args", "allowed here"),
    ("router", "self = 1", "unknown key self", "allowed here"),
    ("router", "x = [", "not valid TOML", "mend that line"),
    ("router", "[feeds]\n[feeds]", "not valid TOML: Cannot declare ('feeds',) twice", ""),
    ("router", "[metrics]\nport = 1\nport = 2", "not valid TOML: Cannot overwrite a value", ""),
    ("venues", "venues = 3", "venues = 3: input should be a section", ""),
    ("venues", "[venues]\nokx = 3", "venues.okx = 3: input should be a section", ""),
    (
        "venues",
        "[venues.okxx]",
        "venues.okxx: unknown venue 'okxx'; did you mean \"okx\"?",
        "ccxt:",
    ),
    ("venues", '[venues.okx]\nenb = "x"', "unknown key venues.okx.enb", 'did you mean "env"?'),
    ("venues", '[venues.okx]\nenv = "dmeo"', "venues.okx.env = 'dmeo'", 'did you mean "demo"?'),
    ("venues", '[venues.okx]\nenv = ""', "venues.okx.env = ''", "allowed: demo, eea, live, us"),
    ("venues", '[venues.okx]\nenabled = "si"', 'venues.okx.enabled = "si"', ""),
    ("venues", "[venues.okx]\ntaker_fee = 1", "venues.okx.taker_fee = 1", "above -1, below 1"),
    ("venues", "[venues.okx]\ntaker_fee = true", "taker_fee = true", "our tier"),
    ("venues", '[venues.okx]\ntaker_fee = "NaN"', "taker_fee", "our tier"),
    ("venues", '[venues.okx]\ntaker_fee = "0,1"', 'taker_fee = "0,1"', "our tier"),
    ("venues", '[venues.okx]\nfee_in = "qoute"', "'quote', 'base' or 'received'", 'mean "quote"?'),
    ("venues", "[venues.okx]\ndead_man_s = 9", "dead_man_s = 9: not a time", "10 to 120 seconds"),
    (
        "venues",
        "[venues.okx]\ndead_man_s = 121",
        "dead_man_s = 121: not a",
        "carry this router's tag",
    ),
    ("venues", "[venues.okx]\ndead_man_s = -1", "dead_man_s = -1", "0 = off; at least 0"),
    ("venues", "[venues.okx]\ndead_man_s = 10.5", "dead_man_s = 10.5", "0 = off"),
    ("venues", "[venues.kraken]\ndead_man_s = 44", "dead_man_s = 44: not a", "45 to 86399"),
    ("venues", "[venues.kraken]\ndead_man_s = 86400", "not a time", "every order of the account"),
    (
        "venues",
        "[venues.binance]\ndead_man_s = 60",
        "Binance has none on spot",
        "take the key away",
    ),
    ("venues", "[venues.bybit]\ndead_man_s = 60", "institutional accounts", "take the key away"),
    ("venues", '[venues."ccxt:kucoin"]\ndead_man_s = 60', "only looked at", "take the key away"),
    ("venues", "[venues.okx.hosts]\nrest = 3", "venues.okx.hosts.rest = 3", ""),
    ("venues", '[venues.okx.hosts]\nresst = "http://x"', "hosts.resst", 'did you mean "rest"?'),
    ("venues", '[venues.okx.hosts]\nrest = "ftp://x"', "hosts.rest = 'ftp://x' is not a http", ""),
    ("venues", '[venues.okx.hosts]\nrest = "wss://x"', "hosts.rest = 'wss://x' is not a http", ""),
    ("venues", '[venues.okx.hosts]\nws = "https://x"', "hosts.ws = 'https://x' is not a ws", ""),
    ("venues", '[venues.okx.hosts]\nws = "ws://x:0"', "hosts.ws = 'ws://x:0' is not a ws", ""),
    ("venues", '[venues.okx.hosts]\nws = "ws://x:99999"', "is not a ws(s):// URL", ""),
    ("venues", '[venues.okx.hosts]\nws = "ws://[x"', "is not a ws(s):// URL", ""),
    ("venues", '[venues.okx.hosts]\nws = "ws://"', "hosts.ws = 'ws://' is not a ws", ""),
    ("venues", '[venues.okx.hosts]\nrest = "http://x?y=1"', "is not a http(s):// URL", ""),
    ("venues", '[venues.okx.hosts]\nrest = "http://x y"', "is not a http(s):// URL", ""),
    ("limits", "limits = 3", "limits = 3: input should be a section", ""),
    ("limits", "[limits]\ncolar_bps = 5", "unknown key limits.colar_bps", 'mean "collar_bps"?'),
    ("limits", "[limits]\ncollar_bps = 0", "limits.collar_bps = 0", "above 0, below 10000"),
    ("limits", "[limits]\ncollar_bps = 10000", "limits.collar_bps = 10000", "below 10000"),
    ("limits", "[limits]\ncollar_bps = nan", "limits.collar_bps = nan", "1/100 of a percent"),
    ("limits", '[limits]\ngross_max = "of"', 'limits.gross_max = "of"', '"off"'),
    ("limits", "[limits]\ngross_max = inf", "limits.gross_max = inf", "money in limits.reporting"),
    ("limits", "[limits]\ngross_max = -1", "limits.gross_max = -1", "at least 0"),
    ("limits", "[limits]\ngross_max = true", "gross_max = true: input should not be true", ""),
    ("limits", "[limits]\nopen_orders_max = 1.5", "limits.open_orders_max = 1.5", "a count"),
    ("limits", "[limits]\nstale_ms = 0", "limits.stale_ms = 0", "above 0"),
    ("limits", "[limits]\nduplicate_window_ms = -1", "duplicate_window_ms = -1", "at least 0"),
    ("limits", '[limits]\nreporting = "usd"', 'limits.reporting = "usd"', "a currency"),
    ("limits", '[limits]\nrate_stale_ms = "off"', 'limits.rate_stale_ms = "off"', "above 0"),
    (
        "limits",
        "[limits.each_acount]",
        "unknown key limits.each_acount",
        'did you mean "each_account"?',
    ),
    (
        "limits",
        "[limits.each_venue]\nposition_max = 5",  # a position is all venues'
        "unknown key limits.each_venue.position_max",
        "gross_max, net_max, open_orders_max",
    ),
    (
        "limits",
        "[limits.account.main]\ndaily_los_max = 5",
        "unknown key limits.account.main.daily_los_max",
        'did you mean "daily_loss_max"?',
    ),
    (
        "limits",
        "[limits.account.main]\ndaily_loss_max = -5",
        "limits.account.main.daily_loss_max = -5",
        "at least 0",
    ),
    ("limits", "[limits.venue.okxx]", "limits.venue.okxx: unknown venue 'okxx'; did you mean", ""),
    ("limits", "[limits.symbol.BTCUSDT]", "limits.symbol = ", "correct the value"),
    ("limits", '[limits.symbol]\n"a/b" = {}\n"A/B" = {}', "the same symbol is there twice", ""),
]


@pytest.mark.parametrize(("file", "text", "said", "fix"), MISTAKES)
def test_a_mistake_in_a_file_is_told(folder, file, text, said, fix):
    home = folder(**{file: text})
    what, how = refused(home)
    assert what.startswith(f"{home / file}.toml: "), what
    assert said in what
    assert fix in how


# variable, its value, what the error must say, what the fix must say
BAD_VARIABLES = [
    ("HEAN_MODE", "real", "HEAN_MODE: mode = \"real\": input should be 'paper' or 'live'", ""),
    ("HEAN_METRICS__PORT", "x", 'HEAN_METRICS__PORT: metrics.port = "x"', "0 = any free port"),
    ("hean_metrics__port", "x", 'hean_metrics__port: metrics.port = "x"', "at most 65535"),
    ("HEAN_FEEDS__FRESHNESS__STALE_S", "-1", "HEAN_FEEDS__FRESHNESS__STALE_S: feeds.fr", "above 0"),
    ("HEAN_FEEDS__FRESHNESS__STAL_S", "1", "HEAN_FEEDS__FRESHNESS__STAL_S: unknown key", "stale_s"),
    ("HEAN_FEEDS__SYMBOLZ", "[]", "HEAN_FEEDS__SYMBOLZ: unknown key feeds.symbolz", '"symbols"?'),
    ("HEAN_LIMITS__COLLAR_BPS", "x", 'HEAN_LIMITS__COLLAR_BPS: limits.collar_bps = "x"', "percent"),
    (
        "HEAN_LIMITS__GROS_MAX",
        "1",
        "HEAN_LIMITS__GROS_MAX: unknown key limits.gros_max",
        '"gross_m',
    ),
    (
        "HEAN_LIMITS__ACCOUNT__MAIN__NET_MAX",
        "-1",
        "HEAN_LIMITS__ACCOUNT__MAIN__NET_MAX: limits.account.main.net_max",
        "at least 0",
    ),
    # Pydantic would pass over it in silence.
    ("HEAN_FEED__SYMBOLS", '["A/B"]', "HEAN_FEED__SYMBOLS: unknown key feed", 'mean "feeds"?'),
    ("HEAN_FEEDS__SYMBOLS", "BTC/USDT", "feeds.symbols = 'BTC/USDT': not JSON", '["BTC/USDT"]'),
    ("HEAN_FEEDS__SYMBOLS", '["BTC"]', 'HEAN_FEEDS__SYMBOLS: feeds.symbols = ["BTC"]', "ccxt"),
    ("HEAN_FEEDS", '{"symbols":', "HEAN_FEEDS: feeds = '{\"symbols\":': not JSON", "HEAN_FEEDS="),
    ("HEAN_FEEDS", '{"symbols":["x"]}', 'HEAN_FEEDS: feeds.symbols = ["x"]', "ccxt"),
    ("HEAN_FEEDS", '{"symbols":[3]}', "HEAN_FEEDS: feeds.symbols.0 = 3", ""),
    (
        "HEAN_VENUES__OKX__ENV",
        "demmo",
        "HEAN_VENUES__OKX__ENV: venues.okx.env = 'demmo'",
        '"demo"?',
    ),
    ("HEAN_VENUES__OKXX__ENV", "demo", "HEAN_VENUES__OKXX__ENV: venues.okxx: unknown", "ccxt:"),
    (
        "HEAN_VENUES__OKX__HOSTS__RESST",
        "http://x",
        "HEAN_VENUES__OKX__HOSTS__RESST: unk",
        '"rest"?',
    ),
    ("HEAN_VENUES__OKX__HOSTS__WS", "http://x", "hosts.ws = 'http://x' is not a ws(s):// URL", ""),
]


@pytest.mark.parametrize(("name", "value", "said", "fix"), BAD_VARIABLES)
def test_a_mistake_in_the_environment_is_told_with_the_variable(
    monkeypatch, name, value, said, fix
):
    monkeypatch.setenv(name, value)
    what, how = refused(None)
    assert said in what
    assert fix in how


def test_a_variable_beside_a_mistake_in_a_file_is_not_blamed(folder, monkeypatch):
    monkeypatch.setenv("HEAN_FEEDS__SYMBOLS", '["ETH/USDT"]')
    monkeypatch.setenv("HEAN_FEEDS", '{"freshness":{"stale_s":30}}')
    home = folder("[feeds.freshness]\nsync_s = 0")
    assert refused(home)[0].startswith(f"{home / 'router.toml'}: feeds.freshness.sync_s")


def test_the_environment_overrides_the_files(folder, monkeypatch):
    home = folder(
        '[feeds]\nsymbols = ["BTC/USDT"]\n[feeds.freshness]\nstale_s = 20\nsync_s = 4',
        '[venues.okx]\nenv = "live"\ntaker_fee = 0.0007\n[venues.kraken]',
    )
    monkeypatch.setenv("HEAN_FEEDS__FRESHNESS__STALE_S", "33.5")
    monkeypatch.setenv("HEAN_FEEDS__SYMBOLS", '["eth/usdt:usdt"]')
    monkeypatch.setenv("HEAN_VENUES__OKX__ENV", "demo")
    monkeypatch.setenv("HEAN_RECORDINGS", "/elsewhere")  # no setting, and nobody minds
    settings = load(home)
    assert settings.feeds.freshness.stale_s == 33.5
    assert settings.feeds.freshness.sync_s == 4, "what the variable leaves alone comes of the file"
    assert settings.feeds.symbols == ("ETH/USDT:USDT",)
    assert sorted(settings.venues) == ["kraken", "okx"]
    assert settings.venues["okx"].env == "demo"
    assert settings.venues["okx"].taker_fee == Decimal("0.0007"), "no binary fraction"


def test_the_environment_changes_one_venue_and_leaves_the_others(monkeypatch):
    monkeypatch.setenv("HEAN_VENUES__OKX__ENV", "demo")
    venues = load().venues
    assert {name: venue.env for name, venue in venues.items()} == {
        "binance": "live", "bybit": "live", "kraken": "live", "okx": "demo",
    }  # fmt: skip


def test_folders_are_looked_for_in_order(folder, monkeypatch, tmp_path):
    named, variable, here = (tmp_path / name for name in ("named", "variable", "config"))
    for number, home in enumerate((named, variable, here), 1):
        home.mkdir()
        (home / "router.toml").write_text(f"[metrics]\nport = {number}")
    monkeypatch.setenv("HEAN_CONFIG", str(variable))
    assert load(named).metrics.port == 1
    assert load().metrics.port == 2
    monkeypatch.setenv("HEAN_CONFIG", "")
    assert load().metrics.port == 3
    (here / "router.toml").unlink()
    (here / "unrelated.toml").write_text("x = 1")  # somebody else's `config` folder
    assert load() == Settings()


def test_a_folder_that_was_named_must_be_one(monkeypatch, tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere")[0]
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refused(tmp_path / "file")[0]
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "router.toml").write_text("")
    (tmp_path / "near" / "venue.toml").write_text("")
    said, fix = refused(tmp_path / "near")
    assert said.endswith("venue.toml: nobody reads a file of that name")
    assert fix == 'did you mean "venues.toml"?'
    (tmp_path / "empty").mkdir()
    assert load(tmp_path / "empty") == Settings(), "who has nothing to say says nothing"
    (tmp_path / "empty" / "prometheus.toml").write_text("")
    assert "holds neither router.toml nor venues.toml" in refused(tmp_path / "empty")[0]
    monkeypatch.setenv("HEAN_CONFIG", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in refused(None)[0]


def test_a_file_that_cannot_be_read_is_not_passed_over(folder, tmp_path):
    home = folder("")
    venues = home / "venues.toml"
    venues.mkdir()
    assert refused(home)[0] == f"{venues}: cannot be read: Is a directory"
    venues.rmdir()
    venues.symlink_to(tmp_path / "gone")
    assert refused(home)[0] == f"{venues}: cannot be read: No such file or directory"
    venues.unlink()
    venues.write_bytes(b"\xff\xfe[venues]")
    assert f"{venues}: cannot be read: " in refused(home)[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(folder):
    home = folder("")
    (home / "router.toml").chmod(0)
    assert "Permission denied" in refused(home)[0]


def test_a_section_may_be_in_one_file_only(folder):
    home = folder('[venues.okx]\nenv = "live"', "[venues.kraken]")
    said, fix = refused(home)
    assert said == f"{home / 'venues.toml'}: [venues] is in router.toml already"
    assert fix == "keep one of the two"


def test_what_can_be_set_arrives(folder):
    home = folder(
        '[feeds]\nsymbols = ["btc/usdt", " ETH/USDT "]',
        "[venues.okx]\nenabled = false\nenv = 'sim'\ntaker_fee = -0.0001\nfee_in = 'base'\n"
        'hosts = {rest = "http://h:1/x", ws = "ws://h:2", "linear.ws" = "wss://h"}\n'
        '[venues."ccxt:kucoin"]\nenv = "whatever"',
    )
    settings = load(home)
    assert settings.feeds.symbols == ("BTC/USDT", "ETH/USDT")
    okx = settings.venues["okx"]
    assert not okx.enabled
    assert okx.taker_fee == Decimal("-0.0001")
    assert okx.fee_in is FeeIn.BASE
    assert okx.hosts == {"rest": "http://h:1/x", "ws": "ws://h:2", "linear.ws": "wss://h"}


def test_a_freshness_in_seconds_is_a_policy_in_ns(folder):
    home = folder("[feeds.freshness]\nstale_s = 0.5\nlate_s = 1.25")
    fresh = load(home).feeds.freshness.policy().fresh
    assert (fresh.stale_ns, fresh.late_ns, fresh.sync_ns) == (500_000_000, 1_250_000_000, 10**10)


# ---------------------------------------------------------------------------- limits


def test_limits_arrive_where_risk_looks(folder, monkeypatch):
    home = folder(
        limits='[limits]\ncollar_bps = 50.5\ngross_max = "off"\nduplicate_window_ms = "off"\n'
        "[limits.each_account]\norders_per_second = 5\n"
        "[limits.account.main]\ndaily_loss_max = 2_000\n"
        "[limits.venue.kraken]\norder_notional_max = 10_000\n"
        '[limits.symbol."btc/usdt"]\nposition_qty_max = 0.5\ncollar_bps = 20'
    )
    monkeypatch.setenv("HEAN_LIMITS__NET_MAX", "7.5")
    monkeypatch.setenv("HEAN_LIMITS__EACH_VENUE__OPEN_ORDERS_MAX", "off")
    limits = load(home).limits.limits()
    assert limits.portfolio.collar_bps == Decimal("50.5"), "no binary fraction"
    assert limits.portfolio.gross_max is None
    assert limits.portfolio.net_max == Decimal("7.5")
    assert limits.of_account("main").orders_per_second == 5
    assert limits.of_account("main").daily_loss_max == 2000
    assert limits.of_account("other").daily_loss_max == 10_000, "the default"
    assert limits.of_venue("kraken").open_orders_max is None
    tight = limits.of_order("main", "BTC/USDT", "kraken")
    assert (tight.order_notional_max, tight.position_qty_max, tight.collar_bps) == (
        10_000, Decimal("0.5"), 20,
    )  # fmt: skip
    loose = limits.of_order("main", "ETH/USDT", "okx")
    assert (loose.order_notional_max, loose.position_qty_max) == (50_000, None)


def test_limits_without_any_file_are_those_of_risk_itself():
    assert Settings().limits.limits() == RiskLimits()


def test_a_name_can_only_tighten(folder):
    home = folder(limits="[limits.account.main]\ngross_max = 9_000_000\ncollar_bps = 9_000")
    limits = load(home).limits.limits()
    assert limits.of_account("main").gross_max == limits.each_account.gross_max
    assert limits.of_order("main", "BTC/USDT").collar_bps == limits.portfolio.collar_bps


TWINS = [  # what the files say of each, and how long the gate looks for twins among orders
    ("", 200, "as shipped"),
    ("duplicate_window_ms = 0", 0, "who orders the same again on purpose need not say so twice"),
    ('duplicate_window_ms = "off"', 0, "the same"),
    ("duplicate_window_ms = 50", 50, "what risk lets through after 50 ms is no circle"),
    ("[limits.gate]\nduplicate_window_ms = 20", 20, "tighter by name"),
]


@pytest.mark.parametrize(("text", "window_ms", "why"), TWINS)
def test_the_gate_looks_no_longer_for_twins_than_risk(folder, text, window_ms, why):
    home = folder(limits=f"[limits]\n{text}")
    assert load(home).limits.for_gate().duplicate_window_ms == window_ms, why
    shipped = (ROOT / "config" / "limits.toml").read_text()
    if text.startswith("duplicate"):
        said = re.sub(r"^duplicate_window_ms = 500", text, shipped, count=1, flags=re.MULTILINE)
        assert load(folder(limits=said)).limits.for_gate().duplicate_window_ms == window_ms, why


BEYOND = [
    ("order_notional_max", "300_000", "an order that risk allows shuts nothing"),
    ("collar_bps", "2_000", "nor a price"),
    ("stale_ms", "20_000", "nor an age"),
    ("order_notional_max", '"off"', "no limit at all is beyond any"),
    ("collar_bps", '"off"', "the same"),
    ("stale_ms", '"off"', "the same"),
]


@pytest.mark.parametrize(("name", "value", "why"), BEYOND)
def test_a_limit_beyond_the_gates_is_told_when_it_is_set(folder, name, value, why):
    with pytest.raises(ConfigError) as wrong:
        load(folder(limits=f"[limits]\n{name} = {value}"))
    assert f"raise limits.gate.{name} too" in str(wrong.value), why
    load(folder(limits=f"[limits]\n{name} = {value}\n[limits.gate]\n{name} = {value}"))
    load(folder(limits=f'[limits]\n{name} = {value}\n[limits.gate]\n{name} = "off"'))


def test_every_limit_that_risk_has_can_be_set_somewhere():
    models = (config.LimitSettings, config.AccountLimitSettings, config.VenueLimitSettings)
    models += (config.EachAccountSettings, config.EachVenueSettings, config.EachSymbolSettings)
    known = {name for model in models for name in model.model_fields}
    assert set(Bounds.__struct_fields__) <= known
    assert set(config.SymbolLimitSettings.model_fields) <= set(Bounds.__struct_fields__)


# ---------------------------------------------------------------------------- what is shipped

SHIPPED = ROOT / "config"


def test_the_shipped_files_say_what_the_defaults_are(monkeypatch):
    assert load(SHIPPED) == Settings(), "config/*.toml and the code have drifted apart"
    assert load() == Settings(), "and so it is without any file"


def test_the_shipped_files_name_every_setting():
    """A setting that is not in the file is a setting nobody finds."""
    told = {
        ".".join(key)
        for name in config.FILES
        if name != "keys.toml"  # nobody ships keys; config/keys.toml.example shows one
        for key in paths(tomllib.loads((SHIPPED / name).read_text()))
    }
    known = {".".join(key) for key in fields_of(Settings, ("venues",))}
    named = {
        f"limits.{name}" for name in ("account", "venue", "symbol")
    }  # by name, none by default
    named |= {"limits.gate.qty_max", "accounts", "strategies", "api.tls_cert", "api.tls_key"}
    told = {"paper.balances" if key.startswith("paper.balances") else key for key in told}
    router = (SHIPPED / "router.toml").read_text()
    assert all(f"[{name}." in router for name in ("strategies",)), "nobody finds strategies"
    assert "[accounts." in (SHIPPED / "keys.toml.example").read_text()
    assert all(f"# {name} =" in router for name in ("tls_cert", "tls_key"))
    assert "# qty_max =" in (SHIPPED / "limits.toml").read_text()
    assert known - named <= told | {"venues"}, known - named - told
    text = (SHIPPED / "limits.toml").read_text()
    scopes = [name for name in named if re.fullmatch(r"limits\.\w+", name)]
    assert all(f"# [{name}." in text for name in scopes), "limits.toml hides who can be named"
    assert "position_qty_max" in text
    text = (SHIPPED / "venues.toml").read_text()
    for name in config.VenueSettings.model_fields:
        assert re.search(rf"\b{name}\b", text), f"venues.toml hides {name}"


def paths(table, before=()):
    for key, value in table.items():
        yield from paths(value, (*before, key)) if isinstance(value, dict) else [(*before, key)]


def fields_of(model, without):
    for name, field in model.model_fields.items():
        if name in without:
            continue
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, config.BaseModel):
            yield from ((name, *rest) for rest in fields_of(kind, ()))
        else:
            yield (name,)
