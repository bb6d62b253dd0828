"""Is the database itself sound: its pages, its indexes, and what its rows refer to?"""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, inspect

from alctl.database.bulk import run, scalar
from alctl.database.connection import reading
from alctl.database.tables import metadata
from alctl.errors import AlctlError


def integrity_problems(engine: Engine) -> list[str]:
    """Return what is wrong with the database itself: damaged pages, references to nothing.

    Of a server's also tables, indexes and constraints that are gone or do not hold.
    """
    if engine.dialect.name != "sqlite":
        return list(_of_server(engine))
    with reading(engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    problems = [str(page) for page in pages if page != "ok"]
    return problems + [f"{row[0]} row {row[1]} refers to a {row[2]} that is not there" for row in broken]


def _of_server(engine: Engine) -> Iterator[str]:
    """Yield what is wrong with a PostgreSQL database; after damaged pages everything else is still looked at."""
    with reading(engine) as connection:
        yield from _gone(connection)
        yield from _not_valid(connection)
        amcheck = scalar(connection, "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'amcheck')")
        known = {table.name for table in metadata.sorted_tables} & set(inspect(connection).get_table_names())
    for name in sorted(known):
        try:
            with reading(engine) as connection:
                _read_whole(connection, name)
                yield from _orphans(connection, name)
                if amcheck:
                    _check_indexes(connection, name)
        except AlctlError as error:
            yield f"{name}: {error}"


def _gone(connection: Connection) -> Iterator[str]:
    """Yield the tables, keys and indexes that there ought to be and are not."""
    seen = inspect(connection)
    there = set(seen.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in there:
            yield f"the table {table.name} is gone"
            continue
        indexes = {index["name"] for index in seen.get_indexes(table.name)}
        yield from (
            f"the index {i.name} of {table.name} is gone" for i in table.indexes if i.name not in indexes
        )
        keys = {tuple(key["constrained_columns"]) for key in seen.get_foreign_keys(table.name)}
        for key in table.foreign_key_constraints:
            if tuple(key.column_keys) not in keys:
                yield f"the foreign key of {table.name} ({', '.join(key.column_keys)}) is gone"
        if not seen.get_pk_constraint(table.name)["constrained_columns"]:
            yield f"the primary key of {table.name} is gone"


def _not_valid(connection: Connection) -> Iterator[str]:
    """Yield the indexes and constraints that the server itself does not trust."""
    rows = run(
        connection,
        """SELECT 'index', CAST(CAST(indexrelid AS regclass) AS text) FROM pg_index JOIN pg_class AS c ON c.oid = indrelid
           WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND NOT (indisvalid AND indisready)
           UNION ALL SELECT 'constraint', CAST(conname AS text) FROM pg_constraint
           WHERE connamespace = CAST(current_schema() AS regnamespace) AND NOT convalidated""",
    )
    yield from (f"the {kind} {name} is not valid: REINDEX or VALIDATE it" for kind, name in rows)


def _read_whole(connection: Connection, table: str) -> None:
    """Read every byte of every row, long values too; AlctlError where the server finds a page damaged."""
    run(connection, "SET LOCAL enable_indexonlyscan = off")
    run(connection, f'SELECT sum(length(CAST(t AS text))) FROM "{table}" AS t')


def _orphans(connection: Connection, table: str) -> Iterator[str]:
    """Yield how many rows refer to nothing: a restored dump or a switched-off trigger can leave such."""
    for key in metadata.tables[table].foreign_keys:
        column, other = key.parent.name, key.column
        count = scalar(
            connection,
            f"""SELECT count(*) FROM "{table}" AS t WHERE t."{column}" IS NOT NULL AND NOT EXISTS
                (SELECT 1 FROM "{other.table.name}" AS o WHERE o."{other.name}" = t."{column}")""",
        )
        if count:
            yield f"{count:,} rows of {table} refer by {column} to a {other.table.name} that is not there"


def _check_indexes(connection: Connection, table: str) -> None:
    """Let the server's extension amcheck compare each B-tree of a table with its rows."""
    run(
        connection,
        """SELECT bt_index_check(CAST(indexrelid AS regclass), true) FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
           WHERE indrelid = CAST(:table AS regclass) AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
             AND indisvalid""",
        table=table,
    )
