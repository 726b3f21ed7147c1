"""What the API needs of the router behind it, and nothing more."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct

from hean_router.api.history import Fills
from hean_router.domain.instrument import Pair
from hean_router.domain.parent import Intent
from hean_router.domain.record import Row
from hean_router.engine import Engine, Placed, Refused
from hean_router.runtime.market import Market
from hean_router.store.past import Archive
from hean_router.store.query import QueryStore


class Subscription(Protocol):
    """Rows from when it was made; `cut` says why it ended."""

    cut: str

    def __aiter__(self) -> AsyncIterator[Row]: ...

    def close(self) -> None:
        """End it."""
        ...


class Trading(Protocol):
    """The order side of a running router.  All but `wait` answer at once."""

    engine: Engine
    market: Market

    def submit(self, intents: Sequence[Intent], by: str) -> Placed | Refused:
        """Place parents, all or none; durable when it returns."""
        ...

    def cancel(self, parent_id: str, by: str, why: str) -> bool:
        """Cancel what is left; False if nothing is."""
        ...

    def kill(self, reason: str, by: str) -> None:
        """Halt."""
        ...

    def reset(self, reason: str, by: str) -> None:
        """Trade again."""
        ...

    def start_strategy(self, strategy: str, params: Mapping[str, str], by: str) -> bool:
        """Run it; False if there is none of that name."""
        ...

    def stop_strategy(self, strategy: str, by: str, why: str = ...) -> bool:
        """Let it place nothing more."""
        ...

    def make_key(self, account: str, scopes: Sequence[str], name: str = "") -> tuple[str, str]:
        """Its id, and the token that is told once."""
        ...

    def revoke_key(self, key_id: str, why: str = "") -> None:
        """It is good no more."""
        ...

    async def wait(self, parent_id: str, timeout_s: float) -> None:
        """Until it has ended, or the time is over."""
        ...

    def subscribe(self) -> Subscription:
        """Rows from now on."""
        ...

    def health(self) -> dict[str, Any]:
        """What stands and what is shut."""
        ...

    def ready(self) -> str:
        """Why orders cannot be taken now; empty if they can."""
        ...


class Kpi(Struct, frozen=True, kw_only=True):
    """One figure; `value` None: not enough data (`note` says what is missing)."""

    name: str
    value: Decimal | None
    unit: str
    window: str
    samples: int
    note: str = ""


@dataclass(kw_only=True)
class Desk:
    """The router as the API sees it.

    `kpis` and `opportunities` answer for one account; each opportunity and figure is JSON's types.
    `fills` must be told every row, those of the journal first.  `store` is the query store, where
    there is one; `archive` reads from the journal what memory has let go of.
    """

    trading: Trading
    clock: Callable[[], int]
    mode: str
    fills: Fills = field(default_factory=Fills)
    kpis: Callable[[str], Sequence[Any]] = lambda _account: ()
    opportunities: Callable[[str], Sequence[Mapping[str, Any]]] = lambda _account: ()
    metrics: Callable[[], bytes] = lambda: b""
    store: QueryStore | None = None
    archive: Archive | None = None

    def marks(self) -> dict[str, tuple[Decimal, int]]:
        """Mid by symbol and when it was seen."""
        return {str(pair): mid for pair, mid in self.trading.engine.core.mids().items()}

    def pair(self, symbol: str) -> Pair | None:
        """The pair, if it is followed here."""
        pair = Pair.parse(symbol)
        return pair if pair in self.trading.market.pairs else None
