"""The real command in a process of its own that need not import torch first: it is forked off one that has.

Torch takes seconds to import; a test that runs ten commands, or kills thirty, would do little else.

A test that stops a command at some moment counts moments instead of seconds: the calls that change files or the database,
or print. `count_moments` says how many a command has, and `start_warm` takes the number of the one to wait for.
A test that must know exactly what was on the disk watches the system calls instead: `start_watched`.
"""

import multiprocessing
import os
import posix
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType
from typing import Any

from tests.project_files import ENVIRONMENT, parsed
from tests.system_calls import Listener, stop_before_writing

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.warm_imports"])

CHANGES = {
    "close", "commit", "copy_file_range", "execute", "executemany", "fsync", "ftruncate", "link", "mkdir", "open",
    "remove", "rename", "replace", "rmdir", "sendfile", "serialize_file", "unlink", "write",
}  # fmt: skip
"""The names of the calls that are moments: of the operating system, of files, and of SQLite."""


@dataclass(frozen=True)
class Running:
    """A command under way."""

    arguments: list[str]
    process: BaseProcess
    folder: Path
    moments: Connection
    """Says when the moment that was asked for has come, and at the end how many there were."""

    def wait_for_moment(self) -> None:
        """Wait until the moment that was asked for has come, or the command has ended without it."""
        with suppress(EOFError):  # it crashed
            self.moments.recv()

    def end(self, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Wait for the command; return its exit code and what it printed."""
        self.process.join(timeout)
        assert not self.process.is_alive(), f"{self.arguments} is still running"
        self.moments.close()
        printed = [(self.folder / name).read_text(encoding="utf-8") for name in ("out", "err")]
        shutil.rmtree(self.folder)
        return subprocess.CompletedProcess(self.arguments, self.process.exitcode or 0, *printed)

    def signal(self, number: int) -> None:
        """Send the process a signal, if it still runs."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)


def start_warm(
    *args: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    moment: int | None = None,
    hold: bool = False,
) -> Running:
    """Start the real command; at ``moment``, counted from 1, it says so, and with ``hold`` waits for a signal."""
    reader, writer = _forks.Pipe(duplex=False)
    moments = None if moment is None else _Moments(writer, moment, hold)
    try:
        return _start(_command, ["alctl", *map(str, args)], cwd, env, reader, moments)
    finally:
        writer.close()


def start_watched(*args: object, cwd: Path | None = None) -> tuple[Running, Listener]:
    """Start the real command, which stops before each system call that writes until the listener lets it go on."""
    ours, theirs = _forks.Pipe()
    running = _start(_watched, ["alctl", *map(str, args)], cwd, None, ours, theirs)
    theirs.close()
    return running, Listener(recv_handle(ours))


def _start(
    target: Callable[[Any], None],
    arguments: list[str],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    reader: Connection,
    given: Any,
) -> Running:
    folder = Path(mkdtemp(prefix="alctl-warm-"))
    for name in ("out", "err"):
        (folder / name).touch()
    process = _forks.Process(
        target=_main, args=(target, given, arguments, folder, cwd, {**ENVIRONMENT, **(env or {})})
    )
    process.start()
    return Running(arguments, process, folder, reader)


def run_warm(
    *args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return start_warm(*args, cwd=cwd, env=env).end()


def warm_json(*args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Any:
    """Run the real command with --json; return its result."""
    return parsed(run_warm(*args, "--json", cwd=cwd, env=env))


def run_code(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run Python code that needs torch, with these arguments in `sys.argv`, to its end."""
    reader, writer = _forks.Pipe(duplex=False)
    writer.close()
    return _start(_code, ["-c", *map(str, args)], None, None, reader, code).end()


def count_moments(*args: object) -> int:
    """Run the real command to its end, which must be a good one; return how many moments it had."""
    running = start_warm(*args, moment=0)
    counted = running.moments.recv()
    done = running.end()
    assert done.returncode == 0, done.stderr
    assert isinstance(counted, int)
    return counted


@dataclass
class _Moments:
    """Counts the moments of a command, from within its process, as a function for `sys.setprofile`."""

    parent: Connection
    wanted: int
    hold: bool
    passed: int = 0

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        """Be told of a call."""
        if event == "c_call" and function.__name__ in CHANGES:
            self.passed += 1
            if self.passed == self.wanted:
                self.parent.send("now")
                if self.hold:
                    _wait_for_signal()


def _wait_for_signal() -> None:
    """Return once a signal has come, even if it came before this was called."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    select.select([reader], [], [])


def _main(
    target: Callable[[Any], None],
    given: Any,
    arguments: list[str],
    folder: Path,
    cwd: Path | None,
    environment: dict[str, str],
) -> None:
    """Be the process: its arguments, environment, folder and output, as if a shell had started it."""
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY), number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = arguments
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # tests in the background inherit that it is ignored
    target(given)


def _code(code: str) -> None:
    exec(code, {"__name__": "__main__"})


def _watched(parent: Connection) -> None:
    from alctl.__main__ import main

    os._exit = posix._exit  # coverage's own writes its data at the end, which are calls too
    listener = stop_before_writing()
    send_handle(parent, listener, None)  # any process
    os.close(listener)
    main()


def _command(moments: _Moments | None) -> None:
    from alctl.__main__ import main

    if moments is None:
        main()
        return
    sys.setprofile(moments)
    try:
        main()
    finally:
        sys.setprofile(None)
        moments.parent.send(moments.passed)
