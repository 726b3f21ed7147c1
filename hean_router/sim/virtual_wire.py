"""The wires of the virtual network: ways between hosts, streams of connections, and their faults.

A `Way` is one direction between two hosts (latency, jitter, bandwidth, faults), a `Link` both.  A
`Stream` is one direction of one connection: bytes arrive late, in pieces, or never, but always in
order, as TCP promises.  A `Connection` is two streams and the two ends that use them.

What is modelled of TCP, and what is not: handshake, window (bytes sent and not yet read), end of
stream, reset by whoever has closed, retransmission across an outage (bytes wait, they are not
lost) with `ETIMEDOUT` after `RETRANSMIT_NS`.  Acknowledgements are instant and cost nothing; so
data that arrive while only the way back is dead are acknowledged all the same.
"""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Literal, Protocol, cast

from hean_router.sim.virtual_seed import Seeds, Trace

SECOND_NS = 1_000_000_000

# Linux gives up an established connection after tcp_retries2 = 15 retransmissions: 924.6 s.
RETRANSMIT_NS = 924_600_000_000

# On a slow way a write is carried in pieces that take about so long each: it trickles.
_PIECE_NS = 50_000_000
_PIECE_MAX = 65_536

CutMode = Literal["reset", "fin", "hole"]
Entry = tuple[int, int, int, Callable[["Entry"], None], object]


class Agenda:
    """What will happen, by (time, who, in which order it was said); and what time it is.

    "Who" stands before "order" so that events of one instant on different streams do not depend
    on the order in which they were written: libraries walk sets of connections, whose order
    changes from process to process.
    """

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self.heap: list[Entry] = []
        self.next_seq = count(1).__next__
        self.next_who = count(1).__next__

    def push(self, when_ns: int, who: int, act: Callable[[Entry], None], what: object) -> None:
        """Call `act(entry)` at `when_ns`; `what` is `entry[4]`."""
        heappush(self.heap, (when_ns, who, self.next_seq(), act, what))

    def run_due(self) -> None:
        """Let everything happen whose time has come."""
        heap, now_ns = self.heap, self.now_ns
        while heap and heap[0][0] <= now_ns:
            entry = heappop(heap)
            entry[3](entry)


class Wired(Protocol):
    """What a stream needs of the end that it serves."""

    def wire_data(self, data: bytes) -> None:
        """Bytes arrived."""

    def wire_eof(self) -> None:
        """The other end will send no more."""

    def wire_lost(self, exc: OSError) -> None:
        """The connection is gone: reset, or timed out."""

    def freeze(self, frozen: bool) -> None:
        """Read nothing more, or again."""


class _Mark:
    """Something other than bytes in a stream."""


FIN = _Mark()
RST = _Mark()


@dataclass(slots=True)
class Cut:
    """Cut after so many more bytes."""

    left: int
    mode: CutMode


def reset_error() -> ConnectionResetError:
    """A fresh ECONNRESET, as the system words it."""
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


class Way:
    """One direction between two hosts."""

    __slots__ = (
        "bandwidth",
        "busy_until_ns",
        "clog_until_ns",
        "clogged",
        "cut",
        "hole",
        "jitter_ns",
        "latency_ns",
        "name",
        "plain",
        "segment",
        "shut",
    )

    def __init__(self, name: str, latency_ns: int) -> None:
        self.name = name
        self.latency_ns = latency_ns
        self.jitter_ns = 0
        self.bandwidth: int | None = None
        self.segment: int | None = None
        self.busy_until_ns = 0
        self.cut: Cut | None = None
        self.hole = False
        self.clogged = False
        self.clog_until_ns: int | None = None  # None while clogged: until unclogged
        self.shut = False  # hole or clogged: asked for every arrival
        self.plain = True  # nothing but latency: the quick path of every write

    def retune(self) -> None:
        """After any change: recompute what the quick path asks."""
        self.shut = self.hole or self.clogged
        self.plain = not (
            self.jitter_ns
            or self.bandwidth is not None
            or self.segment is not None
            or self.cut is not None
        )


