"""How long do commands take in a project of millions of images, and in how much memory?

Command:  python -m benchmarks.large --items 1000000
Hardware: 2-core x86-64 (AMD EPYC), no GPU, much other work beside it: read the processor seconds
Date:     2026-12-01

| items | command | seconds | processor seconds | MB |
|---|---|---|---|---|
| 1,000,000 | status | 6.3 | 0.9 | 74 |
| 1,000,000 | status --json | 6.4 | 0.9 | 74 |
| 1,000,000 | import-labels | 9.3 | 1.4 | 88 |
| 1,000,000 | undo-import | 6.5 | 0.9 | 74 |
| 1,000,000 | export-labels | 11.6 | 1.5 | 97 |
| 1,000,000 | backup | 29.7 | 3.3 | 74 |

10 million items were not measured this way yet. status takes 0.7 of its processor seconds in a project of 100 images.

Every row is the whole command in a process of its own, start included; memory is the largest resident set. The pool is
written by SQL (benchmarks/subset.py): 2 % of the items labeled, 1,000 reserved for the test; the images themselves are not
there, so that no round can be handed out. The import has 10,000 rows.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median

from alctl.project import CONFIG, config_text
from benchmarks.imports import alctl, measured
from benchmarks.subset import fill

COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "status --json": ("status", "--json"),
    "import-labels": ("import-labels", "{folder}/labels.csv"),
    "undo-import": ("undo-import", "2"),
    "export-labels": ("export-labels", "{folder}/out.csv"),
    "backup": ("backup", "{folder}/backup.zip"),
}
REPEATED = ("status", "status --json")


def new_project(folder: Path, items: int) -> Path:
    project = folder / "project"
    project.mkdir()
    (project / CONFIG).write_text(config_text(first="random"))
    fill(project / "alctl.db", items)
    rows = "".join(
        f"{number},{'cat' if number % 2 else 'dog'}\n" for number in range(3, min(items, 10_000) + 3)
    )
    (folder / "labels.csv").write_text(f"item,label\n{rows}")
    return project


def report(folder: Path, items: int, repeats: int) -> None:
    project = new_project(folder, items)
    for name, words in COMMANDS.items():
        given = [word.format(folder=folder) for word in words]
        runs = [
            measured([*alctl(*given), "--project", str(project)])
            for _ in range(repeats if name in REPEATED else 1)
        ]
        wall, used, size = (list(column) for column in zip(*runs, strict=True))
        print(
            f"| {items:,} | {name} | {median(wall):.1f} | {median(used):.1f} | {max(size):,.0f} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=3, help="of the commands that only read")
    parser.add_argument("--folder", type=Path, help="where there is room, 2 GB for 10 million items")
    args = parser.parse_args()
    print("| items | command | seconds | processor seconds | MB |\n|---|---|---|---|---|", flush=True)
    for items in args.items:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            report(folder, items, args.repeats)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
