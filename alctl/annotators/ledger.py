"""What is out with annotators: until when, who has what, how it comes back, and taking it back into the pool."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection

from alctl.database import counts, handouts, pre_annotations, rounds, rounds_out
from alctl.database.bulk import discard
from alctl.database.counts import RoundCounts
from alctl.database.pre_annotations import Kept
from alctl.errors import AlctlError
from alctl.project import Project, now, required_state

_SPAN = re.compile(r"([0-9]{1,4}) ?([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
_NAME = re.compile(r"\w[\w .@+-]{0,62}")
MOST = 100
"""Annotators of one round."""


def due_at(text: str) -> str | None:
    """Return when answers are due, UTC, from "14d", "2w", "12h" from now or a date, of which the end counts; "" is None."""
    if not text:
        return None
    if match := _SPAN.fullmatch(text.strip().lower()):
        due = datetime.now(UTC) + timedelta(hours=int(match[1]) * _HOURS[match[2]])
    else:
        try:
            day = date.fromisoformat(text.strip())
        except ValueError as error:
            raise AlctlError(
                f"--due {text!r} is neither a time such as 14d, 2w or 12h nor a date such as 2027-01-31"
            ) from error
        due = datetime.combine(day, time(23, 59, 59)).astimezone(UTC)  # of the time zone here
    stamp = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    if stamp <= now():
        raise AlctlError(f"--due {text!r} is not in the future")
    return stamp


def terms(annotators: str, overlap: float) -> rounds_out.Terms:
    """Return the terms of a round for several annotators: a number of them, or their names with commas between."""
    if not annotators.strip():
        if overlap:
            raise AlctlError("--overlap needs --annotators: how many there are, or their names")
        return rounds_out.Terms()
    names = _names(annotators)
    if len(names) < 2 and overlap:
        raise AlctlError("--overlap needs at least two annotators")
    if len(names) > MOST:
        raise AlctlError(f"{len(names)} annotators are more than {MOST}, the most that one round can have")
    return rounds_out.Terms(names, overlap)


def _names(annotators: str) -> list[str]:
    if re.fullmatch(r"\s*[0-9]+\s*", annotators) and int(annotators):
        return [str(i) for i in range(1, min(int(annotators), MOST + 1) + 1)]
    names = [name.strip() for name in annotators.split(",")]
    if bad := [name for name in names if not _NAME.fullmatch(name) or name == "0"]:
        raise AlctlError(
            f"{bad[0]!r} cannot be the name of an annotator's table; use letters, digits, and . @ + - within"
        )
    folded = [name.casefold() for name in names]
    if twice := next((name for name in names if folded.count(name.casefold()) > 1), None):
        raise AlctlError(f"the annotator {twice!r} is named twice")
    return names


@dataclass
class Recalled:
    """What a recall took back from one round."""

    round: int
    items: list[int] = field(default_factory=list)
    answered: int = 0
    """Items that were answered and stay as they are."""
    earlier: int = 0
    """Items that had been recalled before."""


def recall(
    project: Project,
    number: int | None,
    *,
    items: Sequence[int] = (),
    overdue: bool = False,
    dry_run: bool = False,
) -> list[Recalled]:
    """Take unanswered items of a round, or of every overdue round, back into the pool; later rounds may take them.

    Answers to them that come after all are taken like any other: somebody has worked for them.
    """
    if number is None and (not overdue or items):
        raise AlctlError(
            "which round? `alctl status --rounds` lists them; --overdue alone takes every overdue one"
        )
    with project.writing("recall") as connection:
        required_state(connection, project.folder)
        chosen = [number] if number is not None else _overdue(connection)
        found = [_recall(connection, one, items, overdue=overdue) for one in chosen]
        if dry_run:
            discard(connection)
    return found


def _overdue(connection: Connection) -> list[int]:
    return [row.id for row in counts.per_round(connection, now()) if row.overdue]


def _recall(connection: Connection, number: int, items: Sequence[int], *, overdue: bool) -> Recalled:
    row = rounds.find_round(connection, number)
    if row is None:
        raise AlctlError(f"there is no round {number}; the last one is {rounds.next_round(connection) - 1}")
    if overdue and (row.due_at is None or row.due_at >= now()):
        return Recalled(number)
    known = {int(entry["item_id"]): entry for entry in rounds_out.items_of(connection, number)}
    if strange := sorted(set(items) - set(known)):
        raise AlctlError(f"item {strange[0]} did not go out with round {number}")
    wanted = [known[item] for item in sorted(set(items))] if items else list(known.values())
    open_ = [
        int(entry["item_id"]) for entry in wanted if entry["unanswered"] and entry["recalled_at"] is None
    ]
    rounds_out.recall(connection, number, open_, now())
    return Recalled(
        number,
        open_,
        answered=sum(1 for entry in wanted if entry["answered"]),
        earlier=sum(1 for entry in wanted if entry["unanswered"] and entry["recalled_at"] is not None),
    )


@dataclass(frozen=True)
class Whereabouts:
    """A place that a round's images went to."""

    tool: str
    """The format of the files, or the server they were pushed to."""
    place: str
    """Folder or address."""
    since: str


