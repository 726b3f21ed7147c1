"""How far a venue's clock is from ours, with a bound that is proven, not guessed."""

from msgspec import Struct

from hean_router.runtime.limits import SECOND

DRIFT_PPM = 100  # by which two clocks may part; quartz is good for 50
_MS = 1_000_000


class ClockOffset:
    """The interval in which `venue time - our time` lies, narrowed by every answer.

    An answer says: at some moment between asking and hearing, the venue's clock showed this, cut
    to its resolution.  Answers are intersected, so that even a clock of whole seconds (Kraken) is
    known to half a round trip after some questions, asked when its second is about to change.
    Between answers the interval grows by `DRIFT_PPM`; one that contradicts it replaces it.
    """

    def __init__(self) -> None:
        self._low = self._high = 0
        self._at_ns = 0  # 0: never measured
        self._doubted = False
        self._rtt_ns = 0
        self._step_ns = 0  # the venue clock's resolution

    @property
    def known(self) -> bool:
        """Whether there was an answer that may be believed."""
        return self._at_ns != 0 and not self._doubted

    def heard(self, sent_ns: int, got_ns: int, venue_ns: int) -> None:
        """The venue said `venue_ns`; asked at `sent_ns`, heard at `got_ns` of our clock."""
        self._step_ns = SECOND if venue_ns % SECOND == 0 else _MS if venue_ns % _MS == 0 else 1
        self._rtt_ns = max(0, got_ns - sent_ns)
        low, high = venue_ns - got_ns, venue_ns + self._step_ns - sent_ns
        if self.known:
            grown = self._grown_ns(got_ns)
            old_low, old_high = self._low - grown, self._high + grown
            if low <= old_high and old_low <= high:
                low, high = max(low, old_low), min(high, old_high)
        self._low, self._high, self._at_ns = low, max(low, high), got_ns
        self._doubted = False

    def doubt(self) -> None:
        """The venue contradicts what we think: believe the next answer alone."""
        self._doubted = True

    def at(self, now_ns: int) -> "Reading":
        """What is known now, or was before it was doubted."""
        if not self._at_ns:
            return Reading(0, 1 << 62)
        half = (self._high - self._low + 1) // 2 + self._grown_ns(now_ns)
        return Reading((self._low + self._high) // 2, half)

    @property
    def offset_ns(self) -> int:
        """The middle of the interval; 0 before the first answer."""
        return (self._low + self._high) // 2

    def wait_ns(self, now_ns: int) -> int:
        """How long to wait before a question that would tell most, at least a little apart."""
        if not self.known or self._step_ns < SECOND:
            return SECOND // 2
        arrives_ns = now_ns + self._rtt_ns // 2 + self.offset_ns
        wait_ns = -arrives_ns % SECOND
        return wait_ns if wait_ns > SECOND // 10 else wait_ns + SECOND

    def _grown_ns(self, now_ns: int) -> int:
        return abs(now_ns - self._at_ns) * DRIFT_PPM // 1_000_000


class Reading(Struct, frozen=True):
    """`venue time - our time` is `offset_ns`, give or take `bound_ns`."""

    offset_ns: int
    bound_ns: int