class Stream:
    """One direction of one connection: everything in order, whatever befalls it."""

    __slots__ = (
        "_act",
        "_agenda",
        "_seeds",
        "_trace",
        "carried",
        "conn",
        "cut",
        "held",
        "hole",
        "label",
        "last_ns",
        "receiver",
        "rng",
        "sender",
        "way",
        "who",
    )

    receiver: Wired
    sender: Wired

    def __init__(
        self, conn: "Connection", way: Way, label: str, agenda: Agenda, trace: Trace, seeds: Seeds
    ) -> None:
        self.conn = conn
        self.way = way
        self.label = label
        self.who = agenda.next_who()
        self.last_ns = 0
        self.held: deque[Entry] = deque()
        self.hole = False
        self.cut: Cut | None = None
        self.carried = 0
        self.rng: Random | None = None
        self._agenda = agenda
        self._trace = trace
        self._seeds = seeds
        self._act = self._arrive  # bound once, not per write

    # -- the sending side ------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        if not self.way.plain or self.cut is not None:
            self._send_slowly(data)
            return
        agenda = self._agenda
        when_ns = agenda.now_ns + self.way.latency_ns
        # Equal times keep their order by the running number, so "not earlier" is enough.
        if when_ns < self.last_ns:
            when_ns = self.last_ns
        self.last_ns = when_ns
        heappush(agenda.heap, (when_ns, self.who, agenda.next_seq(), self._act, data))

    def fin(self) -> None:
        """Say that no more will come."""
        self._push(self._agenda.now_ns + self._delay_ns(), FIN)

    def rst(self) -> None:
        """Say that nobody is here any more."""
        self._push(self._agenda.now_ns + self._delay_ns(), RST)

    def _push(self, when_ns: int, what: object) -> None:
        self.last_ns = max(self.last_ns, when_ns)
        self._agenda.push(self.last_ns, self.who, self._act, what)

    def _delay_ns(self) -> int:
        way = self.way
        if not way.jitter_ns:
            return way.latency_ns
        if self.rng is None:
            self.rng = self._seeds.rng(f"net/{self.label}")
        return way.latency_ns + self.rng.randrange(way.jitter_ns + 1)

    def _send_slowly(self, data: bytes) -> None:
        cut = self.cut or self.way.cut
        ends = cut is not None and len(data) >= cut.left
        if cut is not None:
            data = data[: cut.left]
            cut.left -= len(data)
        for piece in self._pieces(data):
            self._push(self._depart(len(piece)) + self._delay_ns(), piece)
        if cut is not None and ends:
            # Right behind the last byte: the reader has it, but no answer leaves any more.
            self._push(self._agenda.now_ns, cut)
            if self.cut is not None:
                self.cut = None
            else:
                self.way.cut = None
                self.way.retune()

    def _depart(self, size: int) -> int:
        """When the last of `size` bytes has left; the way is shared by all its connections."""
        way = self.way
        if way.bandwidth is None:
            return self._agenda.now_ns
        start_ns = max(self._agenda.now_ns, way.busy_until_ns)
        way.busy_until_ns = start_ns + size * SECOND_NS // way.bandwidth
        return way.busy_until_ns

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        way = self.way
        size_max = max(len(data), 1)
        if way.bandwidth is not None:
            size_max = min(max(1, way.bandwidth * _PIECE_NS // SECOND_NS), _PIECE_MAX)
        start = 0
        while start < len(data):
            size = size_max
            if way.segment is not None:
                if self.rng is None:
                    self.rng = self._seeds.rng(f"net/{self.label}")
                size = min(size, self.rng.randint(1, way.segment))
            yield data[start : start + size]
            start += size

    # -- the receiving side ----------------------------------------------------------------

    def _arrive(self, entry: Entry) -> None:
        if self.way.shut or self.hole:
            self._hold(entry)
            return
        what = entry[4]
        if self.conn.severed:
            # Something in the middle ended this connection: it answers for both ends.
            if what is not RST:
                self.sender.wire_lost(reset_error())
        elif isinstance(what, bytes):
            self.carried += len(what)
            self._trace.add(self._agenda.now_ns, self.label, f"+{len(what)}")
            self.receiver.wire_data(what)
        elif what is FIN:
            self._trace.add(self._agenda.now_ns, self.label, "fin")
            self.receiver.wire_eof()
        elif what is RST:
            self._trace.add(self._agenda.now_ns, self.label, "rst")
            self.receiver.wire_lost(reset_error())
        else:
            assert isinstance(what, Cut)
            self.conn.cut(what.mode)

    def _hold(self, entry: Entry) -> None:
        if not self.held:
            agenda = self._agenda
            agenda.push(agenda.now_ns + RETRANSMIT_NS, self.who, self._give_up, entry)
        self.held.append(entry)

    def _give_up(self, entry: Entry) -> None:
        if self.held and self.held[0] is entry[4]:
            self._trace.add(self._agenda.now_ns, self.label, "timed out")
            self.sender.wire_lost(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))

    def release(self) -> None:
        """Let go what was held, if nothing holds it any more; in the old order, before the rest."""
        if self.way.shut or self.hole or not self.held:
            return
        when_ns = self._agenda.now_ns + 1
        for _, who, seq, act, what in self.held:
            heappush(self._agenda.heap, (when_ns, who, seq, act, what))
        self.held.clear()
        self.last_ns = max(self.last_ns, when_ns)


class Connection:
    """One TCP connection: where a test or a simulator hurts it.

    `client` and `server` are host names, `up` carries from client to server, `down` back.
    """

    def __init__(
        self,
        number: int,
        link: "Link",
        client: str,
        server: str,
        agenda: Agenda,
        trace: Trace,
        seeds: Seeds,
    ) -> None:
        self.number = number
        self.link = link
        self.client = client
        self.server = server
        self.severed = False
        self._agenda = agenda
        self._trace = trace
        there, back = link.way(client), link.way_to(client)
        self.up = Stream(self, there, f"{client}>{server}#{number}", agenda, trace, seeds)
        self.down = Stream(self, back, f"{server}>{client}#{number}", agenda, trace, seeds)
        self._open_ends = 2
        link.connections[self.up.who] = self

    def __repr__(self) -> str:
        return f"<Connection {self.up.label} +{self.up.carried} -{self.down.carried}>"

    def cut(self, mode: CutMode = "reset") -> None:
        """End it from the middle.  Nothing under way arrives.

        `reset`: both ends are told so at once.  `fin`: both see an end of stream, and a reset once
        they send.  `hole`: neither is told, ever (half open).
        """
        self._trace.add(self._agenda.now_ns, self.up.label, f"cut {mode}")
        if mode == "hole":
            self.blackhole()
            return
        self.severed = True
        for stream in (self.up, self.down):
            stream.held.clear()
            # Never from inside the caller: it may be a callback of one of the ends.
            self._agenda.push(self._agenda.now_ns, stream.who, self._tell, (stream, mode))

    def cut_after(self, size: int, *, sender: str | None = None, mode: CutMode = "reset") -> None:
        """Cut once `size` more bytes from `sender` (the client, if not named) have arrived.

        0 cuts when the next byte is sent; it does not arrive.
        """
        self._stream(sender).cut = Cut(size, mode)

    def blackhole(self, *, sender: str | None = None) -> None:
        """Carry nothing any more: no data, no reset, no end.  One way only if `sender` is named."""
        for stream in self._streams(sender):
            stream.hole = True

    def heal(self) -> None:
        """End the black hole; what was sent meanwhile arrives, as if retransmitted."""
        for stream in (self.up, self.down):
            stream.hole = False
            stream.release()

    def stop_reading(self, host: str, stopped: bool = True) -> None:
        """Let `host` read nothing more (or again): buffers fill, and its peer must wait."""
        (self.down if host == self.client else self.up).receiver.freeze(stopped)

    def _tell(self, entry: Entry) -> None:
        stream, mode = cast(tuple[Stream, CutMode], entry[4])
        if mode == "reset":
            stream.receiver.wire_lost(reset_error())
        else:
            stream.receiver.wire_eof()

    def ended(self) -> None:
        """One end is closed; after both, the link forgets this connection."""
        self._open_ends -= 1
        if not self._open_ends:
            del self.link.connections[self.up.who]

    def _stream(self, sender: str | None) -> Stream:
        return self.up if sender in (None, self.client) else self.down

    def _streams(self, sender: str | None) -> tuple[Stream, ...]:
        return (self.up, self.down) if sender is None else (self._stream(sender),)


class Link:
    """Both ways between two hosts, and every connection on them.

    Methods that take `sender` touch only what that host sends, or both ways if it is not named.
    A host's link to itself is its loopback: there the first way is the client's.
    """

    def __init__(self, a: str, b: str, latency_ns: int, agenda: Agenda, trace: Trace) -> None:
        self.hosts = (a, b)
        self.ways = (Way(f"{a}>{b}", latency_ns), Way(f"{b}>{a}", latency_ns))
        self.connections: dict[int, Connection] = {}
        self.refused = False
        self._agenda = agenda
        self._trace = trace
        self._who = agenda.next_who()

    def way(self, sender: str) -> Way:
        """What carries from `sender`."""
        return self.ways[self.hosts.index(sender)]

    def way_to(self, receiver: str) -> Way:
        """What carries to `receiver`."""
        return self.ways[1 - self.hosts.index(receiver)]

    def shape(
        self,
        *,
        latency_ns: int | None = None,
        jitter_ns: int | None = None,
        bandwidth: int | None = None,
        segment: int | None = None,
        sender: str | None = None,
    ) -> None:
        """Change what is named.

        `latency_ns` at least 1; `jitter_ns` is added evenly from 0 to so much, drawn per write;
        `bandwidth` in bytes a second, shared by all connections, 0 for unbounded; `segment` breaks
        every write at random into pieces of at most so many bytes, 0 for whole writes.
        """
        for way in self._ways(sender):
            if latency_ns is not None:
                way.latency_ns = max(1, latency_ns)  # 0 would let an exchange never take time
            if jitter_ns is not None:
                way.jitter_ns = jitter_ns
            if bandwidth is not None:
                way.bandwidth = bandwidth or None
            if segment is not None:
                way.segment = segment or None
            way.retune()
        self._note("shape", sender)

    def latency(self, latency_ns: int, jitter_ns: int = 0, *, sender: str | None = None) -> None:
        """Take so long; see `shape`."""
        self.shape(latency_ns=latency_ns, jitter_ns=jitter_ns, sender=sender)

    def cut(self, mode: CutMode = "reset") -> None:
        """Cut every connection that is open now; new ones may follow."""
        for conn in self._open():
            conn.cut(mode)

    def cut_after(self, size: int, *, sender: str, mode: CutMode = "reset") -> None:
        """Cut the connection that carries the `size`-th byte from now on that `sender` sends."""
        way = self.way(sender)
        way.cut = Cut(size, mode)
        way.retune()
        self._note(f"cut after {size}", sender)

    def blackhole(self, *, sender: str | None = None) -> None:
        """Carry nothing: no data, no reset, no end, no connecting."""
        for way in self._ways(sender):
            way.hole = True
            way.retune()
        self._note("black hole", sender)

    def clog(self, seconds: float | None = None, *, sender: str | None = None) -> None:
        """Carry nothing for so long, or until `unclog`; nothing is lost."""
        until_ns = None if seconds is None else self._agenda.now_ns + round(seconds * SECOND_NS)
        for way in self._ways(sender):
            way.clogged, way.clog_until_ns = True, until_ns
            way.retune()
        if until_ns is not None:
            self._agenda.push(until_ns, self._who, self._unclog_due, until_ns)
        self._note(f"clog {seconds}", sender)

    def unclog(self, *, sender: str | None = None) -> None:
        """End a clog before its time."""
        for way in self._ways(sender):
            way.clogged, way.clog_until_ns = False, None
            way.retune()
        self._note("unclog", sender)
        self._release()

    def refuse(self, refused: bool = True) -> None:
        """Answer every attempt to connect with "refused", as a firewall may."""
        self.refused = refused
        self._note(f"refuse {refused}", None)

    def heal(self) -> None:
        """End black holes, clogs, cuts to come and refusals; keep latency, jitter, bandwidth."""
        self.refused = False
        for way in self.ways:
            way.hole, way.clogged, way.clog_until_ns, way.cut = False, False, None, None
            way.retune()
        self._note("heal", None)
        for conn in self._open():
            conn.heal()

    def _ways(self, sender: str | None) -> tuple[Way, ...]:
        return self.ways if sender is None else (self.way(sender),)

    def _open(self) -> list[Connection]:
        return list(self.connections.values())

    def _unclog_due(self, entry: Entry) -> None:
        for way in self.ways:
            if way.clogged and way.clog_until_ns == entry[4]:
                way.clogged, way.clog_until_ns = False, None
                way.retune()
        self._release()

    def _release(self) -> None:
        for conn in self._open():
            conn.up.release()
            conn.down.release()

    def _note(self, what: str, sender: str | None) -> None:
        name = "=".join(self.hosts) if sender is None else self.way(sender).name
        self._trace.add(self._agenda.now_ns, name, what)
