"""Tables of objects: boxes and keypoints, one row an object."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, Category, LabeledImage, Note, Refusal
from alctl.labels.formats.csv_objects import CsvObjects
from alctl.labels.parsing.units import STATED
from tests.data import real_data
from tests.project_files import make_project, take


def read(tmp_path: Path, text: str, **options) -> list[object]:
    file = tmp_path / "l.csv"
    file.write_text(text, encoding="utf-8")
    return list(CsvObjects(**options).read(file))


def answers(tmp_path: Path, text: str, **options) -> dict[str, tuple[Annotation, ...]]:
    rows = read(tmp_path, text, **options)
    assert not [row for row in rows if isinstance(row, Refusal)]
    return {row.path: row.annotations for row in rows if isinstance(row, LabeledImage)}


def refusal(tmp_path: Path, text: str, **options) -> str:
    (problem,) = (row.problem for row in read(tmp_path, text, **options) if isinstance(row, Refusal))
    return problem


def test_the_rows_of_an_image_are_one_answer(tmp_path):
    text = "path,label,x,y,width,height\na.png,cat,1,2,3,4\na.png,dog,5,6,7,8\nb.png,cat,1,1,2,2\n"
    assert answers(tmp_path, text) == {
        "a.png": (Annotation("cat", (1.0, 2.0, 3.0, 4.0)), Annotation("dog", (5.0, 6.0, 7.0, 8.0))),
        "b.png": (Annotation("cat", (1.0, 1.0, 2.0, 2.0)),),
    }


def test_two_annotators_of_an_image_are_two_answers(tmp_path):
    text = "path,label,annotator,x,y,width,height\na.png,cat,ann,1,2,3,4\na.png,cat,bob,5,6,7,8\n"
    found = [row for row in read(tmp_path, text) if isinstance(row, LabeledImage)]
    assert [(row.annotator, len(row.annotations)) for row in found] == [("ann", 1), ("bob", 1)]


def test_two_corners_become_a_corner_and_a_size_whatever_their_order(tmp_path):
    text = "ImageID;XMax;XMin;YMin;YMax;label;path\n9;30;10;20;60;cat;a.png\n"
    assert answers(tmp_path, text)["a.png"][0].bbox == (10.0, 20.0, 20.0, 40.0)


def test_an_answer_of_nothing_there_needs_to_be_said(tmp_path):
    text = "path,label,status,x,y,width,height\na.png,,labeled,,,,\nb.png,,,,,,\nc.png,,skip,,,,\n"
    found = [row for row in read(tmp_path, text) if isinstance(row, LabeledImage)]
    assert [(row.path, row.status, row.annotations) for row in found] == [
        ("a.png", "labeled", ()), ("c.png", "skip", ()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("a.png,cat,1,2,3,", "empty cell"),
        ("a.png,cat,,,,", "without coordinates"),
        ("a.png,cat,one,2,3,4", "'one' is not a number"),
        ("a.png,cat,nan,2,3,4", "not a number"),
        ("a.png,cat,1_0,2,3,4", "not a number"),
        ("a.png,cat,١,2,3,4", "not a number"),
        ("a.png,cat,1,2,3,4,5", "7 cells under 6 columns"),
    ],
)
def test_a_bad_row_refuses_its_image(tmp_path, row, sentence):
    text = f"path,label,x,y,width,height\na.png,dog,1,2,3,4\n{row}\nb.png,cat,1,2,3,4\n"
    assert sentence in refusal(tmp_path, text)
    assert [r.path for r in read(tmp_path, text) if isinstance(r, LabeledImage)] == ["b.png"]


def test_fractions_stay_fractions_until_the_image_is_known(tmp_path):
    text = "path,label,xmin,ymin,xmax,ymax\na.png,cat,0.25,0.5,0.5,1\n"
    (row,) = (r for r in read(tmp_path, text, units="fractions") if isinstance(r, LabeledImage))
    assert (row.relative, row.annotations[0].bbox) == (True, (0.25, 0.5, 0.25, 0.5))
    assert "not a fraction" in refusal(tmp_path, text.replace("0.25", "25"), units="fractions")


def test_whether_coordinates_are_fractions_is_asked_and_never_guessed(tmp_path):
    text = "path,label,x,y,width,height\na.png,dog,1,2,3,4\nb.png,cat,{}\n"
    for box in ("0.1,0.2,0.3,0.4", "0,0,1,1", "0,2.5e-139,1,1"):
        with pytest.raises(
            AlctlError, match=r"l\.csv, line 3: no coordinate .* units=pixels or .* units=fractions"
        ):
            read(tmp_path, text.format(box))
        assert len(answers(tmp_path, text.format(box), units="pixels")) == 2
    assert "2 is not a fraction" in refusal(tmp_path, text.format("0,0,1,1"), units="fractions")


def test_a_row_may_say_its_unit_and_is_believed_more_than_the_option(tmp_path):
    text = "path,label,units,x,y,width,height\na.png,cat,Pixels,0,0,1,1\na.png,cat,,0,0,.5,.5\nb.png,cat,fractions,0,0,1,1\n"
    text = text.replace(".5", "0.5")
    for units, notes in (("", []), ("pixels", [Note(STATED)]), ("fractions", [Note(STATED)])):
        rows = read(tmp_path, text, units=units)
        found = [(row.path, row.relative) for row in rows if isinstance(row, LabeledImage)]
        assert found == [("a.png", False), ("b.png", True)]
        assert [row for row in rows if isinstance(row, Note)] == notes
    assert "in pixels and in fractions" in refusal(tmp_path, text.replace("cat,,", "cat,fractions,"))
    assert "'mm' are none of pixels, fractions" in refusal(tmp_path, text.replace("cat,,", "cat,mm,"))
    assert "2 is not a fraction" in refusal(tmp_path, text.replace("fractions,0,0,1", "fractions,0,0,2"))


def test_the_unit_of_a_known_kind_of_table_is_that_of_its_kind(tmp_path):
    row = "9,s,/m/1,1,{},{},{},{},a.png,cat\n"
    open_images = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,path,label\n"
    (found,) = (
        r for r in read(tmp_path, open_images + row.format(0, 1, 0.5, 1)) if isinstance(r, LabeledImage)
    )
    assert (found.relative, found.annotations[0].bbox) == (True, (0, 0.5, 1, 0.5))
    assert "30 is not a fraction" in refusal(tmp_path, open_images + row.format(0, 30, 0.5, 1))
    earlier = (
        "item,path,label,annotator,status,seconds,sha256,x,y,width,height\n3,a.png,cat,,,,,0,2.5e-139,1,1\n"
    )
    (found,) = (r for r in read(tmp_path, earlier) if isinstance(r, LabeledImage))
    assert found.relative is False
    (found,) = (r for r in read(tmp_path, earlier, units="fractions") if isinstance(r, LabeledImage))
    assert found.relative is True


def test_fractions_are_written_as_fractions(tmp_path):
    image = LabeledImage("a.png", (Annotation("cat", (0.0, 0.25, 0.5, 0.5)),), relative=True)
    CsvObjects().write([image], tmp_path / "l.csv", [Category("cat")])
    (back,) = (row for row in CsvObjects().read(tmp_path / "l.csv") if isinstance(row, LabeledImage))
    assert (back.relative, back.annotations) == (True, image.annotations)


def test_what_visibility_means_has_to_be_said(tmp_path):
    text = "file,nose_x,nose_y,nose_v,tail_x,tail_y,tail_v\na.png,10,20,1,30,40,0\n"
    with pytest.raises(AlctlError, match="visibility=seen"):
        read(tmp_path, text, label="dog")
    (found,) = answers(tmp_path, text, label="dog", visibility="seen")["a.png"]
    assert found == Annotation("dog", keypoints=((10.0, 20.0, 2), (30.0, 40.0, 0)))
    (found,) = answers(tmp_path, text, label="dog", visibility="coco")["a.png"]
    assert found.keypoints == ((10.0, 20.0, 1), (30.0, 40.0, 0))
    assert Category("dog", ("nose", "tail")) in read(tmp_path, text, label="dog", visibility="coco")


def test_a_point_without_coordinates_is_not_labeled(tmp_path):
    text = "file,label,nose_x,nose_y,tail_x,tail_y\na.png,dog,10,20,,\n"
    assert answers(tmp_path, text)["a.png"][0].keypoints == ((10.0, 20.0, 2), (0.0, 0.0, 0))


def test_a_table_without_a_class_asks_for_one(tmp_path):
    with pytest.raises(AlctlError, match="label=NAME"):
        read(tmp_path, "file,nose_x,nose_y\na.png,1,2\n")


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=6), min_size=6, max_size=7), max_size=5))
def test_any_cells_are_read_or_refused(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("t") / "l.csv"
    with file.open("w", encoding="utf-8", newline="", errors="surrogatepass") as stream:
        csv.writer(stream).writerows([("path", "label", "x", "y", "width", "height"), *rows])
    try:
        found = list(CsvObjects().read(file))
    except AlctlError:
        return
    assert len(found) <= 2 * len(rows)


def test_leeds_sports_poses_come_with_every_joint(tmp_path):
    folder = real_data("lspet_dev.zip") / "lspet_dev"
    with (folder / "joints.csv").open(encoding="utf-8", newline="") as stream:
        truth = list(csv.DictReader(stream))
    names = [name[:-2] for name in truth[0] if name.endswith("_x")]
    rows = list(CsvObjects(visibility="seen", label="person").read(folder / "joints.csv"))
    found = {row.path: row.annotations for row in rows if isinstance(row, LabeledImage)}
    assert (len(found), len(names)) == (len(truth), 14)
    for row in truth:
        (person,) = found[row["file"]]
        assert person.keypoints == tuple(
            (float(row[f"{n}_x"]), float(row[f"{n}_y"]), 2 * int(row[f"{n}_v"])) for n in names
        )


@pytest.mark.slow
def test_leeds_sports_poses_are_imported_and_joints_far_outside_are_refused(tmp_path):
    folder = real_data("lspet_dev.zip") / "lspet_dev"
    project = make_project(tmp_path / "project", folder / "images", task="pose", classes=())
    options = {"visibility": "seen", "label": "person"}
    result = take(project, folder / "joints.csv", options=options, add_classes=True, skip_bad=True)
    assert result.recognised.startswith("a table of objects")
    assert result.added + len(result.rejected) == 1394
    assert all("reaches over its edge" in problem.problem for problem in result.rejected)
