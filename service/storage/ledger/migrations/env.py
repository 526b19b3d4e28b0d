"""Alembic's entry point; `migrate` passes the connection."""

from alembic import context

from service.storage.ledger.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
