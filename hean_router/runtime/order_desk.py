"""One account at one venue, over its own sockets and REST: an `OrderDesk`."""

import asyncio
from collections.abc import Sequence
from functools import partial

from hean_router.domain.desk import (
    AskFailed,
    CancelAnswered,
    FeesSeen,
    NotSent,
    PermissionsSeen,
    PlaceAnswered,
    Sent,
    StreamLost,
    Told,
)
from hean_router.domain.errors import VenueError
from hean_router.domain.feed import Notice, NoticeKind
from hean_router.domain.instrument import Instrument, Trading
from hean_router.domain.order import (
    Approved,
    Balance,
    Fill,
    Limited,
    LoggedIn,
    LoginFailed,
    Missed,
    OrderEvent,
    OrderReport,
    Outcome,
    Permissions,
    Rejected,
    RejectKind,
    Reply,
    Unknown,
)
from hean_router.runtime.http import NeverLeft
from hean_router.runtime.limits import SECOND
from hean_router.runtime.order_asks import DeskAsks
from hean_router.runtime.order_budget import scaled_limit
from hean_router.runtime.order_core import ASK_S, MS, DeskPolicy, Pending
from hean_router.runtime.order_line import SocketLine
from hean_router.runtime.order_socket import OrderConnection
from hean_router.runtime.signing import Signing
from hean_router.venue import by_symbol
from hean_router.venue.gateway import DeskSink

CLOCK_EVERY_S = 30.0
CLOCK_TRIES = 10  # questions in one go, until the offset is known well enough
RATES_EVERY_S = 3_600.0
RATES_AGAIN_S = 60.0
KEY_RETRY_MAX_S = 300.0
RESTART_MAX_S = 60.0
ROTATE_EARLY_NS = 300 * SECOND  # before the venue would close a socket for its age


class _KeyRefused(Exception):
    """A key that must not be used, or may not trade; it stays so."""


