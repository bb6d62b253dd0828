"""The database file itself: migrations with rows in them, what is refused, what is copied, who waits for whom."""

import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from alctl.database import connection as db
from alctl.database import integrity, items, labels
from alctl.database.bulk import insert_rows, run, scalar
from alctl.database.tables import item, metadata
from alctl.errors import AlctlError
from alctl.project import open_project
from tests.pools import answer, pool, rows_of, send
from tests.project_files import small_project

REBUILD = '''
"""Rebuild the item table, as an ALTER in SQLite does."""
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("item") as batch:
        batch.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="none"))
        batch.alter_column("width", new_column_name="columns", existing_type=sa.Integer())
'''
FAIL = REBUILD + "    op.execute('INSERT INTO no_such_table VALUES (1)')\n"
ORPHAN = REBUILD + "    op.execute('DELETE FROM item WHERE id = 2')\n"


@pytest.fixture
def url(empty_url: str) -> str:
    """The URL of a database of each kind without its tables, which these tests make and change."""
    return empty_url


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations folder of an alctl that a test can give a second migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(db.migrations_folder(), folder)
    monkeypatch.setattr(db, "migrations_folder", lambda: folder)
    return folder / "versions"


def used(url: str) -> None:
    """Fill a database with four items, labels of two annotators, and a round."""
    with pool(url, 4) as engine, db.writing(engine) as connection:
        answer(connection, [(1, "ann", "cat"), (2, "ann", "dog"), (1, "bob", "cat")])
        send(connection, [1, 2, 3])


def test_the_migrations_make_the_tables_of_the_schema(url):
    engine = db.engine_of(url)
    db.upgrade(engine)
    with db.reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for table in metadata.sorted_tables:
            checks = {check.name for column in table.c for check in column.constraints}
            assert {c["name"] for c in inspect(connection).get_check_constraints(table.name)} == checks
    engine.dispose()


def test_the_database_itself_refuses_what_the_schema_forbids(url):
    with pool(url, 2) as engine:
        for sql in (
            "INSERT INTO reserved VALUES (1, 'train')",
            "INSERT INTO reserved VALUES (3, 'test')",
            "UPDATE project SET id = 2",
            "INSERT INTO item VALUES (3, '1.jpg', NULL, 1, 1)",
        ):
            with pytest.raises(IntegrityError), db.writing(engine) as connection:
                run(connection, sql)


def test_upgrading_twice_changes_nothing(url):
    used(url)
    engine = db.engine_of(url)
    with db.reading(engine) as connection:
        before = rows_of(connection, "label")
    db.upgrade(engine)
    with db.reading(engine) as connection:
        assert rows_of(connection, "label") == before
        assert len(before) == 3
    engine.dispose()


def test_two_processes_may_open_a_fresh_database_at_once(url):
    code = "import sys; from alctl.database import connection as db; db.upgrade(db.engine_of(sys.argv[1]))"
    openers = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(opener.communicate()[1], opener.returncode) for opener in openers] == [("", 0)] * 2


def test_a_migration_that_rebuilds_the_item_table_keeps_every_label(url, newer):
    used(url)
    (newer / "0005_rebuild.py").write_text(REBUILD)
    engine = db.engine_of(url)
    db.upgrade(engine)
    with db.writing(engine) as connection:
        assert db.revision_of(connection) == "0005"
        assert len(rows_of(connection, "label")) == 3
        assert len(rows_of(connection, "selection")) == 3
        assert [row[0] for row in run(connection, "SELECT note FROM item ORDER BY id")] == ["none"] * 4
        assert labels.labeled_items(connection, "pool") == [(1, 1, None), (2, 2, None)]
    with pytest.raises(IntegrityError), db.writing(engine) as connection:
        run(connection, "DELETE FROM item WHERE id = 2")
    assert integrity.integrity_problems(engine) == []
    engine.dispose()


