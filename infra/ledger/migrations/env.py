"""Run migrations on a connection that is handed in, inside its transaction."""

from alembic import context

from infra.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can undo changes of the schema; Alembic by itself does not count on it.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
