"""A project: its folder, settings, database, and who is writing to it right now."""

import json
import os
import shutil
import socket
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine

from alctl.config import Config, Sections, read_config
from alctl.database import project_row
from alctl.database.address import ENVIRONMENT as DATABASE
from alctl.database.address import address
from alctl.database.connection import BUSY_SECONDS, engine_of, reading, upgrade, writing
from alctl.database.locks import Holder, server_lock
from alctl.database.project_row import ProjectRow
from alctl.database.settings import note_change
from alctl.errors import AlctlError
from alctl.files import READ_ONLY
from alctl.progress import WAITING, Progress, silent

CONFIG = "alctl.toml"
DEFAULT_FOLDER = "alctl-project"
ENVIRONMENT = "ALCTL_PROJECT"
WRITER = "alctl.lock"
"""The lock that everybody takes who writes to the database."""
RECORD_SECONDS = 3600.0
"""How long the results of long work wait for the lock."""
_OWN = "alctl.db"
_BUILDING = "init.lock"  # held by the `init` that is making the project


@dataclass(frozen=True)
class Project:
    """One labeling project on disk. All its paths hang below ``folder``; the images stay where they are."""

    folder: Path
    config: Config
    engine: Engine

    def __post_init__(self) -> None:
        """Close the connections that wait in the engine's pool when nobody has the project any more."""
        weakref.finalize(self, self.engine.dispose)

    @property
    def name(self) -> str:
        """What people call it: its folder's name, or that of the folder around one that is called as any project is."""
        around = self.folder.parent.name
        return around if self.folder.name == DEFAULT_FOLDER and around else self.folder.name

    @property
    def rounds(self) -> Path:
        """The exports for annotators, one folder a round."""
        return self.folder / "rounds"

    @property
    def models(self) -> Path:
        """The weights of finished training runs, and checkpoints of an unfinished one."""
        return self.folder / "models"

    @property
    def cache(self) -> Path:
        """Decoded, resized images; may be deleted at any time."""
        return self.folder / (self.config.storage.cache or "cache")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to one consistent state."""
        with reading(self.engine) as connection:
            yield connection

    @contextmanager
    def writing(self, command: str) -> Iterator[Connection]:
        """Give a connection whose changes exist all together or not at all; wait briefly for another writer."""
        with self.held(command, WRITER), writing(self.engine) as connection:
            note_change(connection)
            yield connection

    @contextmanager
    def recording(self, command: str, progress: Progress = silent) -> Iterator[Connection]:
        """Do the same for what long work has found, which is not thrown away for a wait: an hour, and it says for whom."""
        with (
            self.held(command, WRITER, RECORD_SECONDS, progress),
            writing(self.engine, RECORD_SECONDS, progress) as connection,
        ):
            note_change(connection)
            yield connection

    @contextmanager
    def completing(self, command: str, prepared: Connection, progress: Progress = silent) -> Iterator[None]:
        """Let a connection of `reading` write, as `recording` does; its temporary tables stay.

        Others may have written in between, as `settings.changes` tells; what changes images, classes or rounds here
        is to be told by `note_change`.
        """
        with (
            self.held(command, WRITER, RECORD_SECONDS, progress),
            writing(self.engine, RECORD_SECONDS, progress, prepared),
        ):
            yield

    @contextmanager
    def held(
        self, command: str, name: str, patience: float | None = None, progress: Progress = silent
    ) -> Iterator[None]:
        """Hold one of the project's locks; after ``patience`` seconds (`BUSY_SECONDS`) AlctlError says who has it.

        With PostgreSQL it excludes other machines. It is let go of when its holder dies, however it dies.
        """
        holder = Holder(command, os.getpid(), socket.gethostname(), now())
        wait = BUSY_SECONDS if patience is None else patience
        if self.engine.dialect.name == "postgresql":
            lock = server_lock(self.engine, name, holder, wait, progress)
        else:
            lock = self._file_lock(name, holder, wait, progress)
        with lock:
            yield

    @contextmanager
    def _file_lock(self, name: str, holder: Holder, patience: float, progress: Progress) -> Iterator[None]:
        lock = FileLock(self.folder / name)
        note = self.folder / f"{name}.holder"
        try:
            self._acquire(lock, note, patience, progress)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            raise AlctlError(
                f"the project {self.folder} is read-only here ({error.strerror}): commands that only read work, "
                f"`alctl {holder.command}` needs a place to write"
            ) from error
        try:
            note.write_text(json.dumps(holder._asdict() | {"command": f"alctl {holder.command}"}))
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.release()

    def _acquire(self, lock: FileLock, note: Path, patience: float, progress: Progress) -> None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"{WAITING}{_describe(note)}", 0, 0)
        else:
            return
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise AlctlError(
                f"the project {self.folder} is held by {_describe(note)}; try again later"
            ) from None

    def state(self) -> ProjectRow:
        """Return the project's own row: root, task, seed, created_at."""
        with self.reading() as connection:
            return required_state(connection, self.folder)


