"""Labels in: everything that can be wrong with a file of somebody's paid work, and that none of it is lost."""

import csv
from pathlib import Path

import pytest

from alctl.annotators import classes, handout
from alctl.annotators.imports.problems import BadRowsError
from alctl.annotators.imports.undo import undo_import
from alctl.database import categories, labels
from alctl.database.tables import label as label_table
from alctl.errors import AlctlError
from alctl.project import Project, open_project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.pools import write_run
from tests.project_files import (
    make_images,
    make_project,
    no_progress,
    paths_of,
    small_project,
    take,
    write_csv,
)
from tests.warm import run_warm


@pytest.fixture
def project(tmp_path):
    """Six images 0000.png … 0005.png, items 1 … 6; the classes cat and dog."""
    return small_project(tmp_path)


def classes_of(project: Project) -> dict[int, str]:
    """Return the class in force of every labeled item."""
    with project.reading() as connection:
        names = categories.categories(connection)
        return {i: names[c - 1] for i, c, _ in labels.labeled_items(connection, "pool") if c is not None}


def history(project: Project) -> int:
    """Return how many labels were ever written."""
    with project.reading() as connection:
        return len(connection.execute(label_table.select()).all())


def problems_of(project: Project, file: Path, **options) -> dict[int, str]:
    """Import a bad file; return its problems by line, after looking that nothing was changed."""
    before = (history(project), status(project))
    with pytest.raises(BadRowsError) as raised:
        take(project, file, **options)
    assert (history(project), status(project)) == before
    return {problem.line: problem.problem for problem in raised.value.problems}


def in_two_folders(tmp_path: Path) -> Project:
    """Make a project of a/0000.png, a/0001.png, b/0000.png, b/0002.png: items 1 … 4."""
    for folder, seed, gone in (("a", 1, "0002.png"), ("b", 2, "0001.png")):
        make_images(tmp_path / "images" / folder, 3, seed=seed)
        (tmp_path / "images" / folder / gone).unlink()
    return make_project(tmp_path / "project", tmp_path / "images")


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_a_good_file_is_taken(project, tmp_path):
    result = take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog"), (3, "")]))
    assert (result.batch, result.added, result.changed, result.unchanged) == (1, 2, 0, 0)
    assert classes_of(project) == {1: "cat", 2: "dog"}


def test_one_bad_row_keeps_the_whole_file_out_and_every_problem_is_named_with_its_line(project, tmp_path):
    rows = [
        (1, "cat", "", ""),  # line 2 is good
        (99, "cat", "", ""),
        (2, "cot", "", ""),
        (3, "cat", "", "maybe"),
        ("x", "cat", "", ""),
        (4, "cat", "", "skip"),
        (5, "cat", "ann", ""),
        (5, "dog", "ann", ""),
        (6, "dog", "ann", ""),
        (6, "dog", "ann", ""),
        (1, "cat", "bob", "", "", "", ""),
    ]
    found = problems_of(
        project, write_csv(tmp_path / "l.csv", rows, ("item", "label", "annotator", "status"))
    )
    assert sorted(found) == [3, 4, 5, 6, 7, 8, 9, 11, 12]
    assert "item 99 is not in the pool" in found[3]
    assert "did you mean 'cat'" in found[4]
    assert "skip" in found[7]
    assert "another label in line 9" in found[8]
    assert "another label in line 8" in found[9]
    assert "in line 10 already" in found[11]
    assert "7 cells under 4 columns" in found[12]


def test_the_error_message_shows_twenty_problems_and_counts_the_rest(project, tmp_path):
    with pytest.raises(BadRowsError, match="30 problems") as raised:
        take(project, write_csv(tmp_path / "l.csv", [(100 + i, "cat") for i in range(30)]))
    assert "and 10 more" in str(raised.value)
    assert len(raised.value.problems) == 30


def test_the_same_problem_of_many_rows_is_one_line_of_the_message(project, tmp_path):
    with pytest.raises(BadRowsError, match="lines 2, 3, 4 and 3 more: class 'cow'"):
        take(project, write_csv(tmp_path / "l.csv", [(i, "cow") for i in range(1, 7)]))


