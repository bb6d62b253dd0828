"""CSV in the dialects in which spreadsheets save it."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, LabeledImage, Refusal
from alctl.labels.formats.csv import Csv
from alctl.labels.spreadsheet_cells import plain_cell, safe_cell


def read(content: str | bytes) -> list[LabeledImage | Refusal]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "l.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return [row for row in Csv().read(file) if isinstance(row, LabeledImage | Refusal)]


def answers(content: str | bytes) -> list[tuple[int | None, str, str]]:
    """Return item, path and class of each answer; there must be no refusal."""
    rows = read(content)
    assert not [row for row in rows if isinstance(row, Refusal)]
    return [
        (row.item, row.path, row.annotations[0].category) for row in rows if isinstance(row, LabeledImage)
    ]


def refusal(content: str) -> Refusal:
    (row,) = read(content)
    assert isinstance(row, Refusal)
    return row


# --- there and back ---------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
LABELS = NAMES.map(str.strip).filter(bool)
PATHS = st.builds(lambda name, suffix: name + suffix, NAMES, st.sampled_from([".png", ".JPG"]))
IMAGES = st.builds(
    LabeledImage,
    path=PATHS,
    annotations=LABELS.map(lambda name: (Annotation(name),)),
    item=st.none() | st.integers(1, 999_999_999),
    annotator=st.just("") | LABELS,
    seconds=st.none() | st.just(0.0) | st.floats(1e-6, 1e8),
    status=st.just("labeled"),
    line=st.just(0),
    width=st.none(),
    height=st.none(),
    digest=st.just(""),
    where=st.just(""),
    made_at=st.just(""),
    relative=st.just(False),
    also=st.just(""),
)
SKIPPED = IMAGES.map(lambda image: image._replace(annotations=(), status="skip"))
PIECES = ["item", "label", "path", ",", ";", "\t", "\n", "\r", '"', "1", "cat", "skip", "\0", "'", " "]


@given(st.lists(IMAGES | SKIPPED, max_size=5))
def test_what_is_written_is_read_again(images):
    with TemporaryDirectory() as folder:
        file = Path(folder) / "l.csv"
        Csv().write(images, file, [])
        back = list(Csv().read(file))
    assert [row._replace(line=0) if isinstance(row, LabeledImage) else row for row in back] == images


@given(st.text())
def test_a_cell_is_never_a_formula_and_comes_back(text):
    cell = str(safe_cell(text))
    assert cell[:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert plain_cell(cell) == text


def test_numbers_are_left_as_they_are():
    assert safe_cell(-1.5) == -1.5


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(content):
    try:
        rows = read(content)
    except AlctlError:
        return
    assert all(isinstance(row, LabeledImage | Refusal) for row in rows)


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_random_pieces_of_tables_are_read_or_refused(pieces):
    try:
        rows = read("item,label,path,status\n" + "".join(pieces))
    except AlctlError:
        return
    assert all(isinstance(row, LabeledImage | Refusal) for row in rows)


# --- dialects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_dialect_of_a_spreadsheet_is_the_same_table(delimiter, end, mark):
    lines = ["item,path,label", '1,"a,b.png",cat', '2,"say ""hi"".png",dog', "3,c.png,", ""]
    table = end.join(lines).replace(",", delimiter).replace(f"a{delimiter}b", "a,b")
    assert answers(mark + table) == [(1, "a,b.png", "cat"), (2, 'say "hi".png', "dog")]


def test_columns_are_found_by_name_in_any_case_and_order_and_others_are_ignored():
    assert answers("Score, LABEL ,Notes,Item\n0.3,cat,nice,7\n") == [(7, "", "cat")]


@pytest.mark.parametrize("header", ["file,class", "filename,label", "image,label", "PATH,Class"])
def test_the_usual_other_names_of_columns_are_understood(header):
    assert answers(f"{header}\na.png,cat\n") == [(None, "a.png", "cat")]


def test_the_image_of_an_export_is_not_taken_for_the_path_of_the_item():
    assert answers("item,image,label\n1,images/0000001_a.png,cat\n") == [(1, "", "cat")]


def test_rows_nobody_has_answered_and_blank_lines_are_passed_over_but_lines_are_counted():
    rows = read("item,label,status\n1,,\n\n ,,\n2,cat,\n3,,skip\n4\n5,,unusable\n")
    assert [(row.line, row.item, row.status) for row in rows if isinstance(row, LabeledImage)] == [
        (5, 2, "labeled"),
        (6, 3, "skip"),
        (8, 5, "unusable"),
    ]


def test_a_quoted_newline_is_part_of_its_cell():
    assert answers('item,label\n1,"two\nlines"\n2,cat\n') == [(1, "", "two\nlines"), (2, "", "cat")]


def test_seconds_may_have_a_decimal_comma():
    (row,) = read("item;label;seconds\n1;cat;2,5\n")
    assert isinstance(row, LabeledImage)
    assert row.seconds == 2.5


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("1,,cat,maybe,", "did you mean|is none of"),
        ("1,,,labled,", "did you mean 'labeled'"),
        ("1,,cat,skip,", "which is it"),
        ("1,,,labeled,", "which is it"),
        (",,cat,,", "neither an item nor a path"),
        ("0x1,,cat,,", "'0x1' is not a number"),
        ("-1,,cat,,", "'-1' is not a number"),
        ("1.0,,cat,,", "'1.0' is not a number"),
        ("1234567890123,,cat,,", "is not a number"),
        ("١,,cat,,", "is not a number"),
        ("1,,cat,,soon", "seconds 'soon'"),
        ("1,,cat,,-3", "seconds '-3'"),
        ("1,,cat,,nan", "seconds 'nan'"),
        ("1,,cat,,1_0", "seconds '1_0'"),
        ("1,,cat,,,,", "7 cells under 5 columns"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(row, sentence):
    found = refusal(f"item,path,label,status,seconds\n{row}\n")
    assert found.line == 2
    assert re.search(sentence, found.problem), found.problem


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "neither a column 'item' nor 'path'"),
        ("\n\n", "neither a column 'item' nor 'path'"),
        ("name,label\na,b\n", "its columns are: name, label"),
        ("item,answer\n1,cat\n", "no column 'label'"),
        ("item,label,label\n1,cat,dog\n", "column 'label' twice"),
        ("item,class,class\n1,cat,dog\n", "column 'class' twice"),
        ("Item,item,label\n1,1,cat\n", "column 'item' twice"),
        ('item,label\n1,"cat', "line"),
        ("item,label\n1,été\n".encode("latin-1"), "CSV UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_labels_is_a_sentence_with_its_name(content, sentence):
    with pytest.raises(AlctlError, match=sentence) as raised:
        read(content)
    assert "l.csv" in str(raised.value)


def test_a_cell_without_end_is_a_sentence():
    with pytest.raises(AlctlError, match="not CSV"):
        read("item,label\n1," + "x" * 200_000)


def test_writing_leaves_no_formula_in_the_file(tmp_path):
    image = LabeledImage("=cmd()", (Annotation("@sum"),), annotator="+1")
    Csv().write([image, image._replace(path="-x")], tmp_path / "l.csv", [])
    cells = [cell for line in (tmp_path / "l.csv").read_text().splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell[:1] in set("=+-@")]
