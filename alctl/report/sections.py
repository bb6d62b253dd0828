"""The sections of a report, from its facts: what is said, in which order, in which words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alctl.report import charts
from alctl.report.advice import hours, interval, points
from alctl.report.blocks import Block, Figure, Gallery, List, Picture, Section, Table, Text
from alctl.report.charts import Dot, Series
from alctl.report.measures import Estimate

CLASSES = 30
"""Classes that a table shows; the others are counted."""
COLUMNS = 12
"""Newest rounds that have a column of their own."""

Facts = Mapping[str, Any]


def sections(facts: Facts) -> list[Section]:
    """Return every section; one that has nothing to show says what it waits for."""
    found = []
    for name, title, make in _SECTIONS:
        why = facts["missing"].get(name)
        found.append(Section(name, title, [Text(why)] if why else make(facts)))
    return found


def tiles(facts: Facts) -> list[tuple[str, str]]:
    """Return the headline: a name and a number each."""
    pool = facts["states"]["pool"]
    found = [
        ("labels", _count(pool["labeled"])),
        ("rounds", _count(len(facts["rounds"]))),
        ("out with annotators", _count(sum(state["out"] for state in facts["states"].values()))),
        ("unlabeled", _count(pool["unlabeled"])),
    ]
    if facts["curve"] and facts["runs"]:
        last = next((p for p in facts["curve"] if p["run"] == facts["runs"][-1]["id"]), None)
        if last:
            spread = f", 95 %: {last['low']:.3f} to {last['high']:.3f}" if last["low"] is not None else ""
            found.append((f"{facts['split']} {_words(facts['metric'])}{spread}", f"{last['value']:.3f}"))
    return found


def _advice(facts: Facts) -> list[Block]:
    reasons = facts["advice"]["reasons"]
    return [List(reasons) if reasons else Text(facts["advice"]["verdict"])]


def _curve(facts: Facts) -> list[Block]:
    newest = {p["labeled"]: p for p in facts["curve"]}
    metric = _words(facts["metric"])
    dots = [
        Dot(p["labeled"], p["value"], p["low"], p["high"], f"run {p['run']}: {_count(p['labeled'])} labels, {p['value']:.4f}")
        for p in newest.values()
    ]  # fmt: skip
    series = [Series(f"{facts['split']} images", dots)]
    caption = f"{metric.capitalize()} of each model on the {_count(facts['measured'])} labeled {facts['split']} images."
    if facts["curve"][0]["low"] is not None:
        caption += " The band is chance in the choice of these images (95 %, Wilson)."
    for arm, name in (("control", "random control images"), ("picked", "picks")):
        if facts["control"]:
            series.append(
                Series(f"{name} of the round, before they were learned", _right(facts, arm), joined=False)
            )
    if facts["control"]:
        caption += (
            " Control images are random ones of the pool, so the model that had not yet seen them should be as good "
            "on them as on test images; picks should be harder."
        )
    blocks: list[Block] = [Figure(charts.lines(series, "labeled images", metric), caption)]
    if len(newest) < len(facts["curve"]):
        blocks.append(Text("Of several runs with the same number of labels the newest is drawn."))
    return blocks


def _right(facts: Facts, arm: str) -> list[Dot]:
    """Return the accuracy of each round's own model on one arm of the round."""
    found = []
    for row in facts["control"]:
        wrong: Estimate = row[arm]
        tip = f"round {row['round']}: {1 - wrong.value:.3f} of {row[f'{arm}_images']}"
        found.append(Dot(row["labeled"], 1 - wrong.value, 1 - wrong.high, 1 - wrong.low, tip))
    return found


_METRICS = ("accuracy", "balanced_accuracy", "target_loss", "ranking_accuracy", "spearman", "pearson")


def _runs(facts: Facts) -> list[Block]:
    split = facts["split"] or "test"
    found = [run["metrics"].get(split) or {} for run in facts["runs"]]
    names = [name for name in dict.fromkeys((facts["metric"], *_METRICS)) if any(name in m for m in found)]
    rows = [
        [
            str(run["id"]), _count(run["labeled"]), "–" if run["round"] is None else str(run["round"]),
            *(_fraction(metrics.get(name)) for name in names), hours(run["seconds"]), run["config"]["model"],
            _day(run["created_at"]),
        ]
        for run, metrics in zip(facts["runs"], found, strict=True)
    ]  # fmt: skip
    columns = ["run", "labels", "rounds up to", *map(_words, names), "training", "model", "finished"]
    said = f"Measured on the {split} images that were labeled when the run finished."
    return [
        Text(said if names else "No reserved image was labeled when these runs finished."),
        Table(columns, rows),
    ]


