"""A PostgreSQL server of the tests' own: in a temporary folder, on a Unix socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from alctl.database.tables import metadata

SETTINGS = "-c listen_addresses= -c fsync=off -c unix_socket_directories="


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server and yield the SQLAlchemy URL of its database ``postgres``; skip the test without PostgreSQL."""
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if initdb is None or pg_ctl is None:
        if os.environ.get("ALCTL_REQUIRE_POSTGRES"):
            pytest.fail("PostgreSQL's initdb or pg_ctl is not on PATH")
        pytest.skip("PostgreSQL's initdb or pg_ctl is not on PATH")
    # PostgreSQL refuses to run as root.
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else None
    # Not in pytest's folder: the path of a socket has at most 107 bytes, and the owner has to reach it.
    folder = Path(tempfile.mkdtemp(prefix="alctl-pg-", dir="/tmp"))
    data, log = str(folder / "data"), str(folder / "log")
    try:
        if owner:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        access = ["-U", "alctl", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        _run(initdb, "-D", data, *access, owner=owner)
        _run(pg_ctl, "start", "-w", "-D", data, "-l", log, "-o", f"{SETTINGS}{folder}", owner=owner)
        try:
            yield f"postgresql+psycopg://alctl@/postgres?host={folder}"
        finally:
            _run(pg_ctl, "stop", "-w", "-D", data, "-m", "immediate", owner=owner)
    finally:
        shutil.rmtree(folder)


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Make a database on the server with the URL ``server``, yield its URL, and drop it."""
    name = f"test_{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


def empty_tables(url: str) -> None:
    """Delete every row of a migrated database, a quarter of the work of making another one; end who still uses it."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
        names = ", ".join(table.name for table in metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    engine.dispose()


def _run(*command: str, owner: pwd.struct_passwd | None) -> None:
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        user=owner.pw_uid if owner else None,
        group=owner.pw_gid if owner else None,
        extra_groups=[] if owner else None,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
