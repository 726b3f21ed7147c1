"""Rate limits as venues count them; time is an argument."""

from collections import deque

from hean_router.domain.venue import RateLimit


class Limiter:
    """At most `capacity x share` tokens in ANY stretch of `per_ms`.

    So it holds whether the venue counts a rolling window or fixed ones, wherever these start.
    Where the venue's count decays, so does this one, and never passes `capacity x share`.
    `share` leaves room for what is under way and for others on the same address.  Exact: it
    remembers each payment of the last window.  O(1) amortised.
    """

    __slots__ = ("_blocked_ns", "_each_ns", "_paid", "_sum", "_until_ns", "capacity", "window_ns")

    def __init__(self, limit: RateLimit, share: float = 1.0) -> None:
        assert 0 < share <= 1, share
        self.capacity = max(1, int(limit.capacity * share))
        self.window_ns = limit.per_ms * 1_000_000
        self._paid: deque[tuple[int, int]] = deque()  # (when, how much), within the window
        self._sum = 0
        self._blocked_ns = 0
        # Of a count that decays: how long a token takes to, rounded up; when all of it will have.
        self._each_ns = -(-self.window_ns // limit.capacity) if limit.decays else 0
        self._until_ns = 0

    def _forget(self, now_ns: int) -> None:
        while self._paid and self._paid[0][0] <= now_ns - self.window_ns:
            self._sum -= self._paid.popleft()[1]

    def wait_ns(self, cost: int, now_ns: int) -> int:
        """How long until `cost` tokens are there; 0 for now.  Takes nothing.

        A cost above the capacity counts as the capacity: it would never fit.
        """
        blocked = max(0, self._blocked_ns - now_ns)
        if self._each_ns:
            full_ns = now_ns + self.capacity * self._each_ns
            paid_ns = min(cost, self.capacity) * self._each_ns
            return max(blocked, max(self._until_ns, now_ns) + paid_ns - full_ns)
        self._forget(now_ns)
        missing = self._sum + min(cost, self.capacity) - self.capacity
        if missing <= 0:
            return blocked
        for when_ns, paid in self._paid:
            missing -= paid
            if missing <= 0:
                return max(blocked, when_ns + self.window_ns - now_ns)
        raise AssertionError("more is missing than was paid")

    def take(self, cost: int, now_ns: int) -> int:
        """Take `cost` tokens if they are there and return 0; else take nothing, return the wait."""
        if wait := self.wait_ns(cost, now_ns):
            return wait
        paid = min(cost, self.capacity)
        if self._each_ns:
            self._until_ns = max(self._until_ns, now_ns) + paid * self._each_ns
            return 0
        self._paid.append((now_ns, paid))
        self._sum += paid
        return 0

    def block(self, until_ns: int) -> None:
        """Let nothing through before `until_ns`: the venue said so (`Retry-After`, a ban)."""
        self._blocked_ns = max(self._blocked_ns, until_ns)

    def left(self, now_ns: int) -> int:
        """Tokens that could be taken at once."""
        if self._each_ns:
            owed = -(-max(0, self._until_ns - now_ns) // self._each_ns)
            return 0 if now_ns < self._blocked_ns else max(0, self.capacity - owed)
        self._forget(now_ns)
        return 0 if now_ns < self._blocked_ns else self.capacity - self._sum
