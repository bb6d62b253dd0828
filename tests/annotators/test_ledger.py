"""The ledger: what is out, overdue, recalled; rounds that several annotators share."""

import csv
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from alctl.annotators import handout, ledger
from alctl.annotators.imports.undo import undo_import
from alctl.database import counts, handouts, rounds, rounds_out
from alctl.database.bulk import insert_rows, run
from alctl.database.connection import writing
from alctl.database.tables import round_, unusable
from alctl.errors import AlctlError
from alctl.project import Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.pools import NOW, answer, pool, reserve, send
from tests.project_files import no_progress, small_project, take, write_csv
from tests.warm import run_warm, warm_json

PAST, FUTURE = "2025-12-31T00:00:00Z", "2026-02-01T00:00:00Z"
LATER = "2026-01-15T00:00:00Z"
"""After NOW, when the rounds of `send` are made, and before FUTURE."""


def due(connection, number, when):
    connection.execute(update(round_).where(round_.c.id == number).values(due_at=when))


def states(connection, now=LATER):
    found = counts.count(connection, now).states
    return {state: sum(row[state] for row in found.values()) for state in counts.STATES}


def choose(project: Project, k: int, **options):
    return select(project, SelectOptions(k, "random", **options), no_progress)


def items_of(selected) -> list[int]:
    return [pick.item for pick in selected.picks]


def label(project: Project, name: str, rows, header=("item", "label")) -> None:
    take(project, write_csv(project.folder.parent / name, rows, header))


# --- due --------------------------------------------------------------------------------------------------------------


def test_what_is_unanswered_when_its_round_was_due_is_overdue(url):
    with pool(url, 10) as engine, writing(engine) as connection:
        number = send(connection, [1, 2, 3])
        answer(connection, [(1, "ann", "cat")])
        due(connection, number, FUTURE)
        assert states(connection)["out"] == 2
        due(connection, number, PAST)
        assert (states(connection)["out"], states(connection)["overdue"]) == (0, 2)
        row = counts.per_round(connection, LATER)[0]
        assert (row.answered, row.out, row.overdue) == (1, 0, 2)
        assert counts.count(connection).states["pool"]["overdue"] == 0  # nobody said what time it is


def test_what_went_out_again_in_time_is_not_overdue(url):
    with pool(url, 10) as engine, writing(engine) as connection:
        due(connection, send(connection, [1, 2]), PAST)
        due(connection, send(connection, [1]), FUTURE)
        assert (states(connection)["out"], states(connection)["overdue"]) == (1, 1)


@pytest.mark.parametrize(("text", "hours"), [("14d", 336), ("2w", 336), ("12h", 12), (" 3 D ", 72)])
def test_a_time_is_counted_from_now(text, hours):
    stamp = ledger.due_at(text)
    assert stamp is not None
    wanted = datetime.now(UTC) + timedelta(hours=hours)
    assert abs(datetime.fromisoformat(stamp) - wanted) < timedelta(seconds=5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp)


def test_a_date_is_due_at_its_end_here():
    stamp = ledger.due_at("2100-01-31")
    assert stamp is not None
    here = datetime.fromisoformat(stamp).astimezone()
    assert (here.date().isoformat(), here.hour, here.minute) == ("2100-01-31", 23, 59)
    assert ledger.due_at("") is None


@pytest.mark.parametrize("text", ["soon", "14", "2020-01-01", "0d", "31.1.2100", "d"])
def test_a_time_that_is_none_or_is_over_is_refused(text):
    with pytest.raises(AlctlError, match=f"--due {re.escape(repr(text))}"):
        ledger.due_at(text)


def test_a_round_remembers_when_it_is_due_and_status_says_when_it_is_late(tmp_path):
    project = small_project(tmp_path, 8)
    result = warm_json("select", "--k", "3", "--due", "14d", "--project", project.folder)
    row = status(project).rounds[0]
    assert (row.due_at or "") > NOW
    assert (row.out, row.overdue) == (3, 0)
    with project.writing("test") as connection:
        due(connection, 1, PAST)
    found = status(project)
    assert (found.states["pool"]["out"], found.states["pool"]["overdue"]) == (0, 3)
    assert "alctl recall 1" in found.why
    shown = run_warm("status", "--project", project.folder).stdout
    assert "overdue" in shown
    assert Path(result["folder"]).is_dir()


# --- recalled ---------------------------------------------------------------------------------------------------------


