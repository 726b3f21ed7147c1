"""The first tables: all that is folded from the journal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Spelled out, not taken from today's tables.py: a step of history must not change with it.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")
MOMENT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True, precision=6), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Make them, with nothing of the journal read yet."""
    op.create_table(
        "balance_history",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("change", EXACT, nullable=False),
        sa.Column("total", EXACT, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", "asset", name="pk_balance_history"),
    )
    op.create_index("ix_balance_history_account_seq", "balance_history", ["account", "seq"])
    op.create_index(
        "ix_balance_history_account_venue_asset_seq",
        "balance_history",
        ["account", "venue", "asset", "seq"],
    )
    op.create_table(
        "balances",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("total", EXACT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("account", "venue", "asset", name="pk_balances"),
    )
    op.create_table(
        "children",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("qty", EXACT, nullable=False),
        sa.Column("px", EXACT, nullable=True),
        sa.Column("tif", sa.Text(), nullable=False),
        sa.Column("post_only", sa.Boolean(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("reserve_asset", sa.Text(), nullable=False),
        sa.Column("reserve", EXACT, nullable=False),
        sa.Column("worst_px", EXACT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("filled", EXACT, nullable=False),
        sa.Column("notional", EXACT, nullable=False),
        sa.Column("cum", EXACT, nullable=True),
        sa.Column("venue_order_id", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("intended_at", MOMENT, nullable=False),
        sa.Column("acked_at", MOMENT, nullable=True),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_children"),
    )
    op.create_index("ix_children_account_parent_seq", "children", ["account", "parent", "seq"])
    op.create_index("ix_children_account_venue_status", "children", ["account", "venue", "status"])
    op.create_index("ix_children_venue_order_id", "children", ["venue_order_id"])
    op.create_table(
        "decisions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("wanted", EXACT, nullable=False),
        sa.Column("allocated", EXACT, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("seen", JSON, nullable=False),
        sa.Column("left_out", JSON, nullable=False),
        sa.Column("expected_px", EXACT, nullable=True),
        sa.Column("single_venue", sa.Text(), nullable=False),
        sa.Column("single_px", EXACT, nullable=True),
        sa.Column("greedy_px", EXACT, nullable=True),
        sa.Column("mid", EXACT, nullable=True),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("gap", EXACT, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_decisions"),
    )
    op.create_index("ix_decisions_account_parent_seq", "decisions", ["account", "parent", "seq"])
    op.create_table(
        "feed",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("fold", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feed"),
    )
    op.create_table(
        "fills",
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("px", EXACT, nullable=False),
        sa.Column("qty", EXACT, nullable=False),
        sa.Column("fee", EXACT, nullable=False),
        sa.Column("fee_asset", sa.Text(), nullable=False),
        sa.Column("fee_assumed", EXACT, nullable=True),
        sa.Column("maker", sa.Boolean(), nullable=True),
        sa.Column("credited", sa.Boolean(), nullable=False),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("venue", "account", "symbol", "trade_id", name="pk_fills"),
    )
    op.create_index("ix_fills_account_parent_seq", "fills", ["account", "parent", "seq"])
    op.create_index("ix_fills_account_seq", "fills", ["account", "seq"])
    op.create_index("ix_fills_account_symbol_seq", "fills", ["account", "symbol", "seq"])
    op.create_index("ix_fills_venue_order_id", "fills", ["venue_order_id"])
    op.create_table(
        "foreign_orders",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("qty", EXACT, nullable=True),
        sa.Column("px", EXACT, nullable=True),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("account", "venue", "venue_order_id", name="pk_foreign_orders"),
    )
    op.create_table(
        "incidents",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_incidents"),
    )
    op.create_index("ix_incidents_account_seq", "incidents", ["account", "seq"])
    op.create_table(
        "orders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("life", sa.Text(), nullable=False),
        sa.Column("post_only", sa.Boolean(), nullable=False),
        sa.Column("quantity", EXACT, nullable=True),
        sa.Column("quote_quantity", EXACT, nullable=True),
        sa.Column("limit_price", EXACT, nullable=True),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("venues", JSON, nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("leg_group", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("qty", EXACT, nullable=False),
        sa.Column("quote_max", EXACT, nullable=True),
        sa.Column("worst_px", EXACT, nullable=False),
        sa.Column("worst_usd", EXACT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("filled", EXACT, nullable=False),
        sa.Column("notional", EXACT, nullable=False),
        sa.Column("children", sa.Integer(), nullable=False),
        sa.Column("unknowns", sa.Integer(), nullable=False),
        sa.Column("acked", sa.Boolean(), nullable=False),
        sa.Column("cancelling", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
    )
    op.create_index("ix_orders_account_client_order_id", "orders", ["account", "client_order_id"])
    op.create_index("ix_orders_account_seq", "orders", ["account", "seq"])
    op.create_index("ix_orders_account_status_seq", "orders", ["account", "status", "seq"])
    op.create_index("ix_orders_account_strategy_seq", "orders", ["account", "strategy", "seq"])
    op.create_index("ix_orders_account_symbol_seq", "orders", ["account", "symbol", "seq"])
    op.create_table(
        "positions",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("qty", EXACT, nullable=False),
        sa.Column("cost", EXACT, nullable=False),
        sa.Column("realised", EXACT, nullable=False),
        sa.Column("fees_quote", EXACT, nullable=False),
        sa.Column("bought", EXACT, nullable=False),
        sa.Column("sold", EXACT, nullable=False),
        sa.Column("turnover", EXACT, nullable=False),
        sa.Column("fees", JSON, nullable=False),
        sa.Column("fees_third", JSON, nullable=False),
        sa.Column("fills", sa.Integer(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("account", "venue", "symbol", "strategy", name="pk_positions"),
    )
    op.create_table(
        "risk_events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_risk_events"),
    )
    op.create_index("ix_risk_events_account_seq", "risk_events", ["account", "seq"])
    op.create_table(
        "wallets",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("set_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("account", "venue", name="pk_wallets"),
    )
    op.execute("INSERT INTO feed (id, seq, digest, fold) VALUES (1, 0, '', 0)")


def downgrade() -> None:
    """Drop them; the journal has it all."""
    op.drop_table("wallets")
    op.drop_table("risk_events")
    op.drop_table("positions")
    op.drop_table("orders")
    op.drop_table("incidents")
    op.drop_table("foreign_orders")
    op.drop_table("fills")
    op.drop_table("feed")
    op.drop_table("decisions")
    op.drop_table("children")
    op.drop_table("balances")
    op.drop_table("balance_history")
