"""Backups: whole or not there, equal to what was backed up, and restored only if every byte is right."""

import json
import shutil
import threading
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from alctl.annotators import handout
from alctl.backup import backup, restore
from alctl.config import read_config
from alctl.database import connection as database
from alctl.database.bulk import run
from alctl.database.connection import engine_of, migrations_folder, revision_of, revisions, upgrade, writing
from alctl.database.tables import metadata
from alctl.errors import AlctlError
from alctl.project import CONFIG, Project, connect, open_project
from alctl.rounds import train_plan, train_run, trained_model
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.fakes import tiny
from tests.pools import pool
from tests.project_files import (
    copied,
    no_progress,
    small_project,
    take,
    write_csv,
)
from tests.warm import run_warm, warm_json

LABELS = [(i, "cat" if i % 2 else "dog") for i in range(1, 7)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of twelve images and a project: six labels, a round that annotators have half filled in, and a model."""
    place = tmp_path_factory.mktemp("trained")
    made = small_project(place, 12, test=2)
    take(made, write_csv(place / "l.csv", LABELS), format="csv")
    chosen = select(made, SelectOptions(3, "random"), no_progress)
    folder = handout.export(made, chosen.round, no_progress)
    (folder / "items.csv").write_text("item,label\n7,cat\n")
    (folder / "notes of ann.txt").write_text("the second one is blurred")
    plan = train_plan.plan_training(made, tiny(epochs=1), None)
    list(train_run.run_training(made, plan, no_progress))
    made.engine.dispose()
    return place


@pytest.fixture
def project(trained, tmp_path):
    """A copy of it for each test."""
    return copied(trained, tmp_path)


def back_up(project: Project, name: str = "b.zip", **options) -> Path:
    return Path(backup(project, project.folder.parent / name, no_progress, **options).file)


def restored(file: Path, name: str = "again") -> Project:
    done = restore(file, file.parent / name, no_progress)
    return open_project(Path(done.folder))


def rows(project: Project) -> dict[str, list[str]]:
    """Return every row of every table."""
    with project.reading() as connection:
        return {
            table.name: sorted(repr(row) for row in connection.execute(table.select()))
            for table in metadata.sorted_tables
        }


def repacked(
    file: Path, change: Callable[[dict[str, bytes]], object], *, attr: dict[str, int] | None = None
) -> Path:
    """Write a copy of a backup whose members were changed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    other = file.with_name("changed.zip")
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (attr or {}).get(name, 0o100644) << 16
            archive.writestr(info, content)
    return other


def told(members: dict[str, bytes], **changes) -> None:
    """Change the manifest; ``files`` are added with the digests that they have."""
    manifest = json.loads(members["manifest.json"])
    for name, content in changes.pop("files", {}).items():
        members[name] = content
        manifest["files"][name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    members["manifest.json"] = json.dumps(manifest | changes).encode()


# --- there and back ---------------------------------------------------------------------------------------------------


def test_what_is_restored_is_what_was_backed_up(project):
    before, found = rows(project), status(project)
    again = restored(back_up(project))
    assert rows(again) == before
    assert check(again) == []
    for key in ("states", "classes", "rounds", "imports", "items"):
        assert getattr(status(again), key) == getattr(found, key)
    for name in (
        "rounds/0001/items.csv",
        "rounds/0001/manifest.json",
        "rounds/0001/notes of ann.txt",
        "alctl.toml",
    ):
        assert (again.folder / name).read_bytes() == (project.folder / name).read_bytes()
    assert not (again.folder / "rounds" / "0001" / "images").exists()
    assert not list(again.folder.glob("*before*"))
    model = trained_model.required_model(again, "cpu")
    assert model.run.id == 1
    assert train_plan.plan_training(again, tiny(epochs=1), None).finished is not None


def test_a_backup_names_every_member_with_its_digest(project):
    file = back_up(project)
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        names = set(archive.namelist()) - {"manifest.json"}
        assert set(manifest["files"]) == names
        for name, packed in manifest["files"].items():
            content = archive.read(name)
            assert packed == {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    assert (manifest["items"], manifest["labels"], manifest["project"]) == (12, 6, "project")
    assert manifest["schema"] == revisions()[-1]
    assert names >= {"alctl.db", "alctl.toml", "models/run-0001.safetensors", "rounds/0001/items.csv"}
    assert not [name for name in names if "images" in name or name.endswith((".jpg", ".lock", ".holder"))]


def test_without_models_the_backup_says_which_runs_to_train_again(project):
    file = back_up(project, models=False)
    with zipfile.ZipFile(file) as archive:
        assert not [name for name in archive.namelist() if name.startswith("models/")]
    done = restore(file, file.parent / "again", no_progress)
    assert done.untrained == [1]
    assert train_plan.plan_training(open_project(Path(done.folder)), tiny(epochs=1), None).finished is None


def test_weights_that_are_gone_are_named_and_the_rest_is_kept(project):
    (project.folder / "models" / "run-0001.safetensors").unlink()
    done = backup(project, project.folder.parent / "b.zip", no_progress)
    assert done.left_out == ["models/run-0001.safetensors: it is gone"]
    assert restore(Path(done.file), project.folder.parent / "again", no_progress).labels == 6


def test_a_backup_is_consistent_while_others_write(project):
    """Every import takes both labels or none; a snapshot in the middle of one would hold an odd number."""
    stop = threading.Event()

    def work() -> None:
        own, number = connect(project.folder), 0
        while not stop.is_set():
            number += 1
            answers = [(7, "cat" if number % 2 else "dog"), (8, "dog" if number % 2 else "cat")]
            take(own, write_csv(project.folder.parent / "w.csv", answers), format="csv")
        own.engine.dispose()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        files = [back_up(project, f"b{i}.zip", models=False) for i in range(4)]
    finally:
        stop.set()
        worker.join()
    labels = [restore(file, file.with_suffix(""), no_progress).labels for file in files]
    assert [count % 2 for count in labels] == [0] * 4
    assert labels == sorted(labels)


def test_the_folder_of_the_images_is_looked_for(project):
    file = back_up(project)
    assert restore(file, file.parent / "one", no_progress).images_there
    (project.folder.parent / "images").rename(project.folder.parent / "moved")
    assert not restore(file, file.parent / "two", no_progress).images_there


def test_a_backup_of_an_older_alctl_is_brought_up_to_date(project, tmp_path, monkeypatch):
    old = tmp_path / "old.db"
    with monkeypatch.context() as earlier:
        first = tmp_path / "migrations" / "versions"
        shutil.copytree(migrations_folder(), first.parent)
        for later in set(first.glob("0*.py")) - set(first.glob("0001_*")):
            later.unlink()
        earlier.setattr(database, "migrations_folder", lambda: first.parent)
        engine = engine_of(f"sqlite:///{old}")
        upgrade(engine)
    with writing(engine) as connection:
        run(
            connection,
            "INSERT INTO project VALUES (1, '/images', 'classification', 7, '2026-01-01T00:00:00Z')",
        )
        run(connection, "INSERT INTO item VALUES (1, '1.jpg', :digest, 8, 8)", digest=b"1" * 32)
    engine.dispose()
    about = {"schema": "0001", "items": 1, "labels": 0, "files": {"alctl.db": old.read_bytes()}}
    again = restored(repacked(back_up(project), lambda members: told(members, **about)))
    with again.reading() as connection:
        assert revision_of(connection) == revisions()[-1]
    assert status(again).items == 1
    assert check(again) == []
    assert [file.name for file in again.folder.glob("*.db")] == ["alctl.db"]


def test_settings_that_name_a_database_elsewhere_do_not_lead_back_to_the_original(project, tmp_path):
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(project.folder / "alctl.db", elsewhere)
    toml = project.folder / CONFIG
    toml.write_text(toml.read_text().replace("[storage]", f'[storage]\ndatabase = "sqlite:///{elsewhere}"'))
    original = open_project(project.folder)
    assert original.engine.url.database == str(elsewhere)
    again = restored(back_up(original))
    assert again.engine.url.database == str(again.folder / "alctl.db")
    assert status(again).items == 12


# --- what a backup refuses --------------------------------------------------------------------------------------------


def test_a_backup_overwrites_nothing_and_has_a_name_of_its_own_in_a_folder(project, tmp_path):
    file = tmp_path / "b.zip"
    file.write_text("precious")
    with pytest.raises(AlctlError, match=r"b\.zip is there already"):
        backup(project, file, no_progress)
    assert file.read_text() == "precious"
    with pytest.raises(AlctlError, match="there is no folder"):
        backup(project, tmp_path / "no" / "b.zip", no_progress)
    (tmp_path / "safe").mkdir()
    done = backup(project, tmp_path / "safe", no_progress)
    assert Path(done.file).parent == tmp_path / "safe"
    assert Path(done.file).name.startswith("alctl-backup-project-20")
    assert Path(backup(project, None, no_progress).file).parent == tmp_path
    assert not list(tmp_path.rglob("*.partial"))
    assert not (project.folder / "backup.db").exists()


def test_a_project_in_postgresql_is_told_how_to_be_copied(postgres_url, tmp_path):
    with pool(postgres_url, 3) as engine:
        project = Project(tmp_path, read_config(_empty(tmp_path / CONFIG)), engine)
        with pytest.raises(AlctlError, match="pg_dump --format=custom --file FILE 'postgresql://"):
            backup(project, tmp_path / "b.zip", no_progress)
    assert not list(tmp_path.glob("*.zip"))


def _empty(file: Path) -> Path:
    file.touch()
    return file


# --- what a restore refuses -------------------------------------------------------------------------------------------


@pytest.fixture
def file(project):
    """A backup."""
    return back_up(project)


def refused(file: Path, sentence: str) -> None:
    folder = file.parent / "refused"
    there = set(file.parent.iterdir())
    with pytest.raises(AlctlError, match=sentence):
        restore(file, folder, no_progress)
    assert set(file.parent.iterdir()) == there


@pytest.mark.parametrize(
    "name", ["alctl.db", "alctl.toml", "models/run-0001.safetensors", "rounds/0001/items.csv"]
)
def test_a_single_wrong_byte_is_found_before_anything_is_written(file, name):
    def flip(members):
        members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]

    refused(repacked(file, flip), f"is damaged: {name} is not what was packed")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refused(file, "neither a folder nor a zip|is damaged|not a backup")


def test_files_that_are_no_backups_are_refused(file, tmp_path):
    refused(write_csv(tmp_path / "x.csv", [(1, "cat")]), "neither a folder nor a zip")
    refused(tmp_path / "nowhere.zip", "cannot read")
    refused(repacked(file, lambda members: members.pop("manifest.json")), "is not a backup of alctl")
    refused(
        repacked(file, lambda members: members.update({"manifest.json": b"{}"})), "is not a backup of alctl"
    )
    refused(repacked(file, lambda members: members.update({"manifest.json": b"\xff"})), "is not UTF-8")
    refused(repacked(file, lambda members: members.pop("alctl.toml")), "differ in 'alctl.toml'")
    refused(repacked(file, lambda members: members.update({"rounds/x": b""})), "differ in 'rounds/x'")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../out.txt", "leads to no place inside"),
        ("rounds/../../out.txt", "leads to no place inside"),
        ("/tmp/out.txt", "leads to no place inside"),
        ("C:/out.txt", "leads to no place inside"),
        ("rounds\\..\\..\\out.txt", "leads to no place inside"),
        ("cache/x", "differ in 'cache/x'"),
        ("alctl.db-wal", "differ in 'alctl.db-wal'"),
    ],
)
def test_members_that_lead_elsewhere_are_refused(file, name, sentence):
    refused(repacked(file, lambda members: told(members, files={name: b"evil"})), sentence)
    assert not (file.parent / "out.txt").exists()


