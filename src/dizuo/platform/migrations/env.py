"""How Alembic reaches the database: on the connection that `dizuo.platform.revisions` hands in, in its transaction.

There is no alembic.ini: `revisions.script_config` is the configuration.
"""

from alembic import context

from dizuo.platform.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can; Alembic only believes it of the driver's own transactions
    render_as_batch=True,  # SQLite changes a column by making the table anew
)
with context.begin_transaction():
    context.run_migrations()
