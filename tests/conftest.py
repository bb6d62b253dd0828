"""What all tests share."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.postgres import empty_database, postgres_server

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: on a busy machine threads wait for each other
os.environ["MPLBACKEND"] = "Agg"  # before matplotlib is imported, here or in a command that a test starts

settings.register_profile("alctl", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("alctl")  # a busy machine breaks no test, and CI tries the same examples every time


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every garbage collection: torch alone has a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_url(_postgres: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with empty_database(_postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'alctl.db'}"
