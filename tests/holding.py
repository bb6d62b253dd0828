"""Another process that holds one of a project's locks, as a second command or a second machine does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alctl.project import WRITER

HOLD = """
import socket, sys
from pathlib import Path
from alctl.project import open_project
folder, command, lock, host = sys.argv[1:]
if host:
    socket.gethostname = lambda: host
with open_project(Path(folder)).held(command, lock):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(
    folder: Path, command: str = "import-labels", lock: str = WRITER, *, host: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a lock of the project in ``folder`` until it is told to stop or killed."""
    call = [sys.executable, "-c", HOLD, str(folder), command, lock, host]
    other = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    try:
        yield other
    finally:
        other.kill()
        other.communicate()
