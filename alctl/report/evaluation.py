"""The last model on reserved images, and the models of rounds on what those rounds brought."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alctl.chance import stream
from alctl.model import score
from alctl.project import Project
from alctl.report import measures
from alctl.report.ask_models import Judged, Judges, truth_of

CERTAIN = 12
"""Images that are shown of the most certain, the least certain and the surest mistakes."""
DOTS = 1_500
"""Images that are drawn in the scatter plot."""
ARM = 500
"""Picks of a round that are compared with its control images: more would not narrow the interval much."""
WORST = 15
"""Confusions that are listed one by one."""


def as_ids(values: Iterable[int]) -> NDArray[np.int64]:
    """Return distinct ids, ascending."""
    return np.array(sorted(set(values)), dtype=np.int64)


def of_model(judged: Judged | None, classes: Sequence[str]) -> dict[str, Any]:
    """Return the sections that show what the last model says; None each where it could not be asked."""
    if judged is None:
        return dict.fromkeys(("losses", "calibration", "confusion", "certain"))
    said = [int(c) for c in judged.said]
    table = measures.confusion([int(c) for c in judged.truth], said, len(classes))
    worst = sorted(
        ((table[t][s], t, s) for t in range(len(table)) for s in range(len(table)) if t != s and table[t][s]),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    return {
        "losses": _losses(judged),
        "calibration": measures.reliability(judged.confidence, judged.right),
        "confusion": {
            "table": table,
            "worst": [{"true": classes[t], "said": classes[s], "images": n} for n, t, s in worst[:WORST]],
        },
        "certain": _certain(judged, classes),
    }


def _losses(judged: Judged) -> dict[str, Any] | None:
    """Return predicted and true losses with their correlations; None without a loss prediction module."""
    known = np.isfinite(judged.true)
    if judged.predicted is None or not known.any():
        return None
    predicted, true = judged.predicted[known], judged.true[known]
    found: dict[str, Any] = asdict(score.loss_ranking(predicted, true))
    spearman = found["spearman"]
    shown = np.linspace(0, len(true) - 1, min(DOTS, len(true))).astype(np.int64)
    return found | {
        "images": len(true),
        "spearman_interval": None if spearman is None else measures.spearman_interval(spearman, len(true)),
        "predicted": [round(float(value), 5) for value in predicted[shown]],
        "true": [round(float(value), 5) for value in true[shown]],
    }


def _certain(judged: Judged, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the images that the model is most and least certain of, and its surest mistakes."""
    order = np.lexsort((judged.ids, judged.confidence))
    wrong = [i for i in order[::-1] if not judged.right[i]]

    def entry(i: int) -> dict[str, Any]:
        return {
            "item": int(judged.ids[i]), "true": classes[judged.truth[i]], "said": classes[judged.said[i]],
            "probability": round(float(judged.confidence[i]), 6),
            "predicted_loss": None if judged.predicted is None else round(float(judged.predicted[i]), 5),
        }  # fmt: skip

    return {
        "least": [entry(i) for i in order[:CERTAIN]],
        "most": [entry(i) for i in order[::-1][:CERTAIN]],
        "mistakes": [entry(i) for i in wrong[:CERTAIN]],
    }


def control_arms(project: Project, facts: Mapping[str, Any], judges: Judges) -> list[dict[str, Any]]:
    """Return for each round with control images how often its own model was wrong on them, and on its picks.

    The model that chose the round had learned from neither, so both are honest; of many picks a random part is asked.
    """
    runs = {run["id"]: run for run in facts["runs"]}
    found = []
    for row in facts["rounds"]:
        run = runs.get(row["run_id"])
        answers = row["answers"]
        arms = [[i for i in row[name] if i in answers] for name in ("picked", "control")]
        if run is None or not all(arms):
            continue
        arms = [_some(arm, ARM, stream(row["seed"], "report", row["id"])) for arm in arms]
        truth = truth_of(project, facts["root"], {i: answers[i] for arm in arms for i in arm})
        judged = judges.judge(run, truth)
        if judged is None:
            continue
        wrong = dict(zip(judged.ids.tolist(), (~judged.right).tolist(), strict=True))
        picked, control = (np.array([wrong[i] for i in arm if i in wrong], dtype=bool) for arm in arms)
        if len(picked) and len(control):
            found.append({
                "round": row["id"], "strategy": row["strategy"], "run": run["id"], "labeled": run["labeled"],
                "picked": measures.share(int(picked.sum()), len(picked)), "picked_images": len(picked),
                "control": measures.share(int(control.sum()), len(control)), "control_images": len(control),
                "excess": measures.excess([(picked, control)]),
                "wrong": {"picked": picked.tolist(), "control": control.tolist()},
            })  # fmt: skip
    return found


def together(arms: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what all rounds with control images say together."""
    pairs = [(np.array(arm["wrong"]["picked"]), np.array(arm["wrong"]["control"])) for arm in arms]
    found = measures.excess(pairs)
    if found is None:
        return None
    return {
        "strategies": sorted({arm["strategy"] for arm in arms}),
        "excess": found,
        "picked_images": sum(arm["picked_images"] for arm in arms),
        "control_images": sum(arm["control_images"] for arm in arms),
    }


def _some(ids: list[int], n: int, seed: int) -> list[int]:
    """Return up to ``n`` random ones."""
    if len(ids) <= n:
        return ids
    return sorted(np.random.default_rng(seed).choice(ids, n, replace=False).tolist())
