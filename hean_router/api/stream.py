"""`/v1/stream`: what happens, as it happens, to one account.

The first message authenticates unless a header does:

    {"op": "auth", "key": KEY}
    {"op": "subscribe", "topics": ["orders", "fills", "risk", "books:BTC/USDT"]}

A reader that is too slow is cut and told why: a gap that nobody notices would be worse.
"""

import asyncio
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter
from pydantic import Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from hean_router.api import views
from hean_router.api.access import Wall, need
from hean_router.api.errors import ApiError, seen
from hean_router.api.office import Desk
from hean_router.api.reading import read_json, symbol_in, time_out
from hean_router.api.routing import invalid
from hean_router.api.schemas import In
from hean_router.domain.instrument import Pair
from hean_router.domain.record import Filled, RiskSet, Row
from hean_router.engine.keyring import KeyInfo

AUTH_S: Final = 5.0  # to send the first message
BOOK_S: Final = 0.1  # between two looks at a book: whoever needs more takes the venues' streams
BOOK_DEPTH: Final = 10
SEND_S: Final = 2.0
TOPICS: Final = ("orders", "fills", "risk")
# Close codes; the reason is in words.
BAD_KEY, REFUSED, SLOW, GONE = 4401, 4403, 4408, 4410

router = APIRouter()


class AuthIn(In):
    """The first message."""

    op: Literal["auth"]
    key: Annotated[str, Field(max_length=200)]


class TopicsIn(In):
    """What is to be told, or no longer."""

    op: Literal["subscribe", "unsubscribe"]
    topics: Annotated[
        list[Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=64)
    ]


@router.websocket("/v1/stream")
async def serve_stream(socket: WebSocket) -> None:
    """One reader."""
    wall: Wall = socket.app.state.wall
    await socket.accept()
    try:
        key = await _entered(socket, wall)
    except ApiError as fault:
        await _close(socket, BAD_KEY if fault.status in {400, 401, 422} else REFUSED, fault)
        return
    except (WebSocketDisconnect, TimeoutError):
        await _close(socket, BAD_KEY, ApiError("no_key", f"no key within {AUTH_S:.0f} s"))
        return
    wall.streams[key.key_id] = wall.streams.get(key.key_id, 0) + 1
    try:
        await _Stream(socket, wall, key).run()
    finally:
        wall.streams[key.key_id] -= 1
        if not wall.streams[key.key_id]:
            del wall.streams[key.key_id]


async def _entered(socket: WebSocket, wall: Wall) -> KeyInfo:
    if "authorization" in socket.headers:
        key = wall.enter(socket)
    else:
        async with asyncio.timeout(AUTH_S):
            message = await _read(socket, wall)
        try:
            key = wall.enter(socket, AuthIn.model_validate(message).key)
        except ValidationError as fault:
            raise invalid(fault.errors(include_url=False, include_input=False)) from None
    need(key, "read")
    if wall.streams.get(key.key_id, 0) >= wall.caps.streams:
        raise ApiError(
            "too_many_streams",
            f"this key has {wall.caps.streams} streams",
            "close one, or subscribe to more topics on it",
        )
    return key


async def _read(socket: WebSocket, wall: Wall) -> Any:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code") or 1000)
    data = message.get("bytes") or (message.get("text") or "").encode("utf-8", "replace")
    if len(data) > wall.caps.body_bytes:
        raise ApiError("body_too_large", f"a message is longer than {wall.caps.body_bytes} bytes")
    found = read_json(data)
    if not isinstance(found, dict):
        raise ApiError("malformed_json", "the message is no JSON object", "send an object")
    return found


async def _close(socket: WebSocket, code: int, fault: ApiError) -> None:
    try:
        async with asyncio.timeout(SEND_S):
            await socket.send_bytes(orjson.dumps(fault.body()))
            # A close frame holds 123 bytes.
            await socket.close(code, f"{fault.code}: {fault.message}"[:120])
    except (TimeoutError, RuntimeError, WebSocketDisconnect, OSError):
        return  # it is gone already


