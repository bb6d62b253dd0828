"""The ledger of what is out: with whom, since when, what came back, what was taken back.

An answer counts for a round if it came after the round was made. For most rounds that is every answer, because only
items without one are selected; a round that sends answered items out again, for a second look or because they were
skipped, records the number of the newest label there was before it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from alctl.chance import stream
from alctl.database.bulk import as_rows, mappings, run, scalar
from alctl.database.in_force import CONSENSUS, IN_FORCE, consensus_of
from alctl.database.tables import round_

AFTER = "after_label"
"""The parameter of a round with the number of the newest label before it."""
RELABEL = "relabel"
"""The strategy of a round that sends labeled items out for a second look."""

ITS_OWN = """(s.recalled_at IS NULL OR NOT EXISTS (
    SELECT 1 FROM selection AS n WHERE n.item_id = s.item_id AND n.round_id > s.round_id))"""
"""Whether an answer to a selection ``s`` is its round's: not that of a later round, which took up what this one recalled."""


@dataclass(frozen=True)
class Terms:
    """How a round is shared among annotators, and which answers count for it."""

    annotators: Sequence[str] = ()
    """Their names; empty where a round is for anybody."""
    overlap: float = 0.0
    """Share of the items that all of them get."""
    after_label: int = 0
    """The newest label there was before a round that sends answered items out again; 0 for any other round."""

    def params(self) -> dict[str, object]:
        """Return the names and the overlap as parameters of a round; none where it names nobody."""
        return {"annotators": list(self.annotators), "overlap": self.overlap} if self.annotators else {}


def terms_of(params: Mapping[str, Any]) -> Terms:
    """Return the terms among the recorded parameters of a round."""
    return Terms(
        params.get("annotators") or (), float(params.get("overlap") or 0), int(params.get(AFTER) or 0)
    )


def newest_label(connection: Connection) -> int:
    """Return the number of the newest label; 0 if there is none."""
    return int(scalar(connection, "SELECT coalesce(max(id), 0) FROM label"))


def every_terms(connection: Connection) -> dict[int, Terms]:
    """Return the terms of every round by its number, oldest first."""
    rows = connection.execute(select(round_.c.id, round_.c.params).order_by(round_.c.id))
    return {int(row[0]): terms_of(row[1] or {}) for row in rows}


def after(of_round: Mapping[int, Terms], column: str) -> str:
    """Return SQL for the number of the newest label that is too old to answer the round in ``column``."""
    known = {number: terms.after_label for number, terms in of_round.items() if terms.after_label}
    cases = " ".join(f"WHEN {number} THEN {label}" for number, label in known.items())
    return f"CASE {column} {cases} ELSE 0 END" if cases else "0"


def answered(of_round: Mapping[int, Terms]) -> str:
    """Return SQL for every selection with ``answered``, ``quarantined`` and ``unanswered``, of which one at most is 1.

    Answered is what got any answer since, quarantined what got none and cannot be used, unanswered is the rest; the
    answers of a later round that took up an item are not this one's.
    """
    newest = f"coalesce(a.newest, 0) > {after(of_round, 's.round_id')}"
    return f"""(SELECT s.round_id, s.item_id, s.recalled_at, s.own * s.came AS answered,
        s.own * (1 - s.came) * s.broken AS quarantined, 1 - s.own * (s.came + s.broken - s.came * s.broken) AS unanswered
      FROM (SELECT s.round_id, s.item_id, s.recalled_at, CASE WHEN {newest} THEN 1 ELSE 0 END AS came,
          CASE WHEN u.item_id IS NULL THEN 0 ELSE 1 END AS broken, CASE WHEN {ITS_OWN} THEN 1 ELSE 0 END AS own
        FROM selection AS s LEFT JOIN (
          SELECT l.item_id, max(l.id) AS newest FROM label AS l JOIN import_batch AS b ON b.id = l.import_id
          WHERE b.undone_at IS NULL GROUP BY l.item_id) AS a ON a.item_id = s.item_id
        LEFT JOIN unusable AS u ON u.item_id = s.item_id) AS s)"""


def shares(number: int, seed: int, terms: Terms, items: Iterable[int]) -> dict[str, list[int]]:
    """Return for each annotator of a round which of its items are theirs, ascending; empty where it names nobody.

    A share ``overlap`` of the items, drawn by a stream of its own, goes to everybody; the rest is dealt out evenly.
    """
    names, overlap = terms.annotators, terms.overlap
    order = sorted(items, key=lambda item: stream(seed, "annotators", number, item))
    common = min(len(order), max(1, round(overlap * len(order)))) if overlap and names else 0
    own = order[common:]
    return {name: sorted([*order[:common], *own[i :: len(names)]]) for i, name in enumerate(names)}


def shares_of(connection: Connection, number: int) -> dict[str, list[int]]:
    """Return the shares of a recorded round."""
    row = connection.execute(select(round_.c.seed, round_.c.params).where(round_.c.id == number)).one()
    terms = terms_of(row.params or {})
    if not terms.annotators:
        return {}
    items = run(connection, "SELECT item_id FROM selection WHERE round_id = :number", number=number).scalars()
    return shares(number, row.seed, terms, map(int, items))


