"""What `status` and `db check` say of a project."""

import re

import pytest
from sqlalchemy import insert, text

from alctl.annotators import handout, ledger
from alctl.database import handouts, items
from alctl.database.tables import label as label_table
from alctl.project import Project, now
from alctl.rounds import train_plan, train_run
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import NextStep, check, next_step, status
from tests.fakes import tiny
from tests.project_files import no_progress, small_project, take, write_csv
from tests.warm import run_warm


def label(project: Project, name: str, rows, header=("item", "label")) -> None:
    take(project, write_csv(project.folder.parent / name, rows, header))


def send(project: Project, k: int) -> list[int]:
    """Select and export a round; return its items."""
    chosen = select(project, SelectOptions(k, "random"), no_progress)
    handout.export(project, chosen.round, no_progress)
    return [pick.item for pick in chosen.picks]


def test_every_item_is_in_exactly_one_state(tmp_path):
    project = small_project(tmp_path, 20, validation=2, test=3)
    label(project, "l.csv", [(i, "cat") for i in range(1, 9)])
    label(project, "m.csv", [(9, "skip"), (10, "unusable")], ("item", "status"))
    send(project, 3)
    result = status(project)
    assert result.items == sum(sum(row.values()) for row in result.states.values()) == 20
    assert sum(result.states["validation"].values()) == 2
    assert sum(result.states["test"].values()) == 3
    totals = {state: sum(row[state] for row in result.states.values()) for state in result.states["pool"]}
    assert (totals["labeled"], totals["skipped"], totals["unusable"]) == (8, 1, 1)
    assert sum(sum(row.values()) for row in result.classes.values()) == 8


def test_an_undone_import_brings_the_item_back_to_where_it_was(tmp_path):
    from alctl.annotators.imports.undo import undo_import

    project = small_project(tmp_path)
    before = status(project).states
    label(project, "l.csv", [(1, "cat")])
    undo_import(project, 1)
    assert status(project).states == before


def test_the_next_step_of_a_project_is_the_one_that_its_status_names(tmp_path):
    project = small_project(tmp_path, 8)
    found = status(project)
    assert next_step(project) == NextStep(found.next, found.why)
    assert found.why == "8 images are unlabeled"


def test_the_next_step_is_always_the_one_that_brings_the_project_forward(tmp_path):
    project = small_project(tmp_path, 8)
    assert status(project).next.startswith("alctl select")
    chosen = select(project, SelectOptions(4, "random"), no_progress)
    assert status(project).next == "alctl export 1"  # recorded, but killed before its files were written
    handout.export(project, 1, no_progress)
    assert status(project).next.startswith("alctl import-labels")
    items = [pick.item for pick in chosen.picks]
    label(project, "l.csv", [(item, "cat" if i % 2 else "dog") for i, item in enumerate(items)])
    assert status(project).next == "alctl train"
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    list(train_run.run_training(project, plan, no_progress))
    assert status(project).next.startswith("alctl select")
    last = send(project, 4)
    assert status(project).next.startswith("alctl import-labels")
    label(project, "m.csv", [(item, "dog") for item in last])
    assert status(project).next == "alctl train"
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    list(train_run.run_training(project, plan, no_progress))
    assert status(project).next == "alctl report"  # nothing is reserved that could be measured


def test_a_sound_project_has_no_problems(tmp_path):
    project = small_project(tmp_path, 8, test=2)
    send(project, 3)
    label(project, "l.csv", [(1, "cat")])
    assert check(project) == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("DELETE FROM item WHERE id = 3", "gaps"),
        ("UPDATE item SET digest = NULL WHERE id = 2", "digest"),
        (
            "INSERT INTO reserved SELECT item_id, 'test' FROM selection WHERE rank = 1",
            "reserved item was picked",
        ),
        ("DELETE FROM selection WHERE rank = 1", "ranks have gaps"),
        ("DELETE FROM category WHERE id = 1", "class list has gaps"),
        ("INSERT INTO selection VALUES (1, 77, 9, 0.5, 'picked', NULL)", "refers to"),
    ],
)
def test_every_broken_rule_is_named(tmp_path, damage, sentence):
    project = small_project(tmp_path, 8)
    send(project, 3)
    with project.engine.connect().execution_options(writes=True) as connection:
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        with connection.begin():
            connection.execute(text(damage))
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = ON")  # type: ignore[union-attr]
    assert [problem for problem in check(project) if sentence in problem]


def test_a_label_that_says_nothing_is_named(tmp_path):
    project = small_project(tmp_path)
    label(project, "l.csv", [(1, "cat")])
    with project.writing("test") as connection:
        connection.execute(
            insert(label_table).values(
                id=2, item_id=2, import_id=1, annotator="ann", status="labeled", created_at="2026"
            )
        )
    assert [problem for problem in check(project) if "neither a class" in problem]


def test_weights_that_are_gone_are_named(tmp_path):
    project = small_project(tmp_path)
    label(project, "l.csv", [(1, "cat"), (2, "dog"), (3, "dog")])
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    done = train_run.to_the_end(train_run.run_training(project, plan, no_progress), lambda _: None)
    (project.folder / done.run.file).unlink()
    assert [problem for problem in check(project) if "weights of training run 1 are gone" in problem]


def test_a_round_on_a_server_is_pulled(tmp_path):
    project = small_project(tmp_path)
    select(project, SelectOptions(2), no_progress)
    handout.export(project, 1, no_progress)
    with project.writing("push") as connection:
        handouts.add(
            connection, round_id=1, tool="label-studio", place="http://localhost/projects/1", now=now()
        )
    assert status(project).next == "alctl pull 1"


def test_a_round_of_boxes_waits_for_the_file_of_a_tool(tmp_path):
    project = small_project(tmp_path, task="detection")
    select(project, SelectOptions(2), no_progress)
    handout.export(project, 1, no_progress, formats=["coco"])
    assert status(project).next == "alctl import-labels FILE"


def test_images_that_turned_out_broken_are_not_counted_as_answered(tmp_path):
    """What a round's model could not open was quarantined; nobody has worked on it."""
    project = small_project(tmp_path, 6)
    sent = send(project, 3)
    with project.writing("test") as connection:
        items.quarantine(connection, {sent[0]: "broken"})
    label(project, "l.csv", [(sent[1], "cat")])
    (row,) = status(project).rounds
    assert (row.items, row.answered, row.quarantined, row.out) == (3, 1, 1, 1)
    assert ledger.recall(project, 1)[0].items == [sent[2]]
    shown = run_warm("status", "-p", project.folder).stdout
    assert re.search(r"images +answered +out +unusable *\n1  random +3 +1 +0 +1\n", shown), shown
