"""A venue too simple to be wrong, on the virtual net: what the runtime does, apart from any codec.

REST on port 80 as raw bytes (an answer may be anything), sockets on port 81.  Every book has one
level a side; a book's price is its sequence number, so a reader sees at once which one it has.
"""

import asyncio
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from random import Random

import msgspec
from msgspec import Struct, structs
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from hean_router import kit
from hean_router.domain.feed import Notice, NoticeKind
from hean_router.runtime.http import Http
from hean_router.runtime.venue_feed import VenueFeed
from hean_router.sim.virtual import virtual_connector
from hean_router.venue import Connector
from hean_router.venue.contract import Ask

S = 1_000_000_000
ACME = kit.VenueId("acme")
HOSTS = {"rest": "http://acme", "ws": "ws://acme:81"}
SPEC = kit.VenueSpec(
    id=ACME,
    name="Acme",
    parts=frozenset({kit.Part.SPOT, kit.Part.LINEAR}),
    hosts={"live": HOSTS},
    fees={part: kit.Fees(taker=Decimal("0.002"), maker=Decimal("0.001")) for part in kit.Part},
    rest_limits={"rest": kit.RateLimit(100, 1_000), "slow": kit.RateLimit(10, 10_000)},
    connects=kit.RateLimit(100, 10_000),
    frames=kit.RateLimit(100, 1_000),
    topics_max=200,
    ping_every_ms=5_000,
    silence_ms=12_000,
)


class Message(Struct, omit_defaults=True):
    """Every frame of the venue's."""

    kind: str
    symbol: str = ""
    seq: int = 0
    px: str = ""
    text: str = ""


def encode(**fields) -> str:
    return msgspec.json.encode(Message(**fields)).decode()


_decode = msgspec.json.Decoder(Message).decode


class Feed(kit.FeedCodec):
    """Snapshots, deltas in a chain, notices; `bug` raises what no codec should."""

    integrity = kit.Integrity.CHAIN

    def __init__(self, part, instruments):
        self._by_symbol = instruments

    def subscribe(self, instruments):
        for each in instruments:
            yield kit.Frame(encode(kind="open", symbol=each.symbol).encode())

    def resubscribe(self, instrument):
        yield kit.Frame(encode(kind="close", symbol=instrument.symbol).encode())
        yield kit.Frame(encode(kind="open", symbol=instrument.symbol).encode())

    def topics(self, instruments):
        return len(instruments)

    def ping(self):
        return kit.Frame(encode(kind="ping").encode(), cost=0)

    def about(self, data):
        found = [each for symbol, each in self._by_symbol.items() if symbol.encode() in data]
        return found[0] if len(found) == 1 else None

    def decode(self, data):
        said = _decode(data)
        if said.kind == "bug":
            raise AttributeError(said.text or "a bug of the codec's")
        about = self._by_symbol.get(said.symbol)
        if said.kind in {"snapshot", "delta"}:
            if about is None:
                return ()
            px = about.px(said.px or str(said.seq))
            bids, asks = [(px, 1)], [(px + 1, 1)]
            if said.kind == "snapshot":
                return (kit.Snapshot(about, bids, asks, said.seq),)
            gone = px - about.px("1")
            return (
                kit.Delta(
                    about, [(gone, 0), *bids], [*asks, (gone + 1, 0)], said.seq, said.seq - 1
                ),
            )
        if said.kind == "trade":
            return (kit.Trade(about, about.px("1"), 1, kit.Side.BUY, 0),)
        if said.kind == "pong":
            return ()
        return (Notice(NoticeKind(said.kind), said.text, about),)

    def probe(self, instrument) -> Ask:
        answer = yield kit.HttpRequest(path="/top", query=f"symbol={instrument.symbol}")
        if answer.status != 200:
            raise kit.VenueError(f"top: HTTP {answer.status}")
        px = instrument.px(msgspec.json.decode(answer.body))
        return kit.Top(instrument, (px, 1), (px + 1, 1))


class Listed(Struct):
    """How the venue lists a pair."""

    pair: str
    decimals: int = 0
    trading: kit.Trading = kit.Trading.OPEN


