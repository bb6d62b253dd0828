"""The sections of a report, from its facts: what is said, in which order, in which words."""

from collections.abc import Callable, Sequence

from alctl.database.counts import SPLITS
from alctl.database.history import AnnotatorTime, RoundTime
from alctl.report import model_sections, near_duplicates, plain_words, simulated_section
from alctl.report.blocks import Block, Gallery, List, Picture, Section, Table, Text
from alctl.report.contents import ClassBalance, Facts, RoundFacts, ShownPick
from alctl.report.model_sections import CLASSES
from alctl.report.numbers_as_text import count, day, fraction, hours, spaced

COLUMNS = 12
"""Newest rounds that have a column of their own."""


def sections(facts: Facts) -> list[Section]:
    """Return every section; one that has nothing to show says what it waits for."""
    found = []
    for name, title, make in _SECTIONS:
        why = facts.missing.get(name)
        found.append(Section(name, title, [Text(why)] if why else make(facts)))
    return [*found, Section("words", WORDS, plain_words.glossary(found))]


def tiles(facts: Facts) -> list[tuple[str, str]]:
    """Return the headline: a name and a number each."""
    pool = facts.states["pool"]
    found = [
        ("labels", count(pool["labeled"])),
        ("rounds", count(len(facts.rounds))),
        ("out with annotators", count(sum(state["out"] for state in facts.states.values()))),
        ("unlabeled", count(pool["unlabeled"])),
    ]
    if facts.curve and facts.runs:
        last = next((p for p in facts.curve if p.run == facts.runs[-1].id), None)
        if last:
            spread = f", 95 %: {last.low:.3f} to {last.high:.3f}" if last.low is not None else ""
            found.append((f"{facts.split} {spaced(facts.metric)}{spread}", f"{last.value:.3f}"))
    return found


def _advice(facts: Facts) -> list[Block]:
    reasons = facts.advice.reasons
    blocks: list[Block] = [List(reasons) if reasons else Text(facts.advice.verdict)]
    if others := facts.advice.others:
        steps = [f"`{step.command}`: {step.why}" for step in others]
        blocks += [Text("What can be done instead of the next step above:"), List(steps)]
    return blocks


def _balance(facts: Facts) -> list[Block]:
    balance = facts.balance
    numbers = sorted({number for row in balance for number in row.rounds})[-COLUMNS:]
    shown = balance if len(balance) <= CLASSES else sorted(balance, key=lambda row: -row.pool)[:CLASSES]
    splits = [split for split in SPLITS if any(row.of_split(split) for row in balance)]
    values = [[*map(row.of_split, splits), *(row.rounds[n] for n in numbers)] for row in shown]
    most = [max(1, *column) for column in zip(*values, strict=True)]
    rows = [[row.name, *map(count, v)] for row, v in zip(shown, values, strict=True)]
    shades = [[0.0, *(n / top for n, top in zip(v, most, strict=True))] for v in values]
    blocks: list[Block] = [
        List(_lopsided(balance, numbers)),
        Table(["class", *splits, *(f"round {n}" for n in numbers)], rows, shades),
    ]
    if len(balance) > len(shown):
        blocks.append(Text(f"The {len(shown)} largest of {count(len(balance))} classes are shown."))
    return blocks


def _lopsided(balance: Sequence[ClassBalance], numbers: Sequence[int]) -> list[str]:
    """Return how uneven the pool's labels are, and the rounds that brought mostly one class."""
    pool = [row.pool for row in balance]
    least = (
        f"the smallest {count(min(pool))}" if min(pool) else f"{count(pool.count(0))} classes have none yet"
    )
    said = [f"The largest class of the labeled pool has {count(max(pool))} images, {least}."]
    for number in numbers:
        total = sum(row.rounds[number] for row in balance)
        top = max(balance, key=lambda row: row.rounds[number])
        n = top.rounds[number]
        if len(balance) > 2 and 2 * n > total >= 10:
            said.append(
                f"Round {number} brought mostly one class: {count(n)} of {count(total)} are {top.name}."
            )
    return said


def _rounds(facts: Facts) -> list[Block]:
    rows = [
        [
            f"{row.id} ({_strategy(row)})", count(row.images), count(row.control), count(row.reserved),
            count(row.answered), count(row.quarantined), count(row.out), count(row.candidates),
            "–" if row.run_id is None else str(row.run_id), day(row.created_at),
        ]
        for row in facts.rounds
    ]  # fmt: skip
    columns = [
        "round",
        "images",
        "of them random",
        "reserved",
        "answered",
        "unusable",
        "out",
        "candidates",
        "by run",
        "selected",
    ]
    blocks: list[Block] = [Table(columns, rows)]
    galleries = [row for row in facts.rounds if row.shown]
    if any(row.run_id is not None for row in galleries):
        blocks.append(
            Text("A score is what the strategy ranks by; that of learning-loss is the predicted loss.")
        )
    for row in reversed(galleries):
        part = "All" if len(row.shown) == row.images else f"{len(row.shown)} of {count(row.images)}"
        order = ", best first" if row.run_id is not None else ""
        said = f"{part}{order}; `alctl show {row.id}` draws more."
        pictures = [_pick_picture(pick, scored=row.run_id is not None) for pick in row.shown]
        blocks.append(Gallery(f"Round {row.id}, {row.strategy}", pictures, said))
    if hidden := len(facts.rounds) - len(galleries):
        blocks.append(Text(f"The pictures of the {count(hidden)} oldest rounds are left out."))
    return blocks + near_duplicates.blocks(facts.rounds)


