"""Whether a journal is what was written, and whether its rows agree with each other.

Read without owning it, as of one moment, so a router may be writing it.  Each check says what it
has looked at; each finding what is wrong, in which row, why that matters and what mends it.
"""

import os
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from msgspec import Struct, field

from hean_router.audit import Watch
from hean_router.domain.limits import RiskLimits
from hean_router.domain.record import Incident, Opened, Row, kind_of
from hean_router.gate.count import Count
from hean_router.oms import Orders
from hean_router.portfolio import Ledger
from hean_router.portfolio.positions import View
from hean_router.risk import Risk
from hean_router.store.journal_file import START, JournalDamaged, JournalError
from hean_router.store.look import Seen, looked_at

REPAIR = "hean audit repair builds it anew up to there; or hean db restore puts a copy back"
TELL = "a fault of this program: keep the file, tell its makers, and do not trade on it"
ZERO = Decimal(0)
SHOWN = 100  # findings of one check; the rest is counted


class Finding(Struct, frozen=True, kw_only=True):
    """Something that is not as it must be.

    `row` is where it shows, None where it is not about one.  `known`: an incident in the journal
    has told of it already, so a person could know.
    """

    check: str
    what: str
    why: str
    fix: str
    row: int | None = None
    known: bool = False


class Checked(Struct, frozen=True):
    """One check: what it looked at, in words, and how many findings it has."""

    name: str
    text: str
    findings: int