def test_recalled_items_are_in_the_pool_again_and_answered_ones_stay(url):
    with pool(url, 5) as engine, writing(engine) as connection:
        number = send(connection, [1, 2, 3, 4])
        answer(connection, [(1, "ann", "cat"), (2, "ann", "skip")])
        assert list(rounds.subset(connection, 0, 7, 2)) == [5]
        rounds_out.recall(connection, number, [3, 4], LATER)
        assert list(rounds.subset(connection, 0, 7, 2)) == [3, 4, 5]
        assert list(rounds.subset(connection, 2, 7, 2)) != []
        assert rounds.unlabeled(connection) == 3
        row = counts.per_round(connection, LATER)[0]
        assert (row.items, row.answered, row.out, row.recalled) == (4, 2, 0, 2)
        assert counts.broken_invariants(connection) == []


def test_a_late_answer_to_a_recalled_item_is_taken(url):
    with pool(url, 5) as engine, writing(engine) as connection:
        number = send(connection, [1, 2])
        rounds_out.recall(connection, number, [1, 2], LATER)
        answer(connection, [(1, "ann", "cat")])
        assert states(connection)["labeled"] == 1
        row = counts.per_round(connection, LATER)[0]
        assert (row.answered, row.out, row.recalled) == (1, 0, 1)


def test_recalled_reserved_items_go_out_with_the_next_round(tmp_path):
    project = small_project(tmp_path, 20, validation=2, test=3)
    first = choose(project, 4)
    assert first.reserved == 5
    assert choose(project, 2).reserved == 0
    reserved = [pick.item for pick in first.picks if pick.rank is None]
    label(project, "l.csv", [(reserved[0], "cat")])
    (found,) = ledger.recall(project, 1)
    assert (len(found.items), found.answered) == (8, 1)
    third = choose(project, 3)
    assert {pick.item for pick in third.picks if pick.rank is None} == set(reserved[1:])
    assert check(project) == []


def test_the_command_recalls_what_is_named_and_a_second_time_nothing(tmp_path):
    project = small_project(tmp_path, 10)
    sent = items_of(choose(project, 5))
    where = ("--project", project.folder)
    assert warm_json("recall", "1", "--item", sent[0], "--dry-run", *where)["rounds"][0]["items"] == [sent[0]]
    assert status(project).states["pool"]["out"] == 5
    found = warm_json("recall", "1", "--item", sent[0], "--item", sent[1], *where)["rounds"][0]
    assert found["items"] == sorted(sent[:2])
    assert status(project).states["pool"]["out"] == 3
    again = warm_json("recall", "1", "--item", sent[0], *where)["rounds"][0]
    assert (again["items"], again["earlier"]) == ([], 1)
    shown = run_warm("recall", "1", *where).stdout
    assert "3 images are back in the pool; 2 had been recalled before" in shown
    assert status(project).states["pool"]["unlabeled"] == 10


def test_only_overdue_rounds_are_recalled_where_that_is_asked(tmp_path):
    project = small_project(tmp_path, 10)
    choose(project, 2)
    choose(project, 3, due="1d")
    choose(project, 1, due="2d")
    assert ledger.recall(project, None, overdue=True) == []
    assert ledger.recall(project, 2, overdue=True)[0].items == []
    with project.writing("test") as connection:
        due(connection, 2, PAST)
    found = ledger.recall(project, None, overdue=True)
    assert [(row.round, len(row.items)) for row in found] == [(2, 3)]
    assert status(project).states["pool"]["out"] == 3


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("7",), "there is no round 7; the last one is 1"),
        (("1", "--item", "6"), "item 6 did not go out with round 1"),
        ((), "which round?"),
    ],
)
def test_a_recall_of_what_never_went_out_is_refused_whole(tmp_path, args, sentence):
    project = small_project(tmp_path, 10)
    with project.writing("test") as connection:
        send(connection, [1, 2])
    result = run_warm("recall", *args, "--project", project.folder)
    assert result.returncode == 1
    assert sentence in " ".join(result.stderr.split())
    assert status(project).states["pool"]["out"] == 2


def test_an_export_holds_only_what_is_still_out(tmp_path):
    project = small_project(tmp_path, 10)
    sent = items_of(choose(project, 4))
    ledger.recall(project, 1, items=sent[:1])
    folder = handout.export(project, 1, no_progress)
    assert [int(row["item"]) for row in rows_of(folder / "items.csv")] == sent[1:]
    ledger.recall(project, 1)
    with pytest.raises(AlctlError, match="round 1 was recalled"):
        handout.export(project, 1, no_progress, target=tmp_path / "elsewhere")


# --- the table of rounds ----------------------------------------------------------------------------------------------


