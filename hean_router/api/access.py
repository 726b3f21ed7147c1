"""Who asks, what they may do, and how much: keys, scopes, caps, the outermost wall."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from msgspec import Struct
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hean_router.api.errors import ApiError, seen
from hean_router.api.office import Desk
from hean_router.engine.keyring import ADMIN, KeyInfo

SECOND: Final = 1_000_000_000
ADDRESSES_MAX: Final = 10_000  # remembered for their bad keys


class Caps(Struct, frozen=True, kw_only=True):
    """How much one caller may ask.  Rates are requests per second of one key; 0 = no cap."""

    body_bytes: int = 65_536
    rate: int = 500
    burst: int = 1_000
    bad_keys: int = 10  # of one address before it has to wait
    backoff_max_s: int = 60
    streams: int = 16  # of one key
    stream_queue: int = 1_000  # messages that a stream's reader may lag behind
    topics: int = 64


class Bucket:
    """Tokens that come back steadily; time is handed in."""

    __slots__ = ("_burst_ns", "_cost_ns", "_paid_until_ns")

    def __init__(self, rate: int, burst: int) -> None:
        self._cost_ns = SECOND // rate
        self._burst_ns = burst * self._cost_ns
        self._paid_until_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """Take one; how long to wait instead, 0 for none."""
        paid = max(self._paid_until_ns, now_ns - self._burst_ns) + self._cost_ns
        if paid > now_ns:
            return paid - now_ns
        self._paid_until_ns = paid
        return 0


class Wall:
    """Counts what each key asks and what each address gets wrong."""

    def __init__(self, desk: Desk, caps: Caps) -> None:
        self.desk, self.caps = desk, caps
        self.streams: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._bad: OrderedDict[str, tuple[int, int]] = OrderedDict()  # address -> count, until

    def enter(self, at: HTTPConnection, bearer: str | None = None) -> KeyInfo:
        """The key that speaks; raises `ApiError` for none, a bad one, or one that asks too much.

        A good key passes whatever else its address has sent: 256 bits are not guessed, and whoever
        shares an address must not be able to lock a trader out of his kill switch.
        """
        if bearer is None:
            bearer = bearer_of(at)
        key = self.desk.trading.engine.keyring.find(bearer)
        if key is None:
            self._refuse(at.client.host if at.client else "")
        self._pace(key)
        return key

    def _pace(self, key: KeyInfo) -> None:
        if not self.caps.rate:
            return
        bucket = self._buckets.get(key.key_id)
        if bucket is None:
            bucket = self._buckets[key.key_id] = Bucket(self.caps.rate, self.caps.burst)
        if wait_ns := bucket.wait_ns(self.desk.clock()):
            raise ApiError(
                "too_many_requests",
                f"this key asks more than {self.caps.rate} times a second",
                "wait as Retry-After says",
                headers={"Retry-After": str(-(-wait_ns // SECOND))},
            )

    def _refuse(self, address: str) -> NoReturn:
        now_ns = self.desk.clock()
        count, until_ns = self._bad.pop(address, (0, 0))
        waiting = until_ns > now_ns
        if not waiting:
            if until_ns and now_ns - until_ns > 10 * self.caps.backoff_max_s * SECOND:
                count = 0  # long forgotten
            count += 1
        late = count - self.caps.bad_keys
        if late >= 0 and not waiting:
            until_ns = now_ns + min(self.caps.backoff_max_s, 2 ** min(late, 16)) * SECOND
        self._bad[address] = (count, until_ns or now_ns)
        while len(self._bad) > ADDRESSES_MAX:
            self._bad.popitem(last=False)
        if waiting:
            raise ApiError(
                "too_many_bad_keys",
                "too many requests with bad keys came from this address",
                "wait as Retry-After says, then use a good key",
                headers={"Retry-After": str(-(-(until_ns - now_ns) // SECOND))},
            )
        raise ApiError(
            "bad_key",
            "this key is not known, or was revoked",
            "make one with `hean keys`",
            headers={"WWW-Authenticate": "Bearer"},
        )


def bearer_of(at: HTTPConnection) -> str:
    """The token of the Authorization header; raises `ApiError`."""
    header = at.headers.get("authorization")
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(
            "no_key",
            "no key" if header is None else "the Authorization header is not `Bearer KEY`",
            "send the header Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token.strip()


def need(key: KeyInfo, scope: str) -> None:
    """Raise `ApiError` unless the key has `scope`.  No scope holds another."""
    if scope not in key.scopes:
        raise ApiError(
            "missing_scope",
            f"this key may {', '.join(sorted(key.scopes)) or 'nothing'}; {scope!r} is needed",
            f"use a key with the scope {scope}",
        )


def account_of(key: KeyInfo, asked: str | None) -> str:
    """Whose data is read: the key's account; an admin may name another."""
    if asked is None or asked == key.account:
        return key.account
    if ADMIN not in key.scopes:
        raise ApiError(
            "other_account",
            f"this key speaks for its own account, not for {seen(asked)}",
            "leave account away",
        )
    return asked


def scoped(scope: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency: the key that speaks has `scope`, and is kept with the request."""

    async def enter(request: Request) -> None:
        wall: Wall = request.app.state.wall
        key = wall.enter(request)
        need(key, scope)
        request.state.key = key

    return enter


_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_CLOSED: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Shell:
    """The outermost layer: caps bodies, adds security headers, answers what nobody foresaw."""

    def __init__(self, app: ASGIApp, caps: Caps, failed: Callable[[Exception], None]) -> None:
        self._app, self._caps, self._failed = app, caps, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left, began = self._caps.body_bytes, False

        async def capped() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise _too_large(self._caps)
            return message

        async def headed(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = message["headers"] = [*message.get("headers", ()), *_HEADERS]
                if not any(name == _CLOSED[0] for name, _ in headers):
                    headers.append(_CLOSED)
            await send(message)

        try:
            said = dict(scope["headers"]).get(b"content-length", b"0")
            if not said.isdigit() or len(said) > 12 or int(said) > left:
                raise _too_large(self._caps)
            await self._app(scope, capped, headed)
        except ApiError as fault:
            if began:
                raise
            await fault.response()(scope, receive, headed)
        except Exception as fault:
            # The last resort: whoever asked gets the common shape, the log gets the trace.
            self._failed(fault)
            if began:
                raise
            wrong = ApiError("internal", "a fault of our own; it was logged", "tell the operator")
            await wrong.response()(scope, receive, headed)


def _too_large(caps: Caps) -> ApiError:
    return ApiError(
        "body_too_large",
        f"the body is longer than {caps.body_bytes} bytes",
        "send less",
        headers={"Connection": "close"},
    )
