"""Run experiments, one line of results for each arm of each trial; the same command goes on after a kill.

Command:  OMP_NUM_THREADS=1 nice python -m benchmarks.selection.run E2 --cache ~/.cache/alctl-selection
          python -m benchmarks.selection.tables

The lines are in benchmarks/results/selection/E2.jsonl, and `tables` turns them into E2.md. Trial after trial is run, so
that what there is can be compared at any time; --trials ends earlier than registered, and the table says so.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from alctl.files import sync
from alctl.simulation.replay import replay
from benchmarks.selection.experiments import EVERY, Experiment, images
from benchmarks.selection.lines import RESULTS, Line, read


def main() -> None:
    parser = argparse.ArgumentParser(description="Run experiments on frozen embeddings.")
    parser.add_argument("names", nargs="+", choices=[one.name for one in EVERY])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the archives of images")
    parser.add_argument("--cache", type=Path, required=True, help="where embeddings are kept")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--trials", type=int, help="end after this many")
    parser.add_argument("--arm", action="append", help="only this one, and others given so (default: all)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for experiment in (one for one in EVERY if one.name in given.names):
        run(experiment, given.data, given.cache, given.results, given.trials, given.arm)


def run(
    experiment: Experiment,
    folder: Path,
    cache: Path,
    results: Path,
    trials: int | None = None,
    arms: Sequence[str] | None = None,
) -> None:
    """Run what is missing of an experiment, of all arms or some."""
    found = images(experiment.data, folder, cache)
    file = results / f"{experiment.name}.jsonl"
    results.mkdir(parents=True, exist_ok=True)
    done = {(line.arm, line.trial) for line in read(file, mend=True)}
    for number in range(1, min(trials or experiment.trials, experiment.trials) + 1):
        known, parts, seed = experiment.trial(number, found)
        for arm in experiment.arms:
            if (arm.name, number) in done or arm.name not in (arms or [arm.name]):
                continue
            start = time.process_time()
            rounds = list(replay(known, parts, arm, experiment.budgets, seed))
            line = Line(
                arm.name,
                number,
                [one.labeled for one in rounds],
                [round(one.accuracy, 4) for one in rounds],
                [round(one.adjusted, 4) for one in rounds],
                round(time.process_time() - start, 1),
            )
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line._asdict()) + "\n")
            sync(file)
        print(f"{experiment.name} trial {number}", flush=True)


if __name__ == "__main__":
    main()
