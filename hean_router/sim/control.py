"""Orders to simulators that run: lines on the standard input of `hean sim --control`.

    cut VENUE SECONDS        its sockets are torn down, and for so long it takes no new one
    deaf VENUE SECONDS       nothing it says on sockets arrives; then they are torn down
    demand VENUE WORD        the next request for an order meets this fault of `fault_spec.ORDERS`
    strike VENUE WORD [WAY]  any fault of `fault_spec`, now or at its next chance
    balances                 what every account has at every venue, by the venue itself

Each line has one answer, a line of JSON: `{"did":LINE,…}` or `{"error":WHY}`.
"""

from collections.abc import Sequence
from typing import Any

from hean_router.sim.contract import SECOND, Outputs
from hean_router.sim.faults import Faults
from hean_router.sim.simulator import Simulator

SECONDS_MAX = 600


class Control:
    """Carries such lines out.  The simulators must be made with faults, if with none asked for."""

    def __init__(self, simulators: Sequence[Simulator]) -> None:
        self._simulators = {one.venue: one for one in simulators}

    def obey(self, line: str, now_ns: int) -> tuple[dict[str, Any], str, Outputs]:
        """The answer, and what the venue named there (or '') sends at once.  Never raises."""
        try:
            return self._obey(line.split(), now_ns)
        except ValueError as fault:
            return {"error": f"{line.strip()[:80]!r}: {fault}"}, "", ()

    def _obey(self, words: list[str], now_ns: int) -> tuple[dict[str, Any], str, Outputs]:
        did = {"did": " ".join(words)}
        match words:
            case ["balances"]:
                told = {venue: one.balances() for venue, one in self._simulators.items()}
                return {**did, "balances": told}, "", ()
            case ["cut", venue, seconds]:
                return did, venue, self._faults(venue).shut(_until(seconds, now_ns), now_ns)
            case ["deaf", venue, seconds]:
                self._faults(venue).deafen(_until(seconds, now_ns))
                return did, venue, ()
            case ["demand", venue, word]:
                faults = self._simulator(venue).order_faults
                if faults is None:
                    raise ValueError("takes no orders")
                try:
                    faults.demand(word)
                except KeyError:
                    raise ValueError(f"{word[:20]!r} is no fault of orders") from None
                return did, "", ()
            case ["strike", venue, word, *ways] if len(ways) < 2:
                return did, venue, self._strike(venue, word, "".join(ways), now_ns)
            case _:
                raise ValueError(
                    "not cut VENUE SECONDS, deaf VENUE SECONDS, demand VENUE WORD, "
                    "strike VENUE WORD [WAY] or balances"
                )

    def _strike(self, venue: str, word: str, way: str, now_ns: int) -> Outputs:
        try:
            outputs = self._simulator(venue).strike(word, now_ns, way=way)
        except KeyError:
            raise ValueError(f"no fault {word[:20]!r}") from None
        if outputs is None:
            raise ValueError(f"{word!r} is nothing that {venue} does")
        return outputs

    def _simulator(self, venue: str) -> Simulator:
        if venue not in self._simulators:
            raise ValueError(f"no venue {venue[:20]!r} here")
        return self._simulators[venue]

    def _faults(self, venue: str) -> Faults:
        face = self._simulator(venue).face
        if not isinstance(face, Faults):
            raise ValueError("made without faults")
        return face


def _until(text: str, now_ns: int) -> int:
    seconds = float(text)
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(f"seconds are above 0, at most {SECONDS_MAX}")
    return now_ns + int(seconds * SECOND)
