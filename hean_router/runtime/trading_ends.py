"""What the order side reads of the market, and who reads of the order side."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from hean_router.domain.desk import Budget
from hean_router.domain.instrument import Instrument, Pair, VenueId
from hean_router.domain.record import Row
from hean_router.runtime.market import Market
from hean_router.venue.gateway import OrderDesk

SECOND = 1_000_000_000
FLIGHT_NS = 20 * SECOND  # where nobody can tell
QUEUE_MAX = 10_000  # rows a subscriber may lag behind before it is cut


class MarketWorld:
    """What the engine may look at, read from the market and the desks."""

    def __init__(self, market: Market, desks: Mapping[tuple[str, str], OrderDesk]) -> None:
        self._market, self._desks = market, desks
        self.pairs: tuple[Pair, ...] = tuple(market.pairs)

    def book(self, pair: Pair):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as `World` says
        """All venues' books of `pair` as one; None for a pair that is not followed."""
        return self._market.book(pair) if pair in self.pairs else None

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        """How each venue lists `pair`."""
        return self._market.listing(pair)

    def unlisted(self, venue: str, pair: Pair) -> Instrument | None:
        """What stands in for a pair that the venue's list does not have."""
        return self._market.unlisted.get((VenueId(venue), pair))

    def budget(self, venue: str, account: str, instrument: Instrument) -> Budget:
        """How many orders could leave at once."""
        desk = self._desks.get((venue, account))
        return Budget(0, "no account there") if desk is None else desk.budget(instrument)

    def visibility_ns(self, venue: str) -> int:
        """The latest that any of the venue's desks says."""
        return max(
            (desk.visibility_ns for (name, _), desk in self._desks.items() if name == venue),
            default=SECOND,
        )

    def flight_ns(self, venue: str) -> int:
        """The longest that any of the venue's desks says."""
        return max(
            (desk.flight_ns for (name, _), desk in self._desks.items() if name == venue),
            default=FLIGHT_NS,
        )

    def question_ns(self, venue: str) -> int:
        """As that venue's desks say."""
        return max(
            (desk.question_ns for (name, _), desk in self._desks.items() if name == venue),
            default=0,
        )


class Subscription:
    """Rows as they are committed; ends when the reader lags too far behind."""

    def __init__(self, leave: Callable[["Subscription"], None]) -> None:
        self._queue: asyncio.Queue[Row | None] = asyncio.Queue(QUEUE_MAX)
        self._leave = leave
        self.cut = ""  # why it was ended, if not by the reader

    def tell(self, row: Row) -> None:
        """Queue a row; a reader that is too slow is cut."""
        if self.cut:
            return
        try:
            self._queue.put_nowait(row)
        except asyncio.QueueFull:
            self.cut = f"more than {QUEUE_MAX} rows behind"

    async def __aiter__(self) -> AsyncIterator[Row]:
        try:
            while not self.cut or not self._queue.empty():
                row = await self._queue.get()
                if row is None:
                    return
                yield row
        finally:
            self._leave(self)

    def close(self) -> None:
        """End it."""
        self.cut = self.cut or "closed"
        if not self._queue.full():
            self._queue.put_nowait(None)
        self._leave(self)
