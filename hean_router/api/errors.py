"""One shape for everything that goes wrong: `{"error": {"code", "message", "fix", "details"}}`.

Codes are stable: a client may branch on them.  Messages are for people and carry the numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

# What each code is told with.  A code that is not here is a refusal by a rule: 422.
STATUS: Final[Mapping[str, int]] = {
    # The request cannot be read.
    "malformed_json": 400,
    "malformed_request": 400,
    "no_key": 401,
    "bad_key": 401,
    "missing_scope": 403,
    "other_account": 403,
    "not_found": 404,
    "unknown_order": 404,
    "unknown_strategy": 404,
    "unknown_key": 404,
    "method_not_allowed": 405,
    # It can be read, and contradicts what is there.
    "duplicate_client_order_id": 409,
    "duplicate_window": 409,
    "order_ended": 409,
    "body_too_large": 413,
    "not_json": 415,
    # The caller asks too much.
    "too_many_requests": 429,
    "too_many_bad_keys": 429,
    "too_many_streams": 429,
    "limit_order_rate": 429,
    "internal": 500,
    # It would be right at another moment.
    "not_reconciled": 503,
    "journal_unavailable": 503,
    "no_live_book": 503,
    "clock_unsure": 503,
    "venue_unhealthy": 503,
    "stale_data": 503,
    "no_rate": 503,
    "no_budget": 503,
    "not_ready": 503,
    "preview_unavailable": 503,
    "store_unavailable": 503,
}
REFUSED: Final = 422


class ApiError(Exception):
    """Ends a request with an answer of the common shape."""

    def __init__(
        self,
        code: str,
        message: str,
        fix: str = "",
        *,
        details: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix
        self.details, self.headers = details, headers
        self.status = STATUS.get(code, REFUSED)

    def body(self) -> dict[str, Any]:
        """The answer."""
        return {
            "error": {
                "code": self.code,
                "message": sendable(self.message),
                "fix": sendable(self.fix),
                "details": [
                    {name: sendable(text) for name, text in one.items()} for one in self.details
                ],
            }
        }

    def response(self) -> Response:
        """The same as a response."""
        return answer(self.body(), self.status, self.headers)


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON."""
    return Response(orjson.dumps(body), status, dict(headers or {}), media_type="application/json")


def sendable(text: str) -> str:
    """`text` as UTF-8 can carry it: half a surrogate pair from a hostile body becomes `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def seen(value: object, most: int = 60) -> str:
    """A value of the caller's for an error message: printable ASCII, cut short."""
    text = ascii(value)
    return text if len(text) <= most else text[: most - 1] + "…"