@pytest.mark.parametrize(
    "bad", [b"", b"\n", b"item,label\n1,\xe9t\xe9\n", b"a;b\n1;2\n", b"item\n1\n", b'item,label\n1,"cat']
)
def test_a_file_that_is_no_table_of_labels_is_a_sentence_and_changes_nothing(project, tmp_path, bad):
    (tmp_path / "l.csv").write_bytes(bad)
    with pytest.raises(AlctlError, match=r"l\.csv"):
        take(project, tmp_path / "l.csv")
    assert history(project) == 0


def test_a_file_that_is_not_there_is_a_sentence(project, tmp_path):
    with pytest.raises(AlctlError, match="cannot read"):
        take(project, tmp_path / "no.csv")


def test_an_unknown_format_lists_the_known_ones(project, tmp_path):
    with pytest.raises(AlctlError, match="csv"):
        take(project, write_csv(tmp_path / "l.csv", [(1, "cat")]), format="csw")


def test_a_file_without_any_answer_is_an_error_and_not_an_empty_success(project, tmp_path):
    with pytest.raises(AlctlError, match=r"l\.csv holds no label"):
        take(project, write_csv(tmp_path / "l.csv", [(1, ""), (2, " ")]))
    assert status(project).imports == []


# --- classes ----------------------------------------------------------------------------------------------------------


def test_an_unknown_class_is_answered_with_the_nearest_one_whatever_the_case(project, tmp_path):
    found = problems_of(project, write_csv(tmp_path / "l.csv", [(1, "Dog"), (2, "dgo"), (3, "zebra")]))
    assert "did you mean 'dog'" in found[2]
    assert "did you mean 'dog'" in found[3]
    assert "did you mean" not in found[4]


def test_add_classes_appends_the_new_ones_in_the_order_of_the_file_and_keeps_the_old_ids(project, tmp_path):
    rows = [(1, "zebra"), (2, "dog"), (3, "ant"), (4, "zebra")]
    result = take(project, write_csv(tmp_path / "l.csv", rows), add_classes=True)
    assert result.new_classes == ["zebra", "ant"]
    assert list(status(project).classes) == ["cat", "dog", "zebra", "ant"]
    assert classes_of(project) == dict(rows)


def test_a_refused_file_adds_no_class_either(project, tmp_path):
    problems_of(project, write_csv(tmp_path / "l.csv", [(1, "zebra"), (99, "cat")]), add_classes=True)
    assert list(status(project).classes) == ["cat", "dog"]


def test_a_project_without_classes_says_how_to_get_them(tmp_path):
    project = small_project(tmp_path, classes=())
    found = problems_of(project, write_csv(tmp_path / "l.csv", [(1, "cat")]))
    assert "--add-classes" in found[2]


# --- which item -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "a/0001.png",
        "./a/0001.png",
        "a\\0001.png",
        "C:\\Users\\ann\\images\\a\\0001.png",
        "/mnt/other/images/a/0001.png",
        "images/a/0001.png",
        "0001.png",
        "elsewhere/0001.png",
    ],
)
def test_an_item_is_found_by_any_path_that_can_only_be_its_own(tmp_path, path):
    project = in_two_folders(tmp_path)
    assert take(project, write_csv(tmp_path / "l.csv", [(path, "cat")], ("path", "label"))).added == 1
    assert classes_of(project) == {2: "cat"}


def test_a_path_from_below_the_root_is_found_by_its_folder(tmp_path):
    make_images(tmp_path / "images" / "deep" / "a", 1, seed=1)
    make_images(tmp_path / "images" / "deep" / "b", 1, seed=2)
    project = make_project(tmp_path / "project", tmp_path / "images")
    take(project, write_csv(tmp_path / "l.csv", [("b/0000.png", "dog")], ("path", "label")))
    assert classes_of(project) == {2: "dog"}


def test_a_file_name_in_two_folders_is_a_problem_of_its_line_that_names_both(tmp_path):
    project = in_two_folders(tmp_path)
    rows = [("0000.png", "cat"), ("a/0001.png", "cat"), ("no.png", "cat"), ("c/0000.png", "dog")]
    found = problems_of(project, write_csv(tmp_path / "l.csv", rows, ("path", "label")))
    assert sorted(found) == [2, 4, 5]
    for line in (2, 5):
        assert "'a/0000.png'" in found[line]
        assert "'b/0000.png'" in found[line]
    assert "not in the pool" in found[4]