class _Stream:
    """One authenticated reader: what it wants, and what waits for it."""

    def __init__(self, socket: WebSocket, wall: Wall, key: KeyInfo) -> None:
        self._socket, self._wall, self._key = socket, wall, key
        self._desk: Desk = wall.desk
        self._topics: set[str] = set()
        self._books: dict[str, int] = {}  # symbol -> version last told
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(wall.caps.stream_queue)
        self._seq = 0
        self._cut: asyncio.Future[ApiError] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        rows = self._desk.trading.subscribe()
        self._put("ready", {"account": self._key.account})
        tasks = [
            asyncio.create_task(work)
            for work in (self._listen(), self._follow(rows), self._look(), self._send())
        ]
        try:
            waited: list[asyncio.Future[Any]] = [*tasks, self._cut]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            rows.close()
        faults = [fault for fault in done if isinstance(fault, ApiError)]
        if self._cut.done():
            faults.insert(0, self._cut.result())
        if faults:
            await _close(self._socket, SLOW if faults[0].code == "slow_reader" else GONE, faults[0])
            return
        self._cut.cancel()
        for fault in done:
            if isinstance(fault, Exception) and not isinstance(
                fault, WebSocketDisconnect | OSError
            ):
                raise fault

    # What is said.

    def _put(self, topic: str, data: Any) -> None:
        if self._cut.done():
            return
        self._seq += 1
        message = {"topic": topic, "seq": self._seq, "data": data}
        try:
            self._queue.put_nowait(orjson.dumps(message))
        except asyncio.QueueFull:
            self._cut.set_result(
                ApiError(
                    "slow_reader",
                    f"more than {self._queue.maxsize} messages behind",
                    "read faster or subscribe to less, then connect again and read GET /v1/orders",
                )
            )

    async def _send(self) -> None:
        while True:
            await self._socket.send_bytes(await self._queue.get())

    async def _follow(self, rows: Any) -> None:
        async for row in rows:
            self._row(row)
        raise ApiError("slow_reader", rows.cut or "the router closes", "connect again")

    def _row(self, row: Row) -> None:
        engine = self._desk.trading.engine
        if isinstance(row, RiskSet) and "risk" in self._topics:
            told = {"state": row.state, "reason": row.reason, "at": time_out(row.at_ns)}
            self._put("risk", told)
        if isinstance(row, Filled) and "fills" in self._topics and self._mine(row.account):
            self._put("fills", views.fill(row))
        if "orders" not in self._topics:
            return
        child = engine.oms.children.get(getattr(row, "key", ""))
        parent = child.parent if child else engine.oms.parents.get(getattr(row, "parent", ""))
        if parent is not None and self._mine(parent.intent.account):
            self._put("orders", views.order(parent))

    def _mine(self, account: str) -> bool:
        return account == self._key.account

    async def _look(self) -> None:
        market = self._desk.trading.market
        while True:
            # A key that was revoked meanwhile hears nothing more.
            good = self._desk.trading.engine.keyring.keys()
            if self._key not in good:
                raise ApiError("bad_key", "this key was revoked")
            for symbol, told in list(self._books.items()):
                pair = Pair.parse(symbol)
                book = market.book(pair)
                if (version := book.version) != told and self._queue.qsize() < BOOK_DEPTH:
                    # Under pressure a book is told later, as it stands then: never an old one.
                    self._books[symbol] = version
                    now_ns = self._desk.clock()
                    view = views.book(book, BOOK_DEPTH, now_ns, market.standing(pair))
                    self._put(f"books:{symbol}", view)
            await asyncio.sleep(BOOK_S)

    # What is heard.

    async def _listen(self) -> None:
        while True:
            try:
                message = await _read(self._socket, self._wall)
                self._take(message)
            except ApiError as fault:
                self._put("error", fault.body()["error"])

    def _take(self, message: Any) -> None:
        try:
            wanted = TopicsIn.model_validate(message)
        except ValidationError as fault:
            raise invalid(fault.errors(include_url=False, include_input=False)) from None
        topics = [self._named(topic) for topic in wanted.topics]
        add = wanted.op == "subscribe"
        if add and len(self._topics | {*topics}) > self._wall.caps.topics:
            raise ApiError("too_many_topics", f"at most {self._wall.caps.topics} on one stream")
        for topic in topics:
            kind, _, symbol = topic.partition(":")
            if add:
                self._topics.add(topic)
                if kind == "books":
                    self._books.setdefault(symbol, -1)
            else:
                self._topics.discard(topic)
                self._books.pop(symbol, None)
        self._put("subscribed", {"topics": sorted(self._topics)})

    def _named(self, topic: str) -> str:
        kind, _, symbol = topic.partition(":")
        if topic in TOPICS:
            return topic
        if kind == "books" and symbol:
            try:
                name = symbol_in(symbol)
            except ValueError as fault:
                raise ApiError("unknown_topic", f"topic {seen(topic)}: {fault}") from None
            if self._desk.pair(name) is not None:
                return f"books:{name}"
        raise ApiError(
            "unknown_topic",
            f"there is no topic {seen(topic)}",
            f"use {', '.join(TOPICS)} or books:SYMBOL of a pair that is followed",
        )
