"""The query store's tables: what the journal's rows come to, for people and reports.

Everything here is folded from the journal and can be made again at will.  Every table carries
`account`, so that no question needs to go without it.  Numbers are exact on both databases:
NUMERIC without bounds on PostgreSQL, plain decimal text on SQLite (which has nothing but floats
else; nothing here is sorted by amount, and sums are made in Python).  Times are `timestamptz`, on
SQLite ISO 8601 text in UTC that sorts as it reads; both hold microseconds, rounded down.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine

from hean_router.domain.scale import plain

_UNHOLDABLE = re.compile("[\0\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NS = 253_370_764_799_999_999_999  # the end of 9998: of 9999 asyncpg makes "infinity"


class Exact(TypeDecorator[Decimal]):
    """A decimal, kept to the last digit; trailing zeros are dropped on the way in and out."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        plain_type: TypeEngine[Any] = Numeric() if dialect.name == "postgresql" else Text()
        return dialect.type_descriptor(plain_type)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        assert value.is_finite(), value
        text = plain(value)
        return Decimal(text) if dialect.name == "postgresql" else text

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(plain(Decimal(value)))


class Moment(TypeDecorator[int]):
    """Our ns since the epoch; kept to the microsecond, rounded down."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        real: TypeEngine[Any] = (
            TIMESTAMP(timezone=True, precision=6) if dialect.name == "postgresql" else Text()
        )
        return dialect.type_descriptor(real)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        value = min(max(value, 0), _LAST_NS)  # a nonsense of somebody's must not stop the feeder
        # Whole microseconds through a timedelta: a float of seconds would lose some.
        moment = _EPOCH + timedelta(microseconds=value // 1000)
        return (
            moment
            if dialect.name == "postgresql"
            else moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        )

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        if value is None:
            return None
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


class Words(TypeDecorator[str]):
    """Text.  What PostgreSQL cannot hold (NUL) or nobody can (half a surrogate) becomes U+FFFD.

    A venue may say anything; neither a row of ours nor a question may fail for it.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _holdable(value)


