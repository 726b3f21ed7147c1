"""What Bybit's refusals of an order or a cancel mean.

Closed tables.  A code that is not here may mean that the order was taken: `Unknown`.  Code 0 says
that the request was accepted for processing, and no more.
https://bybit-exchange.github.io/docs/v5/error
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hean_router import kit

_KIND = kit.RejectKind

_REFUSED: dict[int, kit.RejectKind] = {
    # Time: not executed.
    10002: _KIND.CLOCK,
    -1: _KIND.CLOCK,
    # What we asked for.
    **dict.fromkeys(
        (10001, 10404, 10017, 20006, 110032, 170105, 170115, 170116, 170117, 170130),
        _KIND.REQUEST,
    ),
    **dict.fromkeys((170201, 170221, 170227), _KIND.REQUEST),
    170121: _KIND.HALTED,  # no such symbol (any more)
    # Digits beyond tick or lot: our rules are out of date.
    **dict.fromkeys((110017, 170134, 170137, 170148), _KIND.FILTER),
    # The key, the address, the account.
    **dict.fromkeys(
        (10003, 10004, 10005, 10007, 10008, 10009, 10010, 10024, 10027, 10028, 10029, 33004),
        _KIND.ACCESS,
    ),
    **dict.fromkeys((-2015, 110066, 110123, 110124, 110125, 110132), _KIND.ACCESS),
    **dict.fromkeys((170031, 170157, 170209, 170219, 170241, 170348), _KIND.ACCESS),
    # Balance.
    **dict.fromkeys(
        (110004, 110006, 110007, 110012, 110014, 110044, 110045, 110051, 110052, 110053),
        _KIND.FUNDS,
    ),
    **dict.fromkeys((170131, 170033, 170034), _KIND.FUNDS),
    # Price, value, size.
    **dict.fromkeys((110003, 110120, 110121, 30208, 30209, 170132, 170133), _KIND.FILTER),
    **dict.fromkeys((170192, 170193, 170194, 170371, 170372), _KIND.FILTER),
    **dict.fromkeys((110094, 170140), _KIND.FILTER),
    **dict.fromkeys((170124, 170136, 170197, 170198, 170228, 170229), _KIND.FILTER),
    **dict.fromkeys((170341, 170381, 170382), _KIND.FILTER),
    **dict.fromkeys((110021, 110022, 110023, 110090), _KIND.FILTER),  # position sizes
    110118: _KIND.WOULD_NOT_FILL,  # no market price
    # How the instrument or the account stands.
    **dict.fromkeys((110020, 170810), _KIND.TOO_MANY),
    **dict.fromkeys((110074, 170151, 110063, 170159), _KIND.HALTED),
    **dict.fromkeys((110103, 170217), _KIND.HALTED),  # post-only orders alone are taken
    170218: _KIND.WOULD_TRADE,
    170210: _KIND.HALTED,  # new orders are rejected
    # A cancel: filled, cancelled, or not there.
    **dict.fromkeys((110001, 170213, 170143, 110008, 170139), _KIND.GONE),
    **dict.fromkeys((110010, 170142, 170190), _KIND.GONE),
}

# Not here on purpose: 110072 and 170141 (the first order of that id was taken: it is asked about),
# 10429 (the text says "retry", not that nothing was done), and the cancels that find an order
# busy (110079, 170191, 170212, 170144: an event will tell).
_LIMITED = frozenset({10006, 10403, 20003, 170005, 170222, 10019})

RESTARTING = 10019  # the trade service: earlier requests still run, a new socket is wanted

_FIREWALL_NS = 600 * 1000 * kit.MS  # HTTP 403: send nothing for ten minutes


class _Taken(Struct, rename="camel"):
    order_id: str = ""


class _Envelope(Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: Raw = Raw()


_envelope = msgspec.json.Decoder(_Envelope).decode
_taken = msgspec.json.Decoder(_Taken).decode


def meaning(code: int, text: str, data: bytes | Raw, headers: Mapping[str, Any]) -> kit.Outcome:
    """What a return code means; `data` is the result that came with it."""
    if not code:
        try:
            order_id = _taken(data).order_id
        except kit.UNREADABLE:
            order_id = ""
        return kit.Accepted(order_id) if order_id else kit.Unknown("taken, without an order id")
    if code in _LIMITED:
        return kit.Limited(str(code), text, _wait_ns(headers))
    kind = _REFUSED.get(code)
    return kit.Rejected(kind, str(code), text) if kind else kit.Unknown(f"{code} {text}")


def outcome(answer: kit.Answer) -> kit.Outcome:
    """What an HTTP answer to a placing or a cancel means.  Status first."""
    if answer.status == 403:  # too many requests, or a country: no further than the gate
        return kit.Limited("403", "the address is shut out", _FIREWALL_NS)
    if answer.status >= 500:
        return kit.Unknown(f"HTTP {answer.status}")
    try:
        envelope = _envelope(answer.body)
    except kit.UNREADABLE:
        return kit.Unknown(f"HTTP {answer.status}, no JSON")
    code, text = envelope.ret_code, envelope.ret_msg
    if not code and answer.status != 200:
        return kit.Unknown(f"HTTP {answer.status}, yet {text or 'OK'}")
    return meaning(code, text, envelope.result, answer.headers)


def _wait_ns(headers: Mapping[str, Any]) -> int:
    """How long until the venue counts anew, by its own clock alone; 0 where it does not say."""
    low = {name.lower(): str(value) for name, value in headers.items()}
    until, now = low.get("x-bapi-limit-reset-timestamp", ""), low.get("timenow", "")
    if not (_is_number(until) and _is_number(now)):
        return 0
    return max(0, int(until) - int(now)) * kit.MS


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
