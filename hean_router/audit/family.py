"""What families of checkers have in common."""

from hean_router.audit.checker import Broken, Findings
from hean_router.audit.facts import Child, Facts
from hean_router.domain.record import Row


class Family:
    """Checkers that look at the same kind of rows; `facts` are as they were before the row."""

    def __init__(self, facts: Facts, findings: Findings) -> None:
        self.facts, self.findings = facts, findings
        self.counts = findings.counts

    def broken(
        self, invariant: str, row: Row, subject: str, text: str, child: Child | None = None
    ) -> None:
        """Tell of an invariant that does not hold, at the place that the row or order names."""
        venue, account = getattr(row, "venue", ""), getattr(row, "account", "")
        if child is not None:
            venue, account = child.row.venue, child.row.account
        self.findings.tell(
            Broken(
                invariant=invariant,
                subject=subject,
                text=text,
                at_ns=row.at_ns,
                venue=venue,
                account=account,
            )
        )
