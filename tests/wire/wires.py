"""The proxy as a process between `hean run` and `hean sim`, and a rig that goes through it."""

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.system.rig import Child, Rig

HOME = "127.0.0.1"
PROXY = (sys.executable, str(Path(__file__).with_name("proxy.py")))
# Sockets that take orders, and those that carry books, by the names that the proxy gives them.
ORDERS = {
    "binance": "binance /ws-api/v3",
    "bybit": "bybit /v5/trade",
    "kraken": "kraken /auth/v2",
    "okx": "okx /ws/v5/private",
}


class Wires:
    """The proxy's control port."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        targets: Mapping[str, Sequence[Any]],
        env: Mapping[str, str],
        program: Sequence[str] = PROXY,
        at: str = HOME,
    ) -> None:
        self.child = Child(folder, "proxy", [str(seed), json.dumps(targets), at], env, program)
        first = self.child.first_line()
        self.ports: dict[str, int] = first["ports"]
        self._socket = socket.create_connection((at, first["control"]), 10)
        self._lines = self._socket.makefile("rwb")

    def ask(self, do: str, **words: Any) -> Any:
        """One order to it, and what it says; AssertionError if it cannot."""
        self._lines.write(json.dumps({"do": do, **words}).encode() + b"\n")
        self._lines.flush()
        answer = json.loads(self._lines.readline())
        assert "error" not in answer, answer
        return answer

    def strike(self, fault: str, where: str, way: str = "both", **more: Any) -> int:
        """A rule that holds until it is lifted."""
        return self.ask("strike", fault=fault, where=where, way=way, **more)["rule"]

    def lift(self, rule: int | str = "*") -> None:
        """Of one rule, or all."""
        self.ask("lift", rule=rule)

    def struck(self, rule: int) -> int:
        """How many connections it has struck."""
        return self.ask("told")["rules"][str(rule)]["struck"]

    def close(self) -> None:
        """It ends with its control port."""
        with suppress(OSError, ValueError):
            self._lines.close()
            self._socket.close()
        with suppress(Exception):
            self.child.process.wait(5)
        if self.child.process.poll() is None:
            self.child.kill()


class WiredRig(Rig):
    """A rig whose router reaches every venue through the proxy (`wires`)."""

    wires: Wires | None = None

    at = HOME  # of the control port

    def tell_venues(self, venues: Mapping[str, Any]) -> None:
        targets = {
            name: (*_place(one["hosts"]["rest"]), self.host_of(name))
            for name, one in venues.items()
        }
        program = self.over_there(PROXY)
        self.wires = Wires(self.folder, self.seed, targets, self.env, program, self.at)
        moved = {}
        for name, one in venues.items():
            at = f"{self.host_of(name)}:{self.wires.ports[name]}"
            hosts = {host: _through(url, at) for host, url in one["hosts"].items()}
            moved[name] = {**one, "hosts": hosts}
        super().tell_venues(moved)

    def host_of(self, venue: str) -> str:
        """Where the proxy listens for that venue."""
        return HOME

    def __exit__(self, *why: object) -> None:
        super().__exit__(*why)
        if self.wires is not None:
            self.wires.close()


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None, url
    assert parts.port is not None, url
    return parts.hostname, parts.port


def _through(url: str, at: str) -> str:
    return urlunsplit(urlsplit(url)._replace(netloc=at))
