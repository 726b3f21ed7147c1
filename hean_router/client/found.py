"""Where a running router is: a small file that it writes, and that clients here read."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from hean_router.client.calls import NotRunning
from hean_router.domain.errors import CommandError

FILE = "router.json"


class Running(Struct, frozen=True, kw_only=True):
    """A router that runs here: its address, and a key for whoever may read the file."""

    api: str
    key: str
    pid: int
    mode: str = ""
    account: str = ""

    def __repr__(self) -> str:
        return f"Running(api={self.api!r}, key='…', pid={self.pid}, mode={self.mode!r})"


def state_file() -> Path:
    """The file of the router that was started last by this user."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "hean" / FILE


def announce(running: Running, state: Path | None) -> list[Path]:
    """Write where the router is, for this user alone; returns the files written."""
    paths = [state_file()] + ([state / FILE] if state is not None else [])
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{running.pid}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(msgspec.json.encode(running))
        fresh.replace(path)
    return paths


def withdraw(running: Running, paths: list[Path]) -> None:
    """Take the files back that still speak of us."""
    for path in paths:
        try:
            if msgspec.json.decode(path.read_bytes(), type=Running).pid == running.pid:
                path.unlink()
        except (OSError, msgspec.MsgspecError):
            continue  # another router's, or gone


def is_gone(pid: int) -> bool:
    """Whether no such process runs here; 0 stands for one that is elsewhere."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's, but there
    return False


def find(state: Path | None = None) -> Running:
    """The router that runs here; `state` is its folder, else the one started last.

    `HEAN_API` and `HEAN_KEY` overrule both.  Raises `NotRunning` if there is none.
    """
    if api := os.environ.get("HEAN_API"):
        return Running(api=api.rstrip("/"), key=os.environ.get("HEAN_KEY", ""), pid=0)
    path = state / FILE if state is not None else state_file()
    fix = "start one: hean run --mode paper, or hean demo; or set HEAN_API and HEAN_KEY"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Running)
    except FileNotFoundError:
        raise NotRunning(f"no router runs here: {path} does not exist", fix) from None
    except OSError as fault:
        raise CommandError(f"{path}: cannot be read: {fault.strerror}", fix) from None
    except msgspec.MsgspecError as fault:
        raise CommandError(f"{path}: tells of no router: {fault}", fix) from None
    if key := os.environ.get("HEAN_KEY"):
        return msgspec.structs.replace(found, key=key)
    return found