def _ranking(facts: Facts) -> list[Block]:
    dots = []
    for run in sorted(facts["runs"], key=lambda run: (run["labeled"], run["id"])):
        found = run["metrics"].get(facts["split"]) or {}
        value = found.get("ranking_accuracy")
        if value is not None:
            tip = f"run {run['id']}: {_count(run['labeled'])} labels, {value:.4f}"
            low, high = found.get("ranking_accuracy_low"), found.get("ranking_accuracy_high")
            dots.append(Dot(run["labeled"], value, low, high, tip))
    if not dots:
        return [
            Text("No run has measured it: it takes a loss prediction module, and labeled reserved images.")
        ]
    caption = (
        "The share of pairs of images that the predicted losses put in the right order. The dashed line is a coin: "
        "as long as the curve is near it, picks by predicted loss are random picks."
    )
    return [
        Figure(charts.lines([Series("", dots)], "labeled images", "ranking accuracy", level=0.5), caption)
    ]


def _control(facts: Facts) -> list[Block]:
    rows = [
        [
            f"{row['round']} ({row['strategy']})", _count(row["labeled"]), _share(row["picked"]),
            _count(row["picked_images"]), _share(row["control"]), _count(row["control_images"]), points(row["excess"]),
        ]
        for row in facts["control"]
    ]  # fmt: skip
    columns = ["round", "labels before", "picks wrong", "picks", "control wrong", "control", "difference"]
    return [
        Text(
            "Some images of these rounds were random. The model that chose the round had learned from none of its "
            "images: how often was it wrong on its picks, and how often on random ones?"
        ),
        Table(columns, rows),
        Text(f"All rounds together: {points(facts['control_all']['excess'])}."),
    ]


def _losses(facts: Facts) -> list[Block]:
    found = facts["losses"]
    around = found["spearman_interval"]
    said = [
        f"Pearson {_fraction(found['pearson'])}",
        f"Spearman {interval(around) if around else _fraction(found['spearman'])}",
        f"ranking accuracy {_fraction(found['ranking_accuracy'])}",
    ]
    shown = len(found["true"])
    part = "" if shown == found["images"] else f" {_count(shown)} of them are drawn."
    caption = (
        f"{'; '.join(said)}, on {_count(found['images'])} {facts['split']} images.{part} "
        "Only the order of predicted losses means anything."
    )
    return [Figure(charts.scatter(found["predicted"], found["true"], "predicted loss", "true loss"), caption)]


def _calibration(facts: Facts) -> list[Block]:
    found = facts["calibration"]
    bars = [(b["from"], b["to"], b["accuracy"], b["images"]) for b in found["bins"]]
    caption = (
        f"When the model gives its answer a probability, how often is it right? On the dashed line it is honest, below "
        f"it too sure; a bar's number is how many images it stands for. Expected calibration error {found['ece']:.3f} (10 bins)."
    )
    return [Figure(charts.shares(bars, "probability it gives its answer", "share that is right"), caption)]


def _confusion(facts: Facts) -> list[Block]:
    found, names = facts["confusion"], facts["classes"]
    blocks: list[Block] = []
    if len(names) <= CLASSES:
        most = [max(1, sum(row)) for row in found["table"]]
        rows = [
            [n, *(_count(c) if c else "" for c in row)] for n, row in zip(names, found["table"], strict=True)
        ]
        shades = [[0.0, *(c / m for c in row)] for m, row in zip(most, found["table"], strict=True)]
        blocks += [
            Text(f"Rows are the true class, columns what the last model says, on {facts['split']} images."),
            Table(["", *names], rows, shades),
        ]
    if found["worst"]:
        rows = [[f"{w['true']} → {w['said']}", _count(w["images"])] for w in found["worst"]]
        blocks.append(Table(["most frequent mistakes: true → said", "images"], rows))
    else:
        blocks.append(Text("The last model makes no mistake."))
    return blocks


