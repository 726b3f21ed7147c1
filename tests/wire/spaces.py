"""Network namespaces: the router in one, its venues in another, a wire that is really dead between.

    if why := not_here(): pytest.skip(why)
    with Spaces() as spaces, spaces.inside():
        rig = SpacedRig(tmp_path, spaces, seed=1)   # the router runs here, the venues over there
        spaces.drop("okx")                          # no packet comes or goes, nobody is told

A venue listens on loopback; the proxy, over there, gives each an address of its own on the far end
of the wire.  Needs root, iproute2, iptables and a system that lets us.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.rig import VENUES
from tests.wire.wires import WiredRig

SCRIPT = Path(__file__).parents[2] / "config" / "namespaces-for-tests.sh"
NEAR = "10.213.77.1"
FAR = {venue: f"10.213.77.{11 + at}" for at, venue in enumerate(VENUES)}
CONTROL = "10.213.77.2"
_NEWNET = 0x40000000


def not_here() -> str:
    """Why there can be no namespaces; '' if there can."""
    done = _run(str(SCRIPT))
    return (done.stderr.strip() or f"namespaces: {SCRIPT.name} failed") if done.returncode else ""


class Spaces:
    """Two namespaces and the wire between them."""

    def __init__(self) -> None:
        self.near, self.far = f"hean-near-{os.getpid()}", f"hean-far-{os.getpid()}"

    def __enter__(self) -> "Spaces":
        try:
            for name in (self.near, self.far):
                _do("ip", "netns", "add", name)
                _do("ip", "-n", name, "link", "set", "lo", "up")
            ends = ("type", "veth", "peer", "name", "far0", "netns", self.far)
            _do("ip", "-n", self.near, "link", "add", "near0", *ends)
            _do("ip", "-n", self.near, "addr", "add", f"{NEAR}/24", "dev", "near0")
            for address in (CONTROL, *FAR.values()):
                _do("ip", "-n", self.far, "addr", "add", f"{address}/24", "dev", "far0")
            _do("ip", "-n", self.near, "link", "set", "near0", "up")
            _do("ip", "-n", self.far, "link", "set", "far0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.near, self.far):
            _run("ip", "netns", "del", name)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread and the processes that it starts are where the router is."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.near}") as there:
            _enter(libc, there.fileno())
            try:
                yield
            finally:
                _enter(libc, home.fileno())

    def over_there(self, words: Sequence[str]) -> list[str]:
        """The command, run where the venues are."""
        return ["ip", "netns", "exec", self.far, *words]

    # ------------------------------------------------------------------------- harm

    def drop(self, venue: str, way: str = "both", share: float = 1.0) -> None:
        """Of all packets to (`up`) or from (`down`) a venue that share vanishes."""
        odds = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        more = odds if share < 1 else []
        if way in ("up", "both"):
            self._tables("-A", "INPUT", "-d", FAR[venue], *more, "-j", "DROP")
        if way in ("down", "both"):
            self._tables("-A", "OUTPUT", "-s", FAR[venue], *more, "-j", "DROP")

    def mend(self) -> None:
        """No packet is dropped any more."""
        self._tables("-F")

    def dropped(self) -> int:
        """How many were, since the last `mend`."""
        told = _do(*self.over_there(["iptables", "-nvxL"]))
        return sum(int(line.split()[0]) for line in told.splitlines() if " DROP " in line)

    def netem(self, *words: str) -> str:
        """Let the kernel delay, lose and reorder on the far end; why not, if it cannot."""
        done = _run(
            "tc", "-n", self.far, "qdisc", "replace", "dev", "far0", "root", "netem", *words
        )
        return done.stderr.strip() if done.returncode else ""

    def _tables(self, *words: str) -> None:
        _do(*self.over_there(["iptables", "-w", "5", *words]))


class SpacedRig(WiredRig):
    """Its venues and their proxy over there; its router and whoever drives it here."""

    at = CONTROL

    def __init__(self, folder: Path, spaces: Spaces, **options: Any) -> None:
        super().__init__(folder, **options)
        self._spaces = spaces

    def over_there(self, program: Sequence[str]) -> Sequence[str]:
        return self._spaces.over_there(program)

    def host_of(self, venue: str) -> str:
        return FAR[venue]


def _enter(libc: Any, namespace: int) -> None:
    if libc.setns(namespace, _NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*words: str) -> Any:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


def _do(*words: str) -> str:
    done = _run(*words)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