def test_a_failing_migration_leaves_nothing_behind(url, newer):
    used(url)
    (newer / "0005_fail.py").write_text(FAIL)
    engine = db.engine_of(url)
    with pytest.raises(Exception, match="no_such_table"):
        db.upgrade(engine)
    with db.reading(engine) as connection:
        assert db.revision_of(connection) == "0004"
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert not [name for name in inspect(connection).get_table_names() if "alembic_tmp" in name]
        assert len(rows_of(connection, "label")) == 3
    with pytest.raises(IntegrityError), db.writing(engine) as connection:
        run(connection, "DELETE FROM item WHERE id = 2")
    engine.dispose()


def test_a_migration_that_would_orphan_labels_is_taken_back(tmp_path, newer):
    url = f"sqlite:///{tmp_path / 'alctl.db'}"
    used(url)
    (newer / "0005_orphan.py").write_text(ORPHAN)
    engine = db.engine_of(url)
    with pytest.raises(AlctlError, match="nothing was changed"):
        db.upgrade(engine)
    with db.reading(engine) as connection:
        assert db.revision_of(connection) == "0004"
        assert len(rows_of(connection, "item")) == 4
    assert integrity.integrity_problems(engine) == []
    engine.dispose()


def test_a_used_database_is_copied_before_it_is_migrated(tmp_path, newer):
    url = f"sqlite:///{tmp_path / 'alctl.db'}"
    used(url)
    (newer / "0005_rebuild.py").write_text(REBUILD)
    engine = db.engine_of(url)
    db.upgrade(engine)
    engine.dispose()
    copy = tmp_path / "alctl.before-0005.db"
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchall() == [("0004",)]
        assert old.execute("SELECT count(*) FROM label").fetchall() == [(3,)]
    assert sorted(path.name for path in tmp_path.glob("*.db*")) == [copy.name, "alctl.db"]


def test_a_fresh_database_is_not_copied(tmp_path):
    engine = db.engine_of(f"sqlite:///{tmp_path / 'alctl.db'}")
    db.upgrade(engine)
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == ["alctl.db"]


def test_a_database_of_a_newer_alctl_is_refused_and_left_alone(url):
    used(url)
    engine = db.engine_of(url)
    with db.writing(engine) as connection:
        run(connection, "UPDATE alembic_version SET version_num = '0042'")
    with pytest.raises(AlctlError, match=r"newer alctl .*0042.*upgrade alctl"):
        db.upgrade(engine)
    with db.reading(engine) as connection:
        assert db.revision_of(connection) == "0042"
    engine.dispose()


@pytest.mark.parametrize(
    "content", [b"this is a letter, not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_a_file_that_is_no_database_gives_a_sentence_and_stays_as_it_is(tmp_path, content):
    file = tmp_path / "alctl.db"
    file.write_bytes(content)
    engine = db.engine_of(f"sqlite:///{file}")
    with pytest.raises(AlctlError, match=r"alctl\.db"):
        db.upgrade(engine)
    engine.dispose()
    assert file.read_bytes() == content


def test_a_folder_in_place_of_the_database_gives_a_sentence(tmp_path):
    engine = db.engine_of(f"sqlite:///{tmp_path}")
    with pytest.raises(AlctlError, match="cannot open the database"):
        db.upgrade(engine)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://a/b", "only SQLite and PostgreSQL"),
        ("oracle+foo://a/b", "only SQLite and PostgreSQL"),
    ],
)
def test_an_unusable_url_gives_a_sentence(url, sentence):
    with pytest.raises(AlctlError, match=sentence):
        db.engine_of(url)


def test_a_server_that_does_not_answer_gives_a_sentence_without_the_password(tmp_path):
    engine = db.engine_of(f"postgresql://ann:geheim@/x?host={tmp_path}")
    with pytest.raises(AlctlError, match="cannot open the database") as error:
        db.upgrade(engine)
    assert "geheim" not in str(error.value)
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_way_to_write_a_postgresql_url_works(postgres_url, scheme):
    engine = db.engine_of(postgres_url.replace("postgresql+psycopg", scheme))
    db.upgrade(engine)
    with db.reading(engine) as connection:
        assert items.size(connection) == 0
    engine.dispose()


