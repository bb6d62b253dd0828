"""How fast is `alctl import-labels`, against a bare parse of the same file, and in how much memory?

Command:  python -m benchmarks.imports
Hardware: 2-core x86-64 (AMD EPYC), no GPU, otherwise idle
Date:     2026-11-21, --rounds 2

| file | program | seconds | processor seconds | labels/s | MB | against bare |
|---|---|---|---|---|---|---|
| CSV, 100,000 rows, 4 MB | bare | 0.1 | 0.1 | 1,358,232 | 42 | 1.00x |
| CSV, 100,000 rows, 4 MB | read | 0.5 | 0.5 | 212,183 | 42 | 7.01x |
| CSV, 100,000 rows, 4 MB | import | 2.2 | 2.3 | 44,548 | 93 | 34.46x |
| COCO, 690,607 objects, 497 MB | bare | 21.0 | 20.9 | 32,941 | 2,999 | 1.00x |
| COCO, 690,607 objects, 497 MB | read | 12.4 | 12.4 | 55,828 | 131 | 0.59x |
| COCO, 690,607 objects, 497 MB | import | 36.5 | 36.0 | 18,920 | 312 | 1.72x |

Wanted: 2x of a bare parse, in bounded memory; met for COCO. A CSV of classes has so little to parse that its import is
nearly all other work (wanted there too: 100,000 labels/s; missed). Where it goes, by cProfile within `import_labels`,
2026-12-01, 30,000 rows: 38 % reading (the row's cells to an answer 26 %, splitting lines 2 %, the rest 10 %), 23 % checking
each answer (class, annotator, what the task can use) and making its row, 7 % inserting the rows into the staging table,
17 % the set-based SQL that matches, decides and stores, 7 % finding out which format it is, 8 % the rest. Two thirds are
Python for each row, at 50 calls a row; profiling makes that part look larger than it is.

Every row is a process of its own, start included, the rows interleaved. Ratios are medians of the ratios of processor
time (user and system) within a round, because the waiting depends on what else the machine does; memory is the largest
resident set of any round. "bare" is csv.reader or json.load over the file and nothing
else; "read" is the format's reader without a project; "import" is the whole command on a fresh project: it also
hashes the file, matches every answer to its image, checks its class, its size and every shape, and writes labels and
history in one transaction. The CSV has a row an image. In the COCO file the annotations, polygons of 10 to 60 points,
are in no order at all; the images are 640 × 480, small files that differ in a comment. Files are in the page cache.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

BARE_CSV = "import csv, sys; print(sum(1 for _ in csv.reader(open(sys.argv[1], newline=''))) - 1)"
BARE_COCO = "import json, sys; print(len(json.load(open(sys.argv[1]))['annotations']))"
READ = """
import sys
from pathlib import Path
from alctl.labels.annotation import LabeledImage
from alctl.labels.format import FORMATS
rows = FORMATS.load(sys.argv[2])().read(Path(sys.argv[1]))
print(sum(max(1, len(row.annotations)) for row in rows if isinstance(row, LabeledImage)))
"""
CLASSES = [f"class {number}" for number in range(80)]
ANNOTATION_BYTES = 724
"""What an annotation and its share of the image's entry take in the file, on average."""


def make_images(folder: Path, count: int) -> None:
    buffer = io.BytesIO()
    Image.new("L", (640, 480)).save(buffer, "JPEG", quality=1)
    data = buffer.getvalue()
    for number in range(count):
        target = folder / f"{number // 1000:03d}" / f"{number:012d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[:2] + b"\xff\xfe\x00\x0e" + f"{number:012d}".encode() + data[2:])


def path_of(number: int) -> str:
    return f"{number // 1000:03d}/{number:012d}.jpg"


def make_csv(file: Path, count: int) -> int:
    rng = np.random.default_rng(0)
    with file.open("w") as out:
        out.write("path,label,annotator,seconds\n")
        for number, label in enumerate(rng.integers(0, len(CLASSES), count).tolist()):
            out.write(f"{path_of(number)},{CLASSES[label]},ann{number % 7},{number % 23}.5\n")
    return count


