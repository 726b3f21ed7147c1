"""Buys for a fixed amount of quote at regular intervals: the smallest strategy that is one."""

from decimal import Decimal
from typing import Annotated

from msgspec import Struct

from hean_router.domain.instrument import Pair, Side
from hean_router.domain.parent import Intent, Life, OrderKind
from hean_router.strategy.contract import NOTHING, Event, Group, Reaction, Started, View, Woke
from hean_router.strategy.params import Tuned, of


class DcaParams(Struct, frozen=True, kw_only=True):
    """How much, how often."""

    pairs: tuple[Pair, ...] = (Pair("BTC", "USDT"),)
    quote: Annotated[Decimal, of("quote", "1", "1e9", "spent each time")] = Decimal(100)
    every_s: Annotated[int, of("s", "1", "31536000", "between two buys")] = 86_400


class Dca(Tuned[DcaParams]):
    """A market buy of each pair in every interval of our clock; the note is the last interval."""

    kind, last = DcaParams, 0

    def on_event(self, event: Event, view: View) -> Reaction:
        """Buy in an interval that has not been bought in; one that was refused is let go."""
        if isinstance(event, Started):
            self.last = int(event.state or 0)
        elif not isinstance(event, Woke):
            return NOTHING
        every_ns = self.params.every_s * 1_000_000_000
        number = view.now_ns // every_ns
        groups = tuple(self._buy(p, number) for p in self.pairs) if number > self.last else ()
        self.last = max(number, self.last)
        return Reaction(groups=groups, wake_at_ns=(number + 1) * every_ns, note=str(self.last))

    def _buy(self, pair: Pair, number: int) -> Group:
        name = f"{self.name}-{pair.base}-{pair.quote}-{number}"
        buy = Intent(
            account=self.account, client_order_id=name, symbol=str(pair), side=Side.BUY,
            kind=OrderKind.MARKET, life=Life.IOC, quote_qty=self.params.quote,
            strategy=self.name, group=name,
        )  # fmt: skip
        return Group(name, (buy,))
