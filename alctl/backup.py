"""Backups: a project as one zip that is checked when it is written and again before it is restored."""

import hashlib
import json
import os
import re
import shlex
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from sqlalchemy import URL, Connection, create_engine

from alctl.config import read_config
from alctl.database import counts, training_runs
from alctl.database.connection import copy_to, engine_of, reading, revision_of, revisions, upgrade
from alctl.errors import AlctlError
from alctl.files import whole_file, whole_folder
from alctl.labels.parsing.untrusted import Members, members
from alctl.progress import Progress
from alctl.project import CONFIG, Project, now, required_state

DATABASE, MANIFEST = "alctl.db", "manifest.json"
_BLOCK = 1 << 20
_DERIVED = frozenset({"images", "contact_sheet.jpg"})
"""What an export of a round holds that `alctl export` makes again."""


@dataclass(frozen=True)
class Packed:
    """One member of a backup."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself; written last, so that nothing without it is a backup."""

    alctl: str
    """The version that wrote it."""
    schema: str
    """Revision of the database."""
    project: str
    root: str
    """Where the images were."""
    created_at: str
    items: int
    labels: int
    files: Mapping[str, Packed]
    """Every other member."""


@dataclass
class Backup:
    """A finished backup."""

    file: str
    bytes: int
    items: int
    labels: int
    models: int
    left_out: list[str] = field(default_factory=list)
    """Files that are not in it, each with the reason."""


@dataclass
class Restored:
    """A restored project."""

    folder: str
    items: int
    labels: int
    root: str
    images_there: bool
    untrained: list[int] = field(default_factory=list)
    """Training runs whose weights are not in the backup."""


def backup(project: Project, target: Path | None, progress: Progress, *, models: bool = True) -> Backup:
    """Write a project to a new zip, consistent while others write; there is no file of that name until it is whole.

    Images are not in it, and neither is what can be made again: caches, exported images, unfinished training.
    """
    if project.engine.dialect.name != "sqlite":
        url = project.engine.url.set(drivername="postgresql", password=None).render_as_string()
        dump = f"pg_dump --format=custom --file FILE {shlex.quote(url)}"
        raise AlctlError(
            f"the state of this project is in PostgreSQL, so copy it with `{dump}`, and the folder {project.folder} as it is"
        )
    target = _target(project, target)
    with (
        _snapshot(project, target) as snapshot,
        whole_file(target) as partial,
    ):  # both clear what a kill has left
        _refuse_existing(target)
        copy_to(project.engine, snapshot)
        done = _pack(project, snapshot, partial, progress, models=models)
        with members(partial) as archive:
            _read(archive, _manifest(archive, partial), None, "MB read back", progress)
        _refuse_existing(target)
    done.file, done.bytes = str(target), target.stat().st_size
    return done


@contextmanager
def _snapshot(project: Project, target: Path) -> Iterator[Path]:
    """Give a name for a copy of the database, which is deleted afterwards.

    It is in the project, where the next backup replaces what a killed one left; beside ``target`` if that is read-only.
    """
    if not os.access(project.folder, os.W_OK):
        with tempfile.TemporaryDirectory(prefix=".alctl-backup-", dir=target.parent) as folder:
            yield Path(folder) / DATABASE
        return
    with project.held("backup", "backup.lock"):
        snapshot = project.folder / "backup.db"
        try:
            yield snapshot
        finally:
            snapshot.unlink(missing_ok=True)


def _target(project: Project, given: Path | None) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"alctl-backup-{project.folder.name}-{stamp}.zip"
    target = project.folder.parent / name if given is None else given / name if given.is_dir() else given
    if not target.parent.is_dir():
        raise AlctlError(f"there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise AlctlError(
            f"{target.parent} is read-only here; give a file or folder elsewhere: `alctl backup FILE`"
        )
    return target.absolute()


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise AlctlError(f"{target} is there already, and a backup never overwrites; choose another name")


def _pack(project: Project, snapshot: Path, partial: Path, progress: Progress, *, models: bool) -> Backup:
    """Write everything to ``partial``."""
    with _looking(snapshot) as connection:
        state, totals = required_state(connection, project.folder), counts.totals(connection)
        revision, runs = revision_of(connection) or "", training_runs.every_run(connection)
    weights = [run.file for run in runs if models and (project.folder / run.file).is_file()]
    done = Backup("", 0, totals.items, totals.labels, len(weights))
    if models:
        done.left_out = [f"{run.file}: it is gone" for run in runs if run.file not in weights]
    found = {DATABASE: snapshot, CONFIG: project.folder / CONFIG}
    for file in [*_work(project), *(project.folder / name for name in weights)]:
        name = file.relative_to(project.folder).as_posix()
        if _portable(name):
            found[name] = file
        else:
            done.left_out.append(f"{name!r}: a zip cannot carry such a name")
    total = sum(file.stat().st_size for file in found.values())
    files: dict[str, Packed] = {}
    done_bytes = 0
    with zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, file in found.items():
            digest, size = hashlib.sha256(), 0
            with file.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as member:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    member.write(block)
                    size += len(block)
                    progress("MB packed", (done_bytes + size) >> 20, total >> 20)
            done_bytes += size
            files[name] = Packed(digest.hexdigest(), size)
        manifest = Manifest(
            version("alctl"), revision, project.folder.name, state.root, now(), totals.items,
            totals.labels, files,
        )  # fmt: skip
        archive.writestr(_entry(MANIFEST), json.dumps(asdict(manifest), indent=1, allow_nan=False))
    return done


