"""What all of a desk rests on: what it is made of, how it stamps, what it tells."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from random import Random

from msgspec import Struct

from hean_router.domain.desk import (
    Budget,
    DeskEvent,
    DeskStanding,
    NonceMoved,
)
from hean_router.domain.instrument import Instrument, Part, VenueId
from hean_router.domain.order import (
    Credentials,
    Stamp,
)
from hean_router.runtime.clock import Clock
from hean_router.runtime.clock_offset import ClockOffset
from hean_router.runtime.http import Http
from hean_router.runtime.limits import SECOND
from hean_router.runtime.order_budget import OrderBudget
from hean_router.runtime.order_line import SocketLine
from hean_router.runtime.order_socket import OrderConnection
from hean_router.runtime.signing import NonceLane, Signing
from hean_router.venue import Connector
from hean_router.venue.gateway import DeskSink
from hean_router.venue.order_contract import OrderCodec

log = logging.getLogger(__name__)

MS = 1_000_000
ASK_S = 10.0  # for each request of a question
ASKS_AT_ONCE = 4
BOUND_MAX_NS = 60 * SECOND  # of a clock that is not known at all: then only cancels leave


class DeskPolicy(Struct, frozen=True, kw_only=True):
    """How long things may take, in ms.

    `leave`: an order that has not left by then is not sent.  `grace`: how long after the last
    moment at which a venue may act its answer is waited for.  `clock_off_max`: a machine whose
    clock is off by more is not fit to trade, however well that is known.

    `dead_man_s`: the venue is asked, three times as often, to end our orders should we fall silent
    for so long, where it can; 0: it is not.  OKX ends those with our tag, Kraken every order of
    the account.
    """

    socket_deadline_ms: int = 1_000
    rest_deadline_ms: int = 2_000
    leave_ms: int = 250
    grace_ms: int = 500
    clock_bound_max_ms: int = 250
    clock_off_max_ms: int = 5_000
    dead_man_s: int = 0


class Pending(Struct, eq=False):
    """A request on a socket that is still to be answered."""

    key: str
    instrument: Instrument
    conn: OrderConnection
    cancel: bool
    until_ns: int
    timer: asyncio.TimerHandle
    venue_order_id: str = ""
    again: bool = False


class DeskCore:
    """The state of an account's desk, and what every part of it needs."""

    def __init__(
        self,
        connector: Connector,
        credentials: Credentials,
        http: Http,
        clock: Clock,
        rng: Random,
        *,
        part: Part = Part.SPOT,
        policy: DeskPolicy = DeskPolicy(),  # noqa: B008 - frozen, a value
        allow_withdraw: bool = False,
        nonces_granted: int = 0,
        limits_factor: float | None = 1.0,
        tell: Callable[[str], None] | None = None,
        offset: ClockOffset | None = None,
    ) -> None:
        assert connector.orders is not None, f"{connector.spec.id} takes no orders"
        self.venue: VenueId = connector.spec.id
        self.account = credentials.account
        self.faults = 0  # exceptions of our own: each is a bug, told in the log
        self.offset = offset or ClockOffset()
        self._connector, self._credentials = connector, credentials
        self._http, self._clock, self._rng = http, clock, rng
        self._part, self._policy = part, policy
        self._allow_withdraw, self._factor = allow_withdraw, limits_factor
        self._say = tell or (lambda text: log.warning("%s", text))
        self._orders_of = connector.orders
        self.codec: OrderCodec = self._orders_of(credentials, {})
        self._lane = NonceLane(
            clock(), nonces_granted, self._nonces_moved, rising=self.codec.rising_nonces
        )
        shared = {
            name: http.limits.rest(connector.spec.host(http.hosts, part, "rest"), name)
            for name in self.codec.limits.buckets
            if name in connector.spec.rest_limits
        }
        self._budget = OrderBudget(self.codec.limits, clock, shared, limits_factor)
        self._request = clock() // 1_000  # sockets' nonces and request ids: they rise too
        self._frame_cost = 0  # what an order takes of a socket's frames, as the last one did
        # By the venue's symbol, as listed now; codecs and sockets read it as it changes.
        self._known: dict[str, Instrument] = {}
        self._rates_now = asyncio.Event()  # something is listed whose fees we do not know
        self._sink: DeskSink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = False
        self._key_why = "permissions: not asked yet"
        self._lines: list[SocketLine] = []
        self._pending: dict[str, Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions: dict[tuple[object, ...], asyncio.Task[None]] = {}
        # Instruments whose trades are to be asked for in one question: since when, and wanted when.
        self._fills_wanted: dict[Instrument, tuple[int, int]] = {}
        self._asking = asyncio.Semaphore(ASKS_AT_ONCE)
        self.dead_man_ns = 0  # until when the venue holds its switch, our clock; 0: it has none
        self._measure_now = asyncio.Event()
        self._broken = asyncio.Event()
        self._last: tuple[bool, str] | None = None

    # ---------------------------------------------------------------------- state

    def budget(self, instrument: Instrument) -> Budget:
        if refusal := self._refusal(self._clock()):
            return Budget(0, ": ".join(refusal))
        orders, why = self._budget.orders(instrument)
        if self._frame_cost and (conn := self._order_connection()) is not None:
            orders, why = min((orders, why), (conn.room // self._frame_cost, "frames"))
        return Budget(orders, f"no_budget: {why}" if orders < 1 else "")

    def grant_nonces(self, below: int) -> None:
        self._lane.grant(below)

    @property
    def visibility_ns(self) -> int:
        return self.codec.visibility_ms * MS

    @property
    def flight_ns(self) -> int:
        policy = self._policy
        deadline_ms = max(policy.socket_deadline_ms, policy.rest_deadline_ms)
        ours_ms = policy.leave_ms + deadline_ms + policy.clock_bound_max_ms
        return (ours_ms + self.codec.engine_ms) * MS

    @property
    def question_ns(self) -> int:
        return self.codec.question_ms * MS

    @property
    def dead_man_s(self) -> int:
        """What the venue's dead man's switch is asked for, seconds; 0: it is not."""
        return self._policy.dead_man_s

    @property
    def connected(self) -> bool:
        """Whether every socket stands and is logged in."""
        return bool(self._lines) and all(line.current is not None for line in self._lines)

    def _refusal(self, now_ns: int) -> tuple[str, str] | None:
        """Why nothing may be placed now: code and text."""
        if not self._running:
            return "not_connected", "the desk does not run"
        if self._key_why:
            return "permissions", self._key_why
        if why := self._clock_why(now_ns):
            return "clock_unsure", why
        return None

    def _order_connection(self) -> OrderConnection | None:
        """The socket to place on; None: REST has to do."""
        for line in self._lines:
            if line.takes_orders and line.current is not None and line.current.writable:
                return line.current
        return None

    @property
    def _key_unfit(self) -> bool:
        """A key that must not be used at all."""
        return self._key_why.startswith("keys: ")

    def _clock_why(self, now_ns: int) -> str:
        """Why our idea of the venue's time will not do for orders; empty if it does."""
        if not self.offset.known:
            return "clock: the venue's time is not known"
        reading = self.offset.at(now_ns)
        if reading.bound_ns > self._policy.clock_bound_max_ms * MS:
            return f"clock: not known to {self._policy.clock_bound_max_ms} ms"
        if abs(reading.offset_ns) - reading.bound_ns > self._policy.clock_off_max_ms * MS:
            off_s = -reading.offset_ns / SECOND
            return f"clock: this machine's is off by {off_s:+.0f} s; set it right"
        return ""

    def _why(self) -> str:
        """The step that is missing; empty when orders can be sent."""
        if not self._running:
            return "the desk does not run"
        if why := self._key_why or self._clock_why(self._clock()):
            return why
        for line in self._lines:
            if line.tells_events and line.current is None:
                return f"private stream: {line.why}"
        return ""

    def _stand(self, *, fresh: bool = False) -> None:
        why = self._why()
        now = (not why, why)
        if now == self._last and not fresh:
            return
        self._last = now
        reading = self.offset.at(self._clock())
        self._tell(
            DeskStanding(
                ready=not why,
                why=why,
                fresh=fresh,
                clock_offset_ns=reading.offset_ns,
                clock_bound_ns=reading.bound_ns,
            )
        )

    # ---------------------------------------------------------------------- stamps

    def _until_ns(self, deadline_ms: int) -> int:
        """Of our clock: later than that the venue can not act on a request of that deadline."""
        reading = self.offset.at(self._clock())
        bound_ns = min(reading.bound_ns, BOUND_MAX_NS)
        return deadline_ms * MS - reading.offset_ns + bound_ns + self.codec.engine_ms * MS

    def _until_of(self, signing: Signing) -> int:
        return self._until_ns(signing.deadline_ms)

    def _patience_s(self) -> float:
        """How long an answer by REST is waited for, once its turn has come."""
        policy = self._policy
        return (policy.rest_deadline_ms + self.codec.engine_ms + policy.grace_ms) / 1_000

    def _next_id(self) -> str:
        self._request += 1
        return f"h{self._request}"

    def _stamp(self, deadline_ms: int, nonce: int, request_id: str = "", token: str = "") -> Stamp:
        venue_ms = (self._clock() + self.offset.offset_ns) // MS
        return Stamp(
            venue_ms=venue_ms,
            deadline_ms=venue_ms + deadline_ms,
            nonce=nonce,
            request_id=request_id,
            token=token,
        )

    def _socket_stamp(self, token: str, request_id: str = "") -> Stamp:
        """No socket signs by the nonce lane: a count that rises does."""
        if not request_id:
            request_id = self._next_id()
        return self._stamp(self._policy.socket_deadline_ms, self._request, request_id, token)

    def _signing(self, *, urgent: bool = False, leave_by_ns: int = 0) -> Signing:
        return Signing(
            self.codec,
            self._lane,
            lambda: self._stamp(self._policy.rest_deadline_ms, self._lane.take()),
            self._clock,
            urgent=urgent,
            leave_by_ns=leave_by_ns,
        )

    def _nonces_moved(self, below: int) -> None:
        self._tell(NonceMoved(below))

    # ---------------------------------------------------------------------- telling

    def _tell(self, event: DeskEvent) -> None:
        if self._sink is None:
            return
        try:
            self._sink(event)
        except Exception as fault:  # noqa: BLE001 - logged and counted; the desk starts anew
            self._fault(f"what hears {type(event).__name__}", fault)
            self._broken.set()

    def _later(self, event: DeskEvent) -> None:
        """Tell after the present call."""
        (self._loop or asyncio.get_running_loop()).call_soon(self._tell, event)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _fault(self, what: str, fault: BaseException) -> None:
        self.faults += 1
        log.error("%s %s: a fault of our own: %s", self.venue, self.account, what, exc_info=fault)

    def _clean(self, text: str) -> str:
        own = self._credentials
        for secret in (own.secret, own.passphrase, own.key):
            if secret:
                text = text.replace(secret, "…")
        return text
