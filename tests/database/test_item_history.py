"""All that is recorded of one item."""

import pytest
from sqlalchemy import insert

from alctl.annotators import classes, handout
from alctl.annotators.imports.undo import undo_import
from alctl.config import Config
from alctl.database import handouts, item_history, items, pre_annotations
from alctl.database.bulk import insert_rows, run
from alctl.database.tables import duplicate, import_batch, item
from alctl.database.tables import label as label_table
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.project import Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.pools import NOW, answer, pool, reserve, send, write_run
from tests.project_files import make_images, make_project, no_progress, take, write_csv
from tests.warm import run_warm, warm_json


@pytest.fixture
def project(url, tmp_path):
    """Nine items without files, and the classes cat, dog, owl."""
    with pool(url, 9) as engine:
        yield Project(tmp_path, Config(), engine)


def history(project: Project, item_id: int):
    with project.reading() as connection:
        return item_history.of_item(connection, item_id)


def find(project: Project, given: str) -> int:
    with project.reading() as connection:
        return item_history.find(connection, given, "/images")


# --- which item -------------------------------------------------------------------------------------------------------


def test_an_item_is_found_by_number_path_copy_place_on_disk_and_unique_name(project):
    with project.writing("test") as connection:
        insert_rows(
            connection, item, [(10, "a/b/one.jpg", b"1" * 32), (11, "77", b"2" * 32), (12, "x/7", b"3" * 32)]
        )
        insert_rows(connection, duplicate, [("copies/four.jpg", 4)])
    assert find(project, "3") == 3
    assert find(project, "3.jpg") == 3
    assert find(project, "/images/3.jpg") == 3
    assert find(project, "copies/four.jpg") == 4
    assert find(project, "b/one.jpg") == find(project, "one.jpg") == find(project, "./a/b/one.jpg") == 10
    assert find(project, "77") == 11  # a path before a number
    assert find(project, "7") == 7  # a number before the end of a path


def test_a_name_that_several_items_have_names_them_and_an_unknown_one_is_a_sentence(project):
    with project.writing("test") as connection:
        insert_rows(connection, item, [(10, "a/one.jpg", b"1" * 32), (11, "b/one.jpg", b"2" * 32)])
    with pytest.raises(AlctlError, match=r"may be 'a/one.jpg' \(item 10\) or 'b/one.jpg' \(item 11\); give"):
        find(project, "one.jpg")
    for unknown in ("ne.jpg", "99", "12345678901234567890", "", "%", "no/one.jpg"):
        with pytest.raises(AlctlError, match="is no item of the pool"):
            find(project, unknown)


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_every_label_says_who_when_from_where_and_what_became_of_it(project):
    with project.writing("test") as connection:
        answer(connection, [(1, "ann", "cat"), (1, "bob", "dog"), (2, "ann", "dog")])
        answer(connection, [(1, "ann", "owl")])
        undone = answer(connection, [(1, "cyd", "skip")])
        run(
            connection,
            "UPDATE label SET made_at = :now, place = 'line 7', seconds = 2.5 WHERE id = 2",
            now=NOW,
        )
        run(connection, "UPDATE import_batch SET undone_at = :now WHERE id = :batch", now=NOW, batch=undone)
    rows = history(project, 1).labels
    assert [(row.annotator, row.said, row.state, row.import_) for row in rows] == [
        ("ann", "cat", "replaced", 1),
        ("bob", "dog", "in force", 1),
        ("ann", "owl", "in force", 2),
        ("cyd", "skipped", f"taken back {NOW}", 3),
    ]
    assert (rows[1].made_at, rows[1].imported_at, rows[1].place, rows[1].seconds) == (
        NOW,
        NOW,
        "line 7",
        2.5,
    )
    assert (rows[0].file, rows[0].format, rows[0].made_at) == ("f.csv", "csv", None)


def test_what_holds_now_is_the_consensus_in_words(project):
    with project.writing("test") as connection:
        answer(connection, [(1, "ann", "cat"), (1, "bob", "dog"), (1, "cyd", "dog"), (2, "ann", "skip")])
        answer(connection, [(3, "ann", "unusable")])
        items.quarantine(connection, {4: "cut off"})
        send(connection, [5, 6])
        run(connection, "UPDATE selection SET recalled_at = :now WHERE item_id = 6", now=NOW)
    said = [history(project, i).now for i in range(1, 8)]
    assert said == [
        "dog",
        "skipped",
        "unusable",
        "cannot be used: cut off",
        "out with round 1",
        "unlabeled",
        "unlabeled",
    ]
    assert history(project, 4).unusable == "cut off"


