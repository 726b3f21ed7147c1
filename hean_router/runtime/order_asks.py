"""What is asked of a venue about one account, in the background."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
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
        if self.codec.fills_of_all and self._running and not self._key_unfit:
            now_ns = self._clock()
            known_ns, at_ns = self._fills_wanted.get(instrument, (since_ns, now_ns))
            self._fills_wanted[instrument] = (min(since_ns, known_ns), at_ns)
            if ("all fills",) not in self._questions:
                task = self._spawn(self._asked_all_fills(early_ns))
                self._questions["all fills",] = task
                task.add_done_callback(lambda _: self._questions.pop(("all fills",), None))
            return
        self._question(
            ("fills", instrument.symbol, since_ns),
            lambda: self.codec.fills(instrument, max(0, since_ns - early_ns)),
            lambda fills, asked_ns: FillsSeen(
                instrument=instrument, since_ns=since_ns, fills=tuple(fills), asked_ns=asked_ns
            ),
            AskFailed(what="fills", why="", instrument=instrument),
        )

    async def _asked_all_fills(self, early_ns: int) -> None:
        """Ask once for all that is wanted; again for what was wanted after that had left."""
        while self._fills_wanted:
            async with self._asking:
                wanted, self._fills_wanted = self._fills_wanted, {}
                since_ns = max(0, min(since for since, _ in wanted.values()) - early_ns)
                signing, asked_ns = self._signing(), self._clock()
                failed: str | None = None
                try:
                    found = await self._http.ask(
                        self._part, self.codec.all_fills(list(wanted), since_ns), ASK_S, signing
                    )
                except VenueError as fault:
                    failed = self._clean(str(fault))
                except asyncio.CancelledError:
                    self._tell_failed(wanted, "stopped")
                    raise
                except Exception as fault:  # noqa: BLE001 - logged and counted
                    self._fault("a question about fills", fault)
                    failed = type(fault).__name__
            if failed is not None:
                self._tell_failed(wanted, failed)
                continue
            left_ns = signing.left_ns or asked_ns
            for instrument, (since, at_ns) in list(self._fills_wanted.items()):
                if at_ns <= left_ns and since - early_ns >= since_ns and instrument in wanted:
                    del self._fills_wanted[instrument]  # wanted again while it waited to leave
            for instrument, (since, _) in wanted.items():
                early = since - early_ns
                fills = tuple(one for one in found[instrument.symbol] if one.sent_ns >= early)
                self._tell(
                    FillsSeen(
                        instrument=instrument,
                        since_ns=since,
                        fills=fills,
                        asked_ns=left_ns,
                    )
                )

    def _tell_failed(self, wanted: Iterable[Instrument], why: str) -> None:
        for instrument in wanted:
            self._tell(AskFailed(what="fills", why=why, instrument=instrument))

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
