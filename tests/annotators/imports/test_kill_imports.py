"""Kill -9 while labels are imported and taken back, again and again in one project: nothing acknowledged is ever lost.

`benchmarks/results/kill-points.md` holds the result of 1,000 kills, which are marked long.
"""

import json
import random
import signal
from pathlib import Path

import pytest
from sqlalchemy import text

from alctl.project import Project, open_project
from alctl.status import check
from tests.project_files import make_images, make_project, write_csv
from tests.warm import count_moments, start_warm

IMAGES = 40

Batches = dict[int, tuple[bool, int]]
"""For each import whether it is in force, and how many labels it has in the history."""


def state_of(project: Project) -> Batches:
    """Return what the database holds, read by a connection of its own, after looking that it is sound."""
    assert check(project) == []
    with project.reading() as connection:
        rows = connection.execute(
            text(
                """SELECT b.id, b.undone_at IS NULL, count(l.id), b.counts FROM import_batch AS b
                   LEFT JOIN label AS l ON l.import_id = b.id GROUP BY b.id, b.undone_at, b.counts"""
            )
        ).all()
    for id_, _, labels, counts in rows:
        said = json.loads(counts) if isinstance(counts, str) else counts
        assert labels == said["added"] + said["changed"], f"import {id_} is not whole"
    return {int(row[0]): (bool(row[1]), int(row[2])) for row in rows}


def next_command(folder: Path, before: Batches, n: int, chance: random.Random) -> list[object]:
    """Return an import of new answers, or an undo of one that is in force."""
    in_force = [id_ for id_, (holds, _) in before.items() if holds]
    if in_force and chance.random() < 0.4:
        return ["undo-import", chance.choice(in_force)]
    rows = [(i, chance.choice(("cat", "dog")), f"annotator {n}") for i in range(1, IMAGES + 1)]
    return ["import-labels", write_csv(folder / f"{n}.csv", rows, ("item", "label", "annotator"))]


def expected(before: Batches, command: list[object]) -> Batches:
    """Return the state when the command is done."""
    if command[0] == "undo-import":
        number = int(str(command[1]))
        return {**before, number: (False, before[number][1])}
    return {**before, max(before, default=0) + 1: (True, IMAGES)}


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(7_200)]),
    ],
)
def test_imports_and_undos_that_are_killed_are_whole_or_never_were(tmp_path, record_property, kills):
    make_images(tmp_path / "images", IMAGES)
    project = make_project(tmp_path / "project", tmp_path / "images")
    chance = random.Random(7)
    first = write_csv(tmp_path / "first.csv", [(i, "cat") for i in range(1, IMAGES + 1)])
    moments = {
        words[0]: count_moments(*words, "--project", project.folder, "--json")
        for words in (("import-labels", first), ("undo-import", 1))
    }
    before, killed, acknowledged = state_of(project), 0, 0
    for n in range(kills):
        command = next_command(tmp_path, before, n, chance)
        moment = 1 + int(
            1.2 * moments[str(command[0])] * chance.random()
        )  # some have ended before they are killed
        running = start_warm(
            *command, "--project", project.folder, "--json", moment=moment, hold=chance.random() < 0.5
        )
        running.wait_for_moment()
        running.signal(signal.SIGKILL)
        end = running.end()
        done = end.returncode == 0 or bool(end.stdout.strip())
        after = state_of(open_project(project.folder))
        assert after in (before, expected(before, command)), f"kill {n}: {command}"
        assert after != before or not done, f"kill {n}: {command} was acknowledged and is gone"
        killed += end.returncode == -signal.SIGKILL
        acknowledged += done
        before = after
    assert killed >= kills // 4, "the moments were too late to tell anything"
    assert acknowledged or killed == kills
    record_property("kills", f"{killed} killed, {acknowledged} acknowledged, {len(before)} imports")