@pytest.mark.parametrize("name", ["what?", "50%", "a b#c", "käse@home:1", "x=1&y"])
def test_a_project_folder_may_have_any_name(tmp_path, name):
    project = small_project(tmp_path / name)
    assert (tmp_path / name / "project" / "alctl.db").is_file()
    project.engine.dispose()


def test_a_failure_takes_everything_back(url):
    with pool(url, 2) as engine:
        with pytest.raises(IntegrityError), db.writing(engine) as connection:
            send(connection, [answer(connection, [(1, "ann", "cat")]), 99])
        with db.reading(engine) as connection:
            assert rows_of(connection, "label") == rows_of(connection, "round") == []


def test_a_reader_sees_one_state_while_a_writer_commits(url):
    with pool(url, 2) as engine, db.reading(engine) as reader:
        assert items.size(reader) == 2
        with db.writing(engine) as writer:
            insert_rows(writer, item, [(3, "3.jpg", b"3", 1, 1)])
        assert items.size(reader) == 2
        assert len(rows_of(reader, "item")) == 2
        with db.reading(engine) as later:
            assert items.size(later) == 3


def test_a_second_writer_waits_for_the_first_and_sees_what_it_wrote(url):
    with pool(url, 2) as engine:
        started, sizes = threading.Event(), []

        def second() -> None:
            started.set()
            with db.writing(engine) as connection:
                sizes.append(items.size(connection))

        thread = threading.Thread(target=second)
        with db.writing(engine) as connection:
            assert items.size(connection) == 2
            thread.start()
            started.wait()
            thread.join(0.3)
            assert thread.is_alive()
            insert_rows(connection, item, [(3, "3.jpg", b"3", 1, 1)])
        thread.join()
        assert sizes == [3]


def test_a_writer_that_waits_too_long_is_told_so(url, monkeypatch):
    monkeypatch.setattr(db, "BUSY_SECONDS", 1)
    with (
        pool(url, 2) as engine,
        db.writing(engine),
        pytest.raises(AlctlError, match="busy"),
        db.writing(engine),
    ):
        pytest.fail("two writers at once")


def test_a_damaged_database_is_found(tmp_path):
    used(f"sqlite:///{tmp_path / 'alctl.db'}")
    with closing(sqlite3.connect(tmp_path / "alctl.db")) as raw:
        raw.execute("DELETE FROM item WHERE id = 2")  # this driver checks no foreign keys unless told
        raw.commit()
    engine = db.engine_of(f"sqlite:///{tmp_path / 'alctl.db'}")
    problems = integrity.integrity_problems(engine)
    assert len(problems) == 2
    assert all("item" in problem for problem in problems)
    engine.dispose()


def test_a_live_database_can_be_copied_while_somebody_writes(tmp_path):
    url = f"sqlite:///{tmp_path / 'alctl.db'}"
    used(url)
    engine = db.engine_of(url)
    with db.writing(engine) as writer:
        run(writer, "DELETE FROM selection")
        copy = db.copy_to(engine, tmp_path / "copy.db")
    with closing(sqlite3.connect(copy)) as raw:
        assert raw.execute("SELECT count(*) FROM selection").fetchall() == [(3,)]
    engine.dispose()


def test_an_unfinished_project_says_so(tmp_path):
    project = small_project(tmp_path)
    with project.writing("test") as connection:
        connection.execute(text("DELETE FROM project"))
    with pytest.raises(AlctlError, match="did not finish"):
        open_project(project.folder)
    with project.reading() as connection:
        assert scalar(connection, "SELECT count(*) FROM item") == 6
