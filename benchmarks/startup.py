"""How long does a person wait before alctl does anything?

Command:  python benchmarks/startup.py --rounds 5
Hardware: 2-core x86-64 (AMD EPYC, AVX2), no GPU, five other programs beside it: read the ratios, not the milliseconds
Date:     2026-12-01

| process | ms | processor ms | against | ratio | torch |
|---|---|---|---|---|---|
| python -c pass | 82 | 15 |  |  |  |
| import typer, rich | 621 | 132 |  |  |  |
| alctl --help | 1383 | 306 | import typer, rich | 2.34x | no |
| ORM, one query | 2248 | 475 |  |  |  |
| alctl status | 3538 | 719 | ORM, one query | 1.54x | no |
| alctl status --json | 3613 | 712 | ORM, one query | 1.50x | no |

Wanted: 1.8x for --help, 1.3x for status. Both are missed. Of what --help takes beyond importing typer and rich, a profile
gives 28 % to importing rich's Markdown and highlighting, which typer draws help with, 20 % to drawing it, 16 % to the 31
commands and 269 options that typer makes whichever is asked for, 14 % to 38 dataclasses. A typer program with two empty
commands needs 1.6x already. status imports typer, rich and pydantic (to read alctl.toml) beside SQLAlchemy, which the
query alone does not; NumPy and Pillow it no longer imports.

Every row is a process of its own, the rows interleaved. "processor" is user and system time; the ratios are medians
of the ratios of processor time within a round, because the waiting depends on what else the machine does. The small
project has 100 images. Python's bytecode is there, as pip leaves it.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from PIL import Image

from alctl.dataset import index

ORM = """
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
class Base(DeclarativeBase): pass
class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
with Session(create_engine("sqlite:///{file}")) as session:
    session.scalars(select(Item).where(Item.id == 1)).one()
"""


def processes(project: Path) -> dict[str, list[str]]:
    python, alctl = [sys.executable, "-c"], [sys.executable, "-m", "alctl"]
    return {
        "python -c pass": [*python, "pass"],
        "import typer, rich": [*python, "import typer, rich.console, rich.table"],
        "alctl --help": [*alctl, "--help"],
        "ORM, one query": [*python, ORM.format(file=project / "alctl.db")],
        "alctl status": [*alctl, "status", "--project", str(project)],
        "alctl status --json": [*alctl, "status", "--json", "--project", str(project)],
    }


def timed(command: list[str]) -> tuple[float, float]:
    """Return milliseconds by the clock and of the processor."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=compiled)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, used * 1000


def without_torch(command: list[str]) -> bool:
    """Tell whether the process never imports torch."""
    shown = [command[0], "-X", "importtime", *command[1:]]
    run = subprocess.run(shown, check=True, capture_output=True, text=True)
    return not any(line.endswith("| torch") for line in run.stderr.splitlines())


def small_project(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir()
    for number in range(100):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(images / f"{number}.png")
    dataset = index.folder_dataset(images, class_folders=False)
    index.create(folder / "project", dataset, index.Options(), lambda *_: None)
    return folder / "project"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = processes(small_project(Path(folder)))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for command in commands.values():
            timed(command)  # Python compiles what it has not compiled yet, as pip does when it installs
        for _ in range(args.rounds):
            for name, command in commands.items():
                times[name].append(timed(command))
        base = {"alctl --help": "import typer, rich"}
        base |= dict.fromkeys(("alctl status", "alctl status --json"), "ORM, one query")
        print("| process | ms | processor ms | against | ratio | torch |")
        print("|---|---|---|---|---|---|")
        for name, measured in times.items():
            cells = [
                name,
                f"{median(wall for wall, _ in measured):.0f}",
                f"{median(cpu for _, cpu in measured):.0f}",
            ]
            if other := base.get(name):
                pairs = zip(measured, times[other], strict=True)
                torch = "no" if without_torch(commands[name]) else "yes"
                cells += [other, f"{median(ours[1] / theirs[1] for ours, theirs in pairs):.2f}x", torch]
            print("| " + " | ".join(cells + [""] * (6 - len(cells))) + " |")


if __name__ == "__main__":
    main()