def make_coco(file: Path, megabytes: int, images: int) -> int:
    rng = np.random.default_rng(0)
    count = megabytes * 1_000_000 // ANNOTATION_BYTES
    used = min(images, max(1, count // 7))
    with file.open("w") as out:
        out.write('{"info": {}, "licenses": [], "images": [')
        for number in range(used):
            row = {
                "license": 4,
                "file_name": path_of(number),
                "height": 480,
                "width": 640,
                "id": 3 * number + 9,
            }
            out.write((", " if number else "") + json.dumps(row | {"date_captured": "2013-11-14 11:18:45"}))
        out.write('], "annotations": [')
        owners, points = rng.integers(0, used, count).tolist(), rng.integers(10, 61, count).tolist()
        categories = rng.integers(1, len(CLASSES) + 1, count).tolist()
        for number in range(count):
            row = annotation(rng, points[number]) | {"image_id": 3 * owners[number] + 9, "iscrowd": 0}
            row |= {"category_id": categories[number], "id": number + 1}
            out.write((", " if number else "") + json.dumps(row))
        classes = [{"supercategory": "thing", "id": n, "name": name} for n, name in enumerate(CLASSES, 1)]
        out.write(f'], "categories": {json.dumps(classes)}}}')
    return count


def annotation(rng: np.random.Generator, points: int) -> dict[str, object]:
    """Return a star-shaped polygon within 640 × 480 pixels."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radii, center = rng.uniform(20, 100, points), rng.uniform((110, 110), (530, 370))
    xs, ys = center[0] + radii * np.cos(angles), center[1] + radii * np.sin(angles)
    polygon = np.stack([xs, ys], axis=1).ravel().round(2).tolist()
    left, top = min(polygon[::2]), min(polygon[1::2])
    box = [left, top, round(max(polygon[::2]) - left, 2), round(max(polygon[1::2]) - top, 2)]
    return {"segmentation": [polygon], "area": round(box[2] * box[3] * 0.6, 4), "bbox": box}


def alctl(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "alctl", *map(str, arguments)]


def new_project(images: Path, project: Path, task: str) -> None:
    classes = ",".join(CLASSES)
    command = alctl(
        "init",
        images,
        "--project",
        project,
        "--task",
        task,
        "--classes",
        classes,
        "--validation",
        "0",
        "--test",
        "0",
    )
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Return wall seconds, processor seconds and megabytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def report(title: str, rows: int, file: Path, kind: str, fresh: Path, rounds: int, *, whole: bool) -> None:
    project = fresh.with_name("used")
    programs = {
        "bare": [sys.executable, "-c", BARE_CSV if kind == "csv" else BARE_COCO, str(file)],
        "read": [sys.executable, "-c", READ, str(file), kind],
    }
    if whole:
        programs["import"] = alctl("import-labels", file, "--project", project, "--format", kind)
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, command in programs.items():
            if name == "import":
                shutil.rmtree(project, ignore_errors=True)
                shutil.copytree(fresh, project)
            results[name].append(measured(command))
    for name, result in results.items():
        seconds = median(wall for wall, _, _ in result)
        ratio = median(ours[1] / bare[1] for ours, bare in zip(result, results["bare"], strict=True))
        processor = median(used for _, used, _ in result)
        memory = max(size for _, _, size in result)
        print(
            f"| {title}, {file.stat().st_size / 1e6:,.0f} MB | {name} | {seconds:.1f} | {processor:.1f} | "
            f"{rows / seconds:,.0f} | {memory:,.0f} | {ratio:.2f}x |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000, help="of the CSV, and images in the pool")
    parser.add_argument("--megabytes", type=int, default=500, help="of the COCO file")
    parser.add_argument("--no-import", action="store_true", help="only the readers, without a project")
    args = parser.parse_args()
    print("| file | program | seconds | processor seconds | labels/s | MB | against bare |")
    print("|---|---|---|---|---|---|---|")
    whole = not args.no_import
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if whole:
            make_images(folder / "images", args.rows)
            new_project(folder / "images", folder / "csv-project" / "fresh", "classification")
            new_project(folder / "images", folder / "coco-project" / "fresh", "detection")
        file = folder / "labels.csv"
        rows = make_csv(file, args.rows)
        report(
            f"CSV, {rows:,} rows",
            rows,
            file,
            "csv",
            folder / "csv-project" / "fresh",
            args.rounds,
            whole=whole,
        )
        file = folder / "labels.json"
        rows = make_coco(file, args.megabytes, args.rows)
        report(
            f"COCO, {rows:,} objects",
            rows,
            file,
            "coco",
            folder / "coco-project" / "fresh",
            args.rounds,
            whole=whole,
        )


if __name__ == "__main__":
    main()