def test_two_paths_that_lead_to_one_item_are_a_repeat(tmp_path):
    project = in_two_folders(tmp_path)
    rows = [("x/0001.png", "cat"), ("y/0001.png", "cat")]
    assert list(problems_of(project, write_csv(tmp_path / "l.csv", rows, ("path", "label")))) == [3]


def test_the_file_of_another_project_is_noticed_by_item_and_path(project, tmp_path):
    rows = [(1, "0000.png", "cat"), (2, "beach.png", "dog"), (3, "holiday/0002.png", "dog")]
    found = problems_of(project, write_csv(tmp_path / "l.csv", rows, ("item", "path", "label")))
    assert list(found) == [3]
    assert "another project" in found[3]


def test_the_path_of_a_duplicate_file_is_its_items_path_too(tmp_path):
    make_images(tmp_path / "images", 3)
    (tmp_path / "images" / "copy of one.png").write_bytes((tmp_path / "images" / "0001.png").read_bytes())
    project = make_project(tmp_path / "project", tmp_path / "images")
    take(project, write_csv(tmp_path / "l.csv", [("copy of one.png", "cat")], ("path", "label")))
    assert classes_of(project) == {2: "cat"}


@pytest.mark.parametrize(
    "name",
    ["=1+1.png", "-a.png", "@x.png", "'quoted'.png", "'=x.png", " begins with a space.png", "a,b.png", 'say "hi".png',
     "new\nline.png", "back\\slash.png", "ünï cødé 猫.png", "a;b\tc.png", "+\u2028.png"],
)  # fmt: skip
def test_an_exported_table_comes_back_whatever_the_images_are_called(tmp_path, name):
    make_images(tmp_path / "images", 2)
    (tmp_path / "images" / "0001.png").rename(tmp_path / "images" / name)
    project = make_project(tmp_path / "project", tmp_path / "images")
    chosen = select(project, SelectOptions(2), no_progress)
    table = handout.export(project, chosen.round, no_progress) / "items.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["label"] = "dog"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert take(project, table).added == 2


# --- idempotent, and the history stays --------------------------------------------------------------------------------


def test_the_same_bytes_again_change_nothing_and_name_the_earlier_import(project, tmp_path):
    file = write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")])
    take(project, file)
    again = take(project, file)
    assert (again.batch, again.earlier, again.added, again.unchanged) == (None, 1, 0, 2)
    assert len(status(project).imports) == 1


def test_the_same_rows_in_another_file_change_nothing(project, tmp_path):
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")]))
    again = take(
        project, write_csv(tmp_path / "m.csv", [("0001.png", "dog"), ("0000.png", "cat")], ("path", "label"))
    )
    assert (again.batch, again.unchanged) == (None, 2)
    assert history(project) == 2


def test_a_changed_label_is_a_new_one_and_the_old_one_stays_in_the_history(project, tmp_path):
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")]))
    result = take(project, write_csv(tmp_path / "m.csv", [(1, "dog"), (2, "dog"), (3, "cat")]))
    assert (result.added, result.changed, result.unchanged) == (1, 1, 1)
    assert classes_of(project) == {1: "dog", 2: "dog", 3: "cat"}
    assert history(project) == 4


def test_a_file_that_is_filled_in_bit_by_bit_is_taken_bit_by_bit(project, tmp_path):
    for n in range(1, 7):
        rows = [(i, "cat" if i <= n else "") for i in range(1, 7)]
        result = take(project, write_csv(tmp_path / "l.csv", rows))
        assert (result.added, result.unchanged) == (1, n - 1)
    assert history(project) == 6


def test_the_same_answers_of_another_annotator_are_another_import(project, tmp_path):
    file = write_csv(tmp_path / "l.csv", [(1, "cat")])
    assert take(project, file, annotator="ann").added == 1
    assert take(project, file, annotator="bob").added == 1
    assert take(project, file, annotator="bob").earlier == 2
    assert history(project) == 2


# --- annotators and their consensus -----------------------------------------------------------------------------------


def test_the_majority_of_the_annotators_holds(project, tmp_path):
    rows = [(1, "cat", "ann"), (1, "dog", "bob"), (1, "cat", "eve"), (2, "dog", "ann")]
    assert take(project, write_csv(tmp_path / "l.csv", rows, ("item", "label", "annotator"))).added == 4
    assert classes_of(project) == {1: "cat", 2: "dog"}