@contextmanager
def _looking(snapshot: Path) -> Iterator[Connection]:
    """Give a connection to a copy of the database that does not change a byte of it."""
    uri = f"{snapshot.absolute().as_uri()}?mode=ro"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _work(project: Project) -> Iterator[Path]:
    """Yield what annotators were given and have filled in, in the project's own rounds."""
    for folder in sorted(project.rounds.glob("[0-9]*")):
        for file in sorted(folder.rglob("*")):
            derived = file.relative_to(folder).parts[0] in _DERIVED
            if not derived and file.is_file() and not file.is_symlink():
                yield file


def _portable(name: str) -> bool:
    try:
        return "\\" not in name and bool(name.encode())
    except UnicodeEncodeError:
        return False


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
    packed = name.endswith(".safetensors")  # random numbers do not shrink
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    return info


def restore(file: Path, folder: Path, progress: Progress) -> Restored:
    """Make a project of a backup, whole or not at all, after every byte of it has been checked."""
    folder = folder.absolute()
    _refuse_occupied(folder)
    with members(file) as archive:
        manifest = _manifest(archive, file)
        if manifest.schema not in revisions():
            raise AlctlError(
                f"{file} was written by a newer alctl ({manifest.alctl}; database revision {manifest.schema}, "
                f"this alctl knows {revisions()[-1]}); upgrade alctl: pip install --upgrade alctl"
            )
        _read(archive, manifest, None, "MB checked", progress)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as partial:
            _read(archive, manifest, partial, "MB unpacked", progress)
            _own_database(partial)
            restored = _opened(partial, manifest, file)
            _refuse_occupied(folder)
    restored.folder = str(folder)
    return restored


def _refuse_occupied(folder: Path) -> None:
    if (folder / CONFIG).exists():
        raise AlctlError(
            f"{folder} holds a project already, and restoring never overwrites; choose another folder with --project"
        )
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise AlctlError(f"{folder} is not an empty folder; choose another one with --project")


def _manifest(archive: Members, file: Path) -> Manifest:
    """Return what a backup says of itself, if it holds just that."""
    from pydantic import TypeAdapter, ValidationError

    if MANIFEST not in archive.names:
        raise AlctlError(f"{file} is not a backup of alctl, or was cut off: it holds no {MANIFEST}")
    try:
        manifest = TypeAdapter(Manifest).validate_json(archive.text(MANIFEST), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise AlctlError(f"{file} is not a backup of alctl: {MANIFEST}: {where} {first['msg']}") from error
    strange = set(archive.names) ^ {MANIFEST, *manifest.files}
    wrong = [name for name in manifest.files if not (name in (DATABASE, CONFIG) or _ours(name))]
    if strange or wrong or not {DATABASE, CONFIG} <= set(manifest.files):
        about = sorted(strange or wrong or {DATABASE, CONFIG} - set(manifest.files))[0]
        raise AlctlError(f"{file} is damaged: what it holds and what its manifest says differ in {about!r}")
    return manifest


def _ours(name: str) -> bool:
    return name.startswith(("rounds/", "models/"))


def _read(archive: Members, manifest: Manifest, folder: Path | None, stage: str, progress: Progress) -> None:
    """Read every member to its end, into ``folder`` if there is one; AlctlError unless it is what was packed."""
    done, total = 0, sum(packed.bytes for packed in manifest.files.values())
    for name, packed in manifest.files.items():
        digest = hashlib.sha256()
        with archive.open(name) as source, _written(folder and folder / name) as target:
            while block := source.read(_BLOCK):
                digest.update(block)
                if target is not None:
                    target.write(block)
                done += len(block)
                progress(stage, done >> 20, total >> 20)
        if digest.hexdigest() != packed.sha256:
            raise AlctlError(f"{archive.path} is damaged: {name} is not what was packed")


@contextmanager
def _written(file: Path | None) -> Iterator[IO[bytes] | None]:
    if file is None:
        yield None
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as stream:
        yield stream


def _own_database(folder: Path) -> None:
    """Let the settings name no database elsewhere: that may be the one in which the original still lives."""
    file = folder / CONFIG
    if read_config(file).storage.database:
        text = file.read_text(encoding="utf-8")
        file.write_text(
            re.sub(r"(?m)^(\s*)(database\s*=)", r"\1# restored beside it: \2", text), encoding="utf-8"
        )
    if read_config(file).storage.database:
        raise AlctlError(f"{CONFIG} in the backup names a database in a way that cannot be undone")


def _opened(folder: Path, manifest: Manifest, file: Path) -> Restored:
    """Bring the database up to date and see that it is what the manifest says."""
    engine = engine_of(URL.create("sqlite", database=str(folder / DATABASE)))
    try:
        upgrade(engine)
        with reading(engine) as connection:
            state, totals = required_state(connection, folder), counts.totals(connection)
            runs = training_runs.every_run(connection)
    except AlctlError as error:
        raise AlctlError(f"{file} cannot be restored: {error}") from error
    finally:
        engine.dispose()
    if tuple(totals) != (manifest.items, manifest.labels):
        raise AlctlError(f"{file} is damaged: its database and its manifest count differently")
    for copy in folder.glob("alctl.before-*.db"):  # the backup itself is the copy
        copy.unlink()
    gone = [run.id for run in runs if not (folder / run.file).is_file()]
    return Restored("", totals.items, totals.labels, state.root, Path(state.root).is_dir(), gone)