def test_a_link_in_a_backup_is_refused(file):
    other = repacked(
        file, lambda members: told(members, files={"rounds/x": b"/etc/passwd"}), attr={"rounds/x": 0o120777}
    )
    refused(other, "symbolic link")


def test_a_backup_of_a_newer_alctl_is_refused(file):
    refused(repacked(file, lambda members: told(members, schema="9999")), "was written by a newer alctl")


def test_a_database_that_is_none_or_counts_otherwise_is_refused(file):
    refused(
        repacked(file, lambda members: told(members, files={"alctl.db": b"no database" * 99})),
        "not a database",
    )
    refused(repacked(file, lambda members: told(members, items=13)), "count differently")
    bad = b"[train]\nepoch = 3\n"
    refused(repacked(file, lambda members: told(members, files={"alctl.toml": bad})), "epoch")


def test_a_restore_overwrites_nothing(file, project, tmp_path):
    before = rows(project)
    with pytest.raises(AlctlError, match="holds a project already"):
        restore(file, project.folder, no_progress)
    assert rows(project) == before
    with pytest.raises(AlctlError, match="is not an empty folder"):
        restore(file, tmp_path / "images", no_progress)
    (tmp_path / "empty").mkdir()
    assert restore(file, tmp_path / "empty", no_progress).items == 12


# --- the commands -----------------------------------------------------------------------------------------------------


def test_the_commands_say_what_is_in_the_backup_and_where_the_project_is(project, tmp_path):
    done = warm_json("backup", "--project", project.folder)
    assert (done["items"], done["labels"], done["models"], done["left_out"]) == (12, 6, 1, [])
    assert Path(done["file"]).stat().st_size == done["bytes"]
    shutil.rmtree(tmp_path / "images")
    said = run_warm("restore", done["file"], cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert f"project {tmp_path / 'alctl-project'}: 12 items and 6 labels" in said.stdout
    assert "next: alctl relink FOLDER" in said.stdout
    again = run_warm("restore", done["file"], "--json", cwd=tmp_path)
    assert again.returncode == 1
    assert "restoring never overwrites" in json.loads(again.stdout)["error"]
    assert warm_json("status", cwd=tmp_path)["items"] == 12
