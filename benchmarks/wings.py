"""How long do the tests of each folder take?

Command:  python benchmarks/wings.py [FOLDER …]
Hardware: 2-core x86-64, no GPU, four to five other programs beside it on both cores
Date:     2026-11-30

| tests | passed | processor s |
|---|---|---|
| tests/agreement | 29 | 5 |
| tests/annotators | 510 | 111 |
| tests/cli | 166 | 50 |
| tests/database | 169 | 57 |
| tests/dataset | 97 | 36 |
| tests/images | 129 | 28 |
| tests/labels | 1425 | 48 |
| tests/model | 1013 | 151, when two threads' gradients were not slow yet |
| tests/report | 66 | 55 |
| tests/rounds | 203 | 137 |
| tests/simulation | 75 | 51 |
| tests/test_*.py | 127 | 33 |

One command at a time; several rows were taken before the last improvements.

Processor seconds are user and system time of pytest and of everything that it started, in one process (`-n 0`), without
real data and without the tests marked slow. They were measured on busy cores, which costs up to half more than on
quiet ones (importing torch: 3.2 instead of 2.2 s). Two cores take a little more than half of them; each process
needs some 8 s to collect, and 6 more for the process that commands are forked off. Nothing of it is wall time, which
said nothing on that machine.
"""

import ctypes
import os
import re
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
ADOPT_ORPHANS = (
    36  # PR_SET_CHILD_SUBREAPER: a server that outlives pytest is waited for, and so is counted, here
)


def folders() -> list[list[str]]:
    """Return what pytest is given for each folder, and for the files beside them."""
    found = sorted(file.parent for file in (ROOT / "tests").glob("*/**/test_*.py"))
    names = dict.fromkeys(f"tests/{folder.relative_to(ROOT / 'tests').parts[0]}" for folder in found)
    return [[name] for name in names] + [
        [f"tests/{file.name}" for file in (ROOT / "tests").glob("test_*.py")]
    ]


def spent() -> float:
    """Return the processor seconds of all children that have ended, after waiting a while for the last of them."""
    patience = time.monotonic() + 10
    with suppress(ChildProcessError):
        while time.monotonic() < patience:
            os.waitpid(-1, os.WNOHANG)
            time.sleep(0.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)
    print("| tests | passed | processor s |\n|---|---|---|")
    before = 0.0
    for files in [[name] for name in sys.argv[1:]] or folders():
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", *files]
        environment = {**os.environ, "ALCTL_DATA": "nowhere", "ALCTL_REQUIRE_DATA": ""}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        passed = re.search(r"\d+ (?=passed)", done.stdout)
        total = spent()
        name = files[0] if len(files) == 1 else "tests/test_*.py"
        print(f"| {name} | {passed[0].strip() if passed else 'failed'} | {total - before:.0f} |", flush=True)
        before = total


if __name__ == "__main__":
    main()
