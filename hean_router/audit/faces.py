"""The API and everything that is written for people: I37 to I40."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hean_router.audit.checker import Broken, Findings, checks


class Faces:
    """Judges answers and lines of text; `secrets` are words that may stand in none of them."""

    def __init__(self, findings: Findings, secrets: Iterable[str] = ()) -> None:
        self.findings, self.counts = findings, findings.counts
        self.secrets = {one for one in secrets if len(one) >= 8}
        self._orders: dict[tuple[str, str], str] = {}
        self._nonces: dict[str, int] = {}

    def _broken(self, invariant: str, subject: str, text: str, at_ns: int) -> None:
        self.findings.tell(Broken(invariant=invariant, subject=subject, text=text, at_ns=at_ns))

    def answered(self, account: str, body: Any, at_ns: int) -> None:
        """What a key of `account` was answered."""
        self.same_order(account, body, at_ns)
        self.own(account, body, at_ns)

    @checks("I37", "api")
    def same_order(self, account: str, body: Any, at_ns: int) -> None:
        """Same idempotency key: at most one parent, whoever asks and however often."""
        for one in _objects(body):
            name, found = one.get("client_order_id"), one.get("id")
            if not name or not isinstance(found, str):
                continue
            self.counts["I37"] += 1
            known = self._orders.setdefault((account, str(name)), found)
            if known != found:
                self._broken("I37", f"{account} {name}", f"was {known}, is {found}", at_ns)

    @checks("I38", "api")
    def nonce(self, lane: str, number: int, at_ns: int) -> None:
        """A nonce is accepted at most once: at a venue each one is higher than the one before."""
        self.counts["I38"] += 1
        last = self._nonces.get(lane, -1)
        if number <= last:
            self._broken("I38", lane, f"nonce {number} after {last}", at_ns)
        self._nonces[lane] = max(number, last)

    @checks("I39", "api")
    def own(self, account: str, body: Any, at_ns: int) -> None:
        """A key never reads an object outside its account."""
        self.counts["I39"] += 1
        for one in _objects(body):
            whose = one.get("account")
            if isinstance(whose, str) and whose != account:
                text = f"a key of {account} reads something of {whose}"
                self._broken("I39", f"{account} {one.get('id', '')}", text, at_ns)

    @checks("I40", "api")
    def clean(self, where: str, text: str, at_ns: int) -> None:
        """No secret appears in any log line, error, trace, metric label or answer."""
        self.counts["I40"] += 1
        for secret in self.secrets:
            if secret in text:
                at = text.index(secret)
                around = text[max(0, at - 20) : at]  # not the secret itself
                self._broken("I40", where, f"a secret after {around!r}", at_ns)


def _objects(body: Any) -> Iterator[Mapping[str, Any]]:
    """Every object within an answer."""
    if isinstance(body, Mapping):
        yield body
        for one in body.values():
            yield from _objects(one)
    elif isinstance(body, list | tuple):
        for one in body:
            yield from _objects(one)
