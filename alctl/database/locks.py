"""A project's locks where its state is in PostgreSQL: they hold between machines, and the server knows who has them.

A lock is an advisory lock of the server, held by a session of its own that does nothing else. The session's name says
who holds it, and the server lets go of both when the process, its machine or the connection dies.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from alctl.database.bulk import run, scalar
from alctl.database.refusals import BusyError
from alctl.errors import AlctlError
from alctl.progress import WAITING, Progress

_SLICE = 1.0
"""Seconds of a wait after which Ctrl-C is looked for."""
_PROGRAM = "alctl "


class Holder(NamedTuple):
    """Who holds a lock."""

    command: str
    """As it is typed, without ``alctl``."""
    process: int
    host: str
    since: str

    def __str__(self) -> str:
        """Return who it is as a person reads it."""
        return f"`{_PROGRAM}{self.command}` (process {self.process} on {self.host}, since {self.since})"

    @property
    def session(self) -> str:
        """The name of the session that holds the lock: the server cuts it off after 63 bytes, so the host is last."""
        return f"{_PROGRAM}{self.command} {self.process} {self.since} {self.host}"


def described(session: str | None) -> str:
    """Return who holds a lock, from the name of the session that holds it."""
    parts = (session or "").removeprefix(_PROGRAM).rsplit(" ", 3)
    if len(parts) < 4 or not (parts[1].isdecimal() and parts[2].startswith("20")):
        return "another session of the database"
    return str(Holder(parts[0], int(parts[1]), parts[3], parts[2]))


@contextmanager
def server_lock(
    engine: Engine, name: str, holder: Holder, patience: float, progress: Progress
) -> Iterator[None]:
    """Hold one of the project's locks in its PostgreSQL database; BusyError says who has had it for ``patience`` seconds."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # closed at the end, with its name
        run(connection, "SELECT set_config('application_name', :name, false)", name=holder.session)
        number = _number(name)
        _wait(connection, number, patience, progress)
        try:
            yield
        finally:
            with suppress(AlctlError):  # the server went away, and with it the lock
                run(connection, "SELECT pg_advisory_unlock(:number)", number=number)


def _number(name: str) -> int:
    """Return the number of a lock, of 63 bits."""
    return int.from_bytes(hashlib.sha256(f"{_PROGRAM}{name}".encode()).digest()[:8], "big") >> 1


def _wait(connection: Connection, number: int, patience: float, progress: Progress) -> None:
    if scalar(connection, "SELECT pg_try_advisory_lock(:number)", number=number):
        return
    progress(f"{WAITING}{_who(connection, number)}", 0, 0)
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        run(connection, f"SET lock_timeout = {max(1, int(1000 * min(left, _SLICE)))}")
        with suppress(BusyError):
            run(connection, "SELECT pg_advisory_lock(:number)", number=number)
            return
    who = _who(connection, number)
    raise BusyError(f"the database {_shown(connection.engine)} is held by {who}; try again later")


def _who(connection: Connection, number: int) -> str:
    """Return who holds a lock."""
    rows = run(
        connection,
        """SELECT a.application_name FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
           WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND CAST(l.classid AS bigint) = :high AND CAST(l.objid AS bigint) = :low""",
        high=number >> 32,
        low=number & 0xFFFFFFFF,
    )
    return described(rows.scalar())


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