class NativeDesk(DeskAsks):
    """Places, cancels and asks for one account; see `OrderDesk` for what its sink is told.

    `http` may be shared with the venue's market data (one address, one set of limits).
    `nonces_granted` is the highest `NonceMoved.below` in the journal.  `limits_factor` scales the
    account's counters with a simulator's `--limits` (None: off); scale what `http` counts by
    `order_budget.scaled`.  `allow_withdraw` takes a key that may withdraw, or of which the venue
    does not say.  `tell(text)` hears what a person may want to know; no secret is ever in it.
    `offset` may be shared by desks at one venue: its clock is one.

    Raises `CommandError` for credentials that cannot be used.
    """

    # ---------------------------------------------------------------------- orders out

    def place(self, order: Approved) -> None:
        child, now_ns = order.order, self._clock()
        if refusal := self._refusal(now_ns):
            return self._later(NotSent(child.key, *refusal))
        conn = self._order_connection()
        if conn is not None and conn.room < self._frame_cost:
            return self._later(NotSent(child.key, "no_budget", "the socket's limit of frames"))
        if bucket := self._budget.pay_order(child.instrument, by_rest=conn is None):
            return self._later(NotSent(child.key, "no_budget", f"our own count of {bucket!r}"))
        if conn is None:
            self._spawn(self._place_by_rest(order, now_ns))
            return None
        return self._place_by_socket(conn, order)

    def _place_by_socket(self, conn: OrderConnection, order: Approved) -> None:
        child = order.order
        request_id = self._next_id()
        stamp = self._socket_stamp(conn.token, request_id)
        try:
            frame = conn.socket.place(order, stamp)
            built_ns = self._clock()
            self._frame_cost = frame.cost
            conn.write(frame)
        except ConnectionError as fault:
            return self._later(NotSent(child.key, "not_connected", str(fault)))
        except Exception as fault:  # noqa: BLE001 - logged and counted; nothing was written
            self._fault("an order could not be written", fault)
            return self._later(NotSent(child.key, "fault", type(fault).__name__))
        at_ns = self._clock()
        until_ns = self._until_ns(stamp.deadline_ms)
        self._await(request_id, child.key, child.instrument, conn, until_ns, cancel=False)
        return self._later(Sent(child.key, built_ns, at_ns))

    async def _place_by_rest(self, order: Approved, now_ns: int) -> None:
        child = order.order
        leave_by_ns = now_ns + self._policy.leave_ms * MS
        signing = self._signing(urgent=True, leave_by_ns=leave_by_ns)
        outcome: Outcome
        try:
            request = self.codec.place(order)
            answered = await self._http.send(self._part, request, self._patience_s(), signing)
            outcome = self.codec.outcome(answered.answer)
        except NeverLeft as fault:
            return self._tell(NotSent(child.key, fault.code, self._clean(str(fault))))
        except VenueError as fault:
            outcome = Unknown(self._clean(str(fault)))
        except asyncio.CancelledError:
            self._tell(self._cut_off(child.key, signing))
            raise
        except Exception as fault:  # noqa: BLE001 - logged and counted
            self._fault("an order by REST", fault)
            return self._tell(self._cut_off(child.key, signing))
        self._tell(Sent(child.key, signing.left_ns, signing.left_ns))
        return self._placed(child.key, child.instrument, outcome, self._until_of(signing))

    def _cut_off(self, key: str, signing: Signing) -> PlaceAnswered | NotSent:
        """What is known of an order by REST that was cut off: whether it had left."""
        if not signing.left_ns:
            return NotSent(key, "not_connected", "stopped before it left")
        until_ns = self._until_of(signing)
        return PlaceAnswered(key=key, outcome=Unknown("stopped"), until_ns=until_ns)

    def _placed(self, key: str, instrument: Instrument, outcome: Outcome, until_ns: int) -> None:
        if isinstance(outcome, Limited):
            self._budget.limited(instrument, outcome, cancel=False)
        self._heed_clock(outcome)
        self._tell(PlaceAnswered(key=key, outcome=outcome, until_ns=until_ns))

    # ---------------------------------------------------------------------- cancels out

    def cancel(self, instrument: Instrument, key: str, venue_order_id: str) -> None:
        self._cancel(instrument, key, venue_order_id, again=False)

    def _cancel(
        self, instrument: Instrument, key: str, venue_order_id: str, *, again: bool
    ) -> None:
        if not self._running or self._key_why:
            why = self._key_why or "the desk does not run"
            return self._later(CancelAnswered(key=key, outcome=Limited("not_connected", why)))
        conn = next(
            (
                line.current
                for line in self._lines
                if line.takes_orders
                and line.current is not None
                and line.current.open
                and line.current.socket.names(instrument)
            ),
            None,
        )
        if limited := self._budget.pay_cancel(instrument, by_rest=conn is None):
            return self._later(CancelAnswered(key=key, outcome=limited))
        if conn is None:
            self._spawn(self._cancel_by_rest(instrument, key, venue_order_id, again=again))
            return None
        request_id = self._next_id()
        stamp = self._socket_stamp(conn.token, request_id)
        try:
            conn.write(conn.socket.cancel(instrument, key, venue_order_id, stamp))
        except ConnectionError as fault:
            limited = Limited("not_connected", str(fault))
            return self._later(CancelAnswered(key=key, outcome=limited))
        until_ns = self._until_ns(stamp.deadline_ms)
        return self._await(
            request_id,
            key,
            instrument,
            conn,
            until_ns,
            cancel=True,
            venue_order_id=venue_order_id,
            again=again,
        )

    async def _cancel_by_rest(
        self, instrument: Instrument, key: str, venue_order_id: str, *, again: bool
    ) -> None:
        signing = self._signing(urgent=True)
        outcome: Outcome
        try:
            request = self.codec.cancel(instrument, key, venue_order_id)
            answered = await self._http.send(self._part, request, self._patience_s(), signing)
            outcome = self.codec.outcome(answered.answer)
        except NeverLeft as fault:
            outcome = Limited(fault.code, self._clean(str(fault)))
        except VenueError as fault:
            outcome = Unknown(self._clean(str(fault)))
        except asyncio.CancelledError:
            self._tell(CancelAnswered(key=key, outcome=Unknown("stopped")))
            raise
        except Exception as fault:  # noqa: BLE001 - logged and counted
            self._fault("a cancel by REST", fault)
            outcome = Unknown(type(fault).__name__)
        self._cancelled(instrument, key, venue_order_id, outcome, again=again)

    def _cancelled(
        self,
        instrument: Instrument,
        key: str,
        venue_order_id: str,
        outcome: Outcome,
        *,
        again: bool,
    ) -> None:
        if isinstance(outcome, Limited):
            self._budget.limited(instrument, outcome, cancel=True)
        if self._heed_clock(outcome) and not again and self._running:
            self._spawn(self._cancel_in_time(instrument, key, venue_order_id, outcome))
            return None
        return self._tell(CancelAnswered(key=key, outcome=outcome))

    async def _cancel_in_time(
        self, instrument: Instrument, key: str, venue_order_id: str, outcome: Outcome
    ) -> None:
        """A cancel is safe to repeat: once, when the clock has been looked at."""
        try:
            self.offset.doubt()
            await self._measure()
        except VenueError:
            return self._tell(CancelAnswered(key=key, outcome=outcome))
        except asyncio.CancelledError:
            self._tell(CancelAnswered(key=key, outcome=outcome))
            raise
        return self._cancel(instrument, key, venue_order_id, again=True)

    # ---------------------------------------------------------------------- answers on sockets

    def _await(
        self,
        request_id: str,
        key: str,
        instrument: Instrument,
        conn: OrderConnection,
        until_ns: int,
        *,
        cancel: bool,
        venue_order_id: str = "",
        again: bool = False,
    ) -> None:
        assert self._loop is not None
        wait_s = (until_ns - self._clock()) / SECOND + self._policy.grace_ms / 1_000
        timer = self._loop.call_later(wait_s, self._unanswered, request_id, "no answer in time")
        conn.pending.add(request_id)
        self._pending[request_id] = Pending(
            key, instrument, conn, cancel, until_ns, timer, venue_order_id, again
        )

    def _unanswered(self, request_id: str, why: str) -> None:
        self._answered(request_id, Unknown(why))

    def _answered(self, request_id: str, outcome: Outcome) -> None:
        if (pending := self._pending.pop(request_id, None)) is None:
            return  # too late: it is being asked about
        pending.timer.cancel()
        pending.conn.pending.discard(request_id)
        if pending.cancel:
            self._cancelled(
                pending.instrument,
                pending.key,
                pending.venue_order_id,
                outcome,
                again=pending.again,
            )
        else:
            self._placed(pending.key, pending.instrument, outcome, pending.until_ns)

    def _heed_clock(self, outcome: Outcome) -> bool:
        """Whether the venue found our time wrong; then it is measured anew at once."""
        wrong = isinstance(outcome, Rejected) and outcome.kind is RejectKind.CLOCK
        if wrong:
            self._lane.leap(self._clock())
            self._doubt_clock()
        return wrong

    def _doubt_clock(self) -> None:
        self.offset.doubt()
        self._measure_now.set()

    def doubt_clock(self) -> None:
        """Nothing is sent before the venue's time has been measured anew."""
        self._doubt_clock()
        if self._loop is not None:
            self._loop.call_soon(self._stand)

    # ---------------------------------------------------------------------- life

    async def run(self, instruments: Sequence[Instrument], sink: DeskSink) -> None:
        self._sink, self._loop = sink, asyncio.get_running_loop()
        self._known.clear()
        self._known.update(by_symbol(instruments))
        failures = 0
        while True:
            began_ns = self._clock()
            try:
                self._broken.clear()
                self._running = True
                await self._live()
            except _KeyRefused:
                self._stand()
                await asyncio.Event().wait()  # nothing but another key helps
            except Exception as fault:  # noqa: BLE001 - logged, counted and told
                if self._clock() - began_ns > 60 * SECOND:
                    failures = 0
                failures += 1
                self._fault("the desk restarts", fault)
            finally:
                await self._wind_down()
            self._stand()
            bound_s = min(RESTART_MAX_S, 2.0 ** min(failures, 10))
            await asyncio.sleep(bound_s * (0.5 + self._rng.random() / 2))

    def relist(self, instrument: Instrument) -> None:
        old = self._known.get(instrument.symbol)
        self._known[instrument.symbol] = instrument
        if old is not None and old.trading is Trading.UNLISTED is not instrument.trading:
            self._rates_now.set()

    async def _live(self) -> None:
        self.codec = self._orders_of(self._credentials, self._known)
        self._lane.reserve()
        await self._check_key()
        self._lines = [
            SocketLine(
                partial(self._connection, index),
                self._ended,
                self._clock,
                self._rng,
                takes_orders=socket.takes_orders,
                tells_events=socket.tells_events,
            )
            for index, socket in enumerate(self.codec.sockets())
            if socket.url(self._http.hosts)
        ]
        self._stand()
        work = [self._keep_clock(), self._keep_rates(), self._watch()]
        work.append(self._keep_dead_man())
        # No TaskGroup: one that fails just when it is cancelled from outside forgets the latter.
        tasks = [asyncio.create_task(each) for each in (*work, *(x.run() for x in self._lines))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        await self._broken.wait()
        raise RuntimeError("what hears this desk has failed")

    async def _wind_down(self) -> None:
        """Everything that was asked is answered: with what is known, which may be nothing."""
        self._running = False
        for request_id in list(self._pending):
            self._unanswered(request_id, "stopped")
        self._lines = []
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---------------------------------------------------------------------- the key

    async def _check_key(self) -> None:
        """Until the venue says what the key may do.  Raises `_KeyRefused`."""
        failures = 0
        while True:
            try:
                if not self.offset.known:
                    await self._measure()
                self._judge(await self._permissions())
            except VenueError as fault:
                self._key_why = f"permissions: {self._clean(str(fault))}"
                self._doubt_clock()
                self._stand()
                bound_s = min(KEY_RETRY_MAX_S, 2.0 ** min(failures, 10))
                failures += 1
                await asyncio.sleep(bound_s * (0.5 + self._rng.random() / 2))
            else:
                return

    async def _permissions(self) -> Permissions:
        ask = self.codec.permissions()
        return await self._http.ask(self._part, ask, ASK_S, self._signing())

    def _judge(self, may: Permissions) -> None:
        self._tell(PermissionsSeen(may))
        if may.withdraw is not False and not self._allow_withdraw:
            said = "may withdraw" if may.withdraw else "may withdraw, for all that the venue tells"
            self._key_why = f"keys: this one {said}: make one that may trade and nothing else"
            raise _KeyRefused
        if not may.trade:
            self._key_why = "permissions: the key may not trade"
        else:
            self._key_why = ""

    async def _keep_rates(self) -> None:
        """Fee rates now, hourly, and of what is listed anew; then too whether the key still may.

        A pair that is not listed has no rate, and asking for it may cost us the others'.
        """
        asked = False
        while True:
            try:
                if asked:
                    self._judge(await self._permissions())
                    self._stand()
                self._rates_now.clear()
                listed = [of for of in self._known.values() if of.trading is not Trading.UNLISTED]
                if listed:
                    ask = self.codec.fees(listed)
                    fees = await self._http.ask(self._part, ask, ASK_S, self._signing())
                    self._tell(FeesSeen(dict(fees)))
                asked = True
            except VenueError as fault:
                self._tell(AskFailed(what="fees", why=self._clean(str(fault))))
                await asyncio.sleep(RATES_AGAIN_S)
                continue
            try:
                async with asyncio.timeout(RATES_EVERY_S):
                    await self._rates_now.wait()
            except TimeoutError:
                continue

    async def _keep_dead_man(self) -> None:
        """Ask again and again to end our orders should we not ask again in time.

        It is not switched off at our end: whoever wants orders to outlive the router uses none.
        """
        seconds = self._policy.dead_man_s
        if not seconds:
            return
        wait_s, told = seconds / 3, ""
        try_s = min(wait_s, ASK_S)  # while it does not hold, however long it is to hold
        while (ask := self.codec.dead_man(seconds)) is not None:
            try:
                signing = self._signing(urgent=True)
                granted = await self._http.ask(self._part, ask, try_s, signing)
                self.dead_man_ns = (signing.left_ns or self._clock()) + int(granted * SECOND)
                told = ""
            except VenueError as fault:
                if told != (told := self._clean(str(fault))):
                    self._say(f"{self.venue} {self.account}: dead man's switch: {told}")
                await asyncio.sleep(try_s / 4)
                continue
            await asyncio.sleep(wait_s)

    # ---------------------------------------------------------------------- the clock

    async def _measure(self) -> None:
        """Ask the venue's time once; what we waited for limits does not count."""
        ask = self._connector.server_time()
        venue_ns, exchange = await self._http.timed(self._part, ask, ASK_S)
        self.offset.heard(exchange.sent_ns, exchange.got_ns, venue_ns)

    async def _keep_clock(self) -> None:
        while True:
            for _ in range(CLOCK_TRIES):
                try:
                    await self._measure()
                except VenueError as fault:
                    self._say(f"{self.venue} {self.account}: clock: {fault}")
                now_ns = self._clock()
                good_ns = self._policy.clock_bound_max_ms * MS // 2
                if self.offset.known and self.offset.at(now_ns).bound_ns <= good_ns:
                    break
                self._stand()
                await asyncio.sleep(self.offset.wait_ns(now_ns) / SECOND)
            self._measure_now.clear()
            self._stand()
            try:
                async with asyncio.timeout(CLOCK_EVERY_S):
                    await self._measure_now.wait()
            except TimeoutError:
                continue

    # ---------------------------------------------------------------------- sockets

    async def _connection(self, index: int, line: SocketLine) -> OrderConnection:
        """The next connection of a kind; raises `VenueError`."""
        socket = self.codec.sockets()[index]
        url = socket.url(self._http.hosts)
        await self._http.limits.connects(url).wait(1)
        token = ""
        if (ask := socket.token()) is not None:
            token = await self._http.ask(self._part, ask, ASK_S, self._signing())
        spec = self._connector.spec
        life_ns = spec.session_max_ms * MS
        return OrderConnection(
            socket,
            url,
            token,
            self._http,
            self._clock,
            self._socket_stamp,
            partial(self._heard, line),
            frames=scaled_limit(spec.frames, self._factor),
            life_ns=max(0, life_ns - ROTATE_EARLY_NS) if life_ns else 0,
        )

    def _ended(self, line: SocketLine, conn: OrderConnection | None, why: str) -> None:
        why = self._clean(why)
        if conn is not None:
            for request_id in list(conn.pending):
                self._unanswered(request_id, f"the socket ended: {why}")
        if line.current is None:
            line.why = why
            self._say(f"{self.venue} {self.account}: private socket: {why}")
            if line.tells_events and conn is not None and conn.stood:
                self._tell(StreamLost(why))
        if conn is not None and conn.refused is not None:
            self._doubt_clock()  # it may have been our time that was refused
        self._stand()

    def _heard(
        self, line: SocketLine, conn: OrderConnection, events: Sequence[OrderEvent], unreadable: str
    ) -> None:
        if unreadable:
            self._missed(line, unreadable)
        for event in events:
            match event:
                case Reply(request_id=request_id, outcome=outcome):
                    self._answered(request_id, outcome)
                case OrderReport() | Fill() | Balance():
                    self._tell(Told(event))
                case LoggedIn(ready=True):
                    line.stood(conn)
                    self._stand(fresh=line.tells_events)
                case Missed(why=why, lie=lie):
                    self._missed(line, why, lie=lie)
                case Notice(kind=NoticeKind.CLOSING):
                    conn.leaving.set()
                case Notice():
                    self._say(f"{self.venue} {self.account}: {self._clean(event.text)}")
                case LoggedIn() | LoginFailed():
                    pass  # the connection sees to it

    def _missed(self, line: SocketLine, why: str, *, lie: bool = False) -> None:
        """Something may have been lost, though the connection stands."""
        if line.tells_events:
            self._tell(StreamLost(self._clean(why), lie=lie))
            self._stand(fresh=True)


__all__ = ["DeskPolicy", "NativeDesk"]
