"""Questions to the query tables; every one is of an account, and both databases answer the same.

Lists come newest first, a page at a time: `Page.next` is the cursor of the page after it, empty on
the last.  Amounts are exact decimals without trailing zeros; times are ns, kept to the microsecond.
What cannot be answered raises `StoreError` and says why.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Column, ColumnElement, Select, Table, and_, or_, select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from hean_router.domain.errors import CommandError
from hean_router.domain.parent import Status
from hean_router.store import schema
from hean_router.store import tables as t
from hean_router.store.lines import (
    BalanceChange,
    BalanceLine,
    ChildLine,
    DecisionLine,
    FillLine,
    Filter,
    IncidentLine,
    OrderDetail,
    OrderLine,
    Page,
    PositionLine,
    RiskLine,
)
from hean_router.store.urls import DATABASE_FAULTS, StoreError, explained, shown

T = TypeVar("T")
Line: TypeAlias = Mapping[str, Any]

LIMIT, LIMIT_MAX = 100, 1000
_SEQ_MAX = 2**63 - 1
_EXACT = Context(prec=400, Emax=MAX_EMAX, Emin=MIN_EMIN)
_FINAL = [one.value for one in Status if one.is_final]


class QueryStore:
    """The tables at `url`, for reading.  Opens connections as they are needed, a few at most."""

    def __init__(self, url: URL, *, wait_s: float = 5.0) -> None:
        self._url = url
        self._engine = schema.make_engine(
            url,
            command_s=wait_s,
            pool_size=4,
            max_overflow=0,
            pool_timeout=wait_s,
            pool_pre_ping=True,
        )

    async def ready(self) -> None:
        """Return if questions can be answered; raise `StoreError` with what, why and fix if not."""
        async with self._connection() as connection:
            version = await connection.run_sync(schema.current_of)
        if version != schema.head():
            raise StoreError(
                f"query store {shown(self._url)}: the tables are at version {version or 'none'}, "
                f"this program is at {schema.head()}",
                "run: hean db upgrade",
            )

    async def close(self) -> None:
        """Let the connections go."""
        await self._engine.dispose()

    async def applied(self) -> int:
        """The journal's row up to which the answers hold."""
        async with self._connection() as connection:
            return int((await connection.execute(select(t.feed.c.seq))).scalar_one())

    # ------------------------------------------------------------------- orders

    async def orders(
        self, account: str, which: Filter | None = None, *, cursor: str = "", limit: int = LIMIT
    ) -> Page[OrderLine]:
        """Parents, newest first."""
        which = which or Filter()
        where = [*_common(t.orders, which), *_times(t.orders.c.created_at, which)]
        if which.status:
            where.append(t.orders.c.status.in_(which.status))
        if which.open_only:
            where.append(t.orders.c.status.not_in(_FINAL))
        if which.client_order_id:
            where.append(t.orders.c.client_order_id == which.client_order_id)
        return await self._page(t.orders, account, where, cursor, limit, _with_fees)

    async def order(self, account: str, order: str) -> OrderDetail | None:
        """A parent by our id, with its children; None if the account has none of that id."""
        return await self._one(account, t.orders.c.id == order)

    async def order_by_client_id(self, account: str, client_order_id: str) -> OrderDetail | None:
        """The same by the caller's own id; the first that bore it."""
        return await self._one(account, t.orders.c.client_order_id == client_order_id)

    async def fills(
        self, account: str, which: Filter | None = None, *, cursor: str = "", limit: int = LIMIT
    ) -> Page[FillLine]:
        """Trades, newest first."""
        which = which or Filter()
        where = [*_common(t.fills, which), *_times(t.fills.c.at, which)]
        if which.venue:
            where.append(t.fills.c.venue == which.venue)
        if which.order:
            where.append(t.fills.c.parent == which.order)
        return await self._page(t.fills, account, where, cursor, limit, _as(FillLine))

    async def decisions(self, account: str, order: str) -> tuple[DecisionLine, ...]:
        """Every round of an order, in the order in which they were taken."""
        query = (
            _of(t.decisions, account)
            .where(t.decisions.c.parent == order)
            .order_by(t.decisions.c.seq)
        )
        return _as(DecisionLine)(await self._all(query), ())

    # ------------------------------------------------------------------- what we have

    async def positions(
        self, account: str, *, symbol: str = "", venue: str = ""
    ) -> tuple[PositionLine, ...]:
        """By venue, symbol and strategy."""
        query = _of(t.positions, account)
        if symbol:
            query = query.where(t.positions.c.symbol == symbol)
        if venue:
            query = query.where(t.positions.c.venue == venue)
        lines = [
            {**line, **{name: _amounts(line[name]) for name in ("fees", "fees_third")}}
            for line in await self._all(query)
        ]
        # Sorted here: databases differ in what comes after what.
        lines.sort(key=lambda line: (line["venue"], line["symbol"], line["strategy"]))
        return _as(PositionLine)(lines, ())

    async def balances(
        self, account: str, *, venue: str = "", asset: str = ""
    ) -> tuple[BalanceLine, ...]:
        """By venue and asset."""
        query = _of(t.balances, account)
        if venue:
            query = query.where(t.balances.c.venue == venue)
        if asset:
            query = query.where(t.balances.c.asset == asset)
        lines = sorted(await self._all(query), key=lambda line: (line["venue"], line["asset"]))
        return _as(BalanceLine)(lines, ())

    async def balance_history(
        self,
        account: str,
        *,
        venue: str = "",
        asset: str = "",
        cursor: str = "",
        limit: int = LIMIT,
    ) -> Page[BalanceChange]:
        """Every change, newest first; those of one journal row by asset."""
        where: list[ColumnElement[bool]] = []
        if venue:
            where.append(t.balance_history.c.venue == venue)
        if asset:
            where.append(t.balance_history.c.asset == asset)
        return await self._page(
            t.balance_history, account, where, cursor, limit, _as(BalanceChange)
        )

    # ------------------------------------------------------------------- what happened

    async def incidents(
        self, account: str, *, cursor: str = "", limit: int = LIMIT
    ) -> Page[IncidentLine]:
        """The account's, and those of the whole installation; newest first."""
        return await self._page(
            t.incidents, account, [], cursor, limit, _as(IncidentLine), shared=True
        )

    async def risk_events(
        self, account: str, *, cursor: str = "", limit: int = LIMIT
    ) -> Page[RiskLine]:
        """The account's, and every setting of the state; newest first."""
        return await self._page(
            t.risk_events, account, [], cursor, limit, _as(RiskLine), shared=True
        )

    # ------------------------------------------------------------------- how

    async def _one(self, account: str, which: ColumnElement[bool]) -> OrderDetail | None:
        async with self._connection() as connection:
            query = _of(t.orders, account).where(which).order_by(t.orders.c.seq).limit(1)
            line = (await connection.execute(query)).mappings().first()
            if line is None:
                return None
            order = t.children.c.parent == line["id"]
            children = await connection.execute(
                _of(t.children, account).where(order).order_by(t.children.c.seq)
            )
            fills = await connection.execute(
                _of(t.fills, account).where(t.fills.c.parent == line["id"])
            )
            trades = [dict(one) for one in fills.mappings()]
            of_children = _fees(trades, "key")
            return OrderDetail(
                _with_fees([dict(line)], trades)[0],
                tuple(
                    ChildLine(**child, fees=of_children.get(child["key"], {}))
                    for child in children.mappings()
                ),
            )

    async def _page(
        self,
        table: Table,
        account: str,
        where: Iterable[ColumnElement[bool]],
        cursor: str,
        limit: int,
        read: Callable[[Sequence[Line], Sequence[Line]], tuple[T, ...]],
        *,
        shared: bool = False,
    ) -> Page[T]:
        if not 0 < limit <= LIMIT_MAX:
            raise CommandError(f"limit {limit} is out of bounds", f"ask for 1 to {LIMIT_MAX}")
        query = _of(table, account, shared=shared).where(*where).order_by(table.c.seq.desc())
        # A journal row may change several balances: there the cursor needs the asset too.
        asset = self._bytewise(table.c.asset) if table is t.balance_history else None
        if cursor:
            query = query.where(_beyond(table.c.seq, asset, cursor))
        if asset is not None:
            query = query.order_by(asset)
        async with self._connection() as connection:
            found = (await connection.execute(query.limit(limit + 1))).mappings()
            lines = [dict(line) for line in found]
            more, lines = len(lines) > limit, lines[:limit]
            trades: list[dict[str, Any]] = []
            if table is t.orders and lines:
                among = t.fills.c.parent.in_([line["id"] for line in lines])
                fills = await connection.execute(_of(t.fills, account).where(among))
                trades = [dict(one) for one in fills.mappings()]
        last = lines[-1] if more else {}
        mark = f"{last['seq']}.{last['asset'] if asset is not None else ''}" if more else ""
        return Page(read(lines, trades), mark)

    def _bytewise(self, column: Column[str]) -> ColumnElement[str]:
        """The column in the one order that every database knows."""
        return column.collate("C") if self._url.get_backend_name() == "postgresql" else column

    async def _all(self, query: Select[Any]) -> list[dict[str, Any]]:
        async with self._connection() as connection:
            return [dict(line) for line in (await connection.execute(query)).mappings()]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except DATABASE_FAULTS as fault:
            raise explained(fault, self._url) from None


