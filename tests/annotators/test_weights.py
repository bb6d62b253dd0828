"""Several annotators per image: what they agree on, whose votes count how much, and second looks."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from alctl.annotators import handout, ledger, weights
from alctl.database import consensus, counts, history, item_history, items, labels, rounds, rounds_out
from alctl.database.bulk import insert_rows, run
from alctl.database.connection import writing
from alctl.database.tables import import_batch, label, project, unusable
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.project import Project
from alctl.rounds import second_look, train_plan, train_run, trained_model
from alctl.rounds.second_look import Suspect
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.fakes import tiny
from tests.pools import NOW, answer, pool, reserve, send
from tests.project_files import TINY_FLAGS, no_progress, small_project, take, write_csv
from tests.warm import run_warm, warm_json

HEADER = ("item", "label", "annotator")


def draw(connection, rows, task: str = "detection") -> None:
    """Write labels of (item, annotator, boxes) as an import of their own; a box is x, y, width, height, class."""
    connection.execute(update(project).values(task=task))
    batch = run(connection, "SELECT coalesce(max(id), 0) + 1 FROM import_batch").scalar()
    first = run(connection, "SELECT coalesce(max(id), 0) + 1 FROM label").scalar()
    connection.execute(
        insert(import_batch).values(id=batch, file="f", digest="", format="coco", counts={}, created_at=NOW)
    )
    for id_, (item, who, boxes) in enumerate(rows, start=first):
        things = [(Annotation("", bbox=tuple(box[:4])), box[4]) for box in boxes]
        connection.execute(
            insert(label).values(
                id=id_, item_id=item, import_id=batch, annotator=who, status="labeled",
                annotations=canonical_json.dumps(things, ordered=False), created_at=NOW,
            )
        )  # fmt: skip


LEFT, MIDDLE, RIGHT = (0, 0, 6, 6, 1), (1, 0, 6, 6, 1), (2, 0, 6, 6, 1)
FAR = (0, 7, 1, 1, 2)


def held(connection, split: str = "pool") -> dict[int, list[list[float]]]:
    """Return the boxes that hold for each item."""
    return {
        item: [entry["bbox"] for entry in json.loads(found or "[]")]
        for item, _, found in labels.labeled_items(connection, split)
    }


# --- which drawing holds ----------------------------------------------------------------------------------------------


def test_where_annotators_drew_differently_the_drawing_most_like_the_others_holds(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        draw(connection, [
            (1, "ann", [MIDDLE]), (1, "bob", [LEFT]), (1, "eve", [RIGHT]),
            (2, "ann", [LEFT]), (2, "bob", [LEFT]), (2, "eve", [FAR]),
            (3, "ann", [LEFT]), (3, "bob", [FAR]),
            (4, "ann", [LEFT]),
            (5, "ann", []), (5, "bob", []), (5, "eve", [FAR]),
        ])  # fmt: skip
        found = held(connection)
        exported = labels.with_items(connection, "", every_annotator=False)
        told = item_history.of_item(connection, 2).now
    assert told == "1 object: 1 cat"  # and not the dog of the newest answer
    assert found == {
        1: [list(MIDDLE[:4])],
        2: [list(LEFT[:4])],
        3: [list(FAR[:4])],
        4: [list(LEFT[:4])],
        5: [],
    }
    assert {row["item_id"]: [e["bbox"] for e in json.loads(row["annotations"])] for row in exported} == found


def test_a_heavier_annotators_drawing_holds_of_two(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        draw(connection, [(1, "ann", [LEFT]), (1, "bob", [FAR])])
        consensus.set_weights(connection, {"ann": 1.2, "bob": 0.8})
        assert held(connection)[1] == [list(LEFT[:4])]
        consensus.set_weights(connection, {})
        assert held(connection)[1] == [list(FAR[:4])]


def test_objects_of_a_merged_class_agree_with_those_of_the_class_it_went_into(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        draw(connection, [(1, "ann", [(0, 0, 6, 6, 1)]), (1, "bob", [(0, 0, 6, 6, 2)])])
        judge = consensus.judge(connection)
        (before,) = consensus.shared(connection, judge)
        run(connection, "UPDATE category SET merged_into = 1 WHERE id = 2")
        (after,) = consensus.shared(connection, judge)
    assert judge.compared(before, *before.answers).value == 0
    assert judge.compared(after, *after.answers).value == 1


def test_different_drawings_are_one_vote_for_labeled(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        draw(connection, [(1, "ann", [LEFT]), (1, "bob", [FAR]), (1, "eve", [RIGHT])])
        answer(connection, [(1, "zoe", "unusable"), (2, "zoe", "unusable")])
        assert counts.count(connection).states["pool"]["labeled"] == 1


# --- shared items -----------------------------------------------------------------------------------------------------


def test_only_what_several_annotators_labeled_is_shared(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        number = send(connection, [1, 2])
        reserve(connection, "test", [4])
        insert_rows(connection, unusable, [(5, "broken")])
        for step in (["ann"], ["bob", "eve"]):
            answer(connection, [(i, who, "cat") for i in (1, 4, 5, 6) for who in step])
        answer(connection, [(2, "ann", "cat"), (3, "ann", "dog"), (3, "bob", "skip")])
        judge = consensus.judge(connection)
        shared = list(consensus.shared(connection, judge))
        assert [found.item for found in shared] == [1, 4, 5, 6]
        assert [answer_.annotator for answer_ in shared[0].answers] == ["ann", "bob", "eve"]
        assert [found.item for found in consensus.shared(connection, judge, number)] == [1]
        assert [found.item for found in consensus.shared(connection, judge, split="pool")] == [1, 6]
        assert [found.item for found in consensus.shared(connection, judge, split="test")] == [4]


def test_the_median_of_seconds_is_that_of_the_answers_in_force(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        answer(connection, [(i, "ann", "cat") for i in range(1, 8)])
        answer(connection, [(1, "bob", "cat"), (2, "bob", "dog"), (1, "eve", "cat")])
        for id_, seconds in ((1, 100.0), (2, 1.0), (3, 5.0), (4, 3.0), (8, 2.0), (9, 7.0)):
            run(connection, "UPDATE label SET seconds = :s WHERE id = :i", s=seconds, i=id_)
        assert consensus.answered(connection) == {"ann": (7, 4.0), "bob": (2, 4.5), "eve": (1, None)}
        answer(connection, [(1, "ann", "dog")])  # in place of the one of 100 seconds
        assert consensus.answered(connection)["ann"] == (7, 3.0)


# --- the commands -----------------------------------------------------------------------------------------------------

SAID = {"ann": "cccdddcd", "bob": "cccdddcd", "eve": "ddcdccdd"}
"""What each says of items 1 to 8."""


def opinions(folder: Path, n: int = 10, said: dict[str, str] | None = None) -> Project:
    """Make a project whose annotators have said what ``SAID`` says, one after the other."""
    made = small_project(folder, n)
    classes = {"c": "cat", "d": "dog"}
    for who, letters in (said or SAID).items():
        rows = [(i, classes[letter], who) for i, letter in enumerate(letters, start=1) if letter in classes]
        take(made, write_csv(folder / f"{who}.csv", rows, HEADER))
    return made


def test_agreement_of_classes_from_the_command_line(tmp_path):
    made = opinions(tmp_path)
    found = warm_json("agreement", "--project", made.folder)
    assert (found["items"], found["answers"]) == (8, 24)
    pairs = {tuple(pair["annotators"]): pair for pair in found["pairs"]}
    assert pairs["ann", "bob"]["kappa"] == 1
    same = sum(a == b for a, b in zip(SAID["ann"], SAID["eve"], strict=True))
    assert pairs["ann", "eve"]["agreement"] == same / 8
    assert found["measures"]["agreement"] == pytest.approx((1 + 2 * same / 8) / 3)
    people = {row["annotator"]: row for row in found["annotators"]}
    assert (people["ann"]["with_consensus"], people["eve"]["with_consensus"]) == (1, same / 8)
    assert people["ann"]["with_others"] == pytest.approx((1 + same / 8) / 2)
    assert [row["item"] for row in found["worst"]] == [1, 2, 5, 6, 7]
    assert found["worst"][0]["answers"] == {"ann": "cat", "bob": "cat", "eve": "dog"}
    assert found["confused"] == [{"classes": ["cat", "dog"], "n": 10}]
    shown = run_warm("agreement", "--project", made.folder).stdout
    assert "8 images were labeled by several annotators" in shown
    assert "item 1 0000.png: agreement 0.33" in shown


def test_agreement_about_a_round_is_about_its_images_alone(tmp_path):
    made = small_project(tmp_path, 10)
    sent = [pick.item for pick in select(made, SelectOptions(3, "random"), no_progress).picks]
    rows = [(i, "cat", who) for i in range(1, 9) for who in ("ann", "bob")]
    take(made, write_csv(tmp_path / "l.csv", rows, HEADER))
    assert weights.measure(made, 1).items == len([i for i in sent if i < 9])
    assert weights.measure(made).items == 8
    with pytest.raises(AlctlError, match="there is no round 2"):
        weights.measure(made, 2)


def test_without_shared_images_there_is_nothing_to_measure_or_to_weigh(tmp_path):
    made = small_project(tmp_path, 6)
    assert weights.measure(made).items == 0
    assert "by two annotators yet" in run_warm("agreement", "--project", made.folder).stdout
    result = run_warm("agreement", "--weights", "--project", made.folder)
    assert result.returncode == 1
    assert "no image was labeled by two annotators" in " ".join(result.stderr.split())


def test_agreement_of_boxes_names_what_it_measures(url, tmp_path):
    made = small_project(tmp_path, 6)
    with made.writing("test") as connection:
        draw(connection, [(1, "ann", [LEFT, FAR]), (1, "bob", [MIDDLE]), (2, "ann", []), (2, "bob", [])])
    found = weights.measure(made)
    iou = 30 / 42
    assert found.measures == {
        "agreement": pytest.approx((2 * iou / 3 + 1) / 2), "f1": pytest.approx(2 / 3), "mean_iou": pytest.approx(iou),
    }  # fmt: skip
    assert found.classes["cat"] == {"objects": 2, "f1": 1.0, "mean_iou": pytest.approx(iou)}
    assert found.worst[0].answers == {"ann": "1 cat, 1 dog", "bob": "1 cat"}
    shown = run_warm("agreement", "--project", made.folder).stdout
    assert "mean iou" in shown


def test_weights_make_good_annotators_count_more_and_reset_takes_them_away(tmp_path):
    good = "cdcdcdcdcdcdcdcdcdcd"
    said = {"ann": good, "bob": good[:-1] + "c", "bad": "dccdccdcdcdccdcdccdd", "zoe": "c..................."}
    made = opinions(tmp_path, 24, said)
    given_ = warm_json("agreement", "--weights", "--project", made.folder)["weights"]
    assert given_["ann"]["weight"] > 1 > given_["bad"]["weight"]
    total = {"ann": 20, "bob": 20, "bad": 20, "zoe": 1}
    assert sum(total[who] * row["weight"] for who, row in given_.items()) == pytest.approx(61)
    rows = [(22, "cat", "ann"), (22, "dog", "bad"), (23, "cat", "ann"), (23, "dog", "new")]
    take(made, write_csv(tmp_path / "more.csv", rows, HEADER))
    with made.reading() as connection:
        holds = {row[0]: row[1] for row in labels.labeled_items(connection, "pool")}
    assert (holds[22], holds[23]) == (
        1,
        1,
    )  # a cat by ann, against the newer dog of somebody worse or unknown
    people = {row.annotator: row for row in weights.measure(made).annotators}
    assert people["ann"].weight == given_["ann"]["weight"]
    assert warm_json("agreement", "--reset", "--project", made.folder)["reset"] == sorted(said)
    with made.reading() as connection:
        holds = {row[0]: row[1] for row in labels.labeled_items(connection, "pool")}
        assert consensus.weights(connection) == {}
    assert (holds[22], holds[23]) == (2, 2)


@given(
    answers=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from("abcde"), st.sampled_from(["cat", "dog", "owl"])),
        max_size=14, unique_by=lambda row: row[:2],
    ),
    weight=st.sampled_from([0.1, 1 / 3, 0.7, 1.0, 2.9]),
)  # fmt: skip
def test_equal_weights_are_the_majority_whatever_they_are(tmp_path_factory, answers, weight):
    with (
        pool(f"sqlite:///{tmp_path_factory.mktemp('p') / 'a.db'}", 4) as engine,
        writing(engine) as connection,
    ):
        answer(connection, answers)
        before = labels.labeled_items(connection, "pool")
        consensus.set_weights(connection, dict.fromkeys("abcde", weight))
        assert labels.labeled_items(connection, "pool") == before


def test_weights_of_drawings_follow_how_much_they_are_like_the_others(tmp_path):
    made = small_project(tmp_path, 6)
    with made.writing("test") as connection:
        rows = [
            (i, who, [box]) for i in (1, 2, 3) for who, box in (("ann", LEFT), ("bob", LEFT), ("eve", RIGHT))
        ]
        draw(connection, rows)
    found = weights.weigh(made)
    alike = 24 / 48
    assert found["ann"].quality == pytest.approx((1 + alike) / 2)
    assert found["eve"].quality == pytest.approx(alike)
    assert found["ann"].weight == found["bob"].weight > 1 > found["eve"].weight


# --- a second look ----------------------------------------------------------------------------------------------------


def look(made: Project, k: int = 50, **options: Any):
    return second_look.select(made, SelectOptions(k, **{"device": "cpu", **options}), no_progress)


def picked(selected) -> list[int]:
    return [pick.item for pick in selected.picks]


def test_what_annotators_disagree_about_goes_out_again_the_worst_first(tmp_path):
    made = opinions(tmp_path, said={"ann": "ccccc", "bob": "dcdc.", "eve": "dcc.."})
    selected = look(made)
    assert picked(selected) == [1, 3]
    first = selected.picks[0]
    assert (first.item, first.rank, first.why) == (1, 1, "disagreement 0.67")
    assert first.score == pytest.approx(2 / 3)
    assert (selected.strategy, selected.reserved) == ("relabel", 0)
    row = status(made).rounds[0]
    assert (row.strategy, row.items, row.answered, row.out) == ("relabel", 2, 0, 2)
    assert status(made).states["pool"]["labeled"] == 5
    assert check(made) == []
    assert picked(look(made)) == []  # they are out


def test_the_files_of_a_second_look_tell_neither_the_label_nor_why(tmp_path):
    made = opinions(tmp_path)
    result = warm_json("select", "--relabel", "--k", "3", "--project", made.folder)
    folder = Path(result["folder"])
    with (folder / "items.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["item"]) for row in rows] == [1, 2, 5]
    blank = ("label", "annotator", "status", "seconds", "rank", "score", "why")
    assert all(row[name] == "" for row in rows for name in blank)
    with made.reading() as connection:
        assert [pick.why for pick in rounds.picks(connection, 1)] == ["disagreement 0.67"] * 3


def test_the_same_answer_again_answers_a_second_look_and_another_one_changes_the_label(tmp_path):
    made = opinions(tmp_path, said={"ann": "ccd", "bob": "dcd"})
    assert picked(look(made)) == [1]
    handout.export(made, 1, no_progress)
    # an old file that is given in once more, with other images, is no answer to it
    take(
        made,
        write_csv(tmp_path / "old.csv", [(1, "cat", "ann"), (2, "cat", "ann"), (9, "dog", "ann")], HEADER),
    )
    assert ledger.overview(made)[0].out == 1
    done = take(made, write_csv(tmp_path / "again.csv", [(1, "cat", "ann")], HEADER))
    assert (done.added, done.changed, done.confirmed) == (0, 0, 1)
    assert (ledger.overview(made)[0].labeled, ledger.overview(made)[0].out) == (1, 0)
    with made.reading() as connection:
        assert labels.labeled_items(connection, "pool")[0] == (1, 1, None)  # a tie, and the newest says cat
    assert picked(look(made)) == [1]  # the two still disagree, and it is not out any more
    assert take(made, write_csv(tmp_path / "third.csv", [(1, "dog", "eve")], HEADER)).added == 1
    with made.reading() as connection:
        assert labels.labeled_items(connection, "pool")[0] == (1, 2, None)


def test_a_file_with_the_bytes_of_an_earlier_one_answers_a_later_round(tmp_path):
    made = opinions(tmp_path, said={"ann": "cc", "bob": "dc"})
    file = write_csv(tmp_path / "same.csv", [(1, "cat", "ann")], HEADER)
    for number in (1, 2):
        assert picked(look(made)) == [1]
        assert take(made, file).confirmed == 1
        assert ledger.overview(made)[number - 1].labeled == 1
    assert take(made, file).earlier == 4


def test_a_skip_answers_a_second_look_and_the_label_stays(tmp_path):
    made = opinions(tmp_path, said={"ann": "cc", "bob": "dc"})
    look(made)
    take(made, write_csv(tmp_path / "s.csv", [(1, "skip", "eve")], ("item", "status", "annotator")))
    row = ledger.overview(made)[0]
    assert (row.labeled, row.skipped, row.out) == (0, 1, 0)
    assert status(made).states["pool"]["labeled"] == 2


def test_who_had_a_second_look_comes_after_who_had_none(tmp_path):
    made = opinions(tmp_path, said={"ann": "cccc", "bob": "dccc", "eve": "ddcc", "zoe": "dddc"})
    assert picked(look(made, 1)) == [2]  # two against two
    take(made, write_csv(tmp_path / "z.csv", [(2, "cat", "new")], HEADER))
    assert picked(look(made, 1, dry_run=True)) == [1]
    assert picked(look(made)) == [1, 3, 2]


def test_a_recalled_second_look_is_over(tmp_path):
    made = opinions(tmp_path, said={"ann": "cc", "bob": "dc"})
    look(made)
    ledger.recall(made, 1)
    assert status(made).states["pool"]["labeled"] == 2
    assert picked(look(made)) == [1]


def test_reserved_and_unusable_images_get_no_second_look(tmp_path):
    made = small_project(tmp_path, 12, validation=3, test=3)
    rows = [(i, label_, who) for i in range(1, 13) for who, label_ in (("ann", "cat"), ("bob", "dog"))]
    take(made, write_csv(tmp_path / "l.csv", rows, HEADER))
    with made.writing("test") as connection:
        usable = set(items.usable(connection, "pool").tolist())
        items.quarantine(connection, {min(usable): "broken"})
    assert set(picked(look(made))) == usable - {min(usable)}


def test_an_image_that_cannot_be_shown_is_replaced(tmp_path):
    made = opinions(tmp_path, said={"ann": "ccc", "bob": "ddc"})
    (tmp_path / "images" / "0000.png").write_bytes(b"no image any more")
    selected = look(made, 1)
    assert picked(selected) == [2]
    assert list(selected.quarantined) == [1]


def test_what_the_model_is_surprised_by_goes_out_again(tmp_path):
    made = small_project(tmp_path, 24)
    take(made, write_csv(tmp_path / "l.csv", [(i, ("cat", "dog")[i % 2]) for i in range(1, 21)]))
    list(train_run.run_training(made, train_plan.plan_training(made, tiny(epochs=1), None), no_progress))
    model = trained_model.last_model(made, "cpu")
    assert model is not None
    answers = trained_model.losses(made, model, no_progress)
    assert answers is not None
    ids = [source.id for source in answers.labeled.sources]
    assert ids == list(range(1, 21))
    said = answers.said
    assert said.target_loss is not None
    assert said.predicted_loss is not None
    true, predicted = said.target_loss.numpy(), said.predicted_loss.numpy()
    difference = true.argsort().argsort() - predicted.argsort().argsort()
    selected = look(made)
    assert picked(selected) == [ids[i] for i in np.argsort(-difference, kind="stable") if difference[i] > 0]
    first = ids.index(picked(selected)[0])
    assert selected.picks[0].why == f"loss {true[first]:.3g} against {predicted[first]:.3g} predicted"
    assert selected.run == 1
    with made.reading() as connection:
        assert history.rounds_learned(connection) == {}  # the run has learned nothing from this round


def test_disagreement_and_surprise_take_turns(tmp_path):
    first = [Suspect(i, 1.0, "a") for i in (1, 2, 3, 4)]
    second = [Suspect(i, 1.0, "b") for i in (3, 5)]
    assert [s.item for s in second_look.in_turns(first, second)] == [1, 3, 2, 5, 4]
    assert [s.item for s in second_look.in_turns([], second)] == [3, 5]


def test_the_excess_of_a_loss_compares_ranks_and_is_in_standard_deviations():
    true, predicted = np.array([0.1, 5.0, 2.0, 3.0]), np.array([10.0, 11.0, 90.0, 12.0])
    found = second_look.excess(true, predicted)
    assert found * np.sqrt(6 / 4) == pytest.approx([0, 2, -2, 0] / np.sqrt(8 / 4) * np.sqrt(6 / 4))
    assert second_look.excess(true, true * 1000).tolist() == [0, 0, 0, 0]
    assert second_look.excess(true, None).argmax() == 1
    assert second_look.excess(np.array([1.0]), np.array([2.0])).tolist() == [0]


def test_a_second_look_takes_no_strategy_and_no_predictions(tmp_path):
    made = opinions(tmp_path)
    with pytest.raises(AlctlError, match="leave out --strategy"):
        look(made, strategy="random")
    result = run_warm("select", "--k", "3", "--relabel", "--predictions", "--project", made.folder)
    assert result.returncode == 1
    assert "the labels in doubt" in " ".join(result.stderr.split())


def test_no_label_that_stands_out_is_said_so(tmp_path):
    made = opinions(tmp_path, said={"ann": "ccd", "bob": "ccd"})
    shown = run_warm("select", "--k", "3", "--relabel", "--project", made.folder).stdout
    assert "no label stands out" in " ".join(shown.split())
    assert status(made).rounds == []


def test_a_second_look_can_be_shared_by_several_and_be_due(tmp_path):
    made = opinions(tmp_path)
    selected = look(made, annotators="ann,zoe", overlap=1.0, due="7d")
    folder = handout.export(made, selected.round, no_progress)
    assert sorted(path.name for path in folder.glob("*.csv")) == ["items-ann.csv", "items-zoe.csv"]
    row = ledger.overview(made)[0]
    assert row.due_at is not None
    assert [who.wanted for who in row.people] == [5, 5]
    assert [who.got for who in row.people] == [0, 0]  # what ann had said before is not meant


def test_second_looks_are_counted_on_both_databases(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        answer(connection, [(1, "ann", "cat"), (1, "bob", "dog"), (2, "ann", "cat")])
        after = rounds_out.newest_label(connection)
        made = rounds.Round(1, "relabel", {rounds_out.AFTER: after}, 1, 2, 2, None, NOW)
        chosen = [rounds.Chosen(1, 1, 0.5, "x"), rounds.Chosen(2, 2, 0.4, "x")]
        rounds.write_round(connection, made, chosen)
        assert rounds_out.second_looks(connection) == {1: (0, True), 2: (0, True)}
        answer(connection, [(1, "ann", "cat")])  # the same answer, in a file about nothing else
        assert rounds_out.second_looks(connection) == {1: (1, False), 2: (0, True)}
        of_round = rounds_out.every_terms(connection)
        assert rounds_out.outcomes(connection, of_round)[1] == {"labeled": 1, "skipped": 0, "unusable": 0}
        assert rounds_out.answers(connection, of_round) == [(1, "ann", 1)]
        assert counts.broken_invariants(connection) == []
        assert [row[0] for row in second_look.disputes(connection)] == [1]
        assert rounds.unlabeled(connection) == 7


@pytest.mark.slow
def test_the_real_commands_go_round_once_with_several_annotators_and_a_second_look(tmp_path):
    made = small_project(tmp_path, 24, validation=4)
    where = ("--project", made.folder)
    result = warm_json(
        "select", "--k", "12", "--annotators", "ann,bob", "--overlap", "0.5", "--due", "7d", *where
    )
    for name in ("ann", "bob"):
        file = Path(result["folder"]) / f"items-{name}.csv"
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row["label"] = ("cat", "dog")[
                (int(row["item"]) + (name == "bob" and int(row["item"]) % 5 == 0)) % 2
            ]
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        warm_json("import-labels", file, *where)
    assert warm_json("status", "--rounds", *where)[0]["out"] == 0
    assert warm_json("agreement", *where)["items"] == 8
    run_warm("train", "--epochs", "1", *where, *TINY_FLAGS)
    second = warm_json("select", "--k", "4", "--relabel", *where)
    assert second["picks"]
    assert warm_json("db", "check", *where)["problems"] == []
