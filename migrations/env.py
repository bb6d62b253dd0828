"""Run migrations on the connection that the caller shares; alctl opens it, begins and commits."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=True, render_as_batch=True)
context.run_migrations()
