"""What a network does to TCP, between two programs that know nothing of it: a proxy with faults.

    proxy = Proxy(seed=7)
    port = await proxy.listen("okx", "127.0.0.1", 4001)    # clients go to `port`, not to 4001
    proxy.strike(Rule("swallow", "okx /ws/v5/private", "down"))

or as a process, driven by lines of JSON to the control port that its first line names (a target
may have a third word, the address to listen at for it; the control port's comes last):

    python tests/wire/proxy.py 7 '{"okx": ["127.0.0.1", 4001]}' [127.0.0.1]
    {"do": "strike", "fault": "cut", "where": "okx rest", "way": "up", "after": 40, "times": 1}

A connection's name is its target and, for a WebSocket, the path that it asked for (`okx
/ws/v5/private`); anything else is `okx rest`.  `up` is from the client to the target.

    latency   each piece waits `ms` and up to `jitter_ms` more; the order of a stream stays, that
              between connections does not
    rate      so many bytes a second pass (`size`)
    slice     pieces of `size` bytes, `ms` apart
    cut       `after` bytes still pass, then both ends are closed in order
    reset     the same, but both ends are reset
    swallow   `after` bytes still pass, then nothing: read, acknowledged, thrown away.  Such a
              stream has a hole: when the rule is lifted, its connection is reset
    pause     nothing is read until the rule is lifted, or for `ms`: the sender's buffers fill
    refuse    a new connection is reset before anything is read

`least` lets a rule begin only with a piece of at least so many bytes (an order, not a ping),
`holding` only with a request that holds those words: the one that is struck, or whose answer is.
`times` bounds how many connections a rule may strike; `after` below zero spares all but so many
bytes of the piece.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Any

PIECE = 65_536
_TICK_S = 0.05
QUEUE = 256  # pieces on their way; more and the sender has to wait
FAULTS = frozenset({"latency", "rate", "slice", "cut", "reset", "swallow", "pause", "refuse"})
WAYS = frozenset({"up", "down", "both"})
_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() resets


@dataclass(eq=False)
class Rule:
    """One fault and whom it strikes; `struck` counts connections, `pieces` what it held."""

    fault: str
    where: str = "*"
    way: str = "both"
    after: int = 0
    least: int = 0
    holding: str = ""
    times: int | None = None
    ms: float = 0
    jitter_ms: float = 0
    size: int = 1
    struck: int = 0
    pieces: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS or self.way not in WAYS or self.size < 1:
            raise ValueError(f"no such rule: {self}")

    def fits(self, name: str, way: str) -> bool:
        """Whether it is about that direction of that connection."""
        return self.way in (way, "both") and fnmatchcase(name, self.where)

    def begins(self, piece: bytes, request: bytes) -> bool:
        """Whether it strikes one more connection with this piece, which may answer `request`."""
        if self.times is not None and self.struck >= self.times:
            return False
        return len(piece) >= self.least and self.holding.encode() in request


class Link:
    """One client's connection and ours to the target; requests do not overlap on it."""

    def __init__(self, proxy: "Proxy", name: str, client: Any, target: Any) -> None:
        self.proxy, self.name = proxy, name
        self.ends = {"up": (client[0], target[1]), "down": (target[0], client[1])}
        self.rules: set[Rule] = set()  # that have begun here
        self.holes: set[Rule] = set()  # that threw something away
        self.swallowed = dict.fromkeys(self.ends, False)
        self.request, self.answered = b"", True  # what went up since something came down

    async def run(self, first: bytes) -> None:
        """Until both directions have ended, or one of them breaks."""
        jobs = []
        for way, (reader, writer) in self.ends.items():
            queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE)
            begin = first if way == "up" else b""
            jobs.append(asyncio.create_task(self._read(way, begin, reader, queue)))
            jobs.append(asyncio.create_task(self._write(way, queue, writer)))
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self.close()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    def close(self, *, reset: bool = False) -> None:
        """Both ends."""
        for _, writer in self.ends.values():
            if reset:
                _reset(writer)
            else:
                writer.close()

    async def _read(self, way: str, first: bytes, reader: Any, queue: Any) -> None:
        """Pieces are stamped when they come and written when their time has come."""
        last_s = 0.0
        while piece := first or await reader.read(PIECE):
            first = b""
            self._hear(way, piece)
            await self._paused(way, piece)
            last_s = max(last_s, _now_s() + self._late_s(way, piece))
            await queue.put((last_s, piece))
        await queue.put((last_s, b""))

    def _hear(self, way: str, piece: bytes) -> None:
        if way == "up" and len(self.request) < PIECE:
            self.request = piece if self.answered else self.request + piece
        self.answered = way == "down"

    async def _write(self, way: str, queue: Any, writer: asyncio.StreamWriter) -> None:
        while True:
            due_s, piece = await queue.get()
            await asyncio.sleep(max(0.0, due_s - _now_s()))
            if not piece:
                if writer.can_write_eof() and not self.swallowed[way]:
                    writer.write_eof()
                return
            await self._pass(way, piece, writer)

    async def _pass(self, way: str, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if self.swallowed[way]:
            return
        for rule in self._begun(way, piece, "cut", "reset", "swallow"):
            await self._put(way, piece[: rule.after], writer)
            if rule.fault == "swallow":
                self.swallowed[way] = True
                self.holes.add(rule)
                return
            self.close(reset=rule.fault == "reset")
            raise ConnectionResetError(rule.fault)
        await self._put(way, piece, writer)

    async def _put(self, way: str, piece: bytes, writer: asyncio.StreamWriter) -> None:
        """Slowly, for as long as a rule wants it."""
        if not piece:
            return
        slow = next(iter(self._begun(way, piece, "slice", "rate")), None)
        while piece and slow in self.proxy.rules:
            assert slow is not None, "None is no rule"
            step, wait_s = slow.size, slow.ms / 1_000
            if slow.fault == "rate":
                step = max(1, int(slow.size * _TICK_S))
                wait_s = min(step, len(piece)) / slow.size
            await asyncio.sleep(wait_s)
            writer.write(piece[:step])
            await writer.drain()
            piece = piece[step:]
        writer.write(piece)
        await writer.drain()

    def _begun(self, way: str, piece: bytes, *faults: str) -> list[Rule]:
        """The rules of these kinds that hold here now."""
        found = []
        for rule in self.proxy.rules:
            if rule.fault not in faults or not rule.fits(self.name, way):
                continue
            if rule not in self.rules:
                if not rule.begins(piece, self.request):
                    continue
                self.rules.add(rule)
                rule.struck += 1
                self.proxy.counts[rule.fault] += 1
            rule.pieces += 1
            found.append(rule)
        return found

    def _late_s(self, way: str, piece: bytes) -> float:
        rng = self.proxy.rng
        return sum(
            (rule.ms + rng.uniform(0, rule.jitter_ms)) / 1_000
            for rule in self._begun(way, piece, "latency")
        )

    async def _paused(self, way: str, piece: bytes) -> None:
        for rule in self._begun(way, piece, "pause"):
            end_s = _now_s() + rule.ms / 1_000 if rule.ms else float("inf")
            while rule in self.proxy.rules and _now_s() < end_s:  # noqa: ASYNC110 - two ends
                await asyncio.sleep(0.01)


class Proxy:
    """Listens for some targets; `rules` hold for every connection that they fit, old and new."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = Random(seed)
        self.rules: list[Rule] = []
        self.links: set[Link] = set()
        self.counts: Counter[str] = Counter()  # connections that a fault has struck
        self.opened: Counter[str] = Counter()  # connections by name, over all time
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, target: str, host: str, port: int, at: str = "127.0.0.1") -> int:
        """The port that leads to `host`:`port` from now on."""

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(target, host, port, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(take, at, 0)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def _serve(self, target: str, host: str, port: int, reader: Any, writer: Any) -> None:
        try:
            await self._connect(target, host, port, reader, writer)
        except OSError:
            _reset(writer)
        finally:
            writer.close()

    async def _connect(self, target: str, host: str, port: int, reader: Any, writer: Any) -> None:
        for rule in self.rules:
            if rule.fault == "refuse" and rule.fits(f"{target} ", "up") and rule.begins(b"", b""):
                rule.struck += 1
                self.counts["refuse"] += 1
                return _reset(writer)
        first = await _head(reader)
        name = f"{target} {_asked(first)}"
        self.opened[name] += 1
        theirs = await asyncio.open_connection(host, port)
        for each in (writer, theirs[1]):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(self, name, (reader, writer), theirs)
        self.links.add(link)
        try:
            await link.run(first)
        finally:
            self.links.discard(link)

    def strike(self, rule: Rule) -> Rule:
        """From now on it holds."""
        self.rules.append(rule)
        return rule

    def lift(self, rule: Rule) -> None:
        """No longer; a stream that it left with a hole is reset."""
        if rule in self.rules:
            self.rules.remove(rule)
        for link in list(self.links):
            if rule in link.holes:
                link.close(reset=True)

    def reset(self, where: str = "*") -> int:
        """Reset what stands now; how many that were."""
        found = [link for link in self.links if fnmatchcase(link.name, where)]
        for link in found:
            link.close(reset=True)
        self.counts["reset"] += len(found)
        return len(found)

    async def close(self) -> None:
        """No connection is left, nobody listens."""
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def obey(self, words: dict[str, Any]) -> dict[str, Any]:
        """One line of the control port.  Never raises: what cannot be done is an `error`."""
        words = dict(words)
        try:
            match words.pop("do", None):
                case "strike":
                    return {"rule": id(self.strike(Rule(**words)))}
                case "lift":
                    for rule in [r for r in self.rules if words["rule"] in (id(r), "*")]:
                        self.lift(rule)
                    return {}
                case "reset":
                    return {"reset": self.reset(**words)}
                case "told":
                    rules = {str(id(rule)): asdict(rule) for rule in self.rules}
                    stands = Counter(link.name for link in self.links)
                    return {"counts": self.counts, "opened": self.opened,
                            "stands": stands, "rules": rules}  # fmt: skip
        except (TypeError, ValueError, KeyError) as fault:
            return {"error": repr(fault)}
        return {"error": "do strike, lift, reset or told"}


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST, now, whatever is still to be written."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    writer.transport.abort()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The head of the first request, at least."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < PIECE:
        piece = await reader.read(PIECE)
        if not piece:
            raise ConnectionResetError("said nothing")
        head += piece
    return head


def _asked(first: bytes) -> str:
    """What a connection is for, by its first request.

    >>> _asked(b"GET /ws?x=1 HTTP/1.1\\r\\nUpgrade: websocket\\r\\n\\r\\n")
    '/ws'
    """
    head = first.partition(b"\r\n\r\n")[0].lower()
    if b"upgrade: websocket" not in head:
        return "rest"
    return first.split(b" ", 2)[1].partition(b"?")[0].decode()


async def serve(seed: int, targets: Mapping[str, Sequence[Any]], at: str) -> None:
    """As a process: the first line says where, then the control port is obeyed until it closes."""
    proxy = Proxy(seed)
    ports = {name: await proxy.listen(name, *target) for name, target in targets.items()}
    over = asyncio.Event()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(proxy.obey(json.loads(line))).encode() + b"\n")
        writer.close()
        over.set()

    server = await asyncio.start_server(control, at, 0)
    first = {"ports": ports, "control": server.sockets[0].getsockname()[1]}
    print(json.dumps(first), flush=True)
    await over.wait()
    server.close()
    await proxy.close()


if __name__ == "__main__":
    _seed, _targets, *_at = sys.argv[1:]
    asyncio.run(serve(int(_seed), json.loads(_targets), *(_at or ["127.0.0.1"])))