def required_state(connection: Connection, folder: Path) -> ProjectRow:
    """Return the project's own row, or say that its `init` never finished."""
    row = project_row.project_row(connection)
    if row is None:
        raise AlctlError(f"`alctl init` did not finish in {folder}; run it again")
    return row


def _describe(note: Path) -> str:
    try:
        who = json.loads(note.read_text())
        return str(Holder(**who | {"command": who["command"].removeprefix("alctl ")}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "another alctl process"


def now() -> str:
    """Return the time as it is recorded everywhere: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_project(given: Path | None) -> Path:
    """Return the project folder: the one given, $ALCTL_PROJECT, or the nearest one from here upwards."""
    named = given or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is not None:
        if not (named / CONFIG).is_file():
            raise AlctlError(f"{named} is not an alctl project (no {CONFIG} in it)")
        return named.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        for candidate in (folder, folder / DEFAULT_FOLDER):
            if (candidate / CONFIG).is_file():
                return candidate
    raise AlctlError(f"no alctl project in {here} or above; make one with `alctl init DATASET`")


def open_project(given: Path | None = None) -> Project:
    """Open a project and bring its database up to date; AlctlError where there is none."""
    folder = find_project(given)
    own = Path(str(_url(folder, read_config(folder / CONFIG)).database))
    if own == folder / _OWN and not own.exists():
        raise AlctlError(
            f"there is no {_OWN} in {folder}: `alctl restore` brings a backup back; if the project's state is in "
            f"PostgreSQL, say where with `database` in {CONFIG} or the variable {DATABASE}"
        )
    project = connect(folder)
    project.state()
    return project


def connect(folder: Path) -> Project:
    """Open the settings and the database of ``folder``, whether or not its `init` finished."""
    config = read_config(folder / CONFIG)
    project = Project(folder, config, engine_of(_url(folder, config)))
    upgrade(project.engine)
    return project


def _url(folder: Path, config: Config) -> URL:
    """Return where the database of a project is."""
    if named := os.environ.get(DATABASE) or config.storage.database:
        return address(named, folder)
    # Not as text: there a "?" in the folder's name would end the path.
    return URL.create("sqlite", database=str(folder / _OWN))


@contextmanager
def new_folder(folder: Path, *, keep: bool = True) -> Iterator[Path]:
    """Give a folder to build a project in, which takes the place of ``folder`` at the end, if ``keep``.

    It lies beside it, so that a killed `init` leaves no half project; what that left, the next one clears away.
    """
    if (folder / CONFIG).exists():
        (folder / _BUILDING).unlink(missing_ok=True)  # of an `init` that was killed when it was through
    _refuse_occupied(folder)
    if not keep:
        with tempfile.TemporaryDirectory(prefix="alctl-") as temporary:
            yield Path(temporary)
        return
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.exists() and any(partial.iterdir()) and not (partial / _BUILDING).exists():
        raise AlctlError(f"{partial} is in the way; remove it, or choose another folder with --project")
    partial.mkdir(parents=True, exist_ok=True)
    lock = FileLock(partial / _BUILDING)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AlctlError(f"another `alctl init` is making {folder} right now") from None
    try:
        for left in partial.iterdir():
            if left.name != _BUILDING:
                left.unlink()
        yield partial
        _refuse_occupied(folder)
        partial.rename(folder)
        (folder / _BUILDING).unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.release()


def _refuse_occupied(folder: Path) -> None:
    if (folder / CONFIG).exists():
        raise AlctlError(
            f"{folder} already holds a project; extend it with `alctl add`, or choose another folder with --project"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlctlError(f"{folder} is not an empty folder; choose another one with --project")


def config_text(**settings: str) -> str:
    """Return a new project's `alctl.toml`: every setting with its explanation, commented out if not given or ""."""
    given = {name: value for name, value in settings.items() if value}
    lines = [
        "# Settings of this alctl project. Uncomment to change; every one is also an option of its command.",
        "",
    ]
    for section in fields(Sections):
        lines.append(f"[{section.name}]")
        defaults: Any = section.default
        for setting in fields(defaults):
            value = json.dumps(getattr(defaults, setting.name))
            line = (
                f"{setting.name} = {json.dumps(given[setting.name], ensure_ascii=False)}"
                if setting.name in given
                else f"# {setting.name} = {value}"
            )
            lines += [f"# {setting.metadata['doc']}", line]
        lines.append("")
    return "\n".join(lines)
