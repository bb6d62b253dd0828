"""Everything that a report says, as plain data; what is not there yet is None, and `missing` says why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from alctl.agreement.measures import kappas, krippendorff
from alctl.database import categories, counts, history, items, labels, rounds, training_runs
from alctl.model.task import TASKS
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.report import advice, evaluation, measures
from alctl.report.ask_models import TASK, Judges, truth_of

GALLERY = 12
"""Picks of a round that are shown."""
GALLERY_ROUNDS = 20
"""Newest rounds whose picks are shown."""
LISTED = 100
"""Unusable images that are listed one by one."""
RESERVED = ("validation", "test")


@dataclass(frozen=True)
class Options:
    """What a person may ask of a report."""

    cost_per_hour: float | None = None
    """What an annotator's hour costs, in any currency."""
    device: str = "auto"


def gather(project: Project, options: Options, progress: Progress) -> dict[str, Any]:
    """Return all facts. Models and images are read, and nothing is written but the cache of decoded images."""
    with project.reading() as connection:
        facts = _recorded(connection, project)
        facts["balance"] = _balance(connection, facts.pop("per_class"))
        facts["rounds"] = _rounds(connection)
        facts["agreement"] = _agreement(connection)
        facts["time"] = _time(connection, options.cost_per_hour)
        facts["unusable"] = [dict(row) for row in items.unusable_items(connection, LISTED)]
        answers = {split: _classes(connection, split) for split in RESERVED}
        merged = categories.merges(connection)
    judges = Judges(project, options.device, progress)
    facts["split"] = split = next((s for s in ("test", "validation") if answers[s]), None)
    facts["measured"] = len(answers[split]) if split else 0
    last = facts["runs"][-1] if facts["runs"] else None
    before = advice.earlier(facts["runs"])
    said = None
    if last and split and facts["task"] == TASK:
        truth = truth_of(project, facts["root"], answers[split])
        said = judges.judge(last, truth)
        facts["gain"] = advice.gain(
            facts, before, last, judges.judge(before, truth) if before else None, said
        )
    else:
        facts["gain"] = advice.gain(facts, before, last, None, None)
    facts |= evaluation.of_model(said, facts["classes"])
    _leave_out(facts, merged)
    _name(project, facts["certain"] or {})
    facts["control"] = evaluation.control_arms(project, facts, judges) if facts["task"] == TASK else []
    facts["control_all"] = evaluation.together(facts["control"])
    facts["curve"] = _curve(facts)
    facts["problems"] = judges.problems
    facts["missing"] = missing(facts)
    facts["advice"] = advice.advise(facts)
    return _shortened(facts)


def _leave_out(facts: dict[str, Any], merged: Collection[int]) -> None:
    """Take merged classes, which nothing is called any more, out of the class list and the table of confusions."""
    keep = [place for place in range(len(facts["classes"])) if place + 1 not in merged]
    facts["classes"] = [facts["classes"][place] for place in keep]
    if facts["confusion"]:
        table = facts["confusion"]["table"]
        facts["confusion"]["table"] = [[table[true][said] for said in keep] for true in keep]


