"""Open a database, bring it up to date, back it up. SQLite by default, PostgreSQL by URL."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, RootTransaction, create_engine, event, inspect, text

from alctl.database import address
from alctl.database.refusals import BusyError, explain, explained
from alctl.errors import AlctlError
from alctl.files import whole_file
from alctl.progress import WAITING, Progress, silent

BUSY_SECONDS = 5
"""How long a second writer waits before it is told who holds the database."""
_WRITERS = 0x616C63746C  # the number of the lock that every writer of a PostgreSQL database takes


def engine_of(url: str | URL) -> Engine:
    """Return an engine whose readers never block and whose writers begin at once (see `reading`, `writing`)."""
    parsed = url if isinstance(url, URL) else address.parsed(url)
    kind = parsed.get_backend_name()
    if kind in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif kind != "sqlite":
        raise AlctlError(f"a database of the kind {kind!r} cannot be used, only SQLite and PostgreSQL")
    try:
        # A server that was started again during long work is asked first, so that its results can be recorded.
        engine = create_engine(
            parsed,
            json_serializer=partial(json.dumps, allow_nan=False),
            hide_parameters=True,
            pool_pre_ping=kind != "sqlite",
        )
    except ModuleNotFoundError as error:
        raise AlctlError("PostgreSQL needs a driver: pip install 'alctl[postgresql]'") from error
    explain(engine)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _open_where_nobody_writes)
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


def _open_where_nobody_writes(_dialect: object, record: Any, arguments: Any, options: Any) -> None:
    """Open a database in a folder where files cannot be made, such as a write-protected disk, for reading alone.

    SQLite needs a file beside it to read one that may change. Without a log beside it nobody is changing it.
    """
    file = Path(arguments[0])
    record.info["read_only"] = file.is_file() and not os.access(file.parent, os.W_OK)
    if record.info["read_only"]:
        log = file.with_name(f"{file.name}-wal")
        immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
        arguments[:] = [f"{file.absolute().as_uri()}?mode=ro{immutable}"]
        options["uri"] = True


def _set_pragmas(connection: Any, record: Any) -> None:
    """Full durability: a label is somebody's paid work, and bulk speed does not depend on it."""
    connection.isolation_level = None  # the driver must not begin by itself; `_begin` does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    if not record.info["read_only"]:
        _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _use_wal(connection: Any) -> None:
    """Switch to the write-ahead log, which lasts as long as the file; SQLite's busy timeout does not cover this."""
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:  # another process may be switching it at this moment
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    """Take the write lock at the start, so that a transaction cannot fail half way for want of it."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection that sees one consistent state and changes nothing."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


@contextmanager
def writing(
    engine: Engine,
    patience: float | None = None,
    progress: Progress = silent,
    prepared: Connection | None = None,
) -> Iterator[Connection]:
    """Give a connection whose changes exist all together at the end, or not at all; wait for other writers before.

    It is the one that was ``prepared`` by `reading`, with its temporary tables; what it saw until now may be outdated.
    """
    with engine.connect() if prepared is None else nullcontext(prepared) as connection:
        if prepared is not None:
            connection.commit()
            if engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level=engine.dialect.default_isolation_level)
        connection.execution_options(writes=True)
        with _begun(connection, BUSY_SECONDS if patience is None else patience, progress):
            yield connection


def _begun(connection: Connection, patience: float, progress: Progress) -> RootTransaction:
    """Begin a transaction that writes; BusyError if others have not stopped writing in ``patience`` seconds.

    Each try waits for `BUSY_SECONDS`, in the database, where Ctrl-C does not reach.
    """
    end = time.monotonic() + patience - BUSY_SECONDS
    while True:
        try:
            transaction = connection.begin()
            if connection.dialect.name == "postgresql":
                _hold_postgresql(connection)
        except BusyError:
            connection.rollback()
            if time.monotonic() > end:
                raise
            progress(f"{WAITING}another writer of the database", 0, 0)
        else:
            return transaction


def _hold_postgresql(connection: Connection) -> None:
    """Wait for other writers, who may be on other machines, as SQLite's ``BEGIN IMMEDIATE`` does."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {BUSY_SECONDS * 1000}")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


def migrations_folder() -> Path:
    """Return the folder of the migrations: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return next(f for f in (here / "migrations", here.parent / "migrations") if (f / "env.py").is_file())


def revisions() -> list[str]:
    """Return every revision this alctl knows, oldest first; a migration's file name starts with its revision."""
    return sorted(
        file.name.partition("_")[0] for file in (migrations_folder() / "versions").glob("[0-9]*_*.py")
    )


def revision_of(connection: Connection) -> str | None:
    """Return the database's revision, None when it has none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision; one of a newer alctl is refused, a used SQLite file copied first."""
    known = revisions()
    with reading(engine) as connection:
        current = revision_of(connection)
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise AlctlError(
            f"the project was written by a newer alctl (database revision {current}, this alctl knows {known[-1]}); "
            "upgrade alctl: pip install --upgrade alctl"
        )
    if current is not None and engine.dialect.name == "sqlite":
        file = Path(str(engine.url.database))
        copy_to(engine, file.with_suffix(f".before-{known[-1]}.db"))
    _migrate(engine)


def _migrate(engine: Engine) -> None:
    """Run the migrations in one transaction, without foreign keys: a rebuilt table would delete its children."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with engine.connect().execution_options(writes=True) as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            _driver(connection).execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                if not sqlite:
                    _hold_postgresql(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                if sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()):
                    raise AlctlError(
                        f"the migration would break {len(broken)} references; nothing was changed"
                    )
        finally:
            if sqlite:
                _driver(connection).execute("PRAGMA foreign_keys = ON")


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def copy_to(engine: Engine, target: Path) -> Path:
    """Copy a live SQLite database to ``target``, consistent even while others write."""
    with whole_file(target) as partial, reading(engine) as connection, explained(engine):
        _driver(connection).execute("VACUUM INTO ?", (str(partial),))
    return target
