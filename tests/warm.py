"""The real command in a process of its own that need not import torch first: it is forked off one that has.

Torch takes seconds to import; a test that runs ten commands, or kills thirty, would do little else.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.project_files import ENVIRONMENT, parsed

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.warm_imports"])


@dataclass(frozen=True)
class Running:
    """A command under way."""

    arguments: list[str]
    process: BaseProcess
    folder: Path

    def end(self, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Wait for the command; return its exit code and what it printed."""
        self.process.join(timeout)
        assert not self.process.is_alive(), f"{self.arguments} is still running"
        printed = [(self.folder / name).read_text(encoding="utf-8") for name in ("out", "err")]
        shutil.rmtree(self.folder)
        return subprocess.CompletedProcess(self.arguments, self.process.exitcode or 0, *printed)

    def signal(self, number: int) -> None:
        """Send the process a signal, if it still runs."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)


def start_warm(*args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Running:
    """Start the real command."""
    folder = Path(mkdtemp(prefix="alctl-warm-"))
    for name in ("out", "err"):
        (folder / name).touch()
    arguments = ["alctl", *map(str, args)]
    process = _forks.Process(target=_main, args=(arguments, folder, cwd, {**ENVIRONMENT, **(env or {})}))
    process.start()
    return Running(arguments, process, folder)


def run_warm(
    *args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return start_warm(*args, cwd=cwd, env=env).end()


def warm_json(*args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Any:
    """Run the real command with --json; return its result."""
    return parsed(run_warm(*args, "--json", cwd=cwd, env=env))


def _main(arguments: list[str], folder: Path, cwd: Path | None, environment: dict[str, str]) -> None:
    """Be the command: its arguments, environment, folder and output, as if a shell had started it."""
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY), number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = arguments
    from alctl.__main__ import main

    main()
