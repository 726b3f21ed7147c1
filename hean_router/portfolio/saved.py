"""What the ledger, the day and the round trips have folded, as values."""

from decimal import Decimal

from msgspec import Struct

from hean_router.domain.record import BalanceBreak
from hean_router.portfolio.positions import Position, View


class PositionState(Struct, frozen=True, array_like=True):
    """As `Position`."""

    qty: Decimal
    cost: Decimal
    realised: Decimal
    fees_quote: Decimal
    bought: Decimal
    sold: Decimal
    turnover: Decimal
    fees: dict[str, Decimal]
    fees_third: dict[str, Decimal]
    fills: int
    since_ns: int
    at_ns: int


_FIELDS = PositionState.__struct_fields__


def dump_position(of: Position) -> PositionState:
    """Its state."""
    return PositionState(*(getattr(of, name) for name in _FIELDS))


def load_position(state: PositionState) -> Position:
    """A position as it stood."""
    one = Position()
    for name in _FIELDS:
        setattr(one, name, getattr(state, name))
    return one


class LedgerState(Struct, frozen=True, kw_only=True):
    """As `Ledger`; places are (venue, account), positions (account, venue, symbol, strategy)."""

    balances: list[tuple[tuple[str, str], dict[str, Decimal]]]
    flows: list[tuple[tuple[str, str], dict[str, Decimal]]]
    set_ns: list[tuple[tuple[str, str], int]]
    breaks: list[BalanceBreak]
    positions: list[tuple[View, tuple[str, str, str, str], PositionState]]


class AccountDay(Struct, frozen=True, array_like=True):
    """One account's day in one symbol."""

    account: str
    symbol: str
    qty: Decimal
    start_qty: Decimal
    cash: Decimal
    thirds: dict[str, Decimal]
    start: tuple[Decimal, int] | None


class DayState(Struct, frozen=True, kw_only=True):
    """As `DayPnl`, without the marks of the moment."""

    day: int
    days: list[AccountDay]
    accounts: list[str]
