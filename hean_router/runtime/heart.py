"""Whether this process stood still, or its clock was moved: found at the next thing that happens.

What stands still says nothing while it does.  A stalled event loop, SIGSTOP, a paused or sleeping
machine: each shows afterwards as a timer that comes too late, or as a clock that has gone on while
the loop's did not.  Who decides asks before it decides, so that no order leaves on what was known
before: a watchdog beside it might have its turn too late.

What follows, by how long it was:

    250 ms   counted (`hean_loop_stalls_total`); orders decided before do not leave (desks: 250 ms,
             the gate: 2 s), books older than their limit price nothing
    2 s      an incident; every book is stale until it has been confirmed anew (`feeds.freshness`)
    20 s     every place is shut until it has been reconciled: what venues told may be lost
    clock    moved by more than a second against the loop's, or the wall's against ours: venues'
             clocks are measured anew, and until then nothing is signed with the old offset
"""

from msgspec import Struct

SECOND = 1_000_000_000
STALL_NS = SECOND // 4
LONG_NS = 2 * SECOND
LOST_NS = 20 * SECOND
JUMP_NS = SECOND


class Beat(Struct, frozen=True):
    """What was found: ns that everything stood still, and by which a clock was moved."""

    stood_ns: int = 0
    moved_ns: int = 0


STEADY = Beat()


class Heart:
    """Told of every beat; says what happened since the last.

    Times are of three clocks: ours (ns since the epoch, what orders are stamped with), the loop's
    (seconds, what timers go by), the wall's (ns, None where there is none to be had).

    >>> heart = Heart()
    >>> heart.beat(5 * SECOND, 1.0), heart.expect("timer", 2.0)
    (Beat(stood_ns=0, moved_ns=0), None)
    >>> heart.beat(6 * SECOND, 2.0), heart.expect("timer", 3.0)
    (Beat(stood_ns=0, moved_ns=0), None)
    >>> heart.beat(36 * SECOND, 32.0)
    Beat(stood_ns=29000000000, moved_ns=0)
    """

    def __init__(self) -> None:
        self._now_ns = self._loop_ns = 0
        self._due_ns: dict[str, int] = {}  # what is to come, by whose it is
        self._apart_ns: int | None = None  # wall minus ours

    def expect(self, who: str, due_s: float) -> None:
        """The next beat of `who` comes then, by the loop's clock."""
        self._due_ns[who] = round(due_s * SECOND)

    def beat(self, now_ns: int, loop_s: float, wall_ns: int | None = None) -> Beat:
        """Something happens; what has happened to time since the last beat."""
        loop_ns = round(loop_s * SECOND)
        first, before_ns, before_loop_ns = not self._now_ns, self._now_ns, self._loop_ns
        self._now_ns, self._loop_ns = now_ns, loop_ns
        moved_ns = self._wall_moved(now_ns, wall_ns)
        if first:
            return STEADY
        over = {who: due_ns for who, due_ns in self._due_ns.items() if due_ns <= loop_ns}
        for who in over:
            del self._due_ns[who]
        late_ns = loop_ns - min(over.values(), default=loop_ns)
        leapt_ns = (now_ns - before_ns) - (loop_ns - before_loop_ns)
        if abs(leapt_ns) > abs(moved_ns):
            moved_ns = leapt_ns
        if abs(moved_ns) < JUMP_NS:
            moved_ns = 0
        # The machine slept, and the loop's clock with it: as long as if the loop had stood.
        stood_ns = late_ns + (leapt_ns if leapt_ns >= JUMP_NS else 0)
        if stood_ns < STALL_NS and not moved_ns:
            return STEADY
        return Beat(stood_ns if stood_ns >= STALL_NS else 0, moved_ns)

    def _wall_moved(self, now_ns: int, wall_ns: int | None) -> int:
        if wall_ns is None:
            return 0
        apart_ns, before_ns = wall_ns - now_ns, self._apart_ns
        if before_ns is None or abs(apart_ns - before_ns) >= JUMP_NS:
            self._apart_ns = apart_ns  # slow corrections add up until they are a second
        return 0 if before_ns is None else apart_ns - before_ns
