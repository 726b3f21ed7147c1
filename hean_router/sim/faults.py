"""A face that misbehaves: wraps another face and does to its clients what networks and venues do.

Everything follows from the seed; each fault draws from a generator of its own.  `counts` says how
often each one struck.  The wrapped face never knows: what it believes to have sent is not what the
client got.  See `fault_spec` for the words.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import orjson

from hean_router.sim.contract import (
    HOUR,
    MINUTE,
    MS,
    SECOND,
    Close,
    Conn,
    Face,
    FrameKind,
    Output,
    Outputs,
    Pause,
    Ping,
    Pong,
    Request,
    Reset,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.exchange import Step
from hean_router.sim.fault_spec import ONLY, ORDERS, SHARES, TIMES, FaultSpec
from hean_router.sim.garbling import WAYS as GARBLINGS
from hean_router.sim.garbling import (
    about_orders,
    crowded,
    frame_refused_for_rate,
    garbled,
    garbled_frame,
    order_message,
    refused_for_rate,
)
from hean_router.sim.market import split
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.pacing import Timers
from hean_router.sim.venue_strikes import OWN_WORDS, WAYS, VenueStrikes

_HALF_OPEN_NS = 15 * MINUTE  # then the peer's kernel gives up too
_HELD_NS = SECOND  # a frame kept back for a next one that does not come
_RESET_LOST_NS = 10 * SECOND
_TROUBLES = {
    "restart": Trouble.RESTART,
    "snapshot": Trouble.SNAPSHOT,
    "shutdown": Trouble.SHUTDOWN,
    "maintenance": Trouble.MAINTENANCE,
    "session": Trouble.SESSION,
}
_ORDER_TOPICS = ("order", "execution")  # how topics that tell of orders begin
_RETRY_NS = 250 * MS  # a strike that found nothing to strike
_PATIENCE = 240  # how often it is tried again
_REFUSALS = (429, 503, 403)
_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass
class _Link:
    """What the faults hold against one connection."""

    stalled: set[str] = field(default_factory=set)
    books: dict[str, None] = field(default_factory=dict)  # topics that have sent book changes
    gaps: dict[str, int] = field(default_factory=dict)  # topic -> frames still to lose
    held: dict[str, Send] = field(default_factory=dict)  # topic -> frame waiting for the next
    slow_until_ns: int = 0
    lag_ns: int = 0
    late: deque[tuple[int, Output]] = field(default_factory=deque)


class Faults:
    """A `Face` around a face."""

    def __init__(self, face: Face, spec: FaultSpec, seed: int, origin_ns: int) -> None:
        self.inner = face
        self.venue = face.venue
        self.counts: Counter[str] = Counter(
            {word: 0 for word in (*spec.shares, *spec.every_ns) if word not in ORDERS}
        )
        seed = seed if spec.seed is None else spec.seed
        self._shares = dict(spec.shares)
        self._every_ns = dict(spec.every_ns)
        self._rngs = {word: split(seed, "faults", face.venue, word) for word in (*SHARES, *TIMES)}
        self._links: dict[Conn, _Link] = {}
        self._timers: Timers[tuple[str, Conn]] = Timers()
        self._demanded: Counter[str] = Counter()
        self._ways: dict[str, str] = {}
        self._garblings: deque[str] = deque()  # ways of those demanded
        self._armed: Counter[str] = Counter()  # strikes that wait for something to strike
        self._own = VenueStrikes(face)
        self._throttled_until_ns = self._crowded_until_ns = 0
        self._resets_lost_until_ns = 0
        self._resets_lost: set[tuple[Conn, str]] = set()
        self._shut_until_ns = self._deaf_until_ns = 0
        for word in self._every_ns:
            self._plan(word, origin_ns)
        if spec.until_ns is not None:
            self._timers.set(("until", 0), origin_ns + spec.until_ns)

    # What passes through

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        return self.inner.hosts(http, ws)

    def accept(self, request: Request, now_ns: int) -> Response | None:
        if now_ns < self._shut_until_ns:
            return Response(503, b"", {"Retry-After": "1"})
        if now_ns < self._crowded_until_ns:
            self.counts["crowd"] += 1
            return crowded(self.venue)
        if self._strikes("refuse"):
            return Response(self._rngs["refuse"].choice(_REFUSALS), b"", {"Retry-After": "1"})
        return self.inner.accept(request, now_ns)

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        self._links[conn] = _Link()
        return self._pass(self.inner.opened(conn, request, now_ns), now_ns)

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        outputs = self._obeyed(conn, data, now_ns)
        link = self._links.get(conn)
        if link is not None and link.stalled:
            # A subscription made anew is a new subscription: it is not the one that stalled.
            link.stalled &= set(self.inner.topics(conn))
        return self._pass(outputs, now_ns)

    def _obeyed(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        """What the face does with a frame; a request for an order may be refused, or garbled."""
        limited = now_ns < self._throttled_until_ns
        garbles = self._demanded["garbled"] > 0 or "garbled" in self._shares
        message = order_message(self.venue, data) if limited or garbles else None
        if message is None:
            return self.inner.received(conn, data, now_ns)
        if limited:
            self.counts["throttle"] += 1
            until_ns = self._throttled_until_ns
            refusal = frame_refused_for_rate(self.venue, message, now_ns, until_ns)
            return [Send(conn, orjson.dumps(refusal).decode())]
        if not self._strikes("garbled"):
            return self.inner.received(conn, data, now_ns)
        rng = self._rngs["garbled"]
        way = (self._garblings.popleft() if self._garblings else "") or rng.choice(GARBLINGS)
        if rng.randrange(2):  # not done
            return [Send(conn, garbled_frame('{"result":{}}', way, rng))]
        return [
            replace(one, data=garbled_frame(one.data, way, rng))
            if isinstance(one, Send) and one.conn == conn and one.kind is FrameKind.CONTROL
            else one
            for one in self.inner.received(conn, data, now_ns)
        ]

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        return self._pass(self.inner.pinged(conn, data, now_ns), now_ns)

    def ponged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        return self._pass(self.inner.ponged(conn, data, now_ns), now_ns)

    def closed(self, conn: Conn, now_ns: int) -> None:
        self._forget(conn)
        self.inner.closed(conn, now_ns)

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        return self.inner.overflowed(conn, now_ns)

    def market(self, step: Step, now_ns: int) -> Outputs:
        return self._pass(self.inner.market(step, now_ns), now_ns)

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        outputs = self.inner.trouble(trouble, now_ns)
        return None if outputs is None else self._pass(outputs, now_ns)

    def topics(self, conn: Conn) -> Sequence[str]:
        return self.inner.topics(conn)

    @property
    def wake_at_ns(self) -> int | None:
        times = (self.inner.wake_at_ns, self._timers.wake_at_ns)
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def due(self, now_ns: int) -> Outputs:
        outputs: list[Output] = []
        while timer := self._timers.pop(now_ns):
            when_ns, (what, conn) = timer
            outputs += self._timed(what, conn, when_ns)
        wake_ns = self.inner.wake_at_ns
        if wake_ns is not None and wake_ns <= now_ns:
            outputs += self._pass(self.inner.due(now_ns), now_ns)
        return outputs

    # REST

    def request(self, request: Request, now_ns: int) -> Response:
        if self._strikes("inside") and self.inner.trouble(Trouble.INSIDE, now_ns) is None:
            self.counts["inside"] -= 1  # not at this venue
        if now_ns < self._throttled_until_ns:
            self.counts["throttle"] += 1
            return refused_for_rate(self.venue, now_ns, self._throttled_until_ns)
        if about_orders(self.venue, request) and self._strikes("garbled"):
            return self._garbled(request, now_ns)
        response = self.inner.request(request, now_ns)
        if self._strikes("hang"):
            return replace(response, delay_ns=HOUR)
        if self._strikes("rest"):
            return _failed(response, self._rngs["rest"])
        if self._strikes("late"):
            return replace(response, delay_ns=self._rngs["late"].randint(50, 2_000) * MS)
        return response

    def _garbled(self, request: Request, now_ns: int) -> Response:
        """Half of the time what was asked for is done all the same."""
        rng = self._rngs["garbled"]
        way = (self._garblings.popleft() if self._garblings else "") or rng.choice(GARBLINGS)
        response = Response(200, b'{"result":{}}')
        if rng.randrange(2):
            response = self.inner.request(request, now_ns)
        return garbled(response, request, way, rng)

    # Demands

    def demand(self, word: str, times: int = 1, way: str = "") -> None:
        """Let `word` of `SHARES` strike the next `times` it can.  KeyError: no such word."""
        if word not in SHARES:
            raise KeyError(word)
        self._demanded[word] += times
        self._garblings.extend([way] * times if word == "garbled" else ())

    def calm(self, now_ns: int) -> Outputs:
        """All faults are over, as at `until`; what was demanded is forgotten."""
        self._demanded.clear()
        self._garblings.clear()
        self._ways.clear()
        return self._end(now_ns)

    # Frames

    def _strikes(self, word: str) -> bool:
        if self._demanded[word] > 0:
            self._demanded[word] -= 1
            self.counts[word] += 1
            return True
        ppm = self._shares.get(word)
        if ppm is None or self._rngs[word].randrange(1_000_000) >= ppm:
            return False
        self.counts[word] += 1
        return True

    def _pass(self, outputs: Iterable[Output], now_ns: int) -> list[Output]:
        """What the client gets of what the face meant to send."""
        passed: list[Output] = []
        for output in outputs:
            link = self._links.get(output.conn)
            if link is None:
                continue  # half-open, or gone
            if now_ns < self._deaf_until_ns and isinstance(output, Send | Ping | Pong):
                continue
            if isinstance(output, Send):
                sends = list(self._frame(link, output, now_ns))
            else:
                sends = [output]
            passed += self._timely(link, output.conn, sends, now_ns)
            if isinstance(output, Close | Reset) and not link.late:
                self._forget(output.conn)
        return passed

    def _timely(self, link: _Link, conn: Conn, outputs: list[Output], now_ns: int) -> list[Output]:
        """All at once, or later and in order while the connection is slow."""
        if not link.late and now_ns >= link.slow_until_ns:
            return outputs
        at_ns = now_ns + (link.lag_ns if now_ns < link.slow_until_ns else 0)
        if link.late:
            at_ns = max(at_ns, link.late[-1][0])
        for output in outputs:
            link.late.append((at_ns, output))
        if link.late:
            self._timers.set(("late", conn), link.late[0][0])
        return []

    def _frame(self, link: _Link, send: Send, now_ns: int) -> Iterator[Output]:
        """None, one or two frames in place of one."""
        topic = send.topic
        if send.kind is FrameKind.PRIVATE:
            # A live socket loses none of these at any venue; the face itself repeats them.
            yield from self._told(link, send, now_ns)
            return
        if send.kind is FrameKind.CONTROL:
            if not self._strikes("hush"):
                yield send
            return
        if send.kind is not FrameKind.DATA:
            link.books[topic] = None
        if self._lost(link, send, now_ns):
            return
        send = self._mangled(send)
        if self._strikes("reorder") and topic not in link.held:
            link.held[topic] = send
            self._timers.set((f"held {topic}", send.conn), now_ns + _HELD_NS)
            return
        yield send
        if self._strikes("repeat"):
            yield send
        if held := link.held.pop(topic, None):
            self._timers.drop((f"held {topic}", send.conn))
            yield held

    def _told(self, link: _Link, send: Send, now_ns: int) -> Iterator[Output]:
        """What an account is told: sometimes an event after the next one of its stream."""
        topic = send.topic
        if not _tells_of_orders(send):
            yield send
            return
        if (held := link.held.pop(topic, None)) is not None:
            self._timers.drop((f"held {topic}", send.conn))
            self.counts["disorder"] += 1
            yield from _swapped(held, send)
            return
        if self._strikes("disorder"):
            self.counts["disorder"] -= 1  # not before something has come before it
            link.held[topic] = send
            self._timers.set((f"held {topic}", send.conn), now_ns + _HELD_NS)
            return
        yield send

    def _lost(self, link: _Link, send: Send, now_ns: int) -> bool:
        topic = send.topic
        if topic in link.stalled:
            return True
        if send.reset and now_ns < self._resets_lost_until_ns:
            key = (send.conn, topic)
            if key not in self._resets_lost:
                self._resets_lost.add(key)
                self.counts["lostreset"] += 1
                return True
        if link.gaps.get(topic, 0) > 0:
            link.gaps[topic] -= 1
            return True
        if self._strikes("gap"):
            link.gaps[topic] = self._rngs["gap"].randint(1, 20)
            return True
        return self._strikes("drop")

    def _mangled(self, send: Send) -> Send:
        if self._strikes("corrupt"):
            return replace(send, data=broken(send.data, self._rngs["corrupt"]))
        if self._strikes("digits"):
            changed = misread(send.data, self._rngs["digits"])
            self.counts["digits"] -= changed == send.data  # there was no number to misread
            return replace(send, data=changed)
        return send

    # Strikes by time

    def hit(self, word: str, now_ns: int) -> Outputs:
        """Let a fault of `fault_spec.TIMES` strike now.  KeyError: no such word."""
        strikes = {
            "cut": self._cut,
            "cutall": self._cut_all,
            "stall": self._stall,
            "halfopen": self._half_open,
            "slow": self._slow,
            "lostreset": self._lose_reset,
        }
        if word in strikes:
            return strikes[word](self._rngs[word], now_ns)
        if word in ("throttle", "crowd"):
            self._refuse_for_a_while(word, now_ns)
            return ()
        if word in self._own.words:
            return self._strike_own(word, now_ns)
        if word in OWN_WORDS:
            return ()  # a face without orders
        if word == "maintenance" and ("resume", 0) in self._timers:
            return ()  # one at a time
        outputs = self.trouble(_TROUBLES[word], now_ns)
        if outputs is None:
            return ()
        self.counts[word] += 1
        if word == "maintenance":
            rest_ns = self._rngs[word].randint(20, 60) * SECOND
            self._timers.set(("resume", 0), now_ns + rest_ns)
        return outputs

    def strike(self, word: str, now_ns: int, way: str = "") -> Outputs | None:
        """As `hit`, in that way of several if it says one; None: not at this venue.

        What finds nothing to strike is tried again for a minute.
        """
        if self.venue not in ONLY.get(word, frozenset((self.venue,))):
            return None
        if way:
            self._ways[word] = way
        return self.hit(word, now_ns)

    def _way(self, word: str) -> str:
        wanted = self._ways.pop(word, "")
        return wanted or self._rngs[word].choice(WAYS.get(word, ("",)))

    def _strike_own(self, word: str, now_ns: int) -> Outputs:
        """An act of the venue's own; or wait for something to do it to."""
        wanted = self._ways.get(word, "")
        if word == "wipe" and ("resume", 0) in self._timers:
            return ()  # one maintenance at a time
        way = self._way(word)
        outputs = self._own.strike(word, self._rngs[word], now_ns, way)
        if outputs is None:
            if wanted:
                self._ways[word] = wanted
            if self._armed[word] < _PATIENCE:
                self._armed[word] += 1
                self._timers.set((f"again {word}", 0), now_ns + _RETRY_NS)
            else:
                del self._armed[word]
            return ()
        self._armed.pop(word, None)
        self._timers.drop((f"again {word}", 0))
        self.counts[word] += 1
        if lasts_ns := self._own.lasts_ns(word, self._rngs[word]):
            self._timers.set((f"undo {word}", 0), now_ns + lasts_ns)
        passed = self._pass(outputs, now_ns)
        return [*passed, *self.hit("maintenance", now_ns)] if word == "wipe" else passed

    def _undo(self, word: str, now_ns: int) -> Outputs:
        if ("resume", 0) in self._timers:  # nothing trades meanwhile
            self._timers.set((f"undo {word}", 0), now_ns + SECOND)
            return ()
        return self._pass(self._own.undo(word, now_ns), now_ns)

    def _refuse_for_a_while(self, word: str, now_ns: int) -> None:
        """Counted when somebody is refused."""
        until_ns = now_ns + self._rngs[word].randint(2, 8) * SECOND
        if word == "crowd":
            self._crowded_until_ns = until_ns
        elif self._way(word) == "all":
            self._throttled_until_ns = until_ns
        elif (placements := self._placements) is not None:
            placements.limit(until_ns)

    @property
    def _placements(self) -> OrderFaults | None:
        private = getattr(self.inner, "private", None)
        return private.orders.faults if private is not None else None

    def shut(self, until_ns: int, now_ns: int) -> Outputs:
        """Tear every socket down, and take no new one until `until_ns`.  REST goes on."""
        self._shut_until_ns = until_ns
        return self._cut_all(self._rngs["cutall"], now_ns)

    def deafen(self, until_ns: int) -> None:
        """Let nothing through to any socket until `until_ns`; then all are torn down.

        What a socket has lost it does not make up for: one that goes on would be a gap that no
        venue leaves.
        """
        self._deaf_until_ns = until_ns
        self._timers.set(("deaf", 0), until_ns)

    def _plan(self, word: str, now_ns: int) -> None:
        mean_ns = self._every_ns[word]
        self._timers.set(
            (word, 0), now_ns + self._rngs[word].randint(mean_ns // 2, mean_ns * 3 // 2)
        )

    def _timed(self, what: str, conn: Conn, now_ns: int) -> Outputs:
        if what in self._every_ns:
            self._plan(what, now_ns)
            return self.hit(what, now_ns)
        if what == "deaf":
            return self._cut_all(self._rngs["cutall"], now_ns)
        if what == "until":
            return self._end(now_ns)
        if what == "resume":
            return self.trouble(Trouble.RESUME, now_ns) or ()
        if what == "half-open":
            return [Reset(conn)]
        if what.startswith("again "):
            return self.hit(what.removeprefix("again "), now_ns)
        if what.startswith("undo "):
            return self._undo(what.removeprefix("undo "), now_ns)
        link = self._links.get(conn)
        if link is None:
            return ()
        if what == "late":
            return self._release(link, conn, now_ns)
        held = link.held.pop(what.removeprefix("held "), None)
        return self._timely(link, conn, [held], now_ns) if held else ()

    def _release(self, link: _Link, conn: Conn, now_ns: int) -> list[Output]:
        """The slow connection's frames whose time has come."""
        outputs: list[Output] = []
        while link.late and link.late[0][0] <= now_ns:
            outputs.append(link.late.popleft()[1])
        if link.late:
            self._timers.set(("late", conn), link.late[0][0])
        if any(isinstance(output, Close | Reset) for output in outputs):
            self._forget(conn)
        return outputs

    def _end(self, now_ns: int) -> list[Output]:
        """All faults are over: what they held is let go."""
        self._shares.clear()
        self._every_ns.clear()
        self._resets_lost_until_ns = self._throttled_until_ns = self._crowded_until_ns = 0
        self._armed.clear()
        outputs: list[Output] = []
        for word in TIMES:
            self._timers.drop((word, 0))
            self._timers.drop((f"again {word}", 0))
            self._timers.drop((f"undo {word}", 0))
            outputs += self._own.undo(word, now_ns)
        for conn, link in list(self._links.items()):
            link.stalled.clear()
            link.gaps.clear()
            link.slow_until_ns = 0
            for topic, held in link.held.items():
                self._timers.drop((f"held {topic}", conn))
                link.late.append((now_ns, held))
            link.held.clear()
            self._timers.drop(("late", conn))
            link.late = deque((now_ns, output) for _, output in link.late)
            outputs += self._release(link, conn, now_ns)
        dead = [conn for what, conn in self._timers if what == "half-open"]
        for conn in dead:
            self._timers.drop(("half-open", conn))
            outputs.append(Reset(conn))
        if ("resume", 0) in self._timers:
            self._timers.drop(("resume", 0))
            outputs += self.trouble(Trouble.RESUME, now_ns) or ()
        return outputs

    def _victim(self, rng: Random) -> Conn | None:
        return rng.choice(list(self._links)) if self._links else None

    def _cut(self, rng: Random, now_ns: int) -> Outputs:
        conn = self._victim(rng)
        if conn is None:
            return ()
        self.counts["cut"] += 1
        end: Output = Reset(conn) if rng.randrange(3) else Close(conn, 1001, "Going away")
        self.closed(conn, now_ns)
        return [end]

    def _cut_all(self, _rng: Random, now_ns: int) -> Outputs:
        conns = list(self._links)
        self.counts["cutall"] += bool(conns)
        for conn in conns:
            self.closed(conn, now_ns)
        return [Reset(conn) for conn in conns]

    def _stall(self, rng: Random, _now_ns: int) -> Outputs:
        books = [
            (link, topic)
            for link in self._links.values()
            for topic in link.books
            if topic not in link.stalled
        ]
        if books:
            link, topic = rng.choice(books)
            link.stalled.add(topic)
            self.counts["stall"] += 1
        return ()

    def _half_open(self, rng: Random, now_ns: int) -> Outputs:
        conn = self._victim(rng)
        if conn is None:
            return ()
        self.counts["halfopen"] += 1
        self.closed(conn, now_ns)
        self._timers.set(("half-open", conn), now_ns + _HALF_OPEN_NS)
        return [Pause(conn)]

    def _slow(self, rng: Random, now_ns: int) -> Outputs:
        conn = self._victim(rng)
        if conn is None:
            return ()
        self.counts["slow"] += 1
        link = self._links[conn]
        link.lag_ns = rng.randint(100, 3_000) * MS
        link.slow_until_ns = now_ns + rng.randint(5, 20) * SECOND
        return ()

    def _lose_reset(self, _rng: Random, now_ns: int) -> Outputs:
        # The reset frames may come at once or with the next batch; each topic loses its own.
        self._resets_lost_until_ns = now_ns + _RESET_LOST_NS
        self._resets_lost.clear()
        return self.trouble(Trouble.RESTART, now_ns) or ()

    def _forget(self, conn: Conn) -> None:
        link = self._links.pop(conn, None)
        if link is not None:
            self._timers.drop(("late", conn))
            for topic in link.held:
                self._timers.drop((f"held {topic}", conn))


def _tells_of_orders(send: Send) -> bool:
    """Whether a private frame is of what happened to an order now."""
    if send.topic.startswith("user:"):  # balances too
        return "executionReport" in str(send.data[:200])
    return send.topic.startswith(_ORDER_TOPICS) and '"type":"snapshot"' not in str(send.data[:200])


def _swapped(first: Send, second: Send) -> Iterator[Send]:
    """The second before the first.  A number of the place (Kraken's `sequence`) stays in it."""
    one, two = (_SEQUENCE.search(str(send.data)) for send in (first, second))
    if one is None or two is None:
        yield second
        yield first
        return
    for send, number in ((second, one[0]), (first, two[0])):
        yield replace(send, data=_SEQUENCE.sub(number, str(send.data), count=1))


def broken(data: str | bytes, rng: Random) -> str | bytes:
    """A frame that is no longer JSON: cut short, or with a sign of its structure missing.

    >>> broken('{"a":1}', Random(1))
    '{"'
    """
    words = data if isinstance(data, str) else data.decode()
    spoilt = words[: rng.randrange(1, max(2, len(words)))]
    if rng.randrange(2):
        at = rng.choice([at for at, sign in enumerate(words) if sign in _SIGNS] or [0])
        if not _is_json(words[:at] + words[at + 1 :]):
            spoilt = words[:at] + words[at + 1 :]
    return spoilt if isinstance(data, str) else spoilt.encode()


def misread(data: str | bytes, rng: Random) -> str | bytes:
    """A frame with one digit of a price or quantity changed; still JSON.

    Whole numbers (ids, times, checksums) and timestamps are left alone.  A frame without any other
    number stays as it is.

    >>> misread('{"p":"61.5","u":7}', Random(1))
    '{"p":"81.5","u":7}'
    """
    words = data if isinstance(data, str) else data.decode()
    places = [
        at for match in _FRACTION.finditer(words) for at in range(*match.span()) if words[at] != "."
    ]
    for _ in range(100 if places else 0):
        at = rng.choice(places)
        other = str((int(words[at]) + rng.randrange(1, 10)) % 10)
        changed = words[:at] + other + words[at + 1 :]
        if _is_json(changed):
            return changed if isinstance(data, str) else changed.encode()
    return data


_SEQUENCE = re.compile(r'"sequence":\d+(?=}$)')
_SIGNS = frozenset('{}[]":,')
_FRACTION = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.Z])")


def _is_json(words: str) -> bool:
    try:
        orjson.loads(words)
    except orjson.JSONDecodeError:
        return False
    return True


def _failed(response: Response, rng: Random) -> Response:
    """One of the ways in which an answer goes wrong."""
    html = {"Content-Type": "text/html"}
    ways = (
        Response(503, b'{"code":-1,"msg":"Service Unavailable."}'),
        Response(502, _HTML, html),
        Response(200, _HTML, html),
        Response(429, b"{}", {"Content-Type": "application/json", "Retry-After": "1"}),
        replace(response, body=response.body[: len(response.body) // 2]),
        replace(response, body=b""),
        Response(0, b""),
        replace(response, delay_ns=rng.randint(1, 15) * SECOND),
    )
    return rng.choice(ways)