def test_the_newest_answer_breaks_a_tie(project, tmp_path):
    for name, answer in (("ann", "cat"), ("bob", "dog")):
        take(project, write_csv(tmp_path / f"{name}.csv", [(1, answer)]), annotator=name)
    assert classes_of(project) == {1: "dog"}
    take(project, write_csv(tmp_path / "again.csv", [(1, "dog")]), annotator="ann")
    take(project, write_csv(tmp_path / "once more.csv", [(1, "cat"), (2, "cat")]), annotator="bob")
    assert classes_of(project)[1] == "cat"


def test_one_annotator_changing_their_mind_is_not_two_votes(project, tmp_path):
    for n, (name, answer) in enumerate([("ann", "cat"), ("ann", "dog"), ("ann", "cat"), ("bob", "dog")]):
        take(project, write_csv(tmp_path / f"{n}.csv", [(1, answer), (n + 2, "cat")]), annotator=name)
    assert classes_of(project)[1] == "dog"  # one vote each, and bob's is the newest


def test_the_annotator_column_goes_before_the_option(project, tmp_path):
    rows = [(1, "cat", "ann"), (2, "cat", "")]
    take(project, write_csv(tmp_path / "l.csv", rows, ("item", "label", "annotator")), annotator="bob")
    take(project, write_csv(tmp_path / "m.csv", [(1, "dog")]), annotator="ann")
    assert classes_of(project) == {1: "dog", 2: "cat"}
    assert history(project) == 3


def test_skip_abstains_and_unusable_takes_an_item_out(project, tmp_path):
    header = ("item", "label", "annotator", "status")
    rows = [
        (1, "", "ann", "skip"), (1, "cat", "bob", ""),
        (2, "", "ann", "skip"), (2, "", "bob", "skip"),
        (3, "", "ann", "unusable"),
        (4, "dog", "ann", "labeled"),
    ]  # fmt: skip
    assert take(project, write_csv(tmp_path / "l.csv", rows, header)).added == 6
    assert classes_of(project) == {1: "cat", 4: "dog"}
    states = status(project).states["pool"]
    assert (states["labeled"], states["skipped"], states["unusable"], states["unlabeled"]) == (2, 1, 1, 2)
    picked = select(project, SelectOptions(9), no_progress).picks
    assert sorted(pick.item for pick in picked) == [5, 6]


# --- undo -------------------------------------------------------------------------------------------------------------


def test_undo_brings_back_what_held_before(project, tmp_path):
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")]))
    take(project, write_csv(tmp_path / "m.csv", [(1, "dog"), (3, "dog")]))
    assert undo_import(project, 2).labels == 2
    assert classes_of(project) == {1: "cat", 2: "dog"}
    assert history(project) == 4
    assert check(project) == []


def test_undoing_the_older_import_keeps_the_newer_answers(project, tmp_path):
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")]))
    take(project, write_csv(tmp_path / "m.csv", [(1, "dog")]))
    undo_import(project, 1)
    assert classes_of(project) == {1: "dog"}


def test_after_an_undo_the_same_file_is_taken_again(project, tmp_path):
    file = write_csv(tmp_path / "l.csv", [(1, "cat")])
    take(project, file)
    undo_import(project, 1)
    assert classes_of(project) == {}
    assert take(project, file).batch == 2
    assert classes_of(project) == {1: "cat"}


def living(project: Project) -> list[str]:
    with project.reading() as connection:
        return [known.name for known in categories.as_categories(connection, living=True)]


def test_classes_that_only_an_import_brought_go_with_it_and_come_back_with_it(project, tmp_path):
    """Their ids stay taken: the labels of the undone import are still in the history."""
    file = write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "catt"), (3, "emu")])
    take(project, file, add_classes=True)
    assert undo_import(project, 1, dry_run=True).classes == ["catt", "emu"]
    assert living(project) == ["cat", "dog", "catt", "emu"]
    assert undo_import(project, 1).classes == ["catt", "emu"]
    assert living(project) == ["cat", "dog"]
    assert set(status(project).classes) == {"cat", "dog"}
    assert check(project) == []
    with pytest.raises(BadRowsError, match="'catt' is not in the class list; did you mean 'cat'"):
        take(project, file)
    again = take(project, write_csv(tmp_path / "m.csv", [(3, "emu"), (4, "yak")]), add_classes=True)
    assert again.new_classes == ["emu", "yak"]
    assert classes_of(project) == {3: "emu", 4: "yak"}
    with project.reading() as connection:
        assert categories.resolver(connection) == {"cat": 1, "dog": 2, "emu": 4, "yak": 5}
        names = [known.name for known in categories.as_categories(connection)]
    assert names == ["cat", "dog", "catt", "emu", "yak"]  # no index shifts
    assert check(project) == []