class Proof(Struct, kw_only=True):
    """What came of it.  `state` are the hashes of what the rows add up to, by part."""

    path: str
    rows: int = 0
    head: str = ""
    tag: str = ""
    epoch: int = 0
    state: dict[str, str] = field(default_factory=dict)
    checks: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing was found but what the journal itself tells of."""
        return all(one.known for one in self.findings)


def prove(path: Path, *, limits: RiskLimits | None = None, chain_only: bool = False) -> Proof:
    """Look at the journal at `path`.  Raises `JournalError` where there is none to look at."""
    proof = Proof(path=str(path))
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}", "name it with --state")
    _tell(proof, "file", "its owner's alone", _file(path))
    state = None if chain_only else _State(limits)
    try:
        with looked_at(path) as seen:
            chain, text = _chain(seen, proof, state)
            _tell(proof, "chain", text, chain)
            faults = [] if chain else seen.faults()
            found = [_damage("file", one, None) for one in faults]
            _tell(proof, "database", "SQLite's own check", found)
            if state is not None and not (chain or faults):
                _tell(proof, "index", "the tables beside the rows", _index(seen))
            meta = {} if chain else seen.meta()
            proof.tag, proof.epoch = meta.get("tag", ""), int(meta.get("epoch", 0))
    except (JournalError, ValueError) as fault:
        at = fault.seq if isinstance(fault, JournalDamaged) and fault.seq else None
        fix = "" if isinstance(fault, JournalDamaged) else getattr(fault, "fix", "")
        _tell(proof, "database", "as SQLite reads it", [_damage("database", str(fault), at, fix)])
    if state is not None:
        for name, text, found in state.checked():
            _tell(proof, name, text, found)
        proof.state = state.hashes()
    return proof


def _tell(proof: Proof, name: str, text: str, found: list[Finding]) -> None:
    proof.checks.append(Checked(name, text, len(found)))
    proof.findings += found[:SHOWN]


def _damage(check: str, what: str, row: int | None, fix: str = "") -> Finding:
    return Finding(
        check=check,
        what=what,
        row=row,
        why="the file is not what was written: nothing after this can be believed",
        fix=fix or REPAIR,
    )


def _file(path: Path) -> list[Finding]:
    """Who may read and write it."""
    found = []
    for name in (path.name, f"{path.name}-wal", f"{path.name}.head"):
        file = path.with_name(name)
        if not file.exists():
            continue
        about = file.stat()
        if stat.S_IMODE(about.st_mode) & 0o077:
            found.append(
                Finding(
                    check="file",
                    what=f"{name}: others may read or write it ({stat.filemode(about.st_mode)})",
                    why="it holds all there is to know of an account",
                    fix=f"chmod 600 {file}",
                )
            )
        if about.st_uid != os.geteuid():
            found.append(
                Finding(
                    check="file",
                    what=f"{name}: belongs to user {about.st_uid}, and you are {os.geteuid()}",
                    why="a router of another user cannot write it",
                    fix=f"run the router as that user, or chown {os.geteuid()} {file}",
                )
            )
    return found


def _chain(seen: Seen, proof: Proof, state: "_State | None") -> tuple[list[Finding], str]:
    """Every row follows the one before it, can be read, and none is missing at the end."""
    try:
        for seq, row in seen.rows():
            proof.rows = seq
            if state is not None:
                state.take(seq, row)
        seen.prove_head()
    except JournalDamaged as fault:
        return [_damage("chain", str(fault), fault.seq or None)], f"{proof.rows} rows hold"
    except JournalError as fault:
        at = proof.rows + 1
        return [_damage("chain", str(fault), at, fault.fix)], f"{proof.rows} rows hold"
    head = seen.head()[1]
    proof.head = "" if head == START else head.hex()
    reached = seen.reached()
    return [], f"{proof.rows} rows, each follows the one before; {reached} were noted as written"


def _index(seen: Seen) -> list[Finding]:
    return [
        Finding(
            check="index",
            what=one,
            why="old orders and trades would be looked up wrongly; the rows themselves hold",
            fix="hean audit repair makes the tables anew of the rows",
        )
        for one in seen.index_faults()
    ]


class _State:
    """What the rows add up to, counted by every part of the router for itself."""

    def __init__(self, limits: RiskLimits | None) -> None:
        self.orders, self.ledger, self.risk, self.count = Orders(), Ledger(), Risk(), Count()
        self.watch = Watch(limits)
        self.broken: list[Finding] = []
        self.told: set[str] = set()  # whom incidents are about
        self.epoch = 0
        self.processes: list[Finding] = []
        self.fold: list[Finding] = []

    def take(self, seq: int, row: Row) -> None:
        """Fold one row everywhere; after a fault in that, no more."""
        if self.fold:
            return
        try:
            for part in (self.orders, self.ledger, self.risk, self.count):
                part.apply(row)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is the finding
            self.fold.append(
                Finding(
                    check="state",
                    what=f"{kind_of(row)} cannot be folded: {type(fault).__name__}: {fault}",
                    row=seq,
                    why="the router would not start on it",
                    fix=TELL,
                )
            )
            return
        self._process(seq, row)
        if isinstance(row, Incident):
            self.told |= {row.subject, row.text}
        for one in self.watch.apply(seq, row):
            self.broken.append(
                Finding(
                    check=one.invariant,
                    what=f"{one.subject}: {one.text}",
                    row=seq,
                    why="an invariant that must hold at every row did not",
                    fix=f"hean audit explain {one.subject}; then hean reset, once it is understood",
                )
            )

    def _process(self, seq: int, row: Row) -> None:
        if not isinstance(row, Opened):
            return
        # A repair tells of an older tag under the epoch of its time.
        if row.epoch <= self.epoch and row.mode != "repair":
            self.processes.append(
                Finding(
                    check="owners",
                    what=f"epoch {row.epoch} after {self.epoch}",
                    row=seq,
                    why="two processes have owned the journal at once",
                    fix="run one router; see what each has sent, in hean audit explain",
                )
            )
        self.epoch = max(self.epoch, row.epoch)

    def checked(self) -> Iterator[tuple[str, str, list[Finding]]]:
        """Each check, what it looked at, and what it found."""
        parents, children = len(self.orders.parents), len(self.orders.children)
        yield "owners", f"{self.epoch} so far, one at a time", self.processes
        yield (
            "state",
            f"replayed from the first row: {parents} parents, {children} orders",
            (self.fold or list(self._orders())),
        )
        if not self.fold:
            yield "positions", *self._positions()
            yield "reserves", *self._reserves()
        looked = sum(self.watch.counts.values())
        names = len(+self.watch.counts)
        for at, one in enumerate(self.broken):
            if self._is_told(one.what.partition(":")[0]):
                self.broken[at] = _known(one)
        yield "invariants", f"{names} of them, {looked} times", self.broken

    def _orders(self) -> Iterator[Finding]:
        try:
            self.orders.check()
        except AssertionError as fault:
            yield Finding(
                check="state",
                what=str(fault),
                why="orders do not add up to what they are made of",
                fix=TELL,
            )
        yield from self._overfilled()
        for breach in self.orders.breaches:
            told = self._is_told(breach.subject)
            yield Finding(
                check="state",
                what=f"{breach.kind} of {breach.subject}: {breach.text}",
                why="a venue or the router has contradicted itself: the row changed nothing",
                fix=f"hean audit explain {breach.subject}",
                known=told,
            )

    def _overfilled(self) -> Iterator[Finding]:
        """Also of what had ended long since: a trade may come at any time."""
        for parent in self.orders.parents.values():
            over = [child.key for child in parent.children if child.filled > child.qty]
            if parent.filled <= parent.qty and not over:
                continue
            yield Finding(
                check="I3",
                what=f"{parent.id}: {parent.filled} traded of {parent.qty}"
                + (f"; beyond their quantity: {', '.join(over)}" if over else ""),
                why="more was traded than was asked for",
                fix=f"hean audit explain {parent.id}; see what the venue has, then hean reset",
                known=any(map(self._is_told, (parent.id, *over))),
            )

    def _is_told(self, subject: str) -> bool:
        return bool(subject) and any(subject in text for text in self.told)

    def _positions(self) -> tuple[str, list[Finding]]:
        found = []
        lines = self.ledger.positions(View.SYMBOL)
        for line in lines:
            where = (line.account, line.symbol)
            gross = line.bought - line.sold
            counts = {
                "risk": (self.risk.position(*where), line.qty),
                "the gate": (self.count.positions.get(where, ZERO), gross),
            }
            for name, (theirs, ours) in counts.items():
                if theirs != ours:
                    text = f"{' '.join(where)}: {name} has {theirs}, the ledger {ours}"
                    found.append(_disagree("positions", text))
        return f"{len(lines)}, the same by ledger, risk and gate", found

    def _reserves(self) -> tuple[str, list[Finding]]:
        """No more is held than living orders were given, and nothing where none lives."""
        most: dict[tuple[str, str, str], Decimal] = {}
        for group in (self.orders.live, self.orders.unsettled, self.orders.to_cancel):
            for child in group.values():
                row = child.intended
                where = (row.venue, row.account, row.reserve_asset)
                most[where] = most.get(where, ZERO) + row.reserve
        found = []
        places = {(venue, account) for venue, account in self.ledger.balances()}
        names = {asset for held in self.ledger.balances().values() for asset in held}
        every = {(*place, asset) for place in places for asset in names} | most.keys()
        for where in sorted(every):
            kept = self.risk.reserved(*where)
            if not ZERO <= kept <= most.get(where, ZERO):
                text = f"{' '.join(where)}: {kept} reserved, orders were given {most.get(where, 0)}"
                found.append(_disagree("reserves", text))
        total = self.risk.reserved_total()
        if total and not self.orders.working:
            found.append(_disagree("reserves", f"{total} reserved, and no parent is worked"))
        return f"{total} for {len(self.orders.working)} parents that are worked", found

    def hashes(self) -> dict[str, str]:
        """Of what the rows add up to: the same rows, the same hashes, in any process."""
        if self.fold:
            return {}
        return {
            "orders": self.orders.state_hash(),
            "ledger": self.ledger.state_hash(),
            "risk": self.risk.state_hash(),
        }


def _known(one: Finding) -> Finding:
    return Finding(
        check=one.check, what=one.what, why=one.why, fix=one.fix, row=one.row, known=True
    )


def _disagree(check: str, what: str) -> Finding:
    return Finding(
        check=check, what=what, why="two parts of the router count the same rows apart", fix=TELL
    )