def _strategy(row: RoundFacts) -> str:
    """Return who chose a round, and for whom it stood in."""
    guard = row.params.get("guard") or {}
    instead_of = guard.get("instead_of")  # None where the guard trusted the predicted losses
    return f"{row.strategy}, not {instead_of} yet" if instead_of else row.strategy


def _pick_picture(pick: ShownPick, *, scored: bool) -> Picture:
    lines = [f"#{pick.rank}" if pick.rank is not None and pick.why == "picked" else pick.why]
    if scored and pick.score is not None and pick.why == "picked":
        lines[0] += f"  score {pick.score:.3g}"
    lines.append(pick.answer or "no answer yet")
    return Picture(pick.item, pick.path, lines)


def _agreement(facts: Facts) -> list[Block]:
    found = facts.agreement
    if found is None:
        return []
    pairs = found.pairs[:20]
    rows = [
        [
            " and ".join(pair.annotators),
            count(pair.items),
            f"{pair.agreement:.0%}",
            fraction(pair.kappa),
        ]
        for pair in pairs
    ]
    blocks: list[Block] = [
        Text(
            "Kappa is agreement beyond chance: 1 is perfect, 0 is what guessing with the same habits would give."
        ),
        Table(["annotators", "shared images", "same class", "Cohen's kappa"], rows),
        Text(f"All annotators together: Krippendorff's alpha {fraction(found.alpha)}."),
    ]
    if len(found.pairs) > len(pairs):
        blocks.append(
            Text(f"The {len(pairs)} pairs with most shared images of {len(found.pairs)} are shown.")
        )
    return blocks


def _time(facts: Facts) -> list[Block]:
    found = facts.time
    if found is None:
        return []
    said = [
        f"{count(found.timed)} of {count(found.answers)} answers say how long they took: "
        f"{found.mean_seconds:.1f} s on average, so all of them took about {hours(found.hours * 3600)}."
    ]
    if found.cost_per_label is not None:
        said.append(
            f"At {found.cost_per_hour:,.2f} an hour that is {found.cost_per_label:,.4f} a label, "
            f"{found.cost:,.2f} in all."
        )
    else:
        said.append("With --cost-per-hour this page also says what labels cost.")

    def row(name: str, some: AnnotatorTime | RoundTime) -> list[str]:
        mean = (some.seconds or 0.0) / some.timed if some.timed else None
        cost = None if mean is None or found.cost_per_hour is None else mean / 3600 * found.cost_per_hour
        return [
            name, count(some.answers), count(some.timed), "–" if mean is None else f"{mean:.1f}",
            "–" if mean is None else hours(mean * some.answers), "–" if cost is None else f"{cost * some.answers:,.2f}",
        ]  # fmt: skip

    columns = ["", "answers", "timed", "seconds each", "in all", "cost"]
    rows = [row(some.annotator or "(no name)", some) for some in found.annotators]
    rows += [row(f"round {some.round_id}", some) for some in found.rounds]
    return [List(said), Table(columns, rows)]


def _unusable(facts: Facts) -> list[Block]:
    rows = [[row.path, row.reason] for row in facts.unusable]
    total = sum(state["unusable"] for state in facts.states.values())
    said = f"{count(total)} images cannot be used; annotators named those that are not listed here."
    return [Text(said), Table(["image", "reason"], rows)]


_SECTIONS: Sequence[tuple[str, str, Callable[[Facts], list[Block]]]] = (
    ("advice", "Is another round worth it?", _advice),
    ("curve", "Learning curve", model_sections.curve),
    ("runs", "Metrics per round", model_sections.runs),
    ("ranking", "Ranking accuracy", model_sections.ranking),
    ("control", "Against random", model_sections.control),
    ("simulated", "Strategies on your own labels", simulated_section.simulated),
    ("losses", "Predicted against true loss", model_sections.losses),
    ("calibration", "Calibration", model_sections.calibration),
    ("per-class", "Accuracy per class", model_sections.per_class),
    ("confusion", "Confusion matrix", model_sections.confusion),
    ("balance", "Class balance", _balance),
    ("certain", "Most and least certain images", model_sections.certain),
    ("rounds", "Rounds and their picks", _rounds),
    ("agreement", "Annotator agreement", _agreement),
    ("time", "Time and cost", _time),
    ("unusable", "Unusable images", _unusable),
)
WORDS = "What the words mean"
TITLES = [*(title for _, title, _ in _SECTIONS), WORDS]
