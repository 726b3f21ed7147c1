"""`hean run` and its commands, as another terminal sees them: a router on four simulated venues."""

import re
import subprocess
import sys
from decimal import Decimal

import orjson
import pytest

from hean_router.cli.run import Teller, grouped, with_arbitrage
from hean_router.client import Client
from hean_router.config import Settings
from tests.client import running

HEAN = [sys.executable, "-m", "hean_router.cli"]
ORDER = re.compile(r"^([0-9a-z]{8})  (\w+)")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The router of this module."""
    with running.house(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def at(house, hean, monkeypatch):
    """A command in this process, to the router of the module."""
    monkeypatch.setenv("XDG_STATE_HOME", str(house.home))
    return hean


def test_an_order_is_placed_and_told_and_listed(at):
    code, out, _ = at("submit", "BTC/USDT", "buy", "0.05")
    assert code == 0
    assert ORDER.match(out)[2] == "filled"
    order_id = ORDER.match(out)[1]
    assert "against the best venue alone" in out
    assert "fee        0.0" in out
    assert order_id in at("orders").out
    fills = at("fills")
    assert fills.out.splitlines()[0].split()[:3] == ["time", "(UTC)", "order"]
    assert order_id in fills.out
    assert "E-" not in fills.out


def test_an_order_that_rests_says_where_and_at_which_price_and_not_why_it_did_not_trade(at):
    out = at("submit", "ETH/USDT", "buy", "1", "--limit", "2000.5", "--wait", "0.5").out
    assert ORDER.match(out)[2] == "new"
    assert "rests at 2000.5" in out
    assert "why" not in out
    order_id = ORDER.match(out)[1]
    assert order_id in at("orders", "--status", "new").out
    cancelled = at("cancel", order_id)
    assert cancelled.code == 0
    assert ORDER.match(cancelled.out).groups() == (order_id, "canceled")


def test_all_are_cancelled_with_their_ids(at):
    first = ORDER.match(at("submit", "ETH/USDT", "buy", "1", "--limit", "1900", "--wait", "0").out)
    told = at("cancel", "--all")
    assert told.out.strip() == f"asked to cancel 1: {first[1]}"
    with Client() as client:
        client.wait(first[1], 5.0)
    assert at("cancel", "--all").out.strip() == "nothing to cancel"


BAD = {
    "a quantity that is no number": (["BTC/USDT", "buy", "abc"], 2, "invalid_field"),
    "a negative quantity is not an option": (["BTC/USDT", "buy", "-1"], 2, "invalid_field"),
    "no such side": (["BTC/USDT", "long", "1"], 2, "invalid_field"),
    "no such symbol": (["FOO/BAR", "buy", "1"], 2, "unknown_symbol"),
    "neither quantity nor quote": (["BTC/USDT", "buy"], 2, "invalid_order"),
    "both quantity and quote": (["BTC/USDT", "buy", "1", "--quote", "5"], 2, "invalid_order"),
    "below every minimum": (["BTC/USDT", "buy", "0.00000001"], 2, "below_minimum"),
    "no such venue": (["BTC/USDT", "buy", "1", "--include", "mtgox"], 2, "unknown_venue"),
    "no such time in force": (["BTC/USDT", "buy", "1", "--tif", "DAY"], 2, "invalid_field"),
    "more than a limit allows": (["BTC/USDT", "buy", "9999"], 5, "limit_parent_notional"),
}


@pytest.mark.parametrize(("args", "code", "reason"), BAD.values(), ids=list(BAD))
def test_bad_orders_are_refused_once_and_end_with_their_code(at, args, code, reason):
    ended = at("submit", *args, "--json")
    assert ended.code == code
    error = ended.json()["error"]
    assert error["reason"] == reason
    assert error["what"]
    assert ended.err.count("error:") == 1
    assert reason in ended.err


def test_a_dry_run_places_nothing(at):
    before = at("orders", "--json").json()["orders"]
    out = at("submit", "BTC/USDT", "sell", "0.1", "--dry-run").out
    assert out.startswith("would sell 0.1 of 0.1 BTC; nothing placed")
    assert at("orders", "--json").json()["orders"] == before


READ = ("orders", "fills", "positions", "balances", "exposure", "kpi", "risk", "keys", "strategy")


@pytest.mark.parametrize("command", READ)
def test_reading_is_one_object_with_json_and_no_raw_words_without(at, command):
    assert isinstance(at(command, "--json").json(), dict)
    ended = at(command)
    assert (
        ended.code,
        ended.err.replace("there are more: --limit shows up to 500 of them\n", ""),
    ) == (0, "")
    assert not re.search(r"None|\d\.\d{13,}|\{|E[-+]\d", ended.out)


def test_the_table_and_the_object_say_the_same_of_what_we_have(at):
    found = at("exposure", "--json").json()
    first = at("exposure").out.splitlines()[0]
    gross = Decimal(re.search(r"gross ([\d.]+) USD", first)[1])
    # The market moves between the two.
    assert abs(gross / Decimal(found["gross"]) - 1) < Decimal("0.01")


def test_the_kill_switch_is_told_and_taken_back(at):
    assert at("kill", "a test").out.startswith("halted")
    try:
        ended = at("submit", "BTC/USDT", "buy", "0.01", "--json")
        assert ended.code == 5
        assert "hean reset REASON" in ended.json()["error"]["fix"]
        assert at("risk").out.startswith("halted: a test")
    finally:
        assert at("reset", "the test is over").code == 0
    assert at("risk").out.startswith("normal")


def test_arbitrage_starts_without_configuration_and_a_bad_parameter_halts_nothing(at):
    refused = at("arb", "run", "--param", "nonsense=1")
    assert refused.code == 2
    assert "there is no parameter 'nonsense'" in refused.err
    assert at("risk").out.startswith("normal")
    assert at("arb", "run", "--param", "min_profit_quote=1000000").out == "arb runs\n"
    assert re.search(r"^arb +main +yes", at("strategy").out, re.MULTILINE)
    assert at("strategy", "stop", "arb").out == "arb is stopped\n"


def test_nobody_at_the_address_is_a_failure_and_surely_nothing_was_placed(hean, monkeypatch):
    monkeypatch.setenv("HEAN_API", "http://127.0.0.1:1")
    ended = hean("submit", "BTC/USDT", "buy", "1", "--json")
    assert ended.code == 1
    assert "nobody answers at http://127.0.0.1:1" in ended.json()["error"]["what"]
    monkeypatch.setenv("HEAN_API", "127.0.0.1")
    assert hean("orders").code == 2


def test_no_router_and_one_that_is_gone_are_told_apart(hean, monkeypatch, tmp_path):
    assert "no router runs here" in hean("orders", "--state", tmp_path).err
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    told = {"api": "http://127.0.0.1:1", "key": "k", "pid": gone.pid}
    (tmp_path / "router.json").write_bytes(orjson.dumps(told))
    ended = hean("orders", "--state", tmp_path)
    assert ended.code == 1
    assert f"(process {gone.pid}) is gone" in ended.err


def test_a_second_router_on_one_journal_is_refused(at, house):
    ended = at("run", "--venues-from", house.venues, "--state", house.state, "--port", "0")
    assert ended.code == 1
    assert f"a router runs on this journal already (process {house.pid})" in ended.err


def test_a_port_that_is_taken_names_the_way_out_and_leaves_nothing_unclosed(house, tmp_path):
    words = ["--venues-from", house.venues, "--state", tmp_path / "other", "--port", house.port]
    ended = subprocess.run(
        [*HEAN, "run", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=house.env,
    )
    assert ended.returncode == 2
    assert "--port N" in ended.stderr
    assert ended.stderr.count("error:") == 1
    assert not re.search("Traceback|Unclosed|ResourceWarning|stopped", ended.stderr)


def test_a_state_folder_that_is_a_file_is_a_matter_of_configuration(at, house, tmp_path):
    (tmp_path / "file").touch()
    ended = at("run", "--venues-from", house.venues, "--state", tmp_path / "file")
    assert ended.code == 3
    assert "a file is in its way" in ended.err


MODES = {
    "real venues, not armed": (["--mode", "live"], 2, "nothing is armed"),
    "real venues, half armed": (["--mode", "live", "--arm"], 3, "is not armed"),
    "no such mode": (["--mode", "fast"], 2, "neither paper nor live"),
    "no such file of venues": (["--venues-from", "nowhere.json"], 2, "cannot be read"),
}


@pytest.mark.parametrize(("args", "code", "said"), MODES.values(), ids=list(MODES))
def test_a_run_that_must_not_begin(hean, tmp_path, args, code, said):
    ended = hean("run", *args, "--state", tmp_path / "state")
    assert ended.code == code
    assert said in ended.err
    assert not (tmp_path / "state").exists()


def test_keys_that_others_can_read_are_refused(hean, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text('[accounts.main.okx]\nkey = "k"\nsecret = "s"\npassphrase = "p"\n')
    keys.chmod(0o644)
    ended = hean("run", "--config", tmp_path, "--state", tmp_path / "state")
    assert ended.code == 3
    assert f"chmod 600 {keys}" in ended.err


def test_reasons_are_grouped_by_what_is_wrong():
    why = "okx main: not connected; okx second: not connected; kraken main: keys: may withdraw"
    assert grouped(why) == (
        "not connected (okx main, okx second); keys: may withdraw (kraken main)"
    )
    assert grouped("the journal is full") == "the journal is full"


def test_a_line_is_not_said_again_within_a_minute(capsys):
    now = [0]
    teller = Teller(lambda: now[0])
    for at_s, line in ((0, "a"), (1, "b"), (59, "a"), (60, "a"), (61, "a")):
        now[0] = at_s * 10**9
        teller.tell(line)
    assert capsys.readouterr().err == "a\nb\na\n"


def test_a_strategy_of_that_name_is_left_as_it_was_set_up():
    settings = Settings(strategies={"arb": {"kind": "arbitrage", "params": {"z": "3"}}})
    assert with_arbitrage(settings) is settings
    assert with_arbitrage(Settings()).strategies["arb"].start is False
