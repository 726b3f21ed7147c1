"""Names and numbers: I10, I13, I14, I37 and I38, from rows alone."""

from hean_router.audit.checker import checks
from hean_router.audit.facts import Parent
from hean_router.audit.family import Family
from hean_router.domain.record import ChildIntended, NonceReserved, Opened, ParentPlaced, Row

_LETTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")


class Identity(Family):
    """Nothing is named twice, nothing is missing."""

    @checks("I10", "rows")
    def decodes(self, row: ChildIntended, parent: Parent) -> None:
        """Each order's client id names its installation and its parent, and is given once."""
        self.counts["I10"] += 1
        key = row.key
        if key in self.facts.children:
            self.broken("I10", row, key, "the id was given to two orders")
        elif len(key) != 17 or key[0] != "h" or not _LETTERS.issuperset(key):
            self.broken("I10", row, key, "no id of ours")
        elif key[1:4] not in self.facts.tags and not self.facts.blind:
            self.broken("I10", row, key, "names another installation")
        elif key[4:12] != parent.row.parent:
            self.broken("I10", row, key, f"names parent {key[4:12]}, it is of {row.parent}")

    @checks("I13", "rows")
    def follows(self, row: Row, seq: int, last: int) -> None:
        """The journal's numbers have no gap and no repeat."""
        self.counts["I13"] += 1
        if seq != last + 1:
            self.broken("I13", row, str(seq), f"row {seq} follows row {last}")

    @checks("I14", "rows")
    def owner(self, row: Opened) -> None:
        """Two processes cannot own the same journal: each owner's epoch is higher."""
        self.counts["I14"] += 1
        if row.epoch <= self.facts.epoch:
            text = f"opened in epoch {row.epoch}, and epoch {self.facts.epoch} was before"
            self.broken("I14", row, str(row.epoch), text)

    @checks("I37", "rows")
    def once(self, row: ParentPlaced) -> None:
        """Same idempotency key: at most one parent."""
        self.counts["I37"] += 1
        intent = row.intent
        known = self.facts.clients.get((intent.account, intent.client_order_id))
        if known is not None:
            text = f"{intent.client_order_id} of {intent.account} is {known} already"
            self.broken("I37", row, row.parent, text)
        if row.parent <= self.facts.last_parent:
            text = f"its name may have been given before: {self.facts.last_parent} was"
            self.broken("I37", row, row.parent, text)

    @checks("I38", "rows")
    def rises(self, row: NonceReserved) -> None:
        """A nonce is used at most once: what is reserved of them only rises, over restarts too."""
        self.counts["I38"] += 1
        last = self.facts.nonces.get((row.venue, row.account), 0)
        if row.below <= last:
            text = f"nonces below {row.below} reserved after those below {last}"
            self.broken("I38", row, f"{row.venue} {row.account}", text)