def test_every_item_of_a_round_is_counted_once(url):
    with pool(url, 20) as engine, writing(engine) as connection:
        number = send(connection, [1, 2, 3, 4, 5, 6, 7])
        answer(connection, [(1, "ann", "cat"), (1, "bob", "dog"), (2, "ann", "skip"), (3, "ann", "unusable")])
        insert_rows(connection, unusable, [(4, "broken")])
        rounds_out.recall(connection, number, [5], LATER)
        due(connection, number, PAST)
        of_round = rounds_out.every_terms(connection)
        row = counts.per_round(connection, LATER)[0]
        came = rounds_out.outcomes(connection, of_round)[number]
        people = rounds_out.answers(connection, of_round)
    assert came == {"labeled": 1, "skipped": 1, "unusable": 2}
    assert (row.answered, row.quarantined) == (3, 1)  # what nobody can open is not what somebody has answered
    assert sum(came.values()) == row.answered + row.quarantined
    assert row.answered + row.quarantined + row.out + row.overdue + row.recalled == row.items == 7
    assert people == [(1, "ann", 3), (1, "bob", 1)]


def test_what_was_skipped_and_sent_again_is_out_until_it_is_answered_again(tmp_path):
    project = small_project(tmp_path, 6)
    sent = items_of(choose(project, 2))
    label(project, "l.csv", [(item, "skip", "ann") for item in sent], ("item", "status", "annotator"))
    again = choose(project, 6, resend=True)
    assert set(sent) < set(items_of(again))
    first, second = ledger.overview(project)
    assert (first.skipped, first.out) == (2, 0)
    assert (second.skipped, second.out) == (0, 6)
    # the same answer once more is an answer to the second round, in a file about that round alone
    rows = [(item, "skip", "ann") for item in sent]
    done = take(
        project,
        write_csv(tmp_path / "m.csv", [*rows, ("", "", "")], ("item", "status", "annotator")),
        round=2,
    )
    assert (done.added, done.changed, done.unchanged, done.confirmed) == (0, 0, 0, 2)
    assert ledger.overview(project)[1].skipped == 2
    assert done.batch is not None
    undo_import(project, done.batch)
    assert ledger.overview(project)[1].out == 6


def test_the_ledger_says_where_a_round_went_and_since_when(tmp_path):
    project = small_project(tmp_path, 6)
    choose(project, 2)
    assert ledger.overview(project)[0].out_since is None
    with project.writing("test") as connection:
        handouts.add(connection, round_id=1, tool="label-studio", place="http://one", now=LATER)
        handouts.add(connection, round_id=1, tool="csv", place="rounds/0001", now=NOW)
    row = ledger.overview(project)[0]
    assert row.out_since == NOW
    assert [(hand.tool, hand.place) for hand in row.tools] == [
        ("label-studio", "http://one"),
        ("csv", "rounds/0001"),
    ]
    shown = run_warm("status", "--rounds", "--project", project.folder).stdout
    assert "label-studio in http://one since 2026-01-15" in " ".join(shown.split())
    assert warm_json("status", "--rounds", "--project", project.folder)[0]["items"] == 2


# --- several annotators -----------------------------------------------------------------------------------------------


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@given(
    items=st.sets(st.integers(1, 10_000), max_size=60),
    names=st.integers(1, 7).map(lambda n: [f"a{i}" for i in range(n)]),
    overlap=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 3),
)
def test_shares_cover_the_round_evenly_and_overlap_as_told(items, names, overlap, seed):
    shares = rounds_out.shares(3, seed, rounds_out.Terms(names, overlap), items)
    assert list(shares) == names
    held = Counter(item for own in shares.values() for item in own)
    assert set(held) == items
    if len(names) > 1:
        common = {item for item, n in held.items() if n == len(names)}
        assert all(n == 1 for item, n in held.items() if item not in common)
        wanted = max(1, round(overlap * len(items))) if overlap and items else 0
        assert len(common) == wanted
    sizes = [len(own) for own in shares.values()]
    assert max(sizes) - min(sizes) <= 1
    assert all(a < b for own in shares.values() for a, b in pairwise(own))
    assert shares == rounds_out.shares(3, seed, rounds_out.Terms(names, overlap), sorted(items))


def test_another_seed_or_round_shares_otherwise():
    terms = rounds_out.Terms(["a", "b"], 0.2)
    found = [rounds_out.shares(n, seed, terms, range(1, 41)) for n, seed in ((1, 1), (2, 1), (1, 2))]
    assert len({tuple(shares["a"]) for shares in found}) == 3


@pytest.fixture
def shared(tmp_path):
    """A project of 30 images with a round of 20 for ann, bob and eve, 4 of them for everybody."""
    project = small_project(tmp_path, 30, validation=2)
    result = warm_json(
        "select", "--k", "18", "--annotators", "ann, bob,eve", "--overlap", "0.2", "--project", project.folder
    )
    return project, Path(result["folder"])