def instruments(part) -> Ask:
    answer = yield kit.HttpRequest(path="/pairs")
    if answer.status != 200:
        raise kit.VenueError(f"pairs: HTTP {answer.status}")
    rows = msgspec.json.decode(answer.body, type=list[Listed])
    listed = [
        kit.Instrument(
            venue=ACME,
            pair=kit.Pair.parse(row.pair),
            symbol=row.pair,
            px_decimals=row.decimals,
            qty_decimals=0,
            trading=row.trading,
        )
        for row in rows
    ]
    return [each for each in listed if each.part is part]


def status() -> Ask:
    answer = yield kit.HttpRequest(path="/status")
    if answer.status != 200:
        raise kit.VenueError(f"status: HTTP {answer.status}")
    return [Notice(NoticeKind(kind), "said by status") for kind in msgspec.json.decode(answer.body)]


def _nothing(*_):
    raise NotImplementedError


CONNECTOR = Connector(
    spec=SPEC,
    instruments=instruments,
    feed=Feed,
    feed_url=lambda part, hosts: SPEC.host(hosts, part, "ws"),
    server_time=_nothing,
    status=status,
    spell=str,
    part_of=_nothing,
    listed_in=_nothing,
    book_in=_nothing,
)


def connector(**spec) -> Connector:
    """The venue with other facts."""
    return structs.replace(CONNECTOR, spec=structs.replace(SPEC, **spec))


class Line:
    """One client's socket, as the venue sees it."""

    def __init__(self, ws, opened_ns):
        self.ws, self.opened_ns = ws, opened_ns
        self.heard: list[Message] = []
        self.symbols: list[str] = []

    async def say(self, **fields) -> None:
        await self.ws.send(encode(**fields))


class Venue:
    """The venue: turn its knobs."""

    def __init__(self, world, pairs) -> None:
        self.world = world
        self.listed = [Listed(pair) for pair in pairs]
        self.every_s = 0.2  # between two changes of every book; 0 = quiet
        self.seqs = dict.fromkeys(pairs, 100)
        self.dialled = 0
        self.dialled_ns: list[int] = []
        self.lines: list[Line] = []  # open ones
        self.all_lines: list[Line] = []
        self.behind = 0  # by so many changes are snapshots old
        self.refuse = False  # handshakes get a 503
        self.handshake = None  # (connection, request) -> a response, or None to let it in
        self.status: list[str] = []  # kinds of notices
        self.greeting = ""  # the first frame on every socket
        self.mute: set[str] = set()  # symbols that are never answered; {"*"} = all
        self.asked: list[tuple[int, str]] = []  # REST requests: when, the request's head
        self.answers: dict[str, object] = {}  # path -> raw bytes, or a function of head -> bytes

    # ------------------------------------------------------------------ sockets

    def _handshake(self, conn, request):
        self.dialled += 1
        self.dialled_ns.append(self.world.now_ns)
        if self.refuse:
            return conn.respond(503, "too many connections\n")
        return self.handshake(conn, request) if self.handshake else None

    async def _talk(self, ws) -> None:
        line = Line(ws, self.world.now_ns)
        self.lines.append(line)
        self.all_lines.append(line)
        try:
            if self.greeting:
                await ws.send(self.greeting)
            async for data in ws:
                said = _decode(data)
                line.heard.append(said)
                if said.kind == "ping":
                    await line.say(kind="pong")
                elif said.kind == "close" and said.symbol in line.symbols:
                    line.symbols.remove(said.symbol)
                elif said.kind == "open" and not self.mute & {"*", said.symbol}:
                    await self._begin(line, said.symbol)
        except ConnectionClosed:
            pass
        finally:
            self.lines.remove(line)

    async def _begin(self, line, symbol) -> None:
        """A snapshot, `behind` changes old; then what came after it, in order."""
        first = self.seqs[symbol] - self.behind
        await line.say(kind="snapshot", symbol=symbol, seq=first)
        for seq in range(first + 1, self.seqs[symbol] + 1):
            await line.say(kind="delta", symbol=symbol, seq=seq)
        line.symbols.append(symbol)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.every_s or 1)
            if self.every_s:
                for symbol in self.seqs:
                    await self.move(symbol)

    async def move(self, symbol, **fields) -> None:
        """One change of a book, told to every line that follows it."""
        self.seqs[symbol] += 1
        for line in list(self.lines):
            if symbol in line.symbols:
                with suppress(ConnectionClosed):
                    await line.say(kind="delta", symbol=symbol, seq=self.seqs[symbol], **fields)

    async def tell(self, **fields) -> None:
        """The same frame to every line."""
        for line in list(self.lines):
            await line.say(**fields)

    # ------------------------------------------------------------------ REST

    async def _serve(self, reader, writer) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ")[1].partition("?")[0]
                self.asked.append((self.world.now_ns, head))
                answer = self.answers.get(path) or self._answer(path, head)
                if callable(answer):
                    answer = answer(head)
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer is None:
                    writer.transport.abort()
                    return
                if hasattr(answer, "__aiter__"):
                    async for piece in answer:
                        writer.write(piece)
                else:
                    writer.write(answer)
                if b"onnection: close" in (answer if isinstance(answer, bytes) else b""):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, path, head) -> bytes:
        if path == "/pairs":
            return http(200, msgspec.json.encode(self.listed))
        if path == "/status":
            return http(200, msgspec.json.encode(self.status))
        if path == "/top":
            symbol = head.partition("symbol=")[2].split(" ")[0]
            return http(200, f'"{self.seqs[symbol]}"'.encode())
        return http(404, b"")

    @asynccontextmanager
    async def open(self):
        with self.world.net.on("acme"):
            rest = await asyncio.start_server(self._serve, "0.0.0.0", 80)
            sockets = await serve(
                self._talk,
                "0.0.0.0",
                81,
                process_request=self._handshake,
                ping_interval=None,
                compression=None,
                close_timeout=1,
                max_size=8 << 20,
            )
            ticking = asyncio.create_task(self._tick())
        try:
            yield self
        finally:
            ticking.cancel()
            rest.close()
            sockets.close(close_connections=True)


