"""What a named checker is, and what it says when an invariant does not hold."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from msgspec import Struct

_F = TypeVar("_F", bound=Callable[..., Any])

KEPT = 10_000  # findings that are remembered, so that each is told once


class Broken(Struct, frozen=True, kw_only=True):
    """An invariant that did not hold: of what, since when, and where orders must stop.

    `venue` and `account` are empty where it cannot be said which: then it is everywhere.
    """

    invariant: str
    subject: str  # an order's key, a parent's id, an asset, a pair
    text: str
    at_ns: int
    venue: str = ""
    account: str = ""


class Checker(Struct, frozen=True, kw_only=True):
    """One invariant's checker.

    `where` says what it looks at: `rows` (committed rows one by one: in production, in simulation,
    and when a journal is verified), `claims` (what the running process believes against those
    rows, after every commit), `books` (books and feeds), `world` (the venues' truth, in simulation
    alone), `api` (answers and log lines).
    """

    invariant: str
    where: tuple[str, ...]
    text: str


def checks(invariant: str, where: str) -> Callable[[_F], _F]:
    """Mark a method as the checker of an invariant; its docstring is the invariant's sentence."""

    def mark(function: _F) -> _F:
        assert function.__doc__, f"{invariant}: a checker says what it checks"
        function.invariant, function.where = invariant, where  # type: ignore[attr-defined] # a mark
        return function

    return mark


def checkers_of(*families: type) -> dict[str, Checker]:
    """Every checker of these classes, by invariant; several places of one are one checker."""
    found: dict[str, Checker] = {}
    for family in families:
        for one in vars(family).values():
            invariant = getattr(one, "invariant", "")
            if not invariant:
                continue
            text = " ".join(one.__doc__.split())
            where: tuple[str, ...] = (str(one.where),)
            if (known := found.get(invariant)) is not None:
                text = known.text if text in known.text else f"{known.text} {text}"
                where = tuple(dict.fromkeys((*known.where, *where)))
            found[invariant] = Checker(invariant=invariant, where=where, text=text)
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


def joined(*tables: dict[str, Checker]) -> dict[str, Checker]:
    """Several tables as one; a checker that is in more than one looks at all their places."""
    out: dict[str, Checker] = {}
    for name, one in (item for table in tables for item in table.items()):
        known = out.get(name)
        where = one.where if known is None else (*known.where, *one.where)
        text = one.text if known is None else f"{known.text} {one.text}"
        out[name] = Checker(invariant=name, where=where, text=text)
    return dict(sorted(out.items(), key=lambda item: int(item[0][1:])))


class Findings:
    """What checkers have counted and found; each finding is told once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._new: list[Broken] = []
        self._told: dict[tuple[str, str], None] = {}

    def tell(self, broken: Broken) -> None:
        """Keep it, unless it was told of the same subject before."""
        name = (broken.invariant, broken.subject)
        if name in self._told:
            return
        if len(self._told) >= KEPT:
            del self._told[next(iter(self._told))]
        self._told[name] = None
        self._new.append(broken)

    def tell_all(self, found: Iterable[Broken]) -> None:
        """Keep each of them."""
        for one in found:
            self.tell(one)

    def forget(self) -> None:
        """A person has looked: what is found again is told again."""
        self._told.clear()

    def take(self) -> tuple[Broken, ...]:
        """What is new since this was last asked."""
        if not self._new:
            return ()
        found, self._new = tuple(self._new), []
        return found
