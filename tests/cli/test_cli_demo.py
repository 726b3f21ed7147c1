"""The demo: its settings, its arithmetic, its story told whole, and told short."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from decimal import Decimal

import msgspec
import orjson
import pytest

from hean_router.cli import demo_sums as sums
from hean_router.cli.demo import Demo, pointer_kept
from hean_router.cli.demo_config import FILE, VENUES, DemoConfig, load
from hean_router.client import ApiError, Client, Running, announce, find, withdraw
from hean_router.client.found import state_file
from hean_router.config import Settings
from hean_router.domain.errors import ConfigError

HEAN = (sys.executable, "-m", "hean_router.cli")
CHECKS = [
    "books_live", "split", "arbitrage", "refused_for_fees", "venue_cut", "ack_lost",
    "other_terminal", "exposure", "kpis",
]  # fmt: skip


@pytest.fixture
def shipped(request):
    return request.config.rootpath / "config"


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A home of its own, for what tells `hean submit` where the router is; and any free port."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEAN_API__PORT", "0")
    monkeypatch.delenv("HEAN_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


# ---------------------------------------------------------------------------- settings


def test_the_shipped_file_says_what_the_defaults_are(shipped):
    assert load(shipped) == DemoConfig() == load(None)
    told = tomllib.loads((shipped / FILE).read_text())
    assert set(told) == set(DemoConfig.__struct_fields__), "a setting that nobody finds"
    assert tuple(told["tiers"]) == VENUES


BAD = [
    ("stray_bps = 501", "stray_bps = 501"),  # beyond what `hean sim` takes
    ("stray_bps = -1", "stray_bps"),
    ("stray = 3", "stray"),  # a word that nobody reads
    ("[tiers]\nokxx = '0.1/0.1'", "okxx"),
    ("[tiers]\nokx = '0.001'", "okx"),  # no maker
    ("[tiers]\nokx = '0.5/0.1'", "okx"),  # half of everything
    ("[tiers", "demo.toml"),  # not TOML
    ("tiers = 3", "tiers"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_mistake_in_the_file_is_told(tmp_path, text, said):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path)
    assert caught.value.fix


def test_the_file_changes_what_is_simulated_and_the_arbitrage(tmp_path):
    (tmp_path / FILE).write_text("stray_bps = 3\n[arbitrage]\nmax_notional_quote = '7'")
    config = load(tmp_path)
    assert config.stray_bps == 3
    assert config.tiers == DemoConfig().tiers, "what the file leaves alone stays"
    settings = Demo(Settings(), config, 1)._settings
    assert settings.strategies["arb"].params["max_notional_quote"] == "7"
    assert settings.limits == Settings().limits, "the demo trades under the shipped limits"


# ---------------------------------------------------------------------------- arithmetic


def fill(side, qty, px, fee, asset):
    return {
        "symbol": "BTC/USDT", "side": side, "quantity": qty, "price": px,
        "fee": fee, "fee_asset": asset,
    }  # fmt: skip


def test_fills_are_worth_what_they_left():
    marks = {"BTC/USDT": Decimal(110)}
    bought, sold = fill("buy", "2", "100", "0.01", "BTC"), fill("sell", "1", "120", "0.5", "USDT")
    # -200 + 120 - 0.5 in quote, 2 - 0.01 - 1 in base at 110
    assert sums.of_fills([bought, sold], marks) == Decimal("-80.5") + Decimal("0.99") * 110
    tally = {"BTC/USDT": {"quote": "-80.5", "base": "0.99"}}
    assert sums.of_strategy(tally, marks) == sums.of_fills([bought, sold], marks)
    assert sums.of_fills([], {}) == 0
    long = Decimal("0.12345678901234567890123456789")  # more digits than decimals keep by default
    one = fill("buy", str(long), "61234.123456789", "0", "USDT")
    exact = sums.of_fills([one], {"BTC/USDT": Decimal("61234.123456789")})
    assert exact == 0, "nothing is rounded on the way"


def row(venue, asset, total):
    return {"venue": venue, "asset": asset, "total": total}


SAME = ({"okx": {"BTC": "1.5", "ETH": "0"}}, [row("okx", "BTC", "1.50")], [("BTC", "1.5")])
APART = [  # venues, router, exposure, what differs
    (*SAME, ()),
    ({"okx": {"BTC": "1.5"}}, [row("okx", "BTC", "1.50000001")], [("BTC", "1.5")], ("okx BTC",)),
    ({"okx": {"BTC": "1.5"}}, [], [("BTC", "1.5")], ("okx BTC",)),  # the router knows of none
    ({}, [row("okx", "BTC", "1")], [], ("okx BTC",)),  # the venue knows of none
    ({"okx": {"BTC": "1"}}, [row("okx", "BTC", "1")], [("BTC", "2")], ("BTC: exposure",)),
    ({"okx": {"BTC": "1"}}, [row("okx", "BTC", "1")], [], ("BTC: exposure",)),
]


@pytest.mark.parametrize(("theirs", "ours", "exposed", "told"), APART)
def test_balances_apart_are_named(theirs, ours, exposed, told):
    shown = [{"name": name, "net_qty": qty} for name, qty in exposed]
    found = sums.apart(theirs, ours, shown)
    assert len(found) == len(told)
    assert all(one.startswith(start) for one, start in zip(found, told, strict=True))


# ---------------------------------------------------------------------------- the story


def told_by(*args, within_s=100):
    process = subprocess.run(
        [*HEAN, "demo", "--json", *map(str, args)],
        capture_output=True,
        timeout=within_s,
        check=False,
    )
    assert b"Traceback" not in process.stderr, process.stderr.decode()
    return process.returncode, [orjson.loads(line) for line in process.stdout.splitlines()]


def opening_usdt(state):
    line = (state / "venues" / "okx.orders.ndjson").read_bytes().splitlines()[0]
    return orjson.loads(line)["data"]["balances"]["USDT"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4])
def test_the_story_holds(alone, tmp_path, seed):
    state = tmp_path / "state"
    code, (first, last) = told_by("--seed", seed, "--state", state)
    assert set(first) == {"api", "key"}
    assert list(last["checks"]) == CHECKS
    assert all(one["ok"] for one in last["checks"].values()), json.dumps(last["checks"], indent=1)
    assert (code, last["ok"]) == (0, True)
    assert last["seconds"] < 60
    checks = last["checks"]
    assert len(checks["split"]["venues"]) >= 3
    assert Decimal(checks["split"]["saved_quote"]) > 0
    assert checks["arbitrage"]["pnl_strategy"] == checks["arbitrage"]["pnl_ledger"]
    assert checks["venue_cut"]["left_out"]
    assert checks["ack_lost"]["reserved"]
    assert len(last["kpis"]) >= 14
    # What the demo took for OKX's own count is what OKX's history, written apart, comes to.
    held = checks["exposure"]["venues"]["okx"]
    told = {}
    for line in (state / "venues" / "okx.orders.ndjson").read_bytes().splitlines():
        row = orjson.loads(line)
        if row["account"] == "main" and row["what"] == "opening":
            told |= row["data"]["balances"]
        elif row["account"] == "main" and row["what"] == "balance":
            told |= {one["ccy"]: one["cashBal"] for one in row["data"]["details"]}
    assert len(told) > 3
    assert {name: Decimal(amount) for name, amount in told.items()} == {
        name: Decimal(amount) for name, amount in held.items()
    }
    assert told["USDT"] != opening_usdt(state), "nothing was traded there: nothing was compared"
    assert (state / "router.log").read_text()
    code, (refused,) = told_by("--state", state)
    assert code == 2, "a journal of another world is not gone on with"
    assert "journal" in refused["error"]["what"]


def test_a_story_cut_short_is_no_success(alone):
    code, (first, last) = told_by("--seconds", 1)
    assert code == 1
    assert first["api"].startswith("http://127.0.0.1:")
    assert last["ok"] is False
    assert last["checks"]["books_live"]["ok"], "that much was seen"
    assert len(last["checks"]) < len(CHECKS)


def test_a_port_that_is_taken_is_said_and_another_used(alone, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("HEAN_API__PORT", str(port))
        show = Demo(Settings(), DemoConfig(), 1, as_json=True)
        assert show._port() == 0
        assert str(port) in show.lines[0]
    assert show._port() == port, "free again"


def test_another_router_is_found_again_after_the_demo(alone):
    other = Running(api="http://127.0.0.1:9", key="k", pid=os.getpid())
    demo = Running(api="http://127.0.0.1:10", key="d", pid=os.getpid() + 1)
    announce(other, None)
    with pointer_kept() as kept:
        assert kept == other
        paths = announce(demo, None)
        assert find() == demo
        withdraw(demo, paths)
    assert find() == other
    with pointer_kept():
        withdraw(other, [state_file()])
        announce(demo, None)
    assert find() == demo, "who came meanwhile stays"


def test_a_router_that_is_gone_is_not_brought_back(alone):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    announce(Running(api="http://127.0.0.1:9", key="k", pid=gone.pid), None)
    with pointer_kept() as kept:
        assert kept is None
        state_file().unlink()
    assert not state_file().exists()


def test_the_key_of_the_first_line_trades_and_no_more(alone):
    process = subprocess.Popen(
        [*HEAN, "demo", "--json", "--seconds", "8"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        here = msgspec.json.decode(process.stdout.readline())
        with Client(here["api"], here["key"]) as client:
            assert client.read("portfolio/balances")
            with pytest.raises(ApiError) as caught:
                client.kill("not ours to do")
            assert caught.value.status == 403
    finally:
        process.terminate()
        process.communicate(timeout=30)
