"""A team's project in PostgreSQL: machines that exclude each other, who has a lock, where the password is."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from alctl.backup import backup
from alctl.database import address, items
from alctl.database import connection as db
from alctl.database.bulk import run
from alctl.database.integrity import integrity_problems
from alctl.database.locks import Holder, described
from alctl.errors import AlctlError
from alctl.files import write_whole
from alctl.project import CONFIG, Project, open_project
from alctl.status import check
from tests.holding import holder
from tests.postgres import new_database
from tests.project_files import make_images, make_project, no_progress
from tests.warm import run_warm, warm_json

PASSWORD = "postgresql://ann:geheim@db.example/photos"


@pytest.fixture
def project(postgres_url, tmp_path) -> Iterator[Project]:
    """A project of six images on a first machine."""
    make_images(tmp_path / "images", 6)
    made = make_project(tmp_path / "project", tmp_path / "images", database=postgres_url)
    yield made
    made.engine.dispose()


@pytest.fixture
def second(project: Project, tmp_path: Path) -> Path:
    """The folder of the same project on a second machine: as the page says, its settings and nothing else."""
    folder = tmp_path / "second"
    folder.mkdir()
    shutil.copy(project.folder / CONFIG, folder)
    return folder


def machine(folder: Path, command: str, lock: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Let a second machine hold a lock of the project in ``folder`` until it is told to stop or killed."""
    return holder(folder, command, lock, host="machine-two")


@pytest.mark.parametrize(
    ("lock", "command"), [("alctl.lock", "import-labels"), ("train.lock", "train"), ("live.lock", "push")]
)
def test_a_second_machine_is_told_who_holds_a_lock_and_gets_it_when_that_one_is_killed(
    project, second, lock, command
):
    told: list[str] = []
    with machine(second, command, lock) as other:
        who = rf"held by `alctl {command}` \(process {other.pid} on machine-two, since 20.+Z\); try again"
        with pytest.raises(AlctlError, match=who), project.held("select", lock, 0):
            pytest.fail("two machines at once")

        def kill(stage: str, _done: int, _total: int) -> None:
            told.append(stage)
            other.kill()

        with project.held("select", lock, 60, kill):
            assert told[0].startswith(f"waiting for `alctl {command}` (process {other.pid} on machine-two")


@pytest.mark.slow
def test_a_busy_writer_is_named_by_the_command_with_json_too(project, second):
    with machine(second, "import-labels", "alctl.lock") as other:
        done = run_warm("classes", "add", "owl", "--json", "--project", project.folder)
        assert done.returncode == 1
        said = json.loads(done.stdout)["error"]
        assert f"held by `alctl import-labels` (process {other.pid} on machine-two" in said
        assert warm_json("status", "--project", project.folder)["items"] == 6  # readers never wait


def test_a_lock_of_one_kind_leaves_the_others_free(project, second):
    with machine(second, "train", "train.lock"), project.writing("import-labels") as connection:
        assert items.size(connection) == 6


def test_a_lock_is_free_after_an_error_and_when_the_server_ended_its_session(project):
    with pytest.raises(ZeroDivisionError), project.held("train", "train.lock"):
        raise ZeroDivisionError
    with project.held("train", "train.lock"):
        with project.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as killer:
            others = (
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            )
            run(killer, f"{others} AND datname = current_database()")
        with project.recording("train") as connection:  # what an hour's training found is still recorded
            assert items.size(connection) == 6
    with project.held("train", "train.lock", 0):
        pass


def test_a_session_is_named_after_its_holder_even_if_the_server_cuts_it_off():
    holder = Holder(
        "label-studio push", 4194304, "a-machine-with-a-very-long-name.example.org", "2026-01-01T00:00:00Z"
    )
    whole, cut = described(holder.session), described(holder.session[:63])
    assert whole == str(holder)
    assert cut.startswith("`alctl label-studio push` (process 4194304 on a-machine")
    assert cut.endswith(", since 2026-01-01T00:00:00Z)")
    for other in (None, "", "psql", "alctl x y z w", "DBeaver 24 - Main"):
        assert described(other) == "another session of the database"


def test_a_second_machine_joins_with_the_settings_alone(project, second):
    assert warm_json("status", "--project", second)["items"] == 6
    selected = warm_json("select", "--k", 2, "--strategy", "random", "--project", second)
    assert warm_json("status", "--project", project.folder)["rounds"][0]["id"] == selected["round"]


