"""One history for SQLite and PostgreSQL; run by `hean db upgrade` and `hean db downgrade`.

`hean_router/store/schema.py` hands the connection over, in a transaction.  To write a new
revision: change `hean_router/store/tables.py`, add `versions/NNNN_what.py` with both ways, and let
`tests/store` compare the two.
"""

from alembic import context

from hean_router.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("these migrations are run by: hean db upgrade --url URL")

context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite alters little by itself: there a table is copied, under the same script.
    render_as_batch=True,
    # The whole way in the one transaction that was handed over: all of it or nothing.
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
