"""How long does a user wait for two rounds on 341 photographs, without a GPU or a network, and how good is the model then?

Command:  python benchmarks/first_rounds.py ../shared/data/clothing_dev.zip
Hardware: 2-core x86-64 with AVX2
Date:     2026-12-01

    init                  2.4 s  341 images
    select --k 40        27.3 s  uherding
    train --head probe   13.8 s  40 labels: test accuracy 0.653, frequent 0.238
    select --k 120        8.7 s  uherding
    train --head probe    8.1 s  160 labels: test accuracy 0.822, frequent 0.238
    all commands         63.5 s

The real commands, each in a process of its own, one after the other. Labels are the names of the folders. 101 random
photographs are held back for the test, 20 for validation; "frequent" always answers with the most frequent class of the
labeled ones, and so does not look at the image.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

ROUNDS = (40, 120)


def command(folder: Path, *words: object) -> tuple[dict[str, Any], float]:
    """Run one command on the project, and return its JSON and the seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: PLW1510 - what it printed is shown
        [sys.executable, "-m", "alctl", *map(str, words), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found, time.perf_counter() - start


def answers(folder: Path, number: int) -> Path:
    """Write what an annotator who knows says of a round."""
    with (folder / f"rounds/{number:04}/items.csv").open(encoding="utf-8", newline="") as stream:
        rows = [(row["item"], Path(row["path"]).parent.name) for row in csv.DictReader(stream)]
    file = folder / f"labels-{number}.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("item", "label"), *rows])
    return file


def frequent(folder: Path, project: Path) -> float:
    """Return the share of the test images that are of the class most frequent among the labeled ones."""
    found, _ = command(folder, "status", "-p", project)
    counts = found["classes"]
    best = Counter({name: count["pool"] for name, count in counts.items()}).most_common(1)[0][0]
    return float(counts[best]["test"] / sum(count["test"] for count in counts.values()))


def main() -> None:
    """Go two rounds and print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("photographs", type=Path)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        zipfile.ZipFile(given.photographs).extractall(folder / "photographs")
        project = folder / "project"
        reserve = (
            "--validation",
            20,
            "--test",
            101,
            "--seed",
            given.seed,
        )
        made, seconds = command(folder, "init", "photographs", "-p", project, *reserve)
        total = seconds
        print(f"init               {seconds:6.1f} s  {made['items']} images")
        for number, k in enumerate(ROUNDS, start=1):
            chosen, seconds = command(folder, "select", "--k", k, "-p", project)
            total += seconds
            print(f"select --k {k:<3}     {seconds:6.1f} s  {chosen['strategy']}")
            _, seconds = command(
                project, "import-labels", answers(project, number), "--add-classes", "-p", project
            )
            total += seconds
            run, seconds = command(folder, "train", "--head", "probe", "-p", project)
            total += seconds
            accuracy = run["metrics"]["test"]["accuracy"]
            print(
                f"train --head probe {seconds:6.1f} s  {run['labeled']} labels: test accuracy {accuracy:.3f}, "
                f"frequent {frequent(folder, project):.3f}"
            )
        print(f"all commands       {total:6.1f} s")


if __name__ == "__main__":
    main()
