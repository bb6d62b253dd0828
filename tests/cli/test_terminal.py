"""What a terminal must never get: names and files that command it, break a table, or turn the text around."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.project_files import make_images, small_project, write_csv
from tests.warm import run_warm

ESCAPE, BELL, TURN = "\x1b]0;owned\x07", "\x07", "a\u202eb"
HOSTILE = ("\x1b[2Jcat", ESCAPE, "cat\nnext: alctl undo-import 1", "cat\rdog", "cat\x9b31m", TURN, "x\u2066y")
COMMANDING = {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]} - {"\n"} | set("\u202e\u2066\u2028")


def printed(*words, cwd=None):
    """Return all that a command printed, which commands no terminal."""
    done = run_warm(*words, cwd=cwd)
    text = done.stdout + done.stderr
    assert not COMMANDING & set(text), ascii(text)
    return text


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("column", ["label", "annotator"])
def test_an_import_refuses_names_that_classes_add_refuses(tmp_path, name, column):
    project = small_project(tmp_path)
    row = {"item": 1, "label": "cat", "annotator": "ann", column: name}
    file = write_csv(tmp_path / "l.csv", [list(row.values())], list(row))
    words = ["import-labels", file, "--add-classes", "-p", project.folder]
    assert "holds control characters" in printed(*words)
    done = run_warm(*words, "--json")
    assert done.returncode == 1
    assert [problem["line"] for problem in json.loads(done.stdout)["problems"]] == [row_end(name)]
    if column == "label":
        assert "holds control characters" in printed("classes", "add", name, "-p", project.folder)


def row_end(name):
    """Return the line on which the first row of a table ends."""
    return 2 + name.count("\n") + name.count("\r")


@pytest.mark.parametrize("name", ["ברירת מחדל", "سماء‌ها", "👩‍🔬", "café au lait", "x" * 200])
def test_names_of_any_language_are_taken(tmp_path, name):
    project = small_project(tmp_path)
    file = write_csv(tmp_path / "l.csv", [(1, name, name)], ("item", "label", "annotator"))
    assert run_warm("import-labels", file, "--add-classes", "-p", project.folder).returncode == 0
    assert name[:60] in printed("classes", "list", "-p", project.folder)


def test_init_refuses_such_classes_of_folders_and_of_its_option(tmp_path):
    make_images(tmp_path / "images" / "a\x1b[2Jb", 2)
    for words in (["init", "images", "--labels", "folders"], ["init", "images", "--classes", "a\x1bb"]):
        assert "holds control characters" in printed(*words, cwd=tmp_path)
    assert not (tmp_path / "alctl-project").exists()


@pytest.mark.slow
def test_names_of_an_older_project_and_of_files_are_printed_escaped_and_on_one_line(tmp_path):
    make_images(tmp_path / "images", 3)
    (tmp_path / "images" / "no\x1b[2J\nimage.png").write_text("x")
    assert "no\\x1b[2J\\nimage.png" in printed("init", "images", "--classes", "cat,dog", cwd=tmp_path)
    file = write_csv(
        tmp_path / "l.csv", [(1, "cat", "ann"), (1, "dog", "bob")], ("item", "label", "annotator")
    )
    printed("import-labels", file, cwd=tmp_path)
    with closing(sqlite3.connect(tmp_path / "alctl-project" / "alctl.db")) as database, database:
        database.execute("UPDATE category SET name = ? WHERE id = 1", ["cat\x1b[2J\n" + TURN])
        database.execute("UPDATE label SET annotator = ? WHERE annotator = 'ann'", ["an\x1b\nn"])
    assert "cat\\x1b[2J\\na\\u202eb" in printed("classes", "list", cwd=tmp_path)
    assert "an\\x1b\\nn" in printed("agreement", cwd=tmp_path)
    for words in (["status"], ["history", "1"], ["report", "--format", "md"]):
        printed(*words, cwd=tmp_path)


def test_a_file_that_is_not_there_is_named_escaped(tmp_path):
    project = small_project(tmp_path)
    assert "a\\x1bb.csv" in printed("import-labels", "a\x1bb.csv", "-p", project.folder)