def _holdable(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return _UNHOLDABLE.sub("\ufffd", text)


class Json(TypeDecorator[Any]):
    """JSON, which PostgreSQL can search; names come back in the same order from both."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        real: TypeEngine[Any] = JSONB() if dialect.name == "postgresql" else JSON()
        return dialect.type_descriptor(real)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return _sorted(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return _sorted(value)


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {_holdable(name): _sorted(value[name]) for name in sorted(value)}
        case list():
            return [_sorted(one) for one in value]
        case str():
            return _holdable(value)
        case _:
            return value


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Words(), primary_key=key, nullable=False)


def _exact(name: str, *, null: bool = False) -> Column[Decimal]:
    return Column(name, Exact(), nullable=null)


def _moment(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, Moment(), nullable=null)


def _seq(*, key: bool = False) -> Column[int]:
    """The journal's own count of the row that this comes from."""
    return Column("seq", BigInteger(), primary_key=key, nullable=False, autoincrement=False)


# How far the journal has been read; always exactly one row.  It moves in the same transaction as
# the tables, so that every row counts once whatever is cut off in the middle.
feed = Table(
    "feed",
    metadata,
    Column("id", Integer(), primary_key=True, autoincrement=False),
    _seq(),
    _text("digest"),  # of that row: another journal, or another past, does not go unnoticed
    Column("fold", Integer(), nullable=False),  # version of the rules that made the tables
)

orders = Table(
    "orders",
    metadata,
    _text("id", key=True),
    _seq(),
    _text("account"),
    _text("client_order_id"),
    _text("symbol"),
    _text("side"),
    _text("kind"),
    _text("life"),
    Column("post_only", Boolean(), nullable=False),
    _exact("quantity", null=True),  # as asked for, base
    _exact("quote_quantity", null=True),  # as asked for, quote
    _exact("limit_price", null=True),
    _moment("expires_at", null=True),
    Column("venues", Json(), nullable=False),
    _text("strategy"),
    _text("leg_group"),
    _text("placed_by"),
    _exact("qty"),  # base, worked out where quote was asked for
    _exact("quote_max", null=True),
    _exact("worst_px"),
    _exact("worst_usd"),
    _text("status"),
    _exact("filled"),
    _exact("notional"),  # quote, sum of px x qty of the fills, fees apart
    Column("children", Integer(), nullable=False),
    Column("unknowns", Integer(), nullable=False),  # children whose fate is not known
    Column("acked", Boolean(), nullable=False),  # a venue has taken a child
    Column("cancelling", Boolean(), nullable=False),
    Column("ended", Words(), nullable=True),  # how it ended; a later fill may still make it filled
    _text("why"),
    _moment("created_at"),
    _moment("updated_at"),
    _moment("ended_at", null=True),
    Index(None, "account", "seq"),
    Index(None, "account", "status", "seq"),
    Index(None, "account", "symbol", "seq"),
    Index(None, "account", "strategy", "seq"),
    Index(None, "account", "client_order_id"),
)

children = Table(
    "children",
    metadata,
    _text("key", key=True),
    _seq(),
    _text("parent"),
    _text("account"),
    _text("venue"),
    _text("symbol"),
    _text("side"),
    _exact("qty"),
    _exact("px", null=True),
    _text("tif"),
    Column("post_only", Boolean(), nullable=False),
    Column("round", Integer(), nullable=False),
    _text("reserve_asset"),
    _exact("reserve"),
    _exact("worst_px"),
    _text("status"),
    _exact("filled"),
    _exact("notional"),
    _exact("cum", null=True),  # filled by the venue's word
    _text("venue_order_id"),
    _text("why"),
    _moment("intended_at"),
    _moment("acked_at", null=True),
    _moment("updated_at"),
    _moment("ended_at", null=True),
    Index(None, "account", "parent", "seq"),
    Index(None, "account", "venue", "status"),
    Index(None, "venue_order_id"),
)

fills = Table(
    "fills",
    metadata,
    _text("venue", key=True),
    _text("account", key=True),
    _text("symbol", key=True),
    _text("trade_id", key=True),
    _seq(),
    _text("key"),  # of the child; empty for a trade that no order of ours explains
    _text("parent"),
    _text("strategy"),
    _text("venue_order_id"),
    _text("side"),
    _exact("px"),
    _exact("qty"),
    _exact("fee"),
    _text("fee_asset"),
    _exact("fee_assumed", null=True),
    Column("maker", Boolean(), nullable=True),
    Column("credited", Boolean(), nullable=False),  # to an order of ours
    _moment("sent_at", null=True),
    _moment("at"),
    Index(None, "account", "seq"),
    Index(None, "account", "symbol", "seq"),
    Index(None, "account", "parent", "seq"),
    Index(None, "venue_order_id"),
)

decisions = Table(
    "decisions",
    metadata,
    _seq(key=True),
    _text("parent"),
    _text("account"),
    Column("round", Integer(), nullable=False),
    _exact("wanted"),
    _exact("allocated"),
    _text("why"),
    Column("seen", Json(), nullable=False),
    Column("left_out", Json(), nullable=False),
    _exact("expected_px", null=True),
    _text("single_venue"),
    _exact("single_px", null=True),
    _exact("greedy_px", null=True),
    _exact("mid", null=True),
    Column("proved", Boolean(), nullable=False),
    _exact("gap"),
    _moment("at"),
    Index(None, "account", "parent", "seq"),
)

# By average cost, fees apart, as `portfolio.Position` counts: fees in base change the quantity.
positions = Table(
    "positions",
    metadata,
    _text("account", key=True),
    _text("venue", key=True),
    _text("symbol", key=True),
    _text("strategy", key=True),
    _exact("qty"),
    _exact("cost"),
    _exact("realised"),
    _exact("fees_quote"),
    _exact("bought"),
    _exact("sold"),
    _exact("turnover"),
    Column("fees", Json(), nullable=False),  # asset -> decimal text
    Column("fees_third", Json(), nullable=False),  # of these, in neither base nor quote
    Column("fills", Integer(), nullable=False),
    _moment("since"),
    _moment("updated_at"),
)

# Where the balances are known: set from the venue's word at least once.
wallets = Table(
    "wallets",
    metadata,
    _text("account", key=True),
    _text("venue", key=True),
    _text("why"),
    _moment("set_at"),
)

balances = Table(
    "balances",
    metadata,
    _text("account", key=True),
    _text("venue", key=True),
    _text("asset", key=True),
    _exact("total"),
    _moment("updated_at"),
)

balance_history = Table(
    "balance_history",
    metadata,
    _seq(key=True),
    _text("asset", key=True),
    _text("account"),
    _text("venue"),
    _exact("change"),
    _exact("total"),
    _text("why"),  # fill, or why the venue's word was taken
    _text("trade_id"),
    _moment("at"),
    Index(None, "account", "venue", "asset", "seq"),
    Index(None, "account", "seq"),
)

incidents = Table(
    "incidents",
    metadata,
    _seq(key=True),
    _text("account"),  # empty: of the whole installation
    _text("venue"),
    _text("what"),
    _text("subject"),
    _text("detail"),
    _moment("at"),
    Index(None, "account", "seq"),
)

risk_events = Table(
    "risk_events",
    metadata,
    _seq(key=True),
    _text("account"),  # empty: the state of the whole installation
    _text("what"),  # state, or who held a child back: risk, gate, budget…
    _text("code"),
    _text("reason"),
    _text("subject"),
    _text("by"),
    _moment("at"),
    Index(None, "account", "seq"),
)

foreign_orders = Table(
    "foreign_orders",
    metadata,
    _text("account", key=True),
    _text("venue", key=True),
    _text("venue_order_id", key=True),
    _text("symbol"),
    _text("key"),
    Column("side", Words(), nullable=True),
    _exact("qty", null=True),
    _exact("px", null=True),
    Column("is_open", Boolean(), nullable=False),
    _moment("first_at"),
    _moment("updated_at"),
)
