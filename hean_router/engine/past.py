"""What the journal knows and memory has let go of, as far as the engine must ask for it.

An answer follows from the rows alone, so a step stays what it is: the same rows and the same event
lead to the same rows.
"""

from typing import Protocol

from hean_router.oms import Parent


class Past(Protocol):
    """Read within a step, and only for what may have been forgotten.

    Every method raises `HeanError` where it cannot be told: then nothing may be taken to be new.
    """

    def parent(self, account: str, client_order_id: str) -> Parent | None:
        """The parent that was placed under that id, ended long since; None if none was."""
        ...

    def trade(self, venue: str, account: str, symbol: str, trade_id: str) -> bool:
        """Whether that trade stands booked."""
        ...


class NoPast:
    """Nothing was ever forgotten, or nobody can tell."""

    def parent(self, account: str, client_order_id: str) -> Parent | None:
        """None."""
        return None

    def trade(self, venue: str, account: str, symbol: str, trade_id: str) -> bool:
        """No."""
        return False
