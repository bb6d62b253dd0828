"""The class list: frozen ids, names that change, classes that count as others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, text

from alctl.annotators import classes
from alctl.annotators.imports.problems import BadRowsError
from alctl.config import Config
from alctl.database import categories, counts, history, labels
from alctl.database.bulk import run
from alctl.database.categories import Class, outputs
from alctl.database.tables import import_batch
from alctl.database.tables import label as label_table
from alctl.dataset.index import Options, add, folder_dataset
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation, Category
from alctl.project import Project
from alctl.report.facts import Options as ReportOptions
from alctl.report.facts import gather
from alctl.rounds import train_plan, train_run, trained_model
from alctl.rounds.predict import predict
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.fakes import classifier, tiny
from tests.pools import NOW, answer, pool, send, write_run
from tests.project_files import make_images, no_progress, small_project, take, write_csv
from tests.warm import run_warm, warm_json


@pytest.fixture
def project(url, tmp_path):
    """Nine items without files, and the classes cat, dog, owl."""
    with pool(url, 9) as engine:
        yield Project(tmp_path, Config(), engine)


def names(project: Project) -> list[str]:
    with project.reading() as connection:
        return categories.categories(connection)


def resolved(project: Project) -> dict[str, int]:
    with project.reading() as connection:
        return categories.resolver(connection)


def changes(project: Project) -> list[tuple[str, int, str | None, str | None]]:
    with project.reading() as connection:
        rows = run(connection, "SELECT action, category_id, before, after FROM category_change ORDER BY id")
        return [tuple(row) for row in rows]


def answered(project: Project, rows) -> None:
    with project.writing("test") as connection:
        answer(connection, rows)


def draw(project: Project, drawings) -> None:
    """Write labels of (item, annotator, objects), where an object is the id of its class."""
    with project.writing("test") as connection:
        first = run(connection, "SELECT coalesce(max(id), 0) + 1 FROM label").scalar()
        batch = run(connection, "SELECT coalesce(max(id), 0) + 1 FROM import_batch").scalar()
        connection.execute(
            insert(import_batch).values(
                id=batch, file="f", digest="", format="coco", counts={}, created_at=NOW
            )
        )
        for number, (item_id, annotator, ids) in enumerate(drawings, start=first):
            drawn = canonical_json.dumps(
                ((Annotation("", bbox=(i, 1, 2, 2)), id_) for i, id_ in enumerate(ids)), ordered=False
            )
            connection.execute(
                insert(label_table).values(
                    id=number, item_id=item_id, import_id=batch, annotator=annotator, status="labeled",
                    annotations=drawn, created_at=NOW,
                )
            )  # fmt: skip


def consensus(project: Project) -> dict[int, int | None]:
    with project.reading() as connection:
        return {row[0]: row[1] for row in labels.labeled_items(connection, "pool")}


# --- add --------------------------------------------------------------------------------------------------------------


def test_new_classes_come_last_in_their_order_and_are_recorded(project):
    change = classes.add(project, ["newt", " ant "])
    assert names(project) == ["cat", "dog", "owl", "newt", "ant"]
    assert change.classes == ["newt", "ant"]
    assert changes(project) == [("add", 4, None, "newt"), ("add", 5, None, "ant")]


def test_a_class_that_is_there_is_an_error_and_nothing_is_added(project):
    with pytest.raises(AlctlError, match="'dog' is a class already, number 2"):
        classes.add(project, ["newt", "dog"])
    with pytest.raises(AlctlError, match="'newt' is named twice"):
        classes.add(project, ["newt", "newt "])
    assert names(project) == ["cat", "dog", "owl"]
    assert changes(project) == []


def test_keypoints_come_with_a_new_class_or_to_one_that_has_none(project):
    classes.add(project, ["newt", "dog"], ["nose", "tail"], [(0, 1)])
    with project.reading() as connection:
        known = categories.as_categories(connection)
    assert known[1] == Category("dog", ("nose", "tail"), ((0, 1),))
    assert known[3] == Category("newt", ("nose", "tail"), ((0, 1),))
    assert known[0] == Category("cat")
    with pytest.raises(AlctlError, match=r"'dog' has keypoints already.*nose, tail"):
        classes.add(project, ["dog"], ["nose"])


@pytest.mark.parametrize(
    ("points", "skeleton", "problem"),
    [
        (["a", "b"], [(0, 2)], "joins keypoints 1 and 3, and there are 2"),
        (["a", "b"], [(1, 1)], "joins keypoints 2 and 2"),
        ([], [(0, 1)], "there are 0"),
        (["a", "a"], [], "keypoint 'a' is named twice"),
        (["a", " "], [], "needs a name"),
    ],
)
def test_keypoints_that_make_no_sense_are_refused(project, points, skeleton, problem):
    with pytest.raises(AlctlError, match=problem):
        classes.add(project, ["newt"], points, skeleton)
    assert len(names(project)) == 3


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "needs a name"),
        ("  \t", "needs a name"),
        ("a\nb", "control characters"),
        ("a\x00b", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\x1bb", "control characters"),
        ("\ud800", "control characters"),
        ("x" * 201, "has 201 characters"),
    ],
)
def test_names_that_no_file_could_carry_are_refused(project, name, problem):
    for change in (lambda: classes.add(project, [name]), lambda: classes.rename(project, "cat", name)):
        with pytest.raises(AlctlError, match=problem):
            change()
    assert names(project) == ["cat", "dog", "owl"]


def test_names_in_any_script_and_of_any_signs_are_fine(project):
    odd = ["katze (groß)", "猫", "=1+1", "-x", "a,b", "'", "x" * 200]
    classes.add(project, odd)
    assert names(project)[3:] == odd


# --- rename -----------------------------------------------------------------------------------------------------------


def test_a_rename_keeps_the_id_and_the_labels_and_is_recorded(project):
    answered(project, [(1, "ann", "cat"), (2, "ann", "dog"), (1, "bob", "cat")])
    change = classes.rename(project, "cat", " feline ")
    assert names(project) == ["feline", "dog", "owl"]
    assert (change.before, change.classes, change.labels) == ("cat", ["feline"], 2)
    assert changes(project) == [("rename", 1, "cat", "feline")]
    assert consensus(project) == {1: 1, 2: 2}


def test_every_former_name_is_understood_through_any_chain(project):
    classes.rename(project, "cat", "feline")
    classes.rename(project, "feline", "puma")
    classes.merge(project, "puma", "dog")
    classes.rename(project, "dog", "hound")
    classes.merge(project, "hound", "owl")
    assert resolved(project) == dict.fromkeys(("cat", "feline", "puma", "dog", "hound", "owl"), 3)
    with project.reading() as connection:
        assert categories.effective_names(connection) == ["owl", "owl", "owl"]
        assert categories.former_names(connection) == dict.fromkeys(
            ("cat", "feline", "puma", "dog", "hound"), "owl"
        )


def test_a_former_name_that_a_class_has_by_now_means_that_class_and_the_user_is_warned(project):
    classes.rename(project, "cat", "feline")
    change = classes.add(project, ["cat"])
    assert resolved(project) == {"feline": 1, "dog": 2, "owl": 3, "cat": 4}
    assert change.notes == [
        "'cat' was the name of what is 'feline' now; files from that time that are imported from here on mean the "
        "new class by it"
    ]
    classes.rename(project, "dog", "hound")
    assert classes.rename(project, "owl", "dog").notes
    assert resolved(project)["dog"] == 3


def test_a_name_that_two_classes_once_had_means_neither(project):
    classes.rename(project, "cat", "feline")
    classes.rename(project, "dog", "cat")
    classes.rename(project, "cat", "hound")
    assert "cat" not in resolved(project)
    classes.merge(project, "feline", "hound")
    assert resolved(project)["cat"] == 2


def test_two_classes_can_change_names_and_back(project):
    for old, new in (("cat", "x"), ("dog", "cat"), ("x", "dog")):
        classes.rename(project, old, new)
    assert names(project) == ["dog", "cat", "owl"]
    assert classes.rename(project, "owl", "strix").notes == []
    assert classes.rename(project, "strix", "owl").notes == []
    assert {name: resolved(project)[name] for name in ("cat", "dog", "owl")} == {"cat": 2, "dog": 1, "owl": 3}


def test_a_rename_to_a_class_that_is_there_advises_a_merge(project):
    with pytest.raises(AlctlError, match=r"'dog' is a class already.*alctl classes merge cat dog"):
        classes.rename(project, "cat", "dog")
    with pytest.raises(AlctlError, match="'cat' is the name of class 1 already"):
        classes.rename(project, "cat", "cat ")
    assert names(project) == ["cat", "dog", "owl"]


def test_a_class_may_take_the_name_of_one_that_was_merged_into_it(project):
    classes.merge(project, "cat", "dog")
    classes.rename(project, "dog", "cat")
    assert names(project) == ["dog", "cat", "owl"]
    assert resolved(project) == {"cat": 2, "dog": 2, "owl": 3}
    with pytest.raises(AlctlError, match="'dog' was merged into 'cat'"):
        classes.rename(project, "owl", "dog")


@pytest.mark.parametrize("change", ["rename", "merge"])
def test_a_class_that_is_not_there_is_a_sentence(project, change):
    do = getattr(classes, change)
    with pytest.raises(AlctlError, match="'dgo' is not in the class list; did you mean 'dog'"):
        do(project, "dgo", "cat")
    classes.rename(project, "owl", "strix")
    with pytest.raises(AlctlError, match="'owl' is called 'strix' now"):
        do(project, "owl", "cat")
    classes.merge(project, "dog", "strix")
    with pytest.raises(AlctlError, match="'dog' was merged into 'strix'"):
        do(project, "dog", "cat")


# --- merge ------------------------------------------------------------------------------------------------------------


def test_a_merge_rewrites_no_label_and_is_recorded(project):
    answered(project, [(1, "ann", "cat"), (2, "ann", "dog"), (3, "ann", "owl")])
    change = classes.merge(project, "cat", "dog")
    assert (change.before, change.classes, change.labels) == ("cat", ["dog"], 1)
    assert changes(project) == [("merge", 1, "cat", "dog")]
    assert consensus(project) == {1: 2, 2: 2, 3: 3}
    with project.reading() as connection:
        assert [row[0] for row in run(connection, "SELECT category_id FROM label ORDER BY id")] == [1, 2, 3]
        assert counts.count(connection).classes["dog"]["pool"] == 2
        assert list(counts.count(connection).classes) == ["dog", "owl"]


def test_annotators_whose_classes_were_merged_agree(project):
    answered(project, [(1, "ann", "cat"), (1, "bob", "dog"), (1, "cyd", "owl"), (1, "dan", "owl")])
    answered(project, [(1, "eve", "dog")])
    classes.merge(project, "cat", "dog")
    assert consensus(project) == {1: 2}
    with project.reading() as connection:
        pairs = {(r.one, r.other): (r.one_says, r.other_says) for r in history.agreement(connection)}
    assert pairs["ann", "bob"] == (2, 2)


def test_a_merge_into_a_class_that_is_merged_later_ends_at_the_last_one(project):
    answered(project, [(1, "ann", "cat"), (2, "ann", "dog")])
    classes.merge(project, "cat", "dog")
    change = classes.merge(project, "dog", "owl")
    assert change.labels == 2
    with project.reading() as connection:
        assert categories.merges(connection) == {1: 3, 2: 3}
    assert consensus(project) == {1: 3, 2: 3}


def test_merges_that_make_no_sense_are_refused(project):
    with pytest.raises(AlctlError, match="cannot be merged into itself"):
        classes.merge(project, "cat", "cat")
    classes.add(project, ["horse"], ["nose", "tail"])
    classes.add(project, ["cow"], ["nose", "horn"])
    for target in ("cow", "cat"):
        with pytest.raises(AlctlError, match="different keypoints"):
            classes.merge(project, "horse", target)
    with project.reading() as connection:
        assert categories.merges(connection) == {}


def test_labels_are_counted_by_class_whether_of_images_or_of_objects(project):
    answered(project, [(1, "ann", "cat"), (2, "ann", "cat"), (2, "bob", "dog"), (3, "ann", "skip")])
    answered(project, [(2, "ann", "owl")])
    draw(project, [(4, "ann", [1, 1, 3]), (5, "ann", []), (6, "ann", [1]), (6, "ann", [2])])
    with project.reading() as connection:
        assert categories.labels_per_class(connection) == {1: 3, 2: 2, 3: 2}
    classes.merge(project, "cat", "owl")
    rows = {row.name: (row.labels, row.merged_into) for row in classes.listed(project)}
    assert rows == {"cat": (3, "owl"), "dog": (2, None), "owl": (5, None)}


def test_a_dry_run_says_the_same_and_changes_nothing(project):
    answered(project, [(1, "ann", "cat")])
    for change in (
        lambda **kw: classes.merge(project, "cat", "dog", **kw),
        lambda **kw: classes.rename(project, "owl", "strix", **kw),
        lambda **kw: classes.add(project, ["newt"], **kw),
    ):
        before = (names(project), changes(project), resolved(project))
        said = change(dry_run=True)
        assert said.dry_run
        assert (names(project), changes(project), resolved(project)) == before
        done = change()
        assert (done.classes, done.labels, done.stale_runs) == (said.classes, said.labels, said.stale_runs)
        assert names(project) != before[0] or resolved(project) != before[2]


def test_rounds_that_are_out_are_named(project):
    with project.writing("test") as connection:
        send(connection, [1, 2])
        send(connection, [3])
    answered(project, [(3, "ann", "cat")])
    assert classes.rename(project, "cat", "feline").rounds_out == [1]


def test_runs_that_know_another_class_list_are_named(project):
    def trained(number):
        known = outputs_now(project)
        with project.writing("test") as connection:
            merged = {"merged": [list(m) for m in known.merged]} if known.merged else {}
            write_run(connection, number, [1, 2], known.names, **merged)

    trained(1)
    assert classes.merge(project, "cat", "dog").stale_runs == [1]
    trained(2)
    assert classes.rename(project, "owl", "strix").stale_runs == [1, 2]
    trained(3)
    assert classes.rename(project, "strix", "owl").stale_runs == [1, 3]


def outputs_now(project: Project):
    with project.reading() as connection:
        known = categories.class_list(connection)
    return outputs(known, len(known))


# --- models -----------------------------------------------------------------------------------------------------------


def test_outputs_of_an_older_model_stand_for_the_classes_of_today():
    known = [
        Class(1, "a", None, (), ()),
        Class(2, "b", 4, (), ()),
        Class(3, "c", 1, (), ()),
        Class(4, "d", None, (), ()),
    ]
    assert outputs(known, 4) == (["a", "b", "c", "d"], [1, 0, 0, 4], [(0, 2), (3, 1)])
    assert outputs(known, 3) == (["a", "d", "c"], [1, 4, 0], [(0, 2)])
    assert outputs(known, 1) == (["a"], [1], [])


@given(st.integers(1, 8), st.data())
def test_every_class_that_a_model_knows_has_exactly_one_output(n, data):
    living = data.draw(st.sets(st.integers(1, n), min_size=1))
    into = [None if i in living else data.draw(st.sampled_from(sorted(living))) for i in range(1, n + 1)]
    known = [Class(i, f"c{i}", target, (), ()) for i, target in enumerate(into, start=1)]
    size = data.draw(st.integers(0, n))
    found = outputs(known, size)
    standing = [id_ for id_ in found.ids if id_]
    assert sorted(standing) == sorted({one.effective for one in known[:size]})
    assert all(found.names[place] == f"c{id_}" for place, id_ in enumerate(found.ids) if id_)
    assert sorted(place for group in found.merged for place in group[1:]) == [
        place for place, id_ in enumerate(found.ids) if not id_
    ]


def test_a_merged_class_has_no_probability_and_the_other_one_has_both():
    task = classifier(names="abcd")
    raw = torch.randn(5, 4, dtype=torch.float64).float().requires_grad_()
    plain = task.distributions(raw).p
    task = replace(task, merged=((3, 0, 1),))
    folded = task.distributions(raw).p
    assert folded[:, 0, [0, 1]].abs().sum() == 0
    assert torch.allclose(folded[:, 0, 3], plain[:, 0, [0, 1, 3]].sum(1))
    assert torch.allclose(folded[:, 0, 2], plain[:, 0, 2])
    loss = task.loss(raw, {"class": torch.tensor([3, 3, 2, 2, 3])})
    assert torch.allclose(loss.exp(), 1 / folded[range(5), 0, [3, 3, 2, 2, 3]])
    loss.sum().backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad[0, [0, 1, 3]] < 0).all()


@pytest.fixture
def digits(tmp_path):
    """Sixteen images, two of them reserved for the test, all labeled in turn with three classes."""
    made = small_project(tmp_path, 16, classes=("cat", "dog", "kitty"), test=2)
    rows = [(i, ("cat", "dog", "kitty")[i % 3]) for i in range(1, 17)]
    take(made, write_csv(tmp_path / "l.csv", rows), format="csv")
    return made


def train(project: Project):
    plan = train_plan.plan_training(project, tiny(epochs=2), None)
    done = train_run.to_the_end(train_run.run_training(project, plan, no_progress), lambda _: None)
    return plan, done.run


def predicted(project: Project, file: Path) -> set[str]:
    predict(project, trained_model.required_model(project, "cpu"), file, "all", no_progress)
    return {row.split(",")[2] for row in file.read_text().splitlines()[1:]}


def test_training_after_a_merge_learns_one_class_and_never_predicts_the_other(digits, tmp_path):
    train(digits)
    assert classes.merge(digits, "kitty", "cat").stale_runs == [1]
    plan, run_ = train(digits)
    assert run_.id == 2
    assert set(plan.splits["pool"].targets["class"].tolist()) == {0, 1}
    assert predicted(digits, tmp_path / "p.csv") <= {"cat", "dog"}
    assert classes.rename(digits, "dog", "hound").stale_runs == [1, 2]
    assert predicted(digits, tmp_path / "p.csv") <= {"cat", "hound"}
    assert train_plan.plan_training(digits, tiny(epochs=2), None).finished is None
    assert check(digits) == []


def test_a_model_from_before_a_merge_is_measured_and_selects_under_the_classes_of_today(digits, tmp_path):
    train(digits)
    classes.merge(digits, "kitty", "cat")
    classes.rename(digits, "cat", "feline")
    model = trained_model.required_model(digits, "cpu")
    assert predicted(digits, tmp_path / "p.csv") <= {"feline", "dog"}
    some, said = trained_model.predictions(digits, model, "test", no_progress)
    p = model.candidates(digits, some.sources, no_progress).map(lambda seen: seen.distributions.p[:, 0])
    assert p[:, 2].abs().sum() == 0
    metrics = trained_model.evaluate(digits, model, "test", no_progress)
    right = said.likeliest == some.targets["class"]
    assert metrics.of_task["accuracy"] == pytest.approx(right.double().mean().item())
    make_images(tmp_path / "more", 4, seed=1)
    add(digits, folder_dataset(tmp_path / "more", class_folders=False), Options(), no_progress)
    chosen = select(digits, SelectOptions(2, "entropy", device="cpu", guard=False), no_progress)
    assert chosen.stale == []


def test_a_report_after_a_merge_counts_both_as_one_class(digits):
    train(digits)
    classes.merge(digits, "kitty", "cat")
    facts = gather(digits, ReportOptions(device="cpu"), no_progress)
    assert facts.classes == ["cat", "dog"]
    assert [row.name for row in facts.balance] == ["cat", "dog"]
    assert facts.confusion is not None
    assert facts.losses is not None
    table = facts.confusion.table
    assert [len(row) for row in table] == [2, 2]
    assert sum(map(sum, table)) == facts.measured == 2
    assert np.isfinite(facts.losses.true).all()


def test_one_class_left_is_too_few_to_train_on(digits):
    classes.merge(digits, "kitty", "cat")
    classes.merge(digits, "dog", "cat")
    with pytest.raises(AlctlError, match="all 14 labeled images are 'cat'"):
        train_plan.plan_training(digits, tiny(), None)


def test_measuring_by_a_class_that_the_model_has_never_seen_is_a_sentence(digits, tmp_path):
    train(digits)
    test_items = {
        source.id for source in train_plan.plan_training(digits, tiny(), None).splits["test"].sources
    }
    file = write_csv(tmp_path / "n.csv", [(min(test_items), "newt")])
    take(digits, file, format="csv", add_classes=True)
    with pytest.raises(AlctlError, match="test images are labeled newt, which the model has never seen"):
        trained_model.evaluate(digits, trained_model.required_model(digits, "cpu"), "test", no_progress)


# --- files of before --------------------------------------------------------------------------------------------------


def test_files_with_old_names_are_understood(tmp_path):
    project = small_project(tmp_path, classes=("cat", "dog", "kitty"))
    file = write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "kitty"), (3, "dog")])
    assert take(project, file, format="csv").added == 3
    classes.rename(project, "cat", "feline")
    classes.merge(project, "kitty", "feline")
    again = write_csv(tmp_path / "m.csv", [(1, "cat"), (2, "kitty"), (3, "dog"), (4, "kitty"), (5, "cat")])
    result = take(project, again, format="csv")
    assert (result.unchanged, result.added, result.changed) == (3, 2, 0)
    assert status(project).classes["feline"]["pool"] == 4


def test_folders_with_old_names_are_understood(tmp_path):
    project = small_project(tmp_path, classes=("cat", "dog"))
    classes.rename(project, "cat", "feline")
    classes.merge(project, "dog", "feline")
    for seed, name in enumerate(("cat", "dog", "feline", "newt"), start=1):
        make_images(tmp_path / "more" / name, 2, seed=seed)
    more = folder_dataset(tmp_path / "more", class_folders=True)
    report = add(project, more, Options(validation=0), no_progress)
    assert report.labels == 8
    assert report.classes == ["feline", "dog", "newt"]
    assert status(project).classes == {
        "feline": {"pool": 6, "validation": 0, "test": 0},
        "newt": {"pool": 2, "validation": 0, "test": 0},
    }


# --- db check ---------------------------------------------------------------------------------------------------------


def test_a_label_with_an_object_of_no_class_is_named(project):
    draw(project, [(1, "ann", [1, 3]), (2, "ann", [])])
    with project.reading() as connection:
        assert counts.broken_invariants(connection) == []
    draw(project, [(3, "ann", [1, 9])])
    with project.reading() as connection:
        assert counts.broken_invariants(connection) == [
            "a label has an object of a class that is not in the class list"
        ]


def test_predictions_and_merges_that_contradict_each_other_are_named(project):
    with project.writing("test") as connection:
        number = send(connection, [1, 2])
        for item_id, drawn in ((1, None), (2, '[{"category":3}]')):
            run(
                connection,
                "INSERT INTO prediction (round_id, item_id, category_id, annotations) VALUES (:r, :i, 1, :d)",
                r=number, i=item_id, d=drawn,
            )  # fmt: skip
        run(connection, "UPDATE selection SET recalled_at = :now WHERE item_id = 1", now=NOW)
        answer(connection, [(1, "ann", "cat")])
        assert counts.broken_invariants(connection) == []
        run(connection, "INSERT INTO prediction (round_id, item_id, category_id) VALUES (:r, 5, 1)", r=number)
        run(connection, "UPDATE category SET merged_into = 2 WHERE id = 1")
        run(connection, "UPDATE category SET merged_into = 3 WHERE id = 2")
        assert counts.broken_invariants(connection) == [
            "a class was merged into one that is merged itself",
            "a prediction is of an item that is not in its round",
        ]


def test_objects_that_are_not_json_are_named_and_not_a_crash(tmp_path):
    project = small_project(tmp_path)
    draw(project, [(1, "ann", [1])])
    with project.writing("test") as connection:
        connection.execute(text("UPDATE label SET annotations = '[{'"))
    assert check(project) == ["the objects of a label are not JSON"]


def test_hand_outs_of_rounds_that_are_not_there_are_named(tmp_path):
    project = small_project(tmp_path)
    with project.engine.connect().execution_options(writes=True) as connection:
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        with connection.begin():
            run(connection, "INSERT INTO handout VALUES (1, 7, 'csv', 'rounds/0007', NULL, :now)", now=NOW)
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = ON")  # type: ignore[union-attr]
    assert check(project) == ["handout row 1 refers to a round that is not there"]


# --- the commands -----------------------------------------------------------------------------------------------------


def test_the_commands_change_list_and_explain(tmp_path):
    project = small_project(tmp_path, classes=("cat", "dog"))
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "cat"), (3, "dog")]), format="csv")
    select(project, SelectOptions(2, "random"), no_progress)
    where = ("--project", project.folder)
    added = warm_json("classes", "add", "person", "--keypoints", "nose, eye", "--skeleton", "1-2", *where)
    assert added["classes"] == ["person"]
    said = run_warm("classes", "merge", "dog", "cat", *where)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[:2] == [
        "'dog' counts as 'cat' now, with 1 label",
        "  round 1 is out with the old names, which imports understand",
    ]
    tried = warm_json("classes", "rename", "cat", "feline", "--dry-run", *where)
    assert (tried["labels"], tried["dry_run"], tried["rounds_out"]) == (3, True, [1])
    listed = warm_json("classes", "list", *where)["classes"]
    assert [(row["id"], row["name"], row["labels"], row["merged_into"]) for row in listed] == [
        (1, "cat", 3, None),
        (2, "dog", 1, "cat"),
        (3, "person", 0, None),
    ]
    assert (listed[2]["keypoints"], listed[2]["skeleton"]) == (["nose", "eye"], [[1, 2]])
    refused = run_warm("classes", "add", "x", "--keypoints", "a", "--skeleton", "1:2", "--json", *where)
    assert refused.returncode == 1
    assert "'1:2' is not a pair" in json.loads(refused.stdout)["error"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat", "Cat"),
        ("traffic light", "traffic_light"),
        ("straße", "STRASSE"),
        ("t-shirt", "Tshirt"),
        ("café", "CAFÉ"),
    ],
)
def test_a_class_that_differs_only_in_case_or_punctuation_is_asked_about(tmp_path, first, second):
    """Without a class list too, within one file, across files and among folders; `classes add` is the answer."""
    project = small_project(tmp_path, classes=())
    file = write_csv(tmp_path / "l.csv", [(1, first), (2, second), (3, "other")])
    with pytest.raises(BadRowsError, match="only in case or punctuation") as raised:
        take(project, file, add_classes=True)
    assert [problem.line for problem in raised.value.problems] == [3]
    assert take(project, file, add_classes=True, skip_bad=True).new_classes == [first, "other"]
    with pytest.raises(BadRowsError, match="only in case or punctuation"):
        take(project, write_csv(tmp_path / "m.csv", [(2, second)]), add_classes=True)
    classes.add(project, [second])
    assert take(project, write_csv(tmp_path / "m.csv", [(2, second)])).added == 1


def test_letters_and_numbers_are_themselves(tmp_path):
    project = small_project(tmp_path, 6, classes=())
    names = ["C", "c", "1.0", "10", "+", "-"]
    file = write_csv(tmp_path / "l.csv", list(enumerate(names, start=1)))
    assert take(project, file, add_classes=True).new_classes == names
