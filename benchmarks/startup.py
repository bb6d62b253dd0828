"""How long does a person wait before alctl does anything?

Command:  python benchmarks/startup.py
Hardware: 2-core x86-64, no GPU, other work beside it: read the ratios, not the milliseconds
Date:     2026-11-21

| process | ms | processor ms | against | ratio | torch |
|---|---|---|---|---|---|
| python -c pass | 16 | 11 |  |  |  |
| import typer, rich | 124 | 82 |  |  |  |
| alctl --help | 227 | 173 | import typer, rich | 2.14x | no |
| ORM, one query | 394 | 281 |  |  |  |
| alctl status | 532 | 405 | ORM, one query | 1.44x | no |
| alctl status --json | 577 | 408 | ORM, one query | 1.42x | no |

Wanted: 2x for --help, 1.3x for status. Both are missed. A typer program with two empty commands needs 1.6x for its
--help already, because drawing it imports rich's Markdown; and status imports typer, rich and pydantic (through typer)
beside SQLAlchemy, which the query alone does not.

Every row is a process of its own, the rows interleaved. "processor" is user and system time; the ratios are medians
of the ratios of processor time within a round, because the waiting depends on what else the machine does. The small
project has 100 images.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from PIL import Image

from alctl.dataset import index

ROUNDS = 11
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
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
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
    with tempfile.TemporaryDirectory() as folder:
        commands = processes(small_project(Path(folder)))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
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
