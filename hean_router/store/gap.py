"""What a journal says of itself once its last rows are gone: lost to damage, or newer than a copy.

Whatever those rows were may still be true at the venues: an order out, a trade made, a kill switch,
a key revoked.  So an incident tells of it, at the time of the last row that is there (trades since
then are asked for at every start), and trading is halted until a person resets it.  Parents that
were being worked are ended: what they have sent since nobody knows, and sending it again would
double it.  Strategies are stopped and forget what they were about: their legs are a person's now.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from msgspec import Struct, field

from hean_router.domain.record import (
    Incident,
    Opened,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
    StrategyNoted,
    StrategySet,
)
from hean_router.engine.core import REPAIRED
from hean_router.store import head_file
from hean_router.store.journal_file import Journal

BY = "repair"


class _Standing(Struct):
    """What goes on where the rows end."""

    at_ns: int = 0
    epoch: int = 0
    tags: set[str] = field(default_factory=set)
    working: dict[str, None] = field(default_factory=dict)
    strategies: dict[str, StrategySet] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def take(self, row: Row) -> None:
        self.at_ns = max(self.at_ns, row.at_ns)
        match row:
            case Opened(epoch=epoch, tag=tag):
                self.epoch = max(self.epoch, epoch)
                self.tags.add(tag)
            case ParentPlaced(parent=parent):
                self.working[parent] = None
            case ParentEnded(parent=parent) | ParentCancelAsked(parent=parent):
                self.working.pop(parent, None)
            case StrategySet(strategy=strategy):
                self.strategies[strategy] = row
            case StrategyNoted(strategy=strategy, state=state):
                self.notes[strategy] = state
            case _:
                pass


def close_off(path: Path, text: str, tags: Iterable[str] = ()) -> None:
    """End the journal at `path` with the rows that say so; orders under `tags` are ours too.

    For one that is about to be put in another's place: nothing but the file is left under its name.
    Raises `JournalError`.
    """
    with closing(Journal.open(path)) as journal:
        standing = _Standing()
        for _, row in journal.rows():
            standing.take(row)
        journal.append(list(_rows(standing, text, sorted(set(tags) - standing.tags - {""}))))
    for suffix in (".lock", head_file.SUFFIX):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _rows(standing: _Standing, text: str, tags: list[str]) -> Iterable[Row]:
    at_ns, why = standing.at_ns, "what it has sent last is in no row: the journal lost its end"
    for tag in tags:
        yield Opened(
            at_ns=at_ns, epoch=standing.epoch, tag=tag, version="", config_digest="", mode=BY
        )
    yield Incident(at_ns=at_ns, what=REPAIRED, text=text)
    for name, row in standing.strategies.items():
        if row.running:
            yield StrategySet(
                at_ns=at_ns, strategy=name, running=False, params=row.params, by=BY, why=why
            )
    for name, state in standing.notes.items():
        if state:
            yield StrategyNoted(at_ns=at_ns, strategy=name, state="")
    for parent in standing.working:
        yield ParentCancelAsked(at_ns=at_ns, parent=parent, why=why, by=BY)
    yield RiskSet(
        at_ns=at_ns,
        state="halted",
        reason=f"{text}: look at what the venues have, then hean reset",
        by=BY,
    )
