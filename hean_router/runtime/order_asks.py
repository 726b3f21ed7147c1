"""What is asked of a venue about one account, in the background."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from hean_router.domain.desk import (
    AskFailed,
    BalancesSeen,
    DeskEvent,
    FillsSeen,
    OpenSeen,
    OrderSeen,
)
from hean_router.domain.errors import VenueError
from hean_router.domain.instrument import Instrument
from hean_router.runtime.limits import SECOND
from hean_router.runtime.order_core import ASK_S, DeskCore
from hean_router.venue import Ask

T = TypeVar("T")


class DeskAsks(DeskCore):
    """The questions of `OrderDesk`: each is answered by one event, asked for twice or not."""

    def ask_order(self, instrument: Instrument, key: str, venue_order_id: str) -> None:
        self._question(
            ("order", instrument.symbol, key, venue_order_id),
            lambda: self.codec.order(instrument, key, venue_order_id),
            lambda report, asked_ns: OrderSeen(
                instrument=instrument, key=key, report=report, asked_ns=asked_ns
            ),
            AskFailed(what="order", why="", key=key, instrument=instrument),
        )

    def ask_open(self, instruments: Sequence[Instrument]) -> None:
        which = tuple(instruments)
        self._question(
            ("open", *(each.symbol for each in which)),
            lambda: self.codec.open_orders(which),
            lambda reports, asked_ns: OpenSeen(
                instruments=which, reports=tuple(reports), asked_ns=asked_ns
            ),
            AskFailed(what="open", why=""),
        )

    def ask_fills(self, instrument: Instrument, since_ns: int) -> None:
        """Since then by either clock: the venue's may be behind ours."""
        reading = self.offset.at(self._clock())
        early_ns = max(0, -reading.offset_ns) + min(reading.bound_ns, 2 * SECOND)
        self._question(
            ("fills", instrument.symbol, since_ns),
            lambda: self.codec.fills(instrument, max(0, since_ns - early_ns)),
            lambda fills, asked_ns: FillsSeen(
                instrument=instrument, since_ns=since_ns, fills=tuple(fills), asked_ns=asked_ns
            ),
            AskFailed(what="fills", why="", instrument=instrument),
        )

    def ask_balances(self) -> None:
        self._question(
            ("balances",),
            self.codec.balances,
            lambda balances, asked_ns: BalancesSeen(balances=tuple(balances), asked_ns=asked_ns),
            AskFailed(what="balances", why=""),
        )

    def _question(
        self,
        name: tuple[object, ...],
        ask: Callable[[], Ask[T]],
        seen: Callable[[T, int], DeskEvent],
        failed: AskFailed,
    ) -> None:
        """Ask in the background; the same question under way answers this one too."""
        if not self._running or self._key_unfit:
            why = self._key_why or "the desk does not run"
            return self._later(_failed(failed, why))
        if name not in self._questions:
            task = self._spawn(self._asked(ask, seen, failed))
            self._questions[name] = task
            task.add_done_callback(lambda _: self._questions.pop(name, None))
        return None

    async def _asked(
        self, ask: Callable[[], Ask[T]], seen: Callable[[T, int], DeskEvent], failed: AskFailed
    ) -> None:
        signing = self._signing()
        try:
            async with self._asking:
                asked_ns = self._clock()
                value = await self._http.ask(self._part, ask(), ASK_S, signing)
            event = seen(value, signing.left_ns or asked_ns)
        except VenueError as fault:
            event = _failed(failed, self._clean(str(fault)))
        except asyncio.CancelledError:
            self._tell(_failed(failed, "stopped"))
            raise
        except Exception as fault:  # noqa: BLE001 - logged and counted
            self._fault(f"a question about {failed.what}", fault)
            event = _failed(failed, type(fault).__name__)
        self._tell(event)


def _failed(failed: AskFailed, why: str) -> AskFailed:
    return AskFailed(what=failed.what, why=why, key=failed.key, instrument=failed.instrument)
