"""Commands that write, killed or refused room before any of their system calls, and what has to hold afterwards."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from alctl.backup import restore
from alctl.database.settings import CHANGES
from alctl.files import file_digest
from alctl.project import open_project
from alctl.status import check
from tests.kill_scenarios import Scenario, Words, run_in
from tests.project_files import no_progress
from tests.system_calls import NEEDS_ROOM, Call
from tests.warm import run_warm, start_watched

Rows = dict[str, list[tuple[object, ...]]]


class State(NamedTuple):
    """What is on the disk."""

    rows: Rows
    """Of each table, without times."""
    files: dict[str, str]
    """Digest of each file, empty where its content differs from run to run."""


_TIMES = ("seconds", "environment")


def state_of(place: Path) -> State:
    """Return what is on the disk, without changing it; who held a lock last is cleared by who holds it next."""
    files = sorted(
        path
        for path in place.rglob("*")
        if path.is_file() and not path.name.startswith("alctl.db") and path.suffix != ".holder"
    )
    digests = {str(file.relative_to(place)): _digest(file) for file in files}
    return State(_rows(place / "project" / "alctl.db"), digests)


def _digest(file: Path) -> str:
    return (
        ""
        if file.suffix == ".zip" or file.name == "manifest.json" or "cache" in file.parts
        else file_digest(file)
    )


def _rows(database: Path) -> Rows:
    if not database.exists():
        return {}
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = {}
        for (table,) in tables:
            every = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            kept = [
                f'"{name}" IS NULL' if name.endswith("_at") else f'"{name}"'
                for name in every
                if name not in _TIMES
            ]
            rows[table] = sorted(connection.execute(f"SELECT {', '.join(kept)} FROM {table}"), key=repr)
        if "setting" in rows:  # how often anybody wrote is no state
            rows["setting"] = [row for row in rows["setting"] if row[0] != CHANGES]
        return rows


class Whole(NamedTuple):
    """A run to the end."""

    code: int
    state: State


class Interrupted(NamedTuple):
    """A command that was killed, or refused room, before one of its calls."""

    command: str
    call: Call
    acknowledged: bool
    """It had said that it was done."""
    recorded: bool
    """The database held all of it."""
    seen_before: bool
    """An earlier one had left the same bytes on the disk, so that it was not run again."""


class Bench:
    """Where one scenario is played again and again, always in a folder of the same name."""

    def __init__(self, base: Path, work: Path, scenario: Scenario) -> None:
        self._base, self._place, self._look = base, work / "now", work / "look"
        self.scenario = scenario
        self._seen: dict[tuple[bool, str], bool] = {}
        self._reset()
        self.before = state_of(self._copy())
        self.calls: list[Call] = []
        """The calls of an undisturbed run."""
        self.once = self._whole(watched=True)
        self.twice = self._whole()

    def _reset(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._base, self._place)
        self.scenario.prepare(self._place)

    def _copy(self) -> Path:
        """Copy what is on the disk, to look at it without healing it."""
        shutil.rmtree(self._look, ignore_errors=True)
        return Path(shutil.copytree(self._place, self._look))

    def _words(self) -> Words:
        return (*self.scenario.words, "--project", self._place / "project", "--json")

    def _whole(self, *, watched: bool = False) -> Whole:
        if not watched:
            done = run_warm(*self._words(), cwd=self._place)
        else:
            running, listener = start_watched(*self._words(), cwd=self._place)
            while call := listener.next():
                self.calls.append(call)
            done = running.end()
            listener.close()
            assert done.returncode == 0, done.stderr
        return Whole(done.returncode, state_of(self._copy()))

    def killed(self, *numbers: int) -> Interrupted | None:
        """Kill the command before its call of this number, from 1, and look; None if it had ended by then.

        With several numbers the first one that is killed is followed by another that is killed, and so on.
        """
        self._reset()
        for number in numbers:
            running, listener = start_watched(*self._words(), cwd=self._place)
            call: Call | None = None
            for _ in range(number):
                if (call := listener.next()) is None:
                    break
            running.signal(signal.SIGKILL)
            end = running.end()
            listener.close()
            if call is None:
                return None
            assert end.returncode == -signal.SIGKILL
        assert call is not None
        return self._looked_at(call, _acknowledged(end.stdout))

    def refused(self, number: int, error: int = errno.ENOSPC) -> Interrupted | None:
        """Give the command no room from its call of this number on, and look; None if it had ended by then."""
        self._reset()
        running, listener = start_watched(*self._words(), cwd=self._place)
        first, passed = None, 0
        while call := listener.next():
            passed += 1
            if passed >= number and _needs_room(call):
                first = first or call
                listener.refuse(error)
        end = running.end()
        listener.close()
        if first is None:
            return None
        assert "Traceback" not in end.stderr, f"{self.scenario.name}, {first}: {end.stderr}"
        if end.returncode:
            assert end.returncode == 1
            said = json.loads(end.stdout)["error"]
            assert os.strerror(error) in said or "full" in said or "no room" in said, said
        return self._looked_at(first, end.returncode == 0)

    def _looked_at(self, call: Call, acknowledged: bool) -> Interrupted:
        """See that the state is sound and nothing is half there; that the same command then works; how it ends."""
        what, left = f"{self.scenario.name}, {call}", (acknowledged, _bytes_in(self._place))
        if left in self._seen:
            return Interrupted(self.scenario.name, call, acknowledged, self._seen[left], seen_before=True)
        look = self._copy()
        _check(look)
        rows = state_of(look).rows
        recorded = self._is_recorded(rows, what)
        assert recorded or not acknowledged, f"{what}: it said that it was done, and it is gone"
        self._again(what, acknowledged, recorded and rows != self.before.rows)
        self._seen[left] = recorded
        return Interrupted(self.scenario.name, call, acknowledged, recorded, seen_before=False)

    def _is_recorded(self, rows: Rows, what: str) -> bool:
        """Tell whether the database holds what the command was to record; it must hold all of it or nothing."""
        if rows == self.once.state.rows:
            return True
        if (
            self.scenario.once_recorded and rows != self.before.rows
        ):  # a round is recorded before it is exported
            late = ("handed_out", "handout")
            assert all(rows[table] == self.before.rows[table] for table in late), (
                f"{what}: half of an export is recorded"
            )
            assert {
                **rows,
                **{table: self.once.state.rows[table] for table in late},
            } == self.once.state.rows, f"{what}: half of a round is recorded"
            return True
        assert rows == self.before.rows, f"{what}: half of it is in the database"
        return False

    def _again(self, what: str, acknowledged: bool, recorded: bool) -> None:
        instead = self.scenario.once_recorded if recorded and not acknowledged else None
        done = run_in(self._place, *(instead or self.scenario.words))
        ended = Whole(done.returncode, state_of(self._copy()))
        allowed = [self.once] if not recorded and not acknowledged else []
        allowed += [self.once] if instead else [self.twice]
        assert ended in allowed, (
            f"{what}: the next run ended otherwise: {done.stderr}{difference(ended, allowed[0])}"
        )
        _check(self._look)

    def needing_room(self) -> list[int]:
        """Return the numbers of the calls that a full disk refuses."""
        return [number for number, call in enumerate(self.calls, 1) if _needs_room(call)]


def _needs_room(call: Call) -> bool:
    return call.name in NEEDS_ROOM and not call.where.startswith("standard ")


def difference(ended: Whole, way: Whole) -> str:
    """Return where two ends differ, for a person to read."""
    lines = [f"exit code {ended.code}, not {way.code}"] if ended.code != way.code else []
    for table in sorted(ended.state.rows.keys() | way.state.rows.keys()):
        ours, theirs = ended.state.rows.get(table), way.state.rows.get(table)
        if ours != theirs:
            lines.append(f"table {table}: {ours}\n  not {theirs}")
    for file in sorted(ended.state.files.keys() | way.state.files.keys()):
        if ended.state.files.get(file) != way.state.files.get(file):
            lines.append(f"file {file}: {ended.state.files.get(file)} not {way.state.files.get(file)}")
    return "\n".join(lines)


def _bytes_in(place: Path) -> str:
    """Return a digest of all that lies there, but what chance named and what SQLite makes anew once all processes are gone."""
    digest = hashlib.sha256()
    for path in sorted(place.rglob("*")):
        name = re.sub(r"\.\w{8}\.partial", ".partial", str(path.relative_to(place)))
        if not name.endswith("-shm"):
            digest.update(f"{name}\0{file_digest(path) if path.is_file() else ''}\0".encode())
    return digest.hexdigest()


def _acknowledged(printed: str) -> bool:
    try:
        return "error" not in json.loads(printed)
    except ValueError:
        return False


def _check(place: Path) -> None:
    """See that the project opens and is sound, and that the backup is whole if there is one."""
    if (place / "project").exists():
        project = open_project(place / "project")
        assert check(project) == []
        project.engine.dispose()
    for file in place.glob("new.zip"):
        target = place / f"from-{file.stem}"
        assert zipfile.ZipFile(file).testzip() is None
        assert restore(file, target, no_progress).labels
        shutil.rmtree(target)
