"""How long does `alctl import-labels` keep others from writing, of the time that it takes?

Command:  python -m benchmarks.import_lock
Hardware: 2 cores x86-64 (AMD EPYC), shared with much other work, so seconds are up to four times those of an idle machine
Date:     2026-12-01

| file | seconds | processor seconds | seconds in the lock | in the lock before |
|---|---|---|---|---|
| CSV, 100,000 images | 11.7 | 3.0 | 2.6 | 9.0 |
| COCO, 100,000 images | 48.5 | 13.1 | 3.7 | 34.8 |

"before" is the import of 2026-11-30, which took the lock before it read its file. Since then it reads, checks and matches
first, and does it again in the lock only if images, classes or rounds have changed meanwhile: what remains is to compare the
answers with the labels in force and to write them, in one transaction.

The table has a row an image; the COCO file has four boxes an image. Images are rows of the database alone.
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.database import categories, project_row
from alctl.database.bulk import insert_rows
from alctl.database.tables import item
from alctl.project import CONFIG, Project, config_text, connect, now

CLASSES = [f"class {number}" for number in range(80)]


class Timed(Project):
    """A project that counts the seconds in which its locks are held."""

    spent: list[float] = []  # noqa: RUF012 - of the one project of this process

    @contextmanager
    def held(self, *args: Any, **options: Any) -> Iterator[None]:
        """Hold a lock and note how long."""
        with super().held(*args, **options):
            start = time.perf_counter()
            try:
                yield
            finally:
                self.spent.append(time.perf_counter() - start)


def path_of(number: int) -> str:
    return f"{number // 1000:03d}/{number:012d}.jpg"


def new_project(folder: Path, task: str, count: int) -> Project:
    (folder / CONFIG).write_text(config_text())
    made = connect(folder)
    project = Timed(made.folder, made.config, made.engine)
    with project.writing("init") as connection:
        project_row.create_project(connection, root="/images", task=task, seed=7, now=now())
        categories.add_categories(connection, CLASSES)
        rows = ((i, path_of(i), i.to_bytes(32, "big"), 640, 480) for i in range(1, count + 1))
        insert_rows(connection, item, rows)
    project.spent.clear()
    return project


def make_csv(file: Path, count: int) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "annotator", "seconds"))
        numbers = range(1, count + 1)
        writer.writerows((path_of(i), CLASSES[i * 7 % 80], f"ann{i % 7}", f"{i % 23}.5") for i in numbers)


def make_coco(file: Path, count: int) -> None:
    numbers = range(1, count + 1)
    content = {
        "images": [{"id": i, "file_name": path_of(i), "width": 640, "height": 480} for i in numbers],
        "annotations": [
            {"id": 4 * i + k, "image_id": i, "category_id": i * 7 % 80 + 1, "bbox": [10 + k, 20, 30, 40]}
            for i in numbers
            for k in range(4)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)],
    }
    file.write_text(json.dumps(content))


def measure(kind: str, count: int) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project = new_project(folder, "classification" if kind == "CSV" else "detection", count)
        file = folder / ("labels.csv" if kind == "CSV" else "labels.json")
        (make_csv if kind == "CSV" else make_coco)(file, count)
        wall, cpu = time.perf_counter(), time.process_time()
        import_labels(project, file, ImportOptions())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return f"| {kind}, {count:,} images | {wall:.1f} | {cpu:.1f} | {sum(Timed.spent):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    for kind in ("CSV", "COCO"):
        print(measure(kind, count), flush=True)


if __name__ == "__main__":
    main()