def test_classes_that_are_needed_since_stay_and_it_is_said_why(project, tmp_path):
    rows = [(1, "catt"), (2, "emu"), (3, "yak"), (4, "gnu")]
    take(project, write_csv(tmp_path / "l.csv", rows), add_classes=True)
    take(project, write_csv(tmp_path / "m.csv", [(1, "emu")]))
    classes.rename(project, "yak", "ox")
    done = undo_import(project, 1)
    assert done.classes == ["catt", "gnu"]
    assert done.kept == {"emu": "other labels have it", "ox": "it was changed since"}
    assert undo_import(project, 2).classes == ["emu"]  # nothing has it any more
    assert living(project) == ["cat", "dog", "ox"]
    with project.writing("test") as connection:
        write_run(connection, 1, [], ["cat", "dog", "catt", "emu", "ox", "gnu", "kea"])
    take(project, write_csv(tmp_path / "n.csv", [(1, "kea")]), add_classes=True)
    assert undo_import(project, 3).kept == {"kea": "training run 1 has learned it"}


def test_a_class_that_was_taken_back_is_no_name_and_can_be_added(project, tmp_path):
    take(project, write_csv(tmp_path / "l.csv", [(1, "emu")]), add_classes=True)
    undo_import(project, 1)
    with pytest.raises(AlctlError, match="went with the import that brought it"):
        classes.merge(project, "emu", "cat")
    assert [found.name for found in classes.listed(project)] == ["cat", "dog"]
    classes.add(project, ["emu"])
    assert [(found.id, found.name) for found in classes.listed(project)] == [
        (1, "cat"),
        (2, "dog"),
        (3, "emu"),
    ]


@pytest.mark.slow
def test_the_command_says_which_classes_go_and_which_stay(tmp_path):
    project = small_project(tmp_path)
    take(project, write_csv(tmp_path / "l.csv", [(1, "catt"), (2, "emu")]), add_classes=True)
    take(project, write_csv(tmp_path / "m.csv", [(3, "emu")]))
    said = run_warm("undo-import", 1, "-p", project.folder).stdout
    assert "classes that only it brought are taken back: catt\n" in said
    assert "the class emu stays: other labels have it\n" in said


def test_an_import_that_is_not_there_or_undone_already_is_a_sentence(project, tmp_path):
    with pytest.raises(AlctlError, match="none yet"):
        undo_import(project, 1)
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat")]))
    with pytest.raises(AlctlError, match="the imports are: 1"):
        undo_import(project, 7)
    undo_import(project, 1)
    with pytest.raises(AlctlError, match="undone already"):
        undo_import(project, 1)


def test_a_dry_undo_changes_nothing(project, tmp_path):
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat")]))
    assert undo_import(project, 1, dry_run=True).labels == 1
    assert classes_of(project) == {1: "cat"}


# --- options ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(project, tmp_path):
    file = write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "newt"), (99, "cat")])
    before = status(project)
    result = take(project, file, dry_run=True, add_classes=True, skip_bad=True)
    assert (result.added, result.batch, result.new_classes, len(result.rejected)) == (2, None, ["newt"], 1)
    assert result.rejected_file is None
    assert status(project) == before
    assert sorted(path.name for path in tmp_path.glob("l.csv*")) == ["l.csv"]


def test_skip_bad_takes_the_good_rows_and_the_rest_can_be_mended_and_imported(project, tmp_path):
    file = tmp_path / "l.csv"
    file.write_text(
        '\ufeffitem;path;label\n1;0000.png;cat\n2;"0001.png";"d\u2028og\nor so"\n99\n4;0003.png;cow;x\n5;0004.png;dog\n99;;cat\n',
        encoding="utf-8",
    )
    result = take(project, file, skip_bad=True)
    assert (result.added, [problem.line for problem in result.rejected]) == (2, [4, 6, 8])
    assert classes_of(project) == {1: "cat", 5: "dog"}
    rejected = Path(str(result.rejected_file))
    assert rejected.name == "l.csv.rejected.csv"
    with rejected.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["item", "path", "label", "line", "problem"]
    assert rows[0][:4] == ["2", "0001.png", "d\u2028og\nor so", "4"]
    assert rows[2][:4] == ["99", "", "cat", "8"]
    mended = [["2", "0001.png", "dog"], ["4", "0003.png", "cat"], ["6", "", "cat"]]
    assert take(project, write_csv(rejected, mended, header)).added == 3
    assert classes_of(project) == {1: "cat", 2: "dog", 4: "cat", 5: "dog", 6: "cat"}