def tables(annotators: Sequence[str]) -> list[str]:
    """Return the file names of the tables that a round's annotators fill in: one for each, or one for all."""
    return [f"items-{name}.csv" for name in annotators] or ["items.csv"]


def round_file(number: int, annotators: Sequence[str] = ()) -> str:
    """Return the path of a round's table, or of its first annotator's, relative to the project."""
    return f"rounds/{number:04}/{tables(annotators)[0]}"


def outcomes(connection: Connection, of_round: Mapping[int, Terms]) -> dict[int, dict[str, int]]:
    """Return for each round how many of its answered items came back labeled, skipped, or unusable."""
    found: dict[int, dict[str, int]] = {
        number: {"labeled": 0, "skipped": 0, "unusable": 0} for number in of_round
    }
    plain = [number for number in of_round if not of_round[number].after_label]
    for number, state, n in _outcomes(connection, CONSENSUS, plain):
        found[number][state] += n
    for number in of_round.keys() - set(plain):
        since = f"""(SELECT * FROM {IN_FORCE} AS f WHERE f.id > {of_round[number].after_label}
                     AND f.item_id IN (SELECT item_id FROM selection WHERE round_id = {int(number)}))"""
        for _, state, n in _outcomes(connection, consensus_of(since), [number]):
            found[number][state] += n
    return found


def _outcomes(connection: Connection, consensus: str, numbers: Iterable[int]) -> Any:
    rows, bound = as_rows(connection, numbers)
    return run(
        connection,
        f"""SELECT s.round_id, CASE WHEN u.item_id IS NOT NULL OR c.status = 'unusable' THEN 'unusable'
                WHEN c.status = 'skip' THEN 'skipped' ELSE 'labeled' END AS state, count(*)
            FROM selection AS s LEFT JOIN {consensus} AS c ON c.item_id = s.item_id
            LEFT JOIN unusable AS u ON u.item_id = s.item_id
            WHERE s.round_id IN (SELECT value FROM {rows} AS v)
              AND (u.item_id IS NOT NULL OR c.item_id IS NOT NULL) AND {ITS_OWN}
            GROUP BY s.round_id, state""",
        ids=bound,
    )


def answers(connection: Connection, of_round: Mapping[int, Terms]) -> list[tuple[int, str, int]]:
    """Return for each round and annotator how many of its items they have answered since."""
    rows = run(
        connection,
        f"""SELECT s.round_id, f.annotator, count(*) FROM selection AS s JOIN {IN_FORCE} AS f ON f.item_id = s.item_id
            WHERE f.id > {after(of_round, "s.round_id")} AND {ITS_OWN} GROUP BY s.round_id, f.annotator
            ORDER BY s.round_id, f.annotator""",
    )
    return [(int(row[0]), str(row[1]), int(row[2])) for row in rows]


def answers_of(connection: Connection, number: int, of_round: Mapping[int, Terms]) -> set[tuple[int, str]]:
    """Return item and annotator of every answer that a round got since it was made."""
    rows = run(
        connection,
        f"""SELECT s.item_id, f.annotator FROM selection AS s JOIN {IN_FORCE} AS f ON f.item_id = s.item_id
            WHERE s.round_id = :number AND f.id > {after(of_round, "s.round_id")} AND {ITS_OWN}""",
        number=number,
    )
    return {(int(row[0]), str(row[1])) for row in rows}


def items_of(connection: Connection, number: int) -> list[Mapping[str, Any]]:
    """Return what became of each item of a round, and when it was recalled, by item."""
    return mappings(
        connection,
        f"""SELECT s.item_id, s.answered, s.unanswered, s.recalled_at FROM {answered(every_terms(connection))} AS s
            WHERE s.round_id = :number ORDER BY s.item_id""",
        number=number,
    )


def second_looks(connection: Connection) -> dict[int, tuple[int, bool]]:
    """Return for each item that went out for a second look how often it was answered since, and whether it is out."""
    rows = run(
        connection,
        f"""SELECT s.item_id, sum(s.answered), max(CASE WHEN s.recalled_at IS NULL THEN s.unanswered ELSE 0 END)
            FROM round AS r JOIN {answered(every_terms(connection))} AS s ON s.round_id = r.id
            WHERE r.strategy = :relabel GROUP BY s.item_id""",
        relabel=RELABEL,
    )
    return {int(row[0]): (int(row[1]), bool(row[2])) for row in rows}


def recall(connection: Connection, number: int, items: Iterable[int], now: str) -> None:
    """Take items of a round back into the pool."""
    rows, bound = as_rows(connection, items)
    run(
        connection,
        f"""UPDATE selection SET recalled_at = :now
            WHERE round_id = :number AND item_id IN (SELECT value FROM {rows} AS v)""",
        now=now,
        number=number,
        ids=bound,
    )


def asked_since(connection: Connection, batch: int) -> bool:
    """Tell whether a round after this import asks for answers again."""
    last = scalar(connection, "SELECT coalesce(max(id), 0) FROM label WHERE import_id <= :batch", batch=batch)
    return any(terms.after_label >= int(last) > 0 for terms in every_terms(connection).values())
