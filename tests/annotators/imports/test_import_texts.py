"""Labels in: names that no database takes, files that are none, and rejected rows that must not get lost."""

import os
from pathlib import Path

import pytest

from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.annotators.imports.problems import BadRowsError
from alctl.database import labels
from alctl.errors import AlctlError
from alctl.status import status
from tests.project_files import make_images, make_project, paths_of, run_alctl, small_project, take, write_csv


@pytest.fixture
def project(tmp_path):
    """Six images 0000.png … 0005.png, items 1 … 6; the classes cat and dog."""
    return small_project(tmp_path)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ((1, "ca\0t", ""), "class 'ca�t' holds control characters"),
        ((1, "cat", "a\0b"), "annotator 'a�b' holds control characters"),
    ],
)
def test_a_name_with_a_null_character_is_a_problem_of_its_row(project, tmp_path, row, sentence):
    file = write_csv(tmp_path / "l.csv", [row], ("item", "label", "annotator"))
    with pytest.raises(BadRowsError, match=sentence):
        take(project, file, add_classes=True)


def test_a_path_with_a_null_character_is_no_image_of_the_pool(project, tmp_path):
    rows = [("0000\0.png", "cat"), ("0001.png", "dog")]
    result = take(project, write_csv(tmp_path / "l.csv", rows, ("path", "label")), unknown_images="leave")
    assert (result.added, result.unknown_paths) == (1, ["0000�.png"])


def test_files_whose_names_are_not_utf_8_are_read_and_named(project, tmp_path):
    folder = tmp_path / "sorted" / "cat"
    folder.mkdir(parents=True)
    (tmp_path / "sorted" / "dog").mkdir()
    image = (tmp_path / "images" / "0003.png").read_bytes()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(image)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    (tmp_path / "sorted" / "dog" / "0004.png").write_bytes((tmp_path / "images" / "0004.png").read_bytes())
    assert take(project, tmp_path / "sorted").added == 2


def test_a_file_whose_own_name_is_not_utf_8_is_imported(project, tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv"))
    try:
        write_csv(file, [(1, "cat"), (99, "cat")])
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    done = run_alctl("import-labels", file, "-p", project.folder, "--skip-bad")
    assert (done.returncode, "1 added" in done.stdout) == (0, True), done.stderr
    with project.reading() as connection:
        assert labels.imports(connection)[0].file.endswith("/�.csv")


def test_an_import_whose_rejected_rows_cannot_be_written_does_not_happen(project, tmp_path):
    file = write_csv(tmp_path / f"{'x' * 245}.csv", [(1, "cat"), (99, "cat")])
    before = status(project)
    with pytest.raises(AlctlError, match="nothing was imported: move"):
        take(project, file, skip_bad=True)
    assert status(project) == before


def test_the_rejected_rows_of_the_folder_one_stands_in_go_beside_it(project, tmp_path):
    for folder, name in (("cat", "0000.png"), ("cow", "0001.png")):
        (tmp_path / "sorted" / folder).mkdir(parents=True)
        (tmp_path / "sorted" / folder / name).write_bytes((tmp_path / "images" / name).read_bytes())
    done = run_alctl("import-labels", ".", "-p", project.folder, "--skip-bad", cwd=tmp_path / "sorted")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sorted.rejected.csv").is_file()


def test_a_pipe_is_not_waited_for(project, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AlctlError, match="neither a file nor a folder"):
        take(project, tmp_path / "pipe")


def test_a_file_that_is_written_to_while_it_is_read_is_not_taken(project, tmp_path):
    rows = [("0000.png", "cat"), *((f"elsewhere{n}.png", "cat") for n in range(2_000))]
    file = write_csv(tmp_path / "l.csv", rows, ("path", "label"))

    def save(stage: str, done: int, total: int) -> None:
        with file.open("a") as stream:
            stream.write("0001.png,dog\n" if done == 1_000 else "")

    options = ImportOptions(unknown_images="leave")
    with pytest.raises(AlctlError, match="changed while it was read"):
        import_labels(project, file, options, save)
    assert status(project).imports == []
    assert import_labels(project, file, options).added == 2


def test_a_backslash_in_a_name_is_no_folder_and_one_in_any_other_path_is(tmp_path):
    folder = tmp_path / "images"
    make_images(folder, 2)
    (folder / "0000.png").rename(folder / "a\\b.png")
    (folder / "0001.png").rename(folder / "b.png")
    other = make_project(tmp_path / "other", folder)
    ids = {path: item for item, path in paths_of(other).items()}
    rows = [("a\\b.png", "cat"), (".\\images\\b.png", "dog")]
    assert take(other, write_csv(tmp_path / "l.csv", rows, ("path", "label"))).added == 2
    with other.reading() as connection:
        found = {item: category for item, category, _ in labels.labeled_items(connection, "pool")}
    assert found == {ids["a\\b.png"]: 1, ids["b.png"]: 2}
