"""What Binance's refusals of an order or a cancel mean.

Closed tables.  A code that is not here may mean that the order was executed: `Unknown`.
https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

import msgspec
from msgspec import Struct

from hean_router import kit

_KIND = kit.RejectKind


class Told(Struct):
    """When a limit ends, as the socket says it; epoch ms."""

    server_time: int = msgspec.field(name="serverTime", default=0)
    retry_after: int = msgspec.field(name="retryAfter", default=0)


class Error(Struct):
    """The same by REST and on the socket; `data` there only."""

    code: int
    msg: str = ""
    data: Told | None = None


# Told before the request reached the engine, which never saw it.
_REFUSED = {
    -1014: _KIND.REQUEST,  # order composition
    -1020: _KIND.REQUEST,  # unsupported operation
    **dict.fromkeys(range(-1108, -1099), _KIND.REQUEST),  # parameters
    -1111: _KIND.FILTER,  # more decimals than the asset has: our rules are out of date
    **dict.fromkeys(range(-1120, -1113), _KIND.REQUEST),
    -1121: _KIND.HALTED,  # no such symbol (any more)
    -1128: _KIND.REQUEST,
    -1130: _KIND.REQUEST,
    -1131: _KIND.REQUEST,  # recvWindow above 60 s: we never send one
    -1134: _KIND.REQUEST,
    -1135: _KIND.REQUEST,
    -1145: _KIND.REQUEST,
    -1220: _KIND.REQUEST,
    -1021: _KIND.CLOCK,  # checked again right before the engine: not executed
    -1002: _KIND.ACCESS,
    -1022: _KIND.ACCESS,  # signature
    -1099: _KIND.ACCESS,
    -2014: _KIND.ACCESS,
    -2015: _KIND.ACCESS,  # key, address or permission; also seen during temporary bans
    -2011: _KIND.GONE,
}

_LIMITED = frozenset({-1003, -1015, -1034})

# -2010 and -1010 speak through their text.  "Duplicate order sent." is not here on purpose: an
# order of that id is open, and it is ours to ask about.
_ENGINE = frozenset({-2010, -1010})
_ENGINE_TEXTS = {
    "Account has insufficient balance for requested action.": _KIND.FUNDS,
    "Order would immediately match and take.": _KIND.WOULD_TRADE,
    "Market is closed.": _KIND.HALTED,
    "This action is disabled on this account.": _KIND.ACCESS,
    "This symbol is not permitted for this account.": _KIND.HALTED,  # one symbol, not the key
    "Price * QTY is zero or less.": _KIND.FILTER,
}
_NO_LIQUIDITY = "Order book liquidity is less than"

_FILTER = -1013  # "the request did not reach the matching engine", whatever the text
_COUNTS = ("MAX_NUM_ORDERS", "MAX_NUM_ALGO_ORDERS", "MAX_NUM_ICEBERG_ORDERS")

_error = msgspec.json.Decoder(Error).decode


def meaning(status: int, error: Error, wait_ns: int = 0) -> kit.Outcome:
    """What an error answer means; `status` is HTTP's, also on the socket.

    Status first: after 5xx nothing is sure, whatever the body says.
    """
    text = f"HTTP {status}: {error.code} {error.msg}"
    if status < 400 or status >= 500:
        return kit.Unknown(text)
    code = str(error.code)
    if error.code in _LIMITED:
        return kit.Limited(code, error.msg, wait_ns or _wait_ns(error))
    kind = _kind(error)
    if kind is not None:
        return kit.Rejected(kind, code, error.msg)
    return _firewall(error.msg) if status == 403 else kit.Unknown(text)


def _wait_ns(error: Error) -> int:
    told = error.data
    if told is None or not told.server_time:
        return 0
    return max(0, told.retry_after - told.server_time) * kit.MS


def _firewall(text: str) -> kit.Limited:
    """The web application firewall stands before everything: what it refuses got no further."""
    return kit.Limited("403", text or "the firewall has had enough of this address")


def _kind(error: Error) -> kit.RejectKind | None:
    if error.code in _ENGINE:
        if error.msg.startswith(_NO_LIQUIDITY):
            return _KIND.WOULD_NOT_FILL
        return _ENGINE_TEXTS.get(error.msg)
    if error.code == _FILTER:
        return _filter_kind(error.msg)
    return _REFUSED.get(error.code)


def _filter_kind(text: str) -> kit.RejectKind:
    """-1013 names a filter, or says that the symbol does not trade (to a cancel, too)."""
    if any(text.endswith(name) for name in _COUNTS):  # EXCHANGE_… too
        return _KIND.TOO_MANY
    low = text.lower()
    return _KIND.HALTED if "not trading" in low or "closed" in low else _KIND.FILTER


class _Taken(Struct):
    """As much of a good answer as proves that an order was meant."""

    order_id: int = msgspec.field(name="orderId")


_taken = msgspec.json.Decoder(_Taken).decode


def outcome(answer: kit.Answer) -> kit.Outcome:
    """What an HTTP answer to a placing or a cancel means."""
    if answer.status == 200:
        try:
            return kit.Accepted(str(_taken(answer.body).order_id))
        except kit.UNREADABLE:
            return kit.Unknown("HTTP 200 without an order")
    try:
        error = _error(answer.body)
    except kit.UNREADABLE:
        if answer.status == 403:  # its page is no JSON
            return _firewall("")
        return kit.Unknown(f"HTTP {answer.status}, no JSON")
    wait = answer.headers.get("retry-after", "")
    seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else 0
    return meaning(answer.status, error, seconds * 1000 * kit.MS)


def code_of(answer: kit.Answer) -> int:
    """The code of a refused question; 0 where there is none."""
    if answer.status == 200 or answer.status >= 500:
        return 0
    try:
        return _error(answer.body).code
    except kit.UNREADABLE:
        return 0