def test_each_annotator_gets_a_table_that_does_not_tell_what_the_others_have(shared):
    _, folder = shared
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "contact_sheet.jpg",
        "images",
        "items-ann.csv",
        "items-bob.csv",
        "items-eve.csv",
        "manifest.json",
    ]
    tables = {name: rows_of(folder / f"items-{name}.csv") for name in ("ann", "bob", "eve")}
    held = Counter(int(row["item"]) for rows in tables.values() for row in rows)
    assert sorted(held.values()) == [1] * 16 + [3] * 4
    common = {item for item, n in held.items() if n == 3}
    for name, rows in tables.items():
        assert {row["annotator"] for row in rows} == {name}
        assert [row["rank"] for row in rows if row["rank"]] == sorted(
            (r["rank"] for r in rows if r["rank"]), key=int
        )
        kinds = {frozenset((k, v) for k, v in row.items() if k in {"label", "status", "why"}) for row in rows
                 if int(row["item"]) in common}  # fmt: skip
        others = {
            frozenset((k, v) for k, v in row.items() if k in {"label", "status", "why"}) for row in rows
        }
        assert kinds <= others
    assert len(list((folder / "images").iterdir())) == 20


def test_an_annotators_table_is_imported_as_it_is_and_the_ledger_says_who_owes_what(shared):
    project, folder = shared
    file = folder / "items-bob.csv"
    rows = rows_of(file)
    for row in rows[:-1]:
        row["label"] = "cat"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert take(project, file).added == len(rows) - 1
    people = {who.annotator: who for who in ledger.overview(project)[0].people}
    assert (people["bob"].got, people["bob"].wanted) == (len(rows) - 1, len(rows))
    assert people["ann"].got == 0
    assert sum(who.wanted or 0 for who in people.values()) == 16 + 3 * 4
    with pytest.raises(AlctlError, match=r"items-bob\.csv has been filled in"):
        handout.export(project, 1, no_progress)
    label(project, "z.csv", [(rows[-1]["item"], "dog", "zoe")], ("item", "label", "annotator"))
    assert ledger.overview(project)[0].people[-1] == ledger.AnnotatorShare("zoe", wanted=None, got=1)
    shown = run_warm("status", "--rounds", "--project", project.folder).stdout
    assert f"bob {len(rows) - 1} of {len(rows)}" in shown


def test_the_tables_of_annotators_can_be_made_again_byte_for_byte(shared, tmp_path):
    project, folder = shared
    again = handout.export(project, 1, no_progress, target=tmp_path / "again")
    for name in ("items-ann.csv", "items-bob.csv", "items-eve.csv", "manifest.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert handout.export(project, 1, no_progress) == folder
    table = project.folder / "rounds" / "0001" / "items-ann.csv"
    assert status(project).next == f"alctl import-labels {table}"


def test_annotators_may_be_just_counted(tmp_path):
    project = small_project(tmp_path, 10)
    chosen = choose(project, 6, annotators="2")
    folder = handout.export(project, chosen.round, no_progress)
    assert [len(rows_of(folder / f"items-{n}.csv")) for n in (1, 2)] == [3, 3]


@pytest.mark.parametrize(
    ("annotators", "overlap", "sentence"),
    [
        ("", 0.1, "--overlap needs --annotators"),
        ("ann", 0.1, "at least two"),
        ("ann,Ann", 0.0, "named twice"),
        ("ann,,bob", 0.0, "cannot be the name"),
        ("../ann,bob", 0.0, "cannot be the name"),
        ("=ann,bob", 0.0, "cannot be the name"),
        ("0", 0.0, "cannot be"),
        ("1000", 0.0, "more than 100"),
    ],
)
def test_annotators_that_cannot_have_tables_are_refused(annotators, overlap, sentence):
    with pytest.raises(AlctlError, match=sentence):
        ledger.terms(annotators, overlap)


def test_what_was_recalled_is_not_wanted_of_anybody_and_nobody_gets_other_images(shared):
    project, _ = shared
    with project.reading() as connection:
        before = rounds_out.shares_of(connection, 1)
    mine = next(item for item in before["ann"] if item not in before["bob"])
    ledger.recall(project, 1, items=[mine])
    with project.reading() as connection:
        assert rounds_out.shares_of(connection, 1) == before
    people = {who.annotator: who.wanted for who in ledger.overview(project)[0].people}
    assert people["ann"] == len(before["ann"]) - 1
    assert people["bob"] == len(before["bob"])


def test_reserved_items_are_shared_out_too(url):
    with pool(url, 12) as engine, writing(engine) as connection:
        reserve(connection, "test", [11, 12])
        number = send(connection, range(1, 13))
        values = {"params": {"annotators": ["a", "b"], "overlap": 0.0}}
        connection.execute(update(round_).where(round_.c.id == number).values(**values))
        shares = rounds_out.shares_of(connection, number)
        assert sorted(shares["a"] + shares["b"]) == list(range(1, 13))
        assert run(connection, "SELECT count(*) FROM selection").scalar() == 12
