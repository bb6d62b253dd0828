"""What all tests share."""

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import FULL, examples
from tests.pools import migrate, migrated_file
from tests.postgres import empty_tables, new_database, postgres_server

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: on a busy machine threads wait for each other
os.environ["MPLBACKEND"] = "Agg"  # before matplotlib is imported, here or in a command that a test starts

settings.register_profile("alctl", deadline=None, derandomize=FULL, max_examples=examples(100))
settings.load_profile("alctl")  # a busy machine breaks no test, and CI tries the same examples every time


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every garbage collection: torch alone has a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def _migrated_postgres(_postgres: str) -> Iterator[str]:
    """The URL of a database that has its tables; who writes into them empties them."""
    with new_database(_postgres) as url:
        migrate(url)
        yield url


@pytest.fixture
def postgres_url(_postgres: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with new_database(_postgres) as url:
        yield url


@pytest.fixture
def write_protected() -> Iterator[Callable[[Path], None]]:
    """A function that lets nobody write to a folder any more, not even root."""
    mounted: list[Path] = []

    def protect(folder: Path) -> None:
        for options in (["--bind"], ["-o", "remount,ro,bind"]):
            done = subprocess.run(["mount", *options, folder, folder], check=False, capture_output=True)
            if done.returncode:
                pytest.skip("a file system cannot be mounted here")
            mounted.append(folder)

    yield protect
    for folder in mounted[:1]:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'alctl.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind that has its tables, and nothing in them."""
    if request.param == "sqlite":
        shutil.copyfile(migrated_file(), tmp_path / "alctl.db")
        yield f"sqlite:///{tmp_path / 'alctl.db'}"
    else:
        shared = str(request.getfixturevalue("_migrated_postgres"))
        yield shared
        empty_tables(shared)
