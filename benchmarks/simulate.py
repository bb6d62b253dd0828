"""Does learning loss beat random on CIFAR-10, by how much, and how sure is that?

Command:  python benchmarks/simulate.py cpu            about forty minutes on two idle cores with --processes 2
          python benchmarks/simulate.py paper          the supplement's Table 1, on a GPU
          python benchmarks/simulate.py paper --processes 3 -- --trials 1 --strategy random --strategy learning-loss
Hardware: in command.json beside the results
Date:     in command.json beside the results

What follows -- goes to `alctl simulate`. Tables and pictures are copied to benchmarks/results/simulate-SCALE. Several
processes share the arms, which keeps a GPU busy that one small network cannot fill. Stopped, the same command goes on.
The images are JPEG files of quality 75, so that accuracies are not comparable to the decimal with the original pixels.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.data import real_data

SCALES = {
    "cpu": (
        "--k", "300", "--rounds", "4", "--trials", "5", "--subset", "3000", "--width", "8", "--epochs", "25",
        "--batch-size", "64", "--lr", "0.05", "--report-model", "--device", "cpu",
    ),
    "paper": ("--strategy", "random", "--strategy", "entropy", "--strategy", "core-set", "--strategy", "learning-loss"),
}  # fmt: skip
"""What differs from the paper's settings, which are the defaults."""
RESULTS = Path(__file__).parent / "results"


def images(work: Path) -> Path:
    """Return a folder with CIFAR-10 in train/CLASS and test/CLASS."""
    folder = work / "cifar10"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        if not (folder / split).exists():
            (folder / split).symlink_to(real_data(f"cifar10_{split}.tar.xz") / "cifar10" / split)
    return folder


def run(command: list[str], processes: int) -> None:
    """Run the command to its end, several times at once; the first one's progress is shown."""
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if processes > 1 else {})
    silent = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(processes - 1)
    ]
    codes = [subprocess.run(command, env=environment, check=False).returncode]
    codes += [process.wait() for process in silent]
    if any(codes):
        raise SystemExit(f"exit codes {codes}; the same command goes on")
    if processes > 1:  # once more, for the tables of all that the others have finished since
        subprocess.run(command, env=environment, check=True)


def keep(folder: Path, target: Path, facts: dict[str, object]) -> None:
    """Copy what is worth keeping, and say where it comes from."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(folder / "results.csv", target)
    results = json.loads((folder / "results.json").read_text())
    results["simulation"] |= {"dataset": "cifar10", "root": "cifar10"}  # where it was is nobody's business
    (target / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    shutil.copytree(folder / "figures", target / "figures")
    (target / "command.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")


def hardware(folder: Path) -> list[str]:
    """Return the processors that the models were trained on."""
    results = json.loads((folder / "results.json").read_text())["results"]
    return sorted({f"{r['environment']['device']}: {r['environment']['hardware']}" for r in results})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scale", choices=SCALES)
    parser.add_argument("--work", type=Path, default=Path("simulate-work"), help="where the arms are kept")
    parser.add_argument("--processes", type=int, default=1)
    args, more = parser.parse_known_args()
    more = [text for text in more if text != "--"]
    work = args.work.absolute()
    folder = work / args.scale
    settings = [*SCALES[args.scale], *more]
    if "--strategy" in more:  # instead of the scale's own
        settings = [*_without_strategies(SCALES[args.scale]), *more]
    command = [
        sys.executable,
        "-m",
        "alctl",
        "simulate",
        str(images(work)),
        "--project",
        str(folder),
        *settings,
    ]
    started = time.monotonic()
    run(command, args.processes)
    facts: dict[str, object] = {
        "command": " ".join(["alctl", "simulate", "./cifar10", *settings]),
        "processes": args.processes,
        "hardware": hardware(folder),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    keep(folder, RESULTS / f"simulate-{args.scale}", facts)
    print(json.dumps(facts, indent=1))


def _without_strategies(settings: tuple[str, ...]) -> list[str]:
    pairs = zip(settings[::2], settings[1::2], strict=True)
    return [text for name, value in pairs if name != "--strategy" for text in (name, value)]


if __name__ == "__main__":
    main()