def _shortened(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with numbers in place of the lists that were only needed to find them."""
    for row in facts["rounds"]:
        del row["answers"]
        row |= {name: len(row[name]) for name in ("picked", "control")}
    for row in facts["control"]:
        del row["wrong"]
    return facts


def _recorded(connection: Connection, project: Project) -> dict[str, Any]:
    """Return what the tables say of the project and of its training runs."""
    state = required_state(connection, project.folder)
    learned = history.rounds_learned(connection)
    keys = (
        "id",
        "labeled",
        "metrics",
        "config",
        "seconds",
        "seed",
        "created_at",
        "environment",
        "file",
        "digest",
    )
    every = [
        {key: run.plain()[key] for key in keys} | {"round": learned.get(run.id)}
        for run in training_runs.every_run(connection)
    ]
    counted = counts.count(connection)
    return {
        "project": project.folder.name,
        "folder": str(project.folder),
        "root": state["root"],
        "task": state["task"],
        "metric": TASKS.load(state["task"]).metric if state["task"] in TASKS.names() else "",
        "created_at": state["created_at"],
        "generated_at": now(),
        "classes": categories.categories(connection),
        "items": items.size(connection),
        "states": counted.states,
        "per_class": counted.classes,
        "runs": every,
        "imports": len([row for row in labels.imports(connection) if not row["undone_at"]]),
    }


def _classes(connection: Connection, split: str) -> dict[int, int]:
    """Return the class id of each labeled item of a split that has one."""
    return {
        item: category
        for item, category, _ in labels.labeled_items(connection, split)
        if category is not None
    }


def _balance(connection: Connection, per_class: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Return for each class its labeled images, per split and per round."""
    rows = history.labels_per_class(connection)
    by_round = {(row["name"], row["round_id"]): row["n"] for row in rows}
    numbers = sorted({row["round_id"] for row in rows})
    return [
        {"name": name, **found, "rounds": {number: by_round.get((name, number), 0) for number in numbers}}
        for name, found in per_class.items()
    ]


def _rounds(connection: Connection) -> list[dict[str, Any]]:
    """Return every round with its counts, its picks by reason, and the picks that are shown."""
    answered = {row["id"]: row for row in counts.per_round(connection)}
    found = []
    every = history.every_round(connection)
    for row in every:
        picks = rounds.picks(connection, row["id"])
        said = {a["item_id"]: a for a in history.answers_of_round(connection, row["id"])}
        candidates = [pick for pick in picks if pick.why not in RESERVED]
        shown = candidates[:GALLERY] if row["id"] > every[-1]["id"] - GALLERY_ROUNDS else []
        found.append({
            **row,
            "images": len(candidates),
            "control": [pick.item_id for pick in candidates if pick.why == rounds.CONTROL],
            "picked": [pick.item_id for pick in candidates if pick.why != rounds.CONTROL],
            "reserved": len(picks) - len(candidates),
            "answered": answered[row["id"]]["answered"],
            "out": answered[row["id"]]["out"],
            "answers": {item: a["category_id"] for item, a in said.items() if a["category_id"]},
            "shown": [
                {
                    "item": pick.item_id, "path": pick.path, "rank": pick.rank, "score": pick.score,
                    "why": pick.why, "answer": said_of(said.get(pick.item_id)),
                }
                for pick in shown
            ],
        })  # fmt: skip
    return found


def said_of(answer: Mapping[str, Any] | None) -> str | None:
    """Return what holds for an item in words: its class, "skipped", "unusable"; None without an answer."""
    if answer is None:
        return None
    if answer["status"] != "labeled":
        return "skipped" if answer["status"] == "skip" else str(answer["status"])
    return str(answer["name"]) if answer["name"] is not None else "labeled"


def _agreement(connection: Connection) -> dict[str, Any] | None:
    rows = history.agreement(connection)
    if not rows:
        return None
    return {"pairs": kappas(rows), "alpha": krippendorff(rows)}


def _time(connection: Connection, rate: float | None) -> dict[str, Any] | None:
    """Return time and cost; None where no answer says how long it took."""
    people = [dict(row) for row in history.time_per_annotator(connection)]
    timed = sum(row["timed"] for row in people)
    if not timed:
        return None
    mean = sum(row["seconds"] or 0.0 for row in people) / timed
    answers = sum(row["answers"] for row in people)
    return {
        "annotators": sorted(people, key=lambda row: row["annotator"]),
        "rounds": [dict(row) for row in history.time_per_round(connection)],
        "answers": answers,
        "timed": timed,
        "mean_seconds": mean,
        "hours": answers * mean / 3600,
        "cost_per_hour": rate,
        "cost_per_label": None if rate is None else mean / 3600 * rate,
        "cost": None if rate is None else answers * mean / 3600 * rate,
    }


def _name(project: Project, certain: Mapping[str, list[dict[str, Any]]]) -> None:
    """Add to the images that are shown where they are."""
    entries = [entry for some in certain.values() for entry in some]
    with project.reading() as connection:
        found = items.fetch(connection, evaluation.as_ids(entry["item"] for entry in entries))
    paths = {item.id: item.path for item in found}
    for entry in entries:
        entry["path"] = paths[entry["item"]]


def _curve(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metric of every run on the split that is reported, in the order of labels, the newest last.

    The interval is that of chance in the test images, where the metric is a share of them.
    """
    points = []
    for run in facts["runs"]:
        metrics = run["metrics"].get(facts["split"]) or {}
        value = metrics.get(facts["metric"])
        if value is not None:
            n = int(metrics.get("images") or facts["measured"])
            around = measures.share(round(value * n), n) if facts["task"] == TASK else None
            points.append({
                "run": run["id"], "labeled": run["labeled"], "value": value,
                "low": around and around.low, "high": around and around.high,
            })  # fmt: skip
    return sorted(points, key=lambda point: (point["labeled"], point["run"]))


def missing(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return for each section that has nothing to show what it waits for."""
    untrained = "Nothing is trained yet: `alctl train`."
    unmeasured = "No validation or test image is labeled yet, so nothing can be measured on them."
    model = untrained if not facts["runs"] else unmeasured if not facts["split"] else ""
    if not model and facts["task"] != TASK:
        model = "This is shown for whole-image classes only."
    elif not model and facts["losses"] is None and facts["certain"] is None:
        model = "The last model could not be asked: " + (
            " ".join(facts["problems"]) or "no image can be read."
        )
    reasons: dict[str, Sequence[tuple[Any, str]]] = {
        "curve": [(facts["curve"], untrained if not facts["runs"] else unmeasured)],
        "runs": [(facts["runs"], untrained)],
        "losses": [
            (facts["losses"], model or "The last model has no loss prediction module (loss_weight 0)."),
        ],
        "calibration": [(facts["calibration"], model)],
        "confusion": [(facts["confusion"], model)],
        "certain": [(facts["certain"], model)],
        "balance": [(any(row["pool"] for row in facts["balance"]), "No image of the pool is labeled yet.")],
        "rounds": [(facts["rounds"], "No round was selected yet: `alctl select --k 100`.")],
        "control": [(facts["control"], "No round has answered control images yet: `alctl select --control 0.1`.")],
        "agreement": [(facts["agreement"], "No image was given a class by two annotators.")],
        "time": [(facts["time"], "No answer says how long it took: the column `seconds` of items.csv.")],
        "unusable": [(facts["unusable"], "Every image can be used.")],
    }  # fmt: skip
    return {name: why for name, found in reasons.items() for there, why in found if not there}
