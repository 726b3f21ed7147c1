"""Who else hears what a venue says: recorders, `hean doctor`, tests."""

from typing import Protocol


class Listener(Protocol):
    """Hears one part of one venue, as it was on the wire.

    Called from the pumps, in the order of things, before a session sees a frame: so it must be
    quick, must not wait and must not raise.
    """

    def connected(self, url: str, now_ns: int) -> str:
        """A socket stands; returns the name by which its frames are told."""
        ...

    def received(self, conn: str, data: bytes, now_ns: int) -> None:
        """A frame of the venue's."""
        ...

    def sent(self, conn: str, data: bytes, now_ns: int) -> None:
        """A frame of ours, with whatever secrets it holds."""
        ...

    def closed(self, conn: str, why: str, now_ns: int) -> None:
        """The socket is gone."""
        ...

    def answered(self, url: str, status: int, body: bytes, now_ns: int) -> None:
        """An answer to a question over REST."""
        ...
