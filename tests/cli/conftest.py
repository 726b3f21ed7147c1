"""The command line in this process, simulators in a thread beside it, and recordings."""

import asyncio
import os
import socket
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from hean_router.cli.main import main
from hean_router.runtime.clock import steady_clock
from hean_router.sim import server
from hean_router.sim.simulator import simulate

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS") or ROOT.parent / "shared" / "data" / "real")
VENUES = ("binance", "bybit", "kraken", "okx")


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self):
        """The one object that it printed."""
        (line,) = self.out.splitlines()
        return orjson.loads(line)

    def lines(self):
        """The objects that it printed."""
        return [orjson.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def hean(monkeypatch, capfd):
    """Run `hean` with these arguments, in this process; no command may show a traceback."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["hean", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Ended(end.value.code, out, err)

    return run


@pytest.fixture
def refused(hean):
    """Run a command that must fail: its code, and its one error, told once, with its fix."""

    def run(code, *args):
        ended = hean(*args)
        assert ended.code == code, ended
        assert ended.err.count("error: ") == 1, ended.err
        told = hean(*args, "--json").json()["error"]
        assert told["what"] in ended.err
        assert told["fix"], f"no fix: {told['what']}"
        return f"{told['what']}\n{told['fix']}"

    return run


@pytest.fixture
def recording():
    """The path of a recording; skips where there is none."""

    def find(name):
        path = RECORDINGS / name
        if not path.exists():
            pytest.skip(f"no recording {path}: set HEAN_RECORDINGS to the folder that has it")
        return path

    return find


class Town:
    """Four simulators on loopback, in a thread of their own, until closed."""

    def __init__(self, path):
        self.path = path
        self._loop = asyncio.new_event_loop()
        self._up, self._down = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(30), "the simulators did not start"

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        clock = steady_clock()
        sims = [simulate(venue, 7, clock())[0] for venue in VENUES]
        servers = await server.start(sims, clock)
        self.path.write_bytes(orjson.dumps(server.announcement(servers)))
        self._up.set()
        await self._down.wait()
        await server.stop(servers)

    def close(self):
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(10)


@pytest.fixture(scope="session")
def town(tmp_path_factory):
    """The file for `--venues-from`."""
    town = Town(tmp_path_factory.mktemp("town") / "venues.json")
    yield town.path
    town.close()


@pytest.fixture
def nowhere(tmp_path):
    """`--venues-from` of venues that nobody serves, by what is wrong with them."""
    listeners = []

    def silent():
        """A port that takes connections and says nothing, ever."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        listeners.append(listener)
        return listener.getsockname()[1]

    def closed():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return listener.getsockname()[1]

    def write(**hosts):
        ports = {"silent": silent, "closed": closed}
        at = {
            venue: f"127.0.0.1:{ports[where]()}" if where in ports else where
            for venue, where in hosts.items()
        }
        entries = {
            venue: {"env": "sim", "hosts": {"rest": f"http://{to}", "ws": f"ws://{to}"}}
            for venue, to in at.items()
        }
        path = tmp_path / "nowhere.json"
        path.write_bytes(orjson.dumps({"venues": entries}))
        return path

    write.listeners = listeners
    yield write
    for listener in listeners:
        listener.close()
