"""What a database refuses is a sentence, and no label or annotator is in it."""

import sqlite3

import pytest
from sqlalchemy import event, text

from alctl.annotators import weights
from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.database import connection as db
from alctl.database.refusals import BusyError, refusal
from alctl.errors import AlctlError
from tests.pools import pool
from tests.project_files import small_project, write_csv


def pages_left(engine, n: int) -> None:
    """Let the database grow by so many pages, as if the disk were full then."""

    @event.listens_for(engine, "connect")
    def _full(connection, _record):
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + n}")

    engine.dispose()


def told(error: BaseException) -> str:
    """Return what the user reads, and what a traceback of it would show."""
    return f"{error} {error.__cause__} {error.__context__}"


def test_a_full_disk_in_the_middle_of_an_import_names_no_annotator_and_takes_nothing(tmp_path):
    project = small_project(tmp_path, 400)
    file = write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 380)])
    pages_left(project.engine, 2)
    with pytest.raises(AlctlError, match=r"no room left for the database .*alctl\.db.*make room") as error:
        import_labels(project, file, ImportOptions(add_classes=True, annotator="Erika Mustermann"))
    assert "Erika" not in told(error.value)
    project.engine.dispose()
    assert weights.measure(project).answers == 0


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (sqlite3.SQLITE_IOERR_READ, "is full or fails"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, "no room left"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "is read-only here"),
        (sqlite3.SQLITE_CORRUPT_VTAB, "alctl restore"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "busy"),
    ],
)
def test_every_code_of_a_kind_is_known(tmp_path, code, sentence):
    error = sqlite3.OperationalError("the library's words")
    error.sqlite_errorcode = code
    found = refusal(db.engine_of(f"sqlite:///{tmp_path / 'a.db'}"), error)
    assert sentence in str(found)
    assert "the library's words" in str(found)


def test_a_wrong_statement_stays_a_bug_and_shows_no_values(tmp_path):
    engine = db.engine_of(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(Exception, match="no such table") as error, db.reading(engine) as connection:
        connection.execute(text("SELECT * FROM nowhere WHERE annotator = :who"), {"who": "Erika"})
    assert not isinstance(error.value, AlctlError)
    assert "Erika" not in str(error.value)
    engine.dispose()


def test_another_writer_is_told_apart(tmp_path):
    file = tmp_path / "a.db"
    engine = db.engine_of(f"sqlite:///{file}")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 0"))
    with db.reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="busy"), db.writing(engine, 0):
        pass
    stages = []

    def free(stage: str, done: int, total: int) -> None:
        stages.append(stage)
        other.execute("ROLLBACK")

    with db.writing(engine, 60, free) as connection:
        connection.execute(text("CREATE TABLE t (a)"))
    assert stages == ["waiting for another writer of the database"]
    other.close()
    engine.dispose()


def test_a_server_that_goes_away_is_a_sentence_without_values(postgres_url):
    killer = db.engine_of(postgres_url)
    asked = text("SELECT count(*) FROM label WHERE annotator = :who")
    with pool(postgres_url, 3) as engine, db.reading(engine) as connection, killer.connect() as other:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        with pytest.raises(AlctlError, match="the server went away") as error:
            connection.execute(asked, {"who": "Erika"})
        assert "Erika" not in told(error.value)
    killer.dispose()


def test_a_read_only_server_says_so(postgres_url):
    with pool(postgres_url, 3) as engine, db.reading(engine) as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(AlctlError, match="is read-only here"):
            connection.execute(text("DELETE FROM label"))


def test_on_a_write_protected_disk_what_reads_works_and_the_rest_says_why(tmp_path, write_protected):
    project = small_project(tmp_path, 12)
    project.engine.dispose()
    write_protected(project.folder)
    file = write_csv(tmp_path / "l.csv", [(1, "cat")])
    assert weights.measure(project).answers == 0
    with pytest.raises(AlctlError, match=r"is read-only here .*`alctl import-labels` needs a place to write"):
        import_labels(project, file, ImportOptions(add_classes=True))
    with (
        pytest.raises(AlctlError, match="is read-only here"),
        db.writing(project.engine) as connection,
    ):
        connection.execute(text("DELETE FROM label"))
    project.engine.dispose()
