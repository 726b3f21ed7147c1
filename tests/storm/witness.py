"""Whoever sees everything: the checkers of I1 to I40 on a whole simulated world.

    witness = Witness(home)
    async with home.moved_in(journal):
        witness.watch()         # this life of the router
        ...
    witness.end()               # nothing may be open any more: raises AssertionError

`counts` says how often each invariant was looked at, `broken` what did not hold.
"""

from collections import Counter
from typing import Any

from hean_router.audit import Broken, Watch


class Witness:
    """Looks at the house's journal, parts and venues for as long as the run lasts."""

    def __init__(self, home: Any) -> None:
        self.home = home
        self.rows = Watch()
        self.broken: list[Broken] = []
        self.lied: set[str] = set()  # venues that were made to say what is not so
        self._read = 0

    @property
    def counts(self) -> Counter[str]:
        """How often each invariant was looked at."""
        return Counter(self.rows.counts)

    def read(self, journal: Any) -> None:
        """Take in what the journal has beyond what was read."""
        for seq, row in journal.rows(self._read):
            self._read = seq
            self.broken += self.rows.apply(seq, row)

    def end(self) -> None:
        """The run is over: nothing may have been broken."""
        wrong = [one for one in self.broken if one.venue not in self.lied]
        assert not wrong, "\n".join(f"{one.invariant} {one.subject}: {one.text}" for one in wrong)