def _balance(facts: Facts) -> list[Block]:
    balance = facts["balance"]
    numbers = sorted({number for row in balance for number in row["rounds"]})[-COLUMNS:]
    shown = balance if len(balance) <= CLASSES else sorted(balance, key=lambda row: -row["pool"])[:CLASSES]
    splits = [split for split in ("pool", "validation", "test") if any(row[split] for row in balance)]
    values = [[*(row[s] for s in splits), *(row["rounds"][n] for n in numbers)] for row in shown]
    most = [max(1, *column) for column in zip(*values, strict=True)]
    rows = [[row["name"], *map(_count, v)] for row, v in zip(shown, values, strict=True)]
    shades = [[0.0, *(n / top for n, top in zip(v, most, strict=True))] for v in values]
    blocks: list[Block] = [
        List(_lopsided(balance, numbers)),
        Table(["class", *splits, *(f"round {n}" for n in numbers)], rows, shades),
    ]
    if len(balance) > len(shown):
        blocks.append(Text(f"The {len(shown)} largest of {_count(len(balance))} classes are shown."))
    return blocks


def _lopsided(balance: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> list[str]:
    """Return how uneven the pool's labels are, and the rounds that brought mostly one class."""
    pool = [row["pool"] for row in balance]
    least = (
        f"the smallest {_count(min(pool))}" if min(pool) else f"{_count(pool.count(0))} classes have none yet"
    )
    said = [f"The largest class of the labeled pool has {_count(max(pool))} images, {least}."]
    for number in numbers:
        total = sum(row["rounds"][number] for row in balance)
        top = max(balance, key=lambda row: row["rounds"][number])
        n = top["rounds"][number]
        if len(balance) > 2 and 2 * n > total >= 10:
            said.append(
                f"Round {number} brought mostly one class: {_count(n)} of {_count(total)} are {top['name']}."
            )
    return said


def _certain(facts: Facts) -> list[Block]:
    titles = {
        "mistakes": ("Surest mistakes", "Wrong, and sure of it: often a label that deserves a second look."),
        "least": ("Least certain", ""),
        "most": ("Most certain", ""),
    }
    blocks: list[Block] = [
        Text(f"Of the labeled {facts['split']} images, by the last model's probability for its answer.")
    ]
    for name, (title, note) in titles.items():
        pictures = [_certain_picture(entry) for entry in facts["certain"][name]]
        blocks.append(Gallery(title, pictures, note if pictures else "None."))
    return blocks


def _certain_picture(entry: Mapping[str, Any]) -> Picture:
    wrong = entry["said"] != entry["true"]
    lines = [f"{entry['said']} {entry['probability']:.0%}"]
    if wrong:
        lines.append(f"is: {entry['true']}")
    if entry["predicted_loss"] is not None:
        lines.append(f"predicted loss {entry['predicted_loss']:.3g}")
    return Picture(entry["item"], entry["path"], lines, wrong)


def _rounds(facts: Facts) -> list[Block]:
    rows = [
        [
            f"{row['id']} ({_strategy(row)})", _count(row["images"]), _count(row["control"]), _count(row["reserved"]),
            _count(row["answered"]), _count(row["out"]), _count(row["candidates"]),
            "–" if row["run_id"] is None else str(row["run_id"]), _day(row["created_at"]),
        ]
        for row in facts["rounds"]
    ]  # fmt: skip
    columns = [
        "round",
        "images",
        "of them random",
        "reserved",
        "answered",
        "out",
        "candidates",
        "by run",
        "selected",
    ]
    blocks: list[Block] = [Table(columns, rows)]
    galleries = [row for row in facts["rounds"] if row["shown"]]
    for row in reversed(galleries):
        note = (
            f"{len(row['shown'])} of {_count(row['images'])}" if len(row["shown"]) < row["images"] else "all"
        )
        said = (
            f"{note}, best first. The score is what {row['strategy']} ranks by; that of learning-loss is the predicted "
            f"loss. See more with `alctl show {row['id']}`."
        )
        pictures = [_pick_picture(pick, scored=row["run_id"] is not None) for pick in row["shown"]]
        blocks.append(Gallery(f"Round {row['id']}, {row['strategy']}", pictures, said))
    if hidden := len(facts["rounds"]) - len(galleries):
        blocks.append(Text(f"The pictures of the {_count(hidden)} oldest rounds are left out."))
    return blocks


def _strategy(row: Mapping[str, Any]) -> str:
    """Return who chose a round, and for whom it stood in."""
    guard = row["params"].get("guard") or {}
    return f"{row['strategy']}, not {guard['instead_of']} yet" if guard else str(row["strategy"])


def _pick_picture(pick: Mapping[str, Any], *, scored: bool) -> Picture:
    lines = [f"#{pick['rank']}" if pick["rank"] is not None and pick["why"] == "picked" else str(pick["why"])]
    if scored and pick["score"] is not None and pick["why"] == "picked":
        lines[0] += f"  score {pick['score']:.3g}"
    lines.append(pick["answer"] or "no answer yet")
    return Picture(pick["item"], pick["path"], lines)


def _agreement(facts: Facts) -> list[Block]:
    found = facts["agreement"]
    pairs = found["pairs"][:20]
    rows = [
        [
            " and ".join(pair["annotators"]),
            _count(pair["items"]),
            f"{pair['agreement']:.0%}",
            _fraction(pair["kappa"]),
        ]
        for pair in pairs
    ]
    blocks: list[Block] = [
        Text(
            "Kappa is agreement beyond chance: 1 is perfect, 0 is what guessing with the same habits would give."
        ),
        Table(["annotators", "shared images", "same class", "Cohen's kappa"], rows),
        Text(f"All annotators together: Krippendorff's alpha {_fraction(found['alpha'])}."),
    ]
    if len(found["pairs"]) > len(pairs):
        blocks.append(
            Text(f"The {len(pairs)} pairs with most shared images of {len(found['pairs'])} are shown.")
        )
    return blocks


def _time(facts: Facts) -> list[Block]:
    found = facts["time"]
    said = [
        f"{_count(found['timed'])} of {_count(found['answers'])} answers say how long they took: "
        f"{found['mean_seconds']:.1f} s on average, so all of them took about {hours(found['hours'] * 3600)}."
    ]
    if found["cost"] is not None:
        said.append(
            f"At {found['cost_per_hour']:,.2f} an hour that is {found['cost_per_label']:,.4f} a label, "
            f"{found['cost']:,.2f} in all."
        )
    else:
        said.append("With --cost-per-hour this page also says what labels cost.")

    def row(name: str, some: Mapping[str, Any]) -> list[str]:
        mean = some["seconds"] / some["timed"] if some["timed"] else None
        cost = None if mean is None or found["cost"] is None else mean / 3600 * found["cost_per_hour"]
        return [
            name, _count(some["answers"]), _count(some["timed"]), "–" if mean is None else f"{mean:.1f}",
            "–" if mean is None else hours(mean * some["answers"]), "–" if cost is None else f"{cost * some['answers']:,.2f}",
        ]  # fmt: skip

    columns = ["", "answers", "timed", "seconds each", "in all", "cost"]
    rows = [row(some["annotator"] or "(no name)", some) for some in found["annotators"]]
    rows += [row(f"round {some['round_id']}", some) for some in found["rounds"]]
    return [List(said), Table(columns, rows)]


def _unusable(facts: Facts) -> list[Block]:
    rows = [[row["path"], row["reason"]] for row in facts["unusable"]]
    total = sum(state["unusable"] for state in facts["states"].values())
    said = f"{_count(total)} images cannot be used; annotators named those that are not listed here."
    return [Text(said), Table(["image", "reason"], rows)]


_SECTIONS: Sequence[tuple[str, str, Callable[[Facts], list[Block]]]] = (
    ("advice", "Is another round worth it?", _advice),
    ("curve", "Learning curve", _curve),
    ("runs", "Metrics per round", _runs),
    ("ranking", "Ranking accuracy", _ranking),
    ("control", "Against random", _control),
    ("losses", "Predicted against true loss", _losses),
    ("calibration", "Calibration", _calibration),
    ("confusion", "Confusion matrix", _confusion),
    ("balance", "Class balance", _balance),
    ("certain", "Most and least certain images", _certain),
    ("rounds", "Rounds and their picks", _rounds),
    ("agreement", "Annotator agreement", _agreement),
    ("time", "Time and cost", _time),
    ("unusable", "Unusable images", _unusable),
)
TITLES = [title for _, title, _ in _SECTIONS]


def _count(n: int) -> str:
    return f"{n:,}"


def _fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.0%} ({estimate.low:.0%}–{estimate.high:.0%})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _day(time: str) -> str:
    return time.replace("T", " ").removesuffix("Z")
