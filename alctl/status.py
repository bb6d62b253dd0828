"""What a project has come to and what to do next, as plain data."""

from pathlib import Path
from typing import Any

from alctl.annotators.handout import round_file
from alctl.database import counts, handouts, items, labels, pre_annotations, training_runs
from alctl.database.connection import integrity_problems
from alctl.database.handouts import is_address
from alctl.plugins import Plugins
from alctl.project import Project, now, required_state

SHOWN = 1_000
"""Unusable items that are listed one by one."""
RUN = ("id", "labeled", "metrics", "config", "seconds", "created_at")
"""What is shown of the last training run."""


def status(project: Project) -> dict[str, Any]:
    """Return items per split and state, per class and per round, the last training run, and the next step."""
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        run = training_runs.last_run(connection)
        counted = counts.count(connection, now())
        pushed = {found.round_id for found in handouts.find(connection) if is_address(found.place)}
        result = {
            "project": str(project.folder),
            "root": state["root"],
            "task": state["task"],
            "items": items.size(connection),
            "states": counted.states,
            "classes": counted.classes,
            "rounds": [{**row, "pushed": row["id"] in pushed} for row in counts.per_round(connection, now())],
            "predictions": pre_annotations.kept(connection),
            "imports": [dict(row) for row in labels.imports(connection)],
            "unusable": [dict(row) for row in items.unusable_items(connection, SHOWN)],
            "run": run and {key: run.plain()[key] for key in RUN},
        }
    result["next"], result["why"] = _next_step(result)
    return result


def _next_step(result: dict[str, Any]) -> tuple[str, str]:
    """Return the command that brings the project forward, and the reason."""
    pool, run = result["states"]["pool"], result["run"]
    out = [row for row in result["rounds"] if row["out"] or row["overdue"]]
    late = [row for row in out if row["overdue"]]
    last: dict[str, Any] = out[-1] if out else {"id": 0, "answered": 0, "annotators": [], "pushed": False}
    file = round_file(last["id"], last["annotators"])
    not_exported = bool(out) and not (Path(result["project"]) / file).is_file()
    take = f"alctl import-labels {file if result['task'] == 'classification' else 'FILE'}"
    if last["pushed"]:
        take = f"alctl pull {last['id']}"
    trainable = result["task"] in Plugins("alctl.model.tasks", object).names()
    untrained = trainable and pool["labeled"] >= 2 and (run is None or run["labeled"] != pool["labeled"])
    steps = [
        (not_exported, f"alctl export {last['id']}", f"round {last['id']}'s files are not in the project"),
        (
            out and not last["answered"],
            take,
            f"round {last['id']} was due {last['due_at']}; `alctl recall {last['id']}` takes it back"
            if out and last["overdue"]
            else f"round {last['id']} is out with annotators",
        ),
        (untrained, "alctl train", f"{pool['labeled']:,} images are labeled"),
        (
            pool["unlabeled"],
            f"alctl select --k {min(100, pool['unlabeled'])}",
            f"{pool['unlabeled']:,} images are unlabeled",
        ),
        (
            late,
            "alctl recall --overdue",
            f"{sum(row['overdue'] for row in late):,} images were due, and may be selected again once recalled",
        ),
        (out, take, f"{pool['out']:,} images are out with annotators"),
    ]
    at_the_end = "alctl evaluate" if trainable else "alctl export-labels labels.json --format coco"
    return next(
        ((command, why) for due, command, why in steps if due), (at_the_end, "every image is answered")
    )


def check(project: Project) -> list[str]:
    """Return what is wrong with the project's state: its database, the pool's rules, weights that are gone."""
    problems = integrity_problems(project.engine)
    with project.reading() as connection:
        problems += counts.broken_invariants(connection)
        run = training_runs.last_run(connection)
    if run and not (project.folder / run.file).is_file():
        problems.append(f"the weights of training run {run.id} are gone: {run.file}")
    return problems
