"""Whether what arrives is as new as it should be, by the venue's clock and by our own sleep."""

from hean_router.domain.feed import Delta
from hean_router.venue.feed_events import SECOND, Freshness

AHEAD_MAX = 8  # so many messages from the future in a row; then it is our clock that was set
DRIFT_PPM = 200  # clocks drift apart; that much is worse than any
QUEUED_NS = 5 * SECOND  # late for so long is no hiccup
PAST_NS = SECOND  # nothing late for so long: it is over


class Lateness:
    """The ages of one connection's messages, against the least that was seen.

    Clocks need not agree: only a change of our clock minus the venue's counts.  What does not say
    its age waited in the same queue as what does.  `Freshness.late_ns` of 0 turns all of it off.
    """

    __slots__ = ("_again_ns", "_ahead", "_lag_ns", "_last_ns", "_late_ns", "_since_ns", "_woke_ns")

    def __init__(self, fresh: Freshness) -> None:
        self._late_ns, self._again_ns = fresh.late_ns, fresh.again_ns
        self._lag_ns: int | None = None  # least seen of our clock minus the venue's
        self._since_ns = self._last_ns = 0  # late since, and last; 0 = not late
        self._ahead = 0  # messages in a row whose time is ahead of all that came before
        self._woke_ns = 0  # we slept: until then what does not say its age may have waited

    def doubt_of(self, delta: Delta, now_ns: int) -> str:
        """Why a change of a book may be older than it should be; empty if it is not."""
        late_ns, sent_ns = self._late_ns, delta.sent_ns
        if not late_ns:
            return ""
        if not (delta.bids or delta.asks):
            return self.doubt(now_ns)  # a sign of life has no age
        if not sent_ns:
            return ""  # this venue tells no times: nothing better will come
        lag, usual = now_ns - sent_ns, self._lag_ns
        if usual is None:
            self._lag_ns = lag
            return self.doubt(now_ns)
        if lag < usual:
            if usual - lag > late_ns and self._ahead < AHEAD_MAX:
                self._ahead += 1
                return self.doubt(now_ns)  # from the future: it is no measure of the others
            self._lag_ns = lag
        self._ahead = 0
        if lag - usual > late_ns:
            self._since_ns = self._since_ns or now_ns
            self._last_ns = now_ns
            return "behind the venue's clock"
        self._since_ns = self._woke_ns = 0
        return ""

    def doubt(self, now_ns: int) -> str:
        """Why anything that does not say its age may be old; empty if nothing speaks for it."""
        behind = now_ns < self._woke_ns or self._since_ns
        return "of unknown age, on a connection that is behind" if behind else ""

    def slept(self, now_ns: int) -> None:
        """Nobody read for a while: what comes next has waited."""
        self._woke_ns = now_ns + self._again_ns

    def caught_up(self) -> None:
        """Whoever reads for us has read all that waited."""
        self._woke_ns = 0

    def stays_late(self, now_ns: int, passed_ns: int) -> bool:
        """Whether a queue before us does not drain, or a clock was set.  Call it every `passed_ns`.

        A hiccup that is over is forgotten here.
        """
        if self._lag_ns is not None:
            self._lag_ns += passed_ns * DRIFT_PPM // 1_000_000
        if now_ns - self._last_ns > PAST_NS:
            self._since_ns = 0
        return bool(self._since_ns) and now_ns - self._since_ns > QUEUED_NS
