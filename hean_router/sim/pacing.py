"""Timers and rate windows for faces: pure, time is an argument."""

from collections import deque
from collections.abc import Hashable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Timers(Generic[Key]):
    """Keyed timers; setting a key again moves it.  Equal times fire in the order they were set.

    >>> timers = Timers()
    >>> timers.set("ping", 20); timers.set("end", 30); timers.set("ping", 25)
    >>> timers.wake_at_ns, timers.due(24), timers.due(30), timers.wake_at_ns
    (25, [], ['ping', 'end'], None)
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Key]] = []
        self._live: dict[Key, tuple[int, int]] = {}
        self._count = 0

    def set(self, key: Key, when_ns: int) -> None:
        """Fire `key` at `when_ns`, and no longer when it was to fire before."""
        self._count += 1
        self._live[key] = (when_ns, self._count)
        heappush(self._heap, (when_ns, self._count, key))

    def drop(self, key: Key) -> None:
        """Forget `key`; harmless if it is not set."""
        self._live.pop(key, None)

    def __iter__(self) -> Iterator[Key]:
        """What is set, in the order it was first set."""
        return iter(self._live)

    def __contains__(self, key: Key) -> bool:
        return key in self._live

    @property
    def wake_at_ns(self) -> int | None:
        """When the next one fires."""
        self._tidy()
        return self._heap[0][0] if self._heap else None

    def pop(self, now_ns: int) -> tuple[int, Key] | None:
        """The next one due, with its own time; None if none is."""
        self._tidy()
        if not self._heap or self._heap[0][0] > now_ns:
            return None
        when_ns, _, key = heappop(self._heap)
        del self._live[key]
        return when_ns, key

    def due(self, now_ns: int) -> list[Key]:
        """Everything due, oldest first."""
        keys = []
        while popped := self.pop(now_ns):
            keys.append(popped[1])
        return keys

    def _tidy(self) -> None:
        heap = self._heap
        while heap and self._live.get(heap[0][2]) != heap[0][:2]:
            heappop(heap)


class RollingWindow:
    """At most `limit` units in any `span_ns`; None for no limit.

    >>> window = RollingWindow(2, 1000)
    >>> [window.take(now) for now in (0, 1, 2, 999, 1000)]
    [True, True, False, False, True]
    """

    def __init__(self, limit: int | None, span_ns: int) -> None:
        self.limit = limit
        self.span_ns = span_ns
        self.used = 0
        self._taken: deque[tuple[int, int]] = deque()

    def take(self, now_ns: int, cost: int = 1) -> bool:
        """Count `cost` if it fits; a refused one is not counted."""
        while self._taken and self._taken[0][0] <= now_ns - self.span_ns:
            self.used -= self._taken.popleft()[1]
        if self.limit is not None and self.used + cost > self.limit:
            return False
        self.used += cost
        self._taken.append((now_ns, cost))
        return True

    def free_at_ns(self, now_ns: int, cost: int = 1) -> int:
        """When `cost` would fit (`now_ns` if it does)."""
        if self.limit is None:
            return now_ns
        over = self.used + cost - self.limit
        for when_ns, units in self._taken:
            if over <= 0:
                break
            over -= units
            now_ns = max(now_ns, when_ns + self.span_ns)
        return now_ns


class FixedWindow:
    """At most `limit` units in each span of the clock (a minute from :00 to :59); None: no limit.

    >>> window = FixedWindow(2, 1000)
    >>> [window.take(now) for now in (900, 901, 902, 1000)]
    [True, True, False, True]
    """

    def __init__(self, limit: int | None, span_ns: int) -> None:
        self.limit = limit
        self.span_ns = span_ns
        self.used = 0
        self._index = -1

    def take(self, now_ns: int, cost: int = 1) -> bool:
        """Count `cost`, also when it does not fit: venues count what they refuse."""
        index = now_ns // self.span_ns
        if index != self._index:
            self._index, self.used = index, 0
        self.used += cost
        return self.limit is None or self.used <= self.limit

    def ends_at_ns(self, now_ns: int) -> int:
        """When the running span ends."""
        return (now_ns // self.span_ns + 1) * self.span_ns