def _of(table: Table, account: str, *, shared: bool = False) -> Select[Any]:
    """The only way to a table: an account's lines, and with `shared` those that are everybody's."""
    assert account, "every question is of an account"
    mine = table.c.account == account
    return select(table).where(or_(mine, table.c.account == "") if shared else mine)


def _common(table: Table, which: Filter) -> list[ColumnElement[bool]]:
    wanted = {"symbol": which.symbol, "side": which.side, "strategy": which.strategy}
    return [table.c[name] == value for name, value in wanted.items() if value]


def _times(column: Column[int], which: Filter) -> list[ColumnElement[bool]]:
    # Both ends up to a whole microsecond, since what is stored went down to one.
    found = []
    if which.since_ns is not None:
        found.append(column >= -(-which.since_ns // 1000) * 1000)
    if which.until_ns is not None:
        found.append(column < -(-which.until_ns // 1000) * 1000)
    return found


def _beyond(seq: Column[int], asset: ColumnElement[str] | None, cursor: str) -> ColumnElement[bool]:
    """What comes after the line that `cursor` stands for."""
    number, dot, name = cursor.partition(".")
    well = dot and number.isascii() and number.isdigit() and len(number) <= 19
    if not well or int(number) > _SEQ_MAX or "\0" in name or bool(name) != (asset is not None):
        raise CommandError(f"cursor {cursor[:40]!r} is none of ours", "pass on the one you got")
    before = seq < int(number)
    return before if asset is None else or_(before, and_(seq == int(number), asset > name))


def _as(kind: Callable[..., T]) -> Callable[[Sequence[Line], Sequence[Line]], tuple[T, ...]]:
    return lambda lines, _trades: tuple(kind(**line) for line in lines)


def _with_fees(lines: Sequence[Line], trades: Sequence[Line]) -> tuple[OrderLine, ...]:
    fees = _fees(trades, "parent")
    shown = OrderLine.__struct_fields__
    return tuple(
        OrderLine(
            **{name: line[name] for name in shown if name != "fees"}, fees=fees.get(line["id"], {})
        )
        for line in lines
    )


def _fees(trades: Iterable[Line], by: str) -> dict[str, dict[str, Decimal]]:
    """Charged so far, by asset; rebates are negative."""
    found: dict[str, dict[str, Decimal]] = {}
    for trade in sorted(trades, key=lambda trade: (trade["seq"], trade["fee_asset"])):
        if trade["fee"]:
            fees = found.setdefault(trade[by], {})
            asset = trade["fee_asset"]
            fees[asset] = _EXACT.add(fees.get(asset, Decimal(0)), trade["fee"])
    return {of: {asset: fee for asset, fee in fees.items() if fee} for of, fees in found.items()}


def _amounts(spelled: Mapping[str, str]) -> dict[str, Decimal]:
    return {asset: Decimal(amount) for asset, amount in sorted(spelled.items())}