@dataclass(frozen=True)
class AnnotatorShare:
    """What a round wants of an annotator, and what has come."""

    annotator: str
    wanted: int | None
    """Answers that are wanted of them; None of somebody whom the round does not name."""
    got: int


@dataclass(frozen=True)
class RoundOverview(RoundCounts):
    """A round: where it went, how its items came back, and who has answered how many."""

    labeled: int
    skipped: int
    unusable: int
    out_since: str | None
    tools: Sequence[Whereabouts]
    people: Sequence[AnnotatorShare]
    predictions: Kept | None
    """How many of the predictions annotators kept; None where the round had none."""


def overview(project: Project) -> list[RoundOverview]:
    """Return every round: when and where it went out, how its items came back, and who has answered how many."""
    with project.reading() as connection:
        required_state(connection, project.folder)
        of_round = rounds_out.every_terms(connection)
        outcomes = rounds_out.outcomes(connection, of_round)
        answers = rounds_out.answers(connection, of_round)
        kept = {row.round_id: row for row in pre_annotations.kept(connection)}
        found = []
        for row in counts.per_round(connection, now()):
            hands = handouts.find(connection, round_id=row.id)
            found.append(
                RoundOverview(
                    **vars(row),
                    labeled=outcomes[row.id]["labeled"],
                    skipped=outcomes[row.id]["skipped"],
                    unusable=outcomes[row.id]["unusable"],
                    out_since=min((hand.created_at for hand in hands), default=None),
                    tools=[Whereabouts(hand.tool, hand.place, hand.created_at) for hand in hands],
                    people=_people(connection, row.id, of_round, answers),
                    predictions=kept.get(row.id),
                )
            )
        return found


def _people(
    connection: Connection,
    number: int,
    of_round: Mapping[int, rounds_out.Terms],
    answers: Sequence[tuple[int, str, int]],
) -> list[AnnotatorShare]:
    """Return for each annotator how many answers are wanted of them, and how many there are.

    Of an annotator that the round does not name nothing is wanted; what was recalled unanswered, or cannot be used, is not wanted either.
    """
    given = {name: n for round_id, name, n in answers if round_id == number}
    shares = rounds_out.shares_of(connection, number)
    if not shares:
        return [AnnotatorShare(name, None, n) for name, n in given.items()]
    back = {
        int(entry["item_id"])
        for entry in rounds_out.items_of(connection, number)
        if not entry["answered"] and (entry["recalled_at"] is not None or not entry["unanswered"])
    }
    said = rounds_out.answers_of(connection, number, of_round)
    people = [
        AnnotatorShare(name, len(set(own) - back), sum((item, name) in said for item in own))
        for name, own in shares.items()
    ]
    return people + [AnnotatorShare(name, None, n) for name, n in given.items() if name not in shares]