def http(status, body=b"", headers=(), reason="said") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def wires(world):
    """The connections that carry sockets, as the network sees them."""
    return [
        each
        for each in world.net.connections("router", "acme")
        if each.up.sender.get_extra_info("peername")[1] == 81
    ]


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list = []
        self.raise_at: set[int] = set()  # numbers of calls that fail
        self.calls = 0

    def __call__(self, events, now_ns) -> None:
        self.calls += 1
        if self.calls in self.raise_at:
            raise RuntimeError("the sink broke")
        self.events.extend(events)

    def states(self, symbol):
        """What became of a book, in order: (state, reason)."""
        return [
            (e.new.value, e.reason)
            for e in self.events
            if hasattr(e, "new") and str(e.instrument.pair) == symbol
        ]


def feed_of(
    world, made=CONNECTOR, *, told=None, hosts=HOSTS, part=kit.Part.SPOT, limits=None, **options
):
    """A feed on host `router`."""
    clock = world.net.clock("router")
    face = Http(made.spec, hosts, clock, virtual_connector, limits=limits)
    tell = (told if told is not None else []).append
    return VenueFeed(
        made, part, face, clock, Random(world.seeds.number("feed")), tell=tell, **options
    )


@asynccontextmanager
async def feeding(world, pairs, made=CONNECTOR, *, prepare=None, told=None, **options):
    """A venue, a feed on it, running; gives both and the sink.  `prepare(venue)` comes first."""
    venue, heard = Venue(world, pairs), Heard()
    if prepare:
        prepare(venue)
    async with venue.open():
        feed = feed_of(world, made, told=told, **options)
        listed = await feed.instruments()
        task = asyncio.create_task(feed.run(listed, heard))
        await asyncio.sleep(0)
        try:
            yield venue, feed, heard
        finally:
            task.cancel()
            await asyncio.wait({task})
            await feed.close()
    if not task.cancelled():
        task.result()


async def until(true, within_s, what, step_s=0.05):
    """Wait for it, in virtual time; how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not true():
        assert loop.time() - began < within_s, f"{what}: not within {within_s} s"
        await asyncio.sleep(step_s)
    return loop.time() - began
