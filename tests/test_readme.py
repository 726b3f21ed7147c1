"""What README shows works."""

import re
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from hean_router.client import Client

README = Path(__file__).parent.parent / "README.md"


def examples():
    """A first order from a program; a route as a pure function."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_python_example_prints_what_it_says(capsys):
    _, code = examples()
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split("\n")
    assert [line.split() for line in printed[:2]] == [["a", "0.90"], ["b", "0.10"]]
    assert printed[2] == "100.01" or float(printed[2]) == 100.01


@pytest.fixture
def router(tmp_path, monkeypatch):
    """`hean run` on two simulated venues, as the README starts it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    hean = [sys.executable, "-m", "hean_router.cli"]
    venues = tmp_path / "venues.json"
    started = []
    try:
        with venues.open("wb") as out:
            started.append(subprocess.Popen([*hean, "sim", "okx", "bybit"], stdout=out))
        wait_until(lambda: venues.read_bytes().endswith(b"\n"))
        config = tmp_path / "config"
        config.mkdir()
        # No Kraken here, so no USDT/USD: what limits count in is USDT.
        (config / "limits.toml").write_text('[limits]\nreporting = "USDT"\n')
        (config / "router.toml").write_text("[api]\nport = 0\n[feeds]\nrates = []\n")
        run = ["run", "--venues-from", venues, "--state", tmp_path / "state", "--json"]
        run += ["--config", config]
        process = subprocess.Popen([*hean, *map(str, run)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline().startswith(b'{"api":')
        with Client() as client:
            wait_until(client.ready)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.communicate(timeout=20)


def wait_until(true, within_s=30.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("router")
def test_the_first_order_from_a_program_is_filled(capsys):
    code, _ = examples()
    exec(compile(code, "README.md", "exec"), {})
    status, price, saved = capsys.readouterr().out.split()
    assert status == "filled"
    assert Decimal(price) > 0
    assert saved == "None" or Decimal(saved) > -100


def test_every_command_it_names_exists():
    from typer.main import get_command

    from hean_router.cli.main import app

    named = set(re.findall(r"`?hean ([a-z]+)\b", README.read_text()))
    assert named <= set(get_command(app).commands)