def test_a_short_row_is_rejected_without_its_columns_shifting(project, tmp_path):
    file = tmp_path / "l.csv"
    file.write_text("label,status,item,annotator\ncat,,99\n")
    result = take(project, file, skip_bad=True)
    with Path(str(result.rejected_file)).open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["label"], row["item"], row["annotator"], row["line"]) == ("cat", "99", "", "2")


def test_a_file_with_rejected_rows_is_looked_at_again_once_its_items_are_there(project, tmp_path):
    file = write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "cow")])
    take(project, file, skip_bad=True)
    assert take(project, file, add_classes=True).added == 1
    assert classes_of(project) == {1: "cat", 2: "cow"}


def test_only_the_items_of_a_round_are_taken_when_a_round_is_named(project, tmp_path):
    out = [pick.item for pick in select(project, SelectOptions(2), no_progress).picks]
    file = write_csv(tmp_path / "l.csv", [(i, "cat") for i in range(1, 7)])
    result = take(project, file, round=1)
    assert (result.added, result.outside) == (2, 4)
    assert sorted(classes_of(project)) == sorted(out)
    assert take(project, file).added == 4  # the rest was not forgotten


def test_a_round_that_is_not_there_is_a_sentence(project, tmp_path):
    with pytest.raises(AlctlError, match="no round 3"):
        take(project, write_csv(tmp_path / "l.csv", [(1, "cat")]), round=3)


def test_problems_outside_the_round_are_not_this_imports(project, tmp_path):
    out = [pick.item for pick in select(project, SelectOptions(2), no_progress).picks]
    rest = [i for i in range(1, 7) if i not in out]
    rows = [(out[0], "cat"), (rest[0], "no such class")]
    assert take(project, write_csv(tmp_path / "l.csv", rows), round=1).outside == 1


def test_a_round_comes_back_in_parts(project, tmp_path):
    out = [pick.item for pick in select(project, SelectOptions(4), no_progress).picks]
    take(project, write_csv(tmp_path / "l.csv", [(out[0], "cat")]))
    (row,) = status(project).rounds
    assert (row.items, row.answered, row.out) == (4, 1, 3)
    take(project, write_csv(tmp_path / "m.csv", [(i, "dog") for i in out[1:]]))
    (row,) = status(project).rounds
    assert (row.answered, row.out) == (4, 0)


def test_labels_of_items_that_were_never_sent_are_welcome(project, tmp_path):
    assert take(project, write_csv(tmp_path / "l.csv", [(6, "dog")])).added == 1
    assert open_project(project.folder).state().task == "classification"


def test_a_row_with_fewer_cells_than_columns_is_a_problem_and_not_an_unanswered_one(project, tmp_path):
    file = tmp_path / "short.csv"
    file.write_text("item,path,label\n1,cat\n")
    with pytest.raises(BadRowsError, match="line 2: 2 cells under 3 columns"):
        take(project, file)


def test_the_names_that_an_export_gives_images_are_understood(project, tmp_path):
    path = paths_of(project)[2]
    file = tmp_path / "names.csv"
    file.write_text(f"image,label\nimages/0000002_{Path(path).name},cat\n")
    assert take(project, file).added == 1
    file.write_text(f"image,label\nimages/0000003_{Path(path).stem}x.png,cat\n")
    with pytest.raises(BadRowsError, match="is not in the pool"):
        take(project, file)


def test_rejected_rows_that_somebody_is_mending_are_not_overwritten(project, tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("item,label\n1,catt\n2,cat\n")
    first = take(project, file, skip_bad=True).rejected_file
    second = take(project, file, skip_bad=True).rejected_file
    assert first is not None
    assert second is not None
    assert Path(first).name == "bad.csv.rejected.csv"
    assert Path(second).name == "bad.csv.rejected.2.csv"
