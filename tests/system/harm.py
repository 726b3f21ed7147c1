"""What is done to a running router: stopped, killed, its disk filled, a venue gone for a while.

    with disk(folder) as place:  # where the state folder belongs
        place.fill(rig)          # from here on no row can be written
        place.free(rig)

Where mounts are permitted the state folder lies on a small file system of its own, so that a full
disk is one.  Elsewhere, and there now and then, the running process is forbidden to write to any
file (`RLIMIT_FSIZE`), which SQLite takes for a disk that fails.
"""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from random import Random

from tests.system.rig import Child, Rig

MB = 1_000_000
SIZE_MB = 400


class Harm(StrEnum):
    """How one life of the router ends: always by kill -9, after something else in most."""

    KILL = "kill"
    STOP = "stop"  # SIGSTOP, 1 to 12 s, SIGCONT, killed afterwards
    STOP_KILL = "stop_kill"  # SIGSTOP, killed without ever going on
    VENUE = "venue"  # a venue's process is stopped meanwhile, and goes on before the kill
    VENUE_KILL = "venue_kill"  # or after it: what it was sent is read when nobody waits for it
    FULL = "full"  # the disk is full, cancels go on; freed, orders go on; killed
    FULL_KILL = "full_kill"  # killed on the full disk


# In a hundred cycles, so many of each.
SHARES = {
    Harm.KILL: 44,
    Harm.STOP: 12,
    Harm.STOP_KILL: 14,
    Harm.VENUE: 8,
    Harm.VENUE_KILL: 8,
    Harm.FULL: 7,
    Harm.FULL_KILL: 7,
}


def mixed(count: int, rng: Random) -> list[Harm]:
    """`count` harms in these shares, shuffled; never fewer than one of each if there is room."""
    pot = [harm for harm, share in SHARES.items() for _ in range(max(1, share * count // 100))]
    pot += [Harm.KILL] * (count - len(pot))
    rng.shuffle(pot)
    return pot[:count]


def halt(child: Child) -> None:
    """SIGSTOP: it stands still until `go_on`, or is killed so."""
    child.process.send_signal(signal.SIGSTOP)


def go_on(child: Child) -> None:
    """SIGCONT; nothing if it is gone."""
    if child.process.poll() is None:
        child.process.send_signal(signal.SIGCONT)


class Disk:
    """Where the state folder is, and what fills it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.state = folder / "state"
        self.filled: Counter[str] = Counter()  # by what
        self._ballast = folder / "ballast"

    def fill(self, rig: Rig, *, forbid: bool = False) -> None:
        """Leave no room, or `forbid` to write: the next row cannot be written."""
        if self.kind == "rlimit" or forbid:
            self.filled["rlimit"] += 1
            self._limit(rig, 1)
            return
        self.filled[self.kind] += 1
        # What the log has room for already would be written for seconds yet.
        with suppress(sqlite3.Error), closing(sqlite3.connect(rig.journal, timeout=0.2)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with self._ballast.open("wb") as file:
            at = 0
            for size in (MB, 65_536, 4_096, 1_024):
                while True:
                    try:
                        os.posix_fallocate(file.fileno(), at, size)
                    except OSError:
                        break
                    at += size

    def free(self, rig: Rig) -> None:
        """Room again."""
        self._limit(rig, resource.RLIM_INFINITY)
        self._ballast.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        """Whether it is for everybody, the next router too."""
        return self._ballast.exists()

    def _limit(self, rig: Rig, size: int) -> None:
        assert rig.router is not None
        if rig.router.process.poll() is None:
            pid = rig.router.process.pid
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A disk of its own at `folder`/disk, as far as we may make one."""
    place = folder / "disk"
    place.mkdir(parents=True)
    kind = _mounted(place, folder / "disk.img")
    print(f"the state folder is on {kind}" if kind else "no mounts here: full disks are forbidden")
    try:
        yield Disk(place, kind or "rlimit")
    finally:
        if kind:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        (folder / "disk.img").unlink(missing_ok=True)


def _mounted(place: Path, image: Path) -> str:
    """What was mounted there; '' if nothing may be."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return ""
    tries = []
    if shutil.which("mkfs.ext4"):
        with image.open("wb") as file:
            file.truncate(SIZE_MB * MB)
        tries.append(
            (
                "ext4",
                [
                    ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "1024", str(image)],
                    ["mount", "-o", "loop", str(image), str(place)],
                ],
            )
        )
    tries.append(
        ("tmpfs", [["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(place)]])
    )
    for kind, commands in tries:
        if all(
            subprocess.run(one, capture_output=True, check=False, timeout=30).returncode == 0
            for one in commands
        ):
            return kind
    return ""