def test_the_address_may_stand_in_a_file_that_only_its_owner_reads(project, postgres_url, second):
    file = second / "address"
    file.write_text(f"{postgres_url}\n")
    for named in (str(file), "address"):
        write_whole(second / CONFIG, f"[storage]\ndatabase = {json.dumps(named)}\n")
        with open_project(second).reading() as connection:
            assert items.size(connection) == 6
    file.write_text(PASSWORD)
    file.chmod(0o644)
    with pytest.raises(AlctlError, match=r"everybody .* may read the password .*chmod 600") as error:
        open_project(second)
    assert "geheim" not in str(error.value)
    file.chmod(0o600)
    assert address.address("address", second).password == "geheim"
    with pytest.raises(AlctlError, match=r"cannot read .*nowhere: No such file"):
        address.address("nowhere", second)


def test_init_writes_no_password_down(tmp_path):
    make_images(tmp_path / "images", 6)
    done = run_warm(
        "init", tmp_path / "images", "--database", PASSWORD, "--project", tmp_path / "project", "--json"
    )
    assert done.returncode == 1
    assert "pgpass" in json.loads(done.stdout)["error"]
    assert "geheim" not in done.stdout + done.stderr
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("wrong", ["postgresql://ann:geheim@db:port/photos", "://geheim"])
def test_what_is_no_address_is_not_shown(wrong):
    with pytest.raises(AlctlError) as error:
        db.engine_of(wrong)
    assert "geheim" not in str(error.value)


def test_a_folder_without_its_database_says_what_to_do(project, second):
    (second / CONFIG).write_text("")
    with pytest.raises(AlctlError, match=r"no alctl\.db in .*ALCTL_DATABASE"):
        open_project(second)
    assert not (second / "alctl.db").exists()


def test_db_check_finds_what_a_restored_dump_may_lack(project):
    assert check(project) == []
    with project.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # as pg_restore does
        connection.execute(text("INSERT INTO duplicate (path, item_id) VALUES ('x.png', 99)"))
    assert "1 rows of duplicate refer by item_id to a item that is not there" in check(project)
    with project.engine.begin() as connection:
        connection.execute(text("DELETE FROM duplicate"))
        index = connection.execute(
            text("SELECT indexname FROM pg_indexes WHERE tablename = 'label' AND indexname LIKE 'ix%'")
        ).scalar()
        connection.execute(text(f"DROP INDEX {index}"))
    assert check(project) == [f"the index {index} of label is gone"]


def test_db_check_reads_every_page_on_the_server(project, postgres_url):
    own, copy = make_url(postgres_url), make_url(postgres_url).set(database="damaged")
    with project.reading() as connection:
        where = "current_setting('data_directory') || '/' || pg_relation_filepath('item')"
        file, number = run(
            connection, f"SELECT {where}, oid FROM pg_database WHERE datname = current_database()"
        ).one()
    project.engine.dispose()
    server = db.engine_of(own.set(database="postgres"))
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        run(
            connection, f"CREATE DATABASE damaged TEMPLATE {own.database} STRATEGY file_copy"
        )  # not in memory yet
        other = run(connection, "SELECT oid FROM pg_database WHERE datname = 'damaged'").scalar_one()
        with Path(file.replace(f"/base/{number}/", f"/base/{other}/")).open("r+b") as page:
            page.write(b"\xff" * 8192)
        damaged = db.engine_of(copy)
        problems = integrity_problems(damaged)
        damaged.dispose()
        run(connection, "DROP DATABASE damaged WITH (FORCE)")
    server.dispose()
    assert any(problem.startswith("item: ") and "invalid page" in problem for problem in problems)


def test_a_dump_is_written_and_restored_as_the_backup_says(project, tmp_path, postgres_url):
    with pytest.raises(AlctlError, match="pg_dump --format=custom --file FILE") as error:
        backup(project, None, no_progress)
    command = str(error.value).split("`")[1].replace("FILE", str(tmp_path / "dump"))
    subprocess.run(command, shell=True, check=True)
    with new_database(postgres_url) as url:
        plain = make_url(url).set(drivername="postgresql").render_as_string()
        subprocess.run(["pg_restore", "--no-owner", "--dbname", plain, tmp_path / "dump"], check=True)
        restored = warm_json("status", "--project", project.folder, env={"ALCTL_DATABASE": url})
        assert restored["items"] == 6
        done = run_warm("db", "check", "--project", project.folder, env={"ALCTL_DATABASE": url})
        assert (done.returncode, done.stdout.strip()) == (0, "the state is sound")
