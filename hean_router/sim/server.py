"""The simulators' shell: faces on sockets.  The only file here that waits.

One port a venue, REST and WebSocket on it, so that a client needs nothing but other URLs.  Runs on
a real loop or a virtual one: it uses `create_server`, `call_later` and the clock it is given,
nothing else of the outside world.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import WSMsgType, web

from hean_router.sim.contract import (
    Close,
    Conn,
    Output,
    Pause,
    Ping,
    Pong,
    Request,
    Reset,
    Send,
)
from hean_router.sim.simulator import Simulator

_SECOND = 1_000_000_000
_LOG = logging.getLogger(__name__)


class PortError(OSError):
    """A simulator cannot listen where it was told to."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Figures of the shell, not of any venue.

    `queue_max` frames and `queue_bytes_max` bytes may wait for a slow reader before the face is
    told; `quantum_ns` is how long the shell rests between two rounds (virtual time needs none);
    `close_wait_s` how long a closing handshake may take.
    """

    queue_max: int = 5_000
    queue_bytes_max: int = 16_000_000
    quantum_ns: int = 1_000_000
    close_wait_s: float = 2.0
    message_bytes_max: int = 1_000_000


@dataclass(slots=True, eq=False)
class _Client:
    """One WebSocket."""

    conn: Conn
    ws: web.WebSocketResponse
    transport: asyncio.Transport
    queue: deque[Send | Ping | Pong | Close] = field(default_factory=deque)
    queue_bytes: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    writer: "asyncio.Task[None] | None" = None
    paused: bool = False
    closing: bool = False

    def put(self, output: Send | Ping | Pong | Close) -> None:
        if self.closing or self.paused:
            return
        self.queue.append(output)
        if isinstance(output, Send):
            self.queue_bytes += len(output.data)
        self.closing = isinstance(output, Close)
        self.ready.set()


class Server:
    """One venue's simulator on a port."""

    def __init__(
        self,
        simulator: Simulator,
        clock: Callable[[], int],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tuning: Tuning | None = None,
    ) -> None:
        self.simulator = simulator
        self.host = host
        self.port = port
        self._clock = clock
        self._tuning = tuning or Tuning()
        self._clients: dict[Conn, _Client] = {}
        self._conns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns: int | None = None
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._background: set[asyncio.Task[None]] = set()

    # Life

    async def start(self) -> None:
        """Listen and let the market run.  PortError: the port is taken or not allowed."""
        loop = asyncio.get_running_loop()
        self._web = web.Server(self._serve, access_log=None, keepalive_timeout=75.0)
        try:
            self._listener = await loop.create_server(self._web, self.host, self.port)
        except OSError as error:
            raise PortError(
                f"{self.simulator.venue}: cannot listen on {self.host}:{self.port}: "
                f"{error.strerror or error}"
            ) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._advance()

    async def stop(self) -> None:
        """Drop every connection, stop listening, end every task."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = -1  # no new timer
        if self._listener is not None:
            self._listener.close()
        for client in list(self._clients.values()):
            client.transport.abort()
        tasks = [task for client in self._clients.values() if (task := client.writer)]
        tasks += self._background
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._web is not None:
            await self._web.shutdown(timeout=1.0)
        if self._listener is not None:
            await self._listener.wait_closed()

    def hosts(self) -> Mapping[str, str]:
        """URLs by name, as the face tells them."""
        at = f"{self.host}:{self.port}"
        return self.simulator.face.hosts(f"http://{at}", f"ws://{at}")

    def announce(self) -> dict[str, Any]:
        """This venue's entry in the first line of `hean sim`.

        `keys` (`key`, `secret`, `scheme`, `permissions`, and `passphrase` where the venue wants
        one) and `balances` are those of the first account, for who needs just one; `accounts` has
        all of them.  A venue that takes no orders has empty ones.  `limits` are the venue's own
        (`venue`), so many times those (`x10`), or `off`.
        """
        entry: dict[str, Any] = {"env": "sim", "hosts": dict(self.hosts()), "keys": {}}
        entry["balances"] = {}
        limits = self.simulator.limits
        entry["limits"] = "off" if limits is None else "venue" if limits == 1 else f"x{limits:g}"
        if accounts := [account.announced() for account in self.simulator.accounts]:
            keys, balances = accounts[0]["keys"][0], accounts[0]["balances"]
            entry |= {"keys": keys, "balances": balances, "accounts": accounts}
        return entry

    # Time

    def _advance(self) -> int:
        """Let everything that is due happen; plan the next round.  Returns the time."""
        now_ns = self._clock()
        self._dispatch(self.simulator.due(now_ns))
        self._plan(now_ns)
        return now_ns

    def _plan(self, now_ns: int) -> None:
        wake_ns = self.simulator.wake_at_ns
        if wake_ns is None or self._timer_ns == -1:
            return
        wake_ns = max(wake_ns, now_ns + self._tuning.quantum_ns)
        if self._timer is not None:
            if self._timer_ns is not None and self._timer_ns <= wake_ns:
                return
            self._timer.cancel()
        # Never less than a microsecond: less may not move a float clock at all.
        delay_s = max(1e-6, (wake_ns - now_ns) / _SECOND)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)
        self._timer_ns = wake_ns

    def _fire(self) -> None:
        self._timer = self._timer_ns = None
        self._advance()

    def carry_out(self, outputs: Iterable[Output]) -> None:
        """What happens to the connections by an order from outside; see `sim.control`."""
        self._dispatch(outputs)
        self._plan(self._clock())

    # Out

    def _dispatch(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            client = self._clients.get(output.conn)
            if client is None:
                continue
            match output:
                case Reset():
                    client.transport.abort()
                case Pause():
                    client.paused = True
                    client.queue.clear()
                    client.transport.pause_reading()
                case _:
                    client.put(output)
                    self._bound(client)

    def _bound(self, client: _Client) -> None:
        """A reader too slow for its queue is ended as its venue does."""
        tuning = self._tuning
        if client.closing or (
            len(client.queue) <= tuning.queue_max and client.queue_bytes <= tuning.queue_bytes_max
        ):
            return
        client.queue.clear()
        outputs = self.simulator.face.overflowed(client.conn, self._clock())
        close = next((output for output in outputs if isinstance(output, Close)), None)
        client.closing = True
        if close is None:
            client.transport.abort()
        else:
            self._spawn(self._force_close(client, close))

    async def _force_close(self, client: _Client, close: Close) -> None:
        """Say why, if the reader still takes a byte; then hang up."""
        if client.writer is not None:
            client.writer.cancel()
        try:
            message = close.reason.encode()
            async with asyncio.timeout(self._tuning.close_wait_s):
                await client.ws.close(code=close.code, message=message)
        except (TimeoutError, ConnectionError):
            _LOG.debug("%s: slow reader %d hung up on", self.simulator.venue, client.conn)
        client.transport.abort()

    async def _write(self, client: _Client) -> None:
        """Empty the queue in order, at the pace of the socket."""
        ws = client.ws
        try:
            while True:
                await client.ready.wait()
                client.ready.clear()
                while client.queue:
                    output = client.queue.popleft()
                    match output:
                        case Send(data=data):
                            client.queue_bytes -= len(data)
                            if isinstance(data, str):
                                await ws.send_str(data)
                            else:
                                await ws.send_bytes(data)
                        case Ping(data=token):
                            await ws.ping(token)
                        case Pong(data=token):
                            await ws.pong(token)
                        case Close(code=code, reason=reason):
                            await ws.close(code=code, message=reason.encode())
                            client.transport.close()
                            return
        except ConnectionError:
            # The client left while we wrote; its reader notices and tidies up.
            client.transport.abort()

    # In

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        now_ns = self._advance()
        request = Request(
            method=http.method,
            path=http.path,
            query=http.rel_url.raw_query_string,
            headers={name.lower(): value for name, value in http.headers.items()},
            body=await http.read(),
            peer=http.remote or "",
        )
        if request.headers.get("upgrade", "").lower() != "websocket":
            return await self._answer(http, request)
        refusal = self.simulator.face.accept(request, now_ns)
        if refusal is not None:
            return web.Response(
                status=refusal.status,
                body=refusal.body,
                headers={**self._headers(now_ns), **refusal.headers},
            )
        return await self._talk(http, request)

    async def _answer(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        now_ns = self._advance()
        response = self.simulator.face.request(request, now_ns)
        self._dispatch(self.simulator.due(now_ns))  # what an order by REST pushes to sockets
        self._plan(now_ns)
        if response.delay_ns:
            await asyncio.sleep(response.delay_ns / _SECOND)
        if response.status == 0:
            assert http.transport is not None, "a request in hand has a transport"
            http.transport.abort()
            return web.Response(status=500)  # to nobody
        headers = {**self._headers(self._clock()), **response.headers}
        return web.Response(status=response.status, body=response.body, headers=headers)

    def _headers(self, now_ns: int) -> dict[str, str]:
        """What aiohttp would fill in from the machine's own clock."""
        return {"Date": formatdate(now_ns // _SECOND, usegmt=True), "Server": "sim"}

    async def _talk(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        tuning = self._tuning
        ws = web.WebSocketResponse(
            timeout=tuning.close_wait_s,
            autoping=False,  # pings and pongs are the venue's business
            compress=False,
            max_msg_size=tuning.message_bytes_max,
        )
        ws.headers.update(self._headers(self._clock()))
        await ws.prepare(http)
        if http.transport is None:
            return ws  # gone already
        # uvloop's transports are no asyncio.Transport by class, only by what they do.
        transport = http.transport
        self._conns += 1
        client = _Client(self._conns, ws, transport)
        self._clients[client.conn] = client
        client.writer = asyncio.get_running_loop().create_task(self._write(client))
        face = self.simulator.face
        try:
            now_ns = self._advance()
            self._dispatch(face.opened(client.conn, request, now_ns))
            self._plan(now_ns)
            await self._read(client)
        finally:
            face.closed(client.conn, self._clock())
            del self._clients[client.conn]
            client.writer.cancel()
        return ws

    async def _read(self, client: _Client) -> None:
        face = self.simulator.face
        async for message in client.ws:
            now_ns = self._advance()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    outputs = face.received(client.conn, message.data, now_ns)
                case WSMsgType.PING:
                    outputs = face.pinged(client.conn, bytes(message.data), now_ns)
                case WSMsgType.PONG:
                    outputs = face.ponged(client.conn, bytes(message.data), now_ns)
                case _:
                    continue
            self._dispatch(outputs)
            self._plan(now_ns)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def start(
    simulators: Sequence[Simulator],
    clock: Callable[[], int],
    *,
    host: str = "127.0.0.1",
    port_base: int = 0,
    tuning: Tuning | None = None,
) -> list[Server]:
    """Serve every simulator, the first on `port_base`, each next one port up; 0: any free ports.

    PortError: one of the ports is taken; then none is left open.
    """
    servers: list[Server] = []
    for index, simulator in enumerate(simulators):
        port = port_base + index if port_base else 0
        server = Server(simulator, clock, host=host, port=port, tuning=tuning)
        servers.append(server)
        try:
            await server.start()
        except PortError:
            await stop(servers)
            raise
    return servers


async def stop(servers: Iterable[Server]) -> None:
    """Stop them all."""
    for server in servers:
        await server.stop()


def announcement(servers: Iterable[Server]) -> dict[str, Any]:
    """The first line of `hean sim`: what every command takes as `--venues-from`."""
    return {"venues": {server.simulator.venue: server.announce() for server in servers}}
