"""What is sent to a venue and what comes back, before it means anything."""

from collections.abc import Generator, Mapping
from typing import TypeAlias, TypeVar

from msgspec import MsgspecError, Struct

# What msgspec raises for bytes that are not what was promised: no UTF-8 and nested beyond measure
# come as errors of their own.
UNREADABLE = (MsgspecError, ValueError, RecursionError)


class Frame(Struct, frozen=True):
    """One message on a socket; text unless `binary`.

    `cost` is what it takes of `VenueSpec.frames`: 0 for a ping where the venue does not count it.
    `secret`: it carries a credential (a login, a token), so it is neither printed nor recorded.
    """

    data: bytes
    binary: bool = False
    cost: int = 1
    secret: bool = False

    def __repr__(self) -> str:
        data = f"<{len(self.data)} secret bytes>" if self.secret else repr(self.data)
        return f"Frame({data}, binary={self.binary}, cost={self.cost})"


class HttpRequest(Struct, frozen=True, kw_only=True):
    """One request to the venue's REST face.

    `host` names an URL of the environment (`rest`); `query` is sent as it stands (no re-encoding:
    signatures depend on it).  `bucket` and `cost` say which of `VenueSpec.rest_limits` pays.
    """

    path: str
    method: str = "GET"
    host: str = "rest"
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    bucket: str = "rest"
    cost: int = 1
    signed: bool = False  # `OrderCodec.sign` it before it is sent

    def __repr__(self) -> str:
        # Once signed, its headers, query or body carry a key, a passphrase, a signature.
        rest = "signed" if self.signed else f"query={self.query!r}, body={self.body[:200]!r}"
        return f"HttpRequest({self.method} {self.host}:{self.path}, {rest})"


class Answer(Struct, frozen=True):
    """An HTTP answer, whole: what it means depends on all of it.  Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


T = TypeVar("T")
# A dialogue: yields what to send, is sent each answer, returns T.  Raises VenueError on a refusal.
Ask: TypeAlias = Generator[HttpRequest, Answer, T]