def test_a_label_keeps_its_own_class_after_a_merge_and_what_holds_is_the_new_one(project):
    with project.writing("test") as connection:
        answer(connection, [(1, "ann", "cat"), (2, "ann", "dog")])
    classes.merge(project, "cat", "dog")
    classes.rename(project, "dog", "hound")
    assert history(project, 1).labels[0].said == "cat (counts as hound now)"
    assert history(project, 1).now == "hound"
    assert history(project, 2).labels[0].said == "hound"


@pytest.mark.parametrize(
    ("ids", "said"),
    [([], "nothing there"), ([3], "1 object: 1 owl"), ([1, 3, 1, 1, 3], "5 objects: 3 cat, 2 owl")],
)
def test_objects_are_counted_by_class(project, ids, said):
    drawn = canonical_json.dumps(
        ((Annotation("", bbox=(i, 1, 2, 2)), id_) for i, id_ in enumerate(ids)), ordered=False
    )
    with project.writing("test") as connection:
        connection.execute(
            insert(import_batch).values(id=1, file="f", digest="", format="coco", counts={}, created_at=NOW)
        )
        connection.execute(
            insert(label_table).values(
                id=1,
                item_id=1,
                import_id=1,
                annotator="ann",
                status="labeled",
                annotations=drawn,
                created_at=NOW,
            )
        )
    assert history(project, 1).labels[0].said == history(project, 1).now == said


def test_rounds_say_why_how_where_to_and_what_was_given_to_correct(project):
    with project.writing("test") as connection:
        reserve(connection, "test", [9])
        number = send(connection, [3, 1])
        handouts.add(connection, round_id=number, tool="csv", place="rounds/0001", now=NOW)
        pre_annotations.write(connection, number, [(1, 2, None), (3, None, "[]")])
        again = send(connection, [1])
        run(connection, "UPDATE selection SET recalled_at = :now WHERE round_id = :n", now=NOW, n=number)
        write_run(connection, 1, [1])
    found = history(project, 1)
    first, second = found.rounds
    assert (first.round, first.rank, first.score, first.strategy, first.why) == (
        1,
        2,
        0,
        "random",
        "test",
    )
    assert (first.predicted, first.recalled_at) == ("dog", NOW)
    assert first.handouts == [item_history.Place("csv", "rounds/0001", NOW)]
    assert (second.round, second.predicted, second.recalled_at, second.handouts) == (
        again,
        None,
        None,
        [],
    )
    assert found.runs == [1]
    assert history(project, 3).rounds[0].predicted == "nothing there"
    assert (history(project, 9).split, history(project, 9).rounds) == ("test", [])


def test_the_command_tells_the_whole_story_in_order(tmp_path):
    make_images(tmp_path / "images" / "a", 4)
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "b" / "copy.png").write_bytes(
        (tmp_path / "images" / "a" / "0000.png").read_bytes()
    )
    project = make_project(tmp_path / "project", tmp_path / "images")
    chosen = select(project, SelectOptions(4, "random"), no_progress)
    handout.export(project, chosen.round, no_progress)
    take(
        project,
        write_csv(tmp_path / "l.csv", [(1, "cat", "ann")], ("item", "label", "annotator")),
        format="csv",
    )
    take(
        project,
        write_csv(tmp_path / "m.csv", [(1, "dog", "ann")], ("item", "label", "annotator")),
        format="csv",
    )
    undo_import(project, 2)
    where = ("--project", project.folder)
    found = warm_json("history", 1, *where)
    assert (found["path"], found["duplicates"], found["now"]) == ("a/0000.png", ["b/copy.png"], "cat")
    assert [row["state"].split()[0] for row in found["labels"]] == ["in", "taken"]
    assert [row["import"] for row in found["labels"]] == [1, 2]
    shown = run_warm("history", "0000.png", *where).stdout.splitlines()
    assert shown[0] == "item 1: a/0000.png, 8 × 8, pool"
    assert shown[1] == "  the same file: b/copy.png"
    assert "round 1 by random (picked, rank" in shown[2]
    assert "to rounds/0001" in shown[2]
    assert "ann: cat (in force" in shown[3]
    assert f"import 1: {tmp_path / 'l.csv'}, line 2)" in shown[3]
    assert shown[-1] == "now: cat"
    unknown = run_warm("history", "zebra.png", *where)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "'zebra.png' is no item of the pool" in unknown.stderr
