"""Files and folders appear whole or not at all, whatever happens in between."""

import subprocess
import sys
from pathlib import Path

import pytest

from alctl.files import file_digest, replace_folder, room_beside, whole_file, whole_folder, write_whole


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def folder_with(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "table.csv").write_text(text)
    return path


def test_a_file_has_its_old_content_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "labels.csv"
    write_whole(file, "old")
    with whole_file(file) as partial:
        partial.write_text("new")
        assert partial.suffix == ".csv"  # libraries choose what they write by it
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["labels.csv"]


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path):
    file = tmp_path / "labels.csv"
    write_whole(file, "old")
    with pytest.raises(IsADirectoryError), whole_file(file) as partial:
        partial.write_text("half") and tmp_path.write_text("half")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["labels.csv"]


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "x.csv"):
        pass
    assert not names(tmp_path)


def test_line_ends_and_characters_are_written_as_they_are(tmp_path):
    write_whole(tmp_path / "x", "a\r\nü\n")
    assert (tmp_path / "x").read_bytes() == b"a\r\n\xc3\xbc\n"


def test_a_folder_appears_whole(tmp_path):
    folder = tmp_path / "0001"
    with whole_folder(folder) as partial:
        (partial / "images").mkdir()
        (partial / "images" / "a.jpg").write_bytes(b"a")
        assert not folder.exists()
    assert (folder / "images" / "a.jpg").read_bytes() == b"a"
    assert folder.stat().st_mode & 0o777 == 0o755
    assert names(tmp_path) == ["0001"]


def test_a_folder_with_something_in_it_is_replaced_only_if_that_is_said(tmp_path):
    folder = folder_with(tmp_path / "0001", "old")
    with pytest.raises(OSError), whole_folder(folder) as partial:  # noqa: PT011 - the system's own error
        (partial / "table.csv").write_text("new")
    assert (folder / "table.csv").read_text() == "old"
    with whole_folder(folder, replace=True) as partial:
        (partial / "table.csv").write_text("new")
    assert (folder / "table.csv").read_text() == "new"
    assert names(tmp_path) == ["0001"]


def test_the_old_folder_is_deleted_only_after_the_new_one_has_its_name(tmp_path, monkeypatch):
    folder, made = folder_with(tmp_path / "0001", "old"), folder_with(tmp_path / "made", "new")
    seen = []

    def look(path, **_):
        seen.append(
            (Path(path) / "table.csv").read_text() + " goes, there is " + (folder / "table.csv").read_text()
        )

    monkeypatch.setattr("shutil.rmtree", look)
    replace_folder(made, folder)
    assert seen == ["old goes, there is new"]


def test_if_the_new_folder_cannot_take_the_name_the_old_one_gets_it_back(tmp_path):
    folder = folder_with(tmp_path / "0001", "old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "gone", folder)
    assert (folder / "table.csv").read_text() == "old"


KILLED = """
import os, sys
from pathlib import Path
from alctl import files

steps = int(sys.argv[2])
real = Path.rename

def rename(self, target):
    global steps
    steps -= 1
    if steps < 0:
        os._exit(9)
    return real(self, target)

Path.rename = rename
files.shutil.rmtree = lambda path, **_: Path(path).exists() and os._exit(9)
with files.whole_folder(Path(sys.argv[1]), replace=True) as partial:
    (partial / "table.csv").write_text("new")
"""


@pytest.mark.parametrize(("renames", "then"), [(0, "old"), (1, "old"), (2, "new")])
def test_a_kill_at_any_step_leaves_a_whole_folder_for_the_next_one(tmp_path, renames, then):
    folder = folder_with(tmp_path / "0001", "old")
    command = [sys.executable, "-c", KILLED, str(folder), str(renames)]
    assert subprocess.run(command, check=False).returncode == 9
    with pytest.raises(ZeroDivisionError), whole_folder(folder, replace=True):  # the next one, which fails
        raise ZeroDivisionError
    assert (folder / "table.csv").read_text() == then
    assert names(tmp_path) == ["0001"]


def test_the_digest_is_sha_256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x").startswith("ba7816bf8f01cfea")


def test_room_of_a_killed_process_is_cleared_and_that_of_a_living_one_is_not(tmp_path):
    killed = folder_with(tmp_path / ".out.csv.abcdefgh.partial", "half")
    other = folder_with(tmp_path / ".other.csv.abcdefgh.partial", "half")
    with room_beside(tmp_path / "out.csv") as living:
        assert not killed.exists()
        with room_beside(tmp_path / "out.csv") as second:
            assert living.exists()
            assert second != living
        with whole_folder(tmp_path / "out.csv") as third:
            (third / "table.csv").write_text("whole")
        assert living.exists()
    assert sorted(names(tmp_path)) == [other.name, "out.csv"]
