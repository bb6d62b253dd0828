"""What a database refuses: a full disk, a medium that is read-only or fails, a server that goes away, another writer.

One place makes a sentence of each, without the values that a statement carried: they are annotators' names and work.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext

from alctl.errors import AlctlError

_ROOM = "nothing of it was recorded; make room and give the same command again"
_FULL = f"there is no room left for the database {{where}} ({{said}}); {_ROOM}"
_READ_ONLY = "the database {where} is read-only here ({said}): commands that only read work, others need a place to write"
_DAMAGED = "{where} is not a database that alctl can read: {said}; `alctl restore` brings a backup back"
_AWAY = (
    "cannot open the database {where}, or the server went away: {said}. "
    "Nothing of it was recorded; give the same command again when it is back"
)
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_IOERR: "the disk of the database {where} is full or fails ({said}); nothing of it was recorded",
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "cannot open the database {where}: {said}; on a read-only disk, copy the project elsewhere first",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_NOMEM: "there is not enough memory for the database {where} ({said})",
}
"""By SQLite's extended or primary error code."""
_OF_POSTGRESQL = {
    "08": _AWAY,
    "25006": _READ_ONLY,
    "28": "the server of the database {where} refuses the user: {said}",
    "3D000": "cannot open the database {where}: {said}",
    "42501": "the user of the database {where} may not do that: {said}",
    "53100": _FULL,
    "53": "the server of the database {where} has too much to do: {said}; give the same command again later",
    "57P": _AWAY,
    "58": "the disk of the database {where} is full or fails ({said}); nothing of it was recorded",
    "XX": _DAMAGED,
}
"""By SQLSTATE, or with what it begins."""
_BUSY_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_BUSY_POSTGRESQL = {"55P03", "40001", "40P01"}


class BusyError(AlctlError):
    """Somebody else is writing to the database."""


def explain(engine: Engine) -> None:
    """Let the engine raise AlctlError for what the machine or the server refuses; everything else is a bug."""

    @event.listens_for(engine, "handle_error")
    def _explained(context: ExceptionContext) -> AlctlError | None:
        return refusal(engine, context.original_exception)


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Do the same for statements that go past SQLAlchemy, to the driver."""
    try:
        yield
    except sqlite3.Error as error:
        if (told := refusal(engine, error)) is not None:
            raise told from error
        raise


def refusal(engine: Engine, error: BaseException) -> AlctlError | None:
    """Return what to tell the user; None if the statement itself is wrong."""
    said = str(error).strip().partition("\n")[0]
    code, found = _known(error)
    if found is None:
        return None
    if code in _BUSY_SQLITE | _BUSY_POSTGRESQL:
        return BusyError(found.format(said=said))
    url = engine.url
    where = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    return AlctlError(found.format(where=where, said=said))


def _known(error: BaseException) -> tuple[int | str | None, str | None]:
    """Return the code of an error of a driver, and the sentence for it."""
    busy = "the database is busy: {said}; try again later"
    if isinstance(error, sqlite3.Error):
        whole = getattr(error, "sqlite_errorcode", None)
        code = None if whole is None else whole & 0xFF
        found = _OF_SQLITE.get(whole or 0) or _OF_SQLITE.get(code or 0)
        return code, busy if code in _BUSY_SQLITE else found
    state = getattr(error, "sqlstate", None)
    if state in _BUSY_POSTGRESQL:
        return state, busy
    if state is None:
        return None, _AWAY if type(error).__name__ == "OperationalError" else None
    return state, next((_OF_POSTGRESQL[state[:n]] for n in (5, 3, 2) if state[:n] in _OF_POSTGRESQL), None)
