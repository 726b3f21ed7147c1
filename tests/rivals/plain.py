"""Two executors as such bots are commonly written, and what they remember over a restart.

`RetryOnTimeout` sends; where no answer comes, or a 5xx, it sends again.  That is the loop around
`create_order` of many a ccxt script, and of libraries that retry by themselves.

`ThreeNotFound` keeps its orders by client id from before they are sent, on disk too, and asks for
each once a second, while it waits for the answer as well.  Three times "not found" is a failure:
it forgets the order and places anew.  So do larger frameworks' order trackers.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tests.rivals.script import Ask
from tests.rivals.venue_rest import Found, Refused, Unsure, Venue

TRIES = 5
POLL_S = 1.0
MISSES = 3


class Plain:
    """What both do.  `disk` outlives a kill; what a process knows besides does not."""

    timeout_s = 10.0  # of a request, as ccxt's

    def __init__(self, venues: Mapping[str, Venue], disk: dict[str, Any]) -> None:
        self.venues, self.disk = venues, disk

    async def do(self, ask: Ask, px: Decimal) -> None:
        """What is asked for, from its begin to its end."""
        raise NotImplementedError

    def believes(self, ask: Ask) -> Decimal:
        """How much of it was traded, for all that this one knows."""
        return sum(self.disk.get(f"filled {ask.name}", {}).values(), Decimal(0))

    def _fresh(self, ask: Ask) -> str:
        """A new client id.  It names the ask for the judge's sake: nothing here reads it back."""
        number = self.disk["ids"] = self.disk.get("ids", 0) + 1
        return f"{ask.name}x{number}"

    def _learn(self, ask: Ask, client_id: str, found: Found) -> None:
        self.disk.setdefault(f"filled {ask.name}", {})[client_id] = found.filled

    async def _closed(self, ask: Ask, client_id: str) -> None:
        """Follow an order to its end; questions that fail are asked again."""
        venue = self.venues[ask.venue]
        while True:
            try:
                found = await venue.order(client_id)
            except (Unsure, Refused):
                found = None
            if found is not None:
                self._learn(ask, client_id, found)
                if not found.open:
                    return
            await asyncio.sleep(POLL_S)

    async def _withdrawn(self, ask: Ask, client_id: str) -> None:
        """Cancel it; an order that the venue does not know any more is gone."""
        for _ in range(TRIES):
            try:
                return await self.venues[ask.venue].cancel(client_id)
            except Unsure:
                continue
            except Refused:
                return None
        return None


class RetryOnTimeout(Plain):
    """Sends again with a new id until somebody says yes or no."""

    async def do(self, ask: Ask, px: Decimal) -> None:
        client_id = self.disk.get(ask.name) or await self._placed(ask, px)
        if client_id is None:
            return
        self.disk[ask.name] = client_id
        if ask.rests_s:
            await asyncio.sleep(ask.rests_s)
            await self._withdrawn(ask, client_id)
        await self._closed(ask, client_id)

    async def _placed(self, ask: Ask, px: Decimal) -> str | None:
        for _ in range(TRIES):
            client_id = self._fresh(ask)
            try:
                await self.venues[ask.venue].place(
                    client_id, ask.side, ask.qty, px, ioc=not ask.rests_s
                )
            except Unsure:
                continue
            except Refused:
                return None
            return client_id
        return None


class ThreeNotFound(Plain):
    """Trusts the venue's questions, and gives up an order that is not found three times."""

    async def do(self, ask: Ask, px: Decimal) -> None:
        if known := self.disk.get(ask.name):
            if await self._appears(known, ask, None):
                return await self._follow(ask, known)
            self.disk.pop(ask.name)
        for _ in range(TRIES):
            client_id = self.disk[ask.name] = self._fresh(ask)
            sending = asyncio.create_task(self._send(client_id, ask, px))
            try:
                if await self._appears(client_id, ask, sending):
                    return await self._follow(ask, client_id)
            finally:
                sending.cancel()
            self.disk.pop(ask.name)  # failed: nobody asks for it again
        return None

    async def _send(self, client_id: str, ask: Ask, px: Decimal) -> bool | None:
        """Whether the venue said yes; None where it said nothing."""
        try:
            await self.venues[ask.venue].place(
                client_id, ask.side, ask.qty, px, ioc=not ask.rests_s
            )
        except Unsure:
            return None
        except Refused:
            return False
        return True

    async def _appears(self, client_id: str, ask: Ask, sending: Any) -> bool:
        misses = 0
        while misses < MISSES:
            await asyncio.sleep(POLL_S)
            if sending is not None and sending.done() and sending.result() is not None:
                return sending.result()
            try:
                found = await self.venues[ask.venue].order(client_id)
            except (Unsure, Refused):
                continue  # no answer is not "not found"
            if found is not None:
                self._learn(ask, client_id, found)
                return True
            misses += 1
        return False

    async def _follow(self, ask: Ask, client_id: str) -> None:
        if ask.rests_s:
            await asyncio.sleep(ask.rests_s)
            await self._withdrawn(ask, client_id)
        await self._closed(ask, client_id)
