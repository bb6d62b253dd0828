"""What `import-labels` and `pull` print of an import: one printer for both."""

import pytest

from alctl.annotators.label_studio import Pulled
from alctl.cli.label_studio import show_pulled
from tests.project_files import small_project, take, write_csv
from tests.warm import run_warm


@pytest.fixture
def project(tmp_path):
    return small_project(tmp_path)


@pytest.fixture
def bad_file(tmp_path):
    """A good row, one with an unknown class, and one of an image that is not there."""
    return write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "cow"), (99, "cat")])


def test_import_labels_lists_what_it_refused_and_where_it_is_written(project, bad_file):
    done = run_warm("import-labels", bad_file, "--skip-bad", "--project", project.folder)
    assert done.returncode == 0, done.stderr
    assert "1 added, 0 changed, 0 unchanged" in done.stdout
    assert f"2 rows rejected, written to {bad_file}.rejected.csv" in done.stderr
    assert "line 3: class 'cow' is not in the class list" in done.stdout
    assert "line 4: item 99 is not in the pool" in done.stdout
    assert "alctl undo-import 1" in done.stdout


def test_pull_lists_what_it_refused_too(project, bad_file, capsys):
    imported = take(project, bad_file, skip_bad=True)
    show_pulled(
        Pulled(1, "http://host/projects/1", 3, 0, 6, 5, str(bad_file), imported),
        dry_run=False,
    )
    shown = capsys.readouterr()
    assert f"imported {bad_file}: 1 added, 0 changed, 0 unchanged" in shown.out
    assert f"2 rows rejected, written to {bad_file}.rejected.csv" in shown.err
    assert "line 3: class 'cow' is not in the class list" in shown.out
    assert "line 4: item 99 is not in the pool" in shown.out
    assert "alctl undo-import 1" in shown.out
    assert "5 of the round's 6 images are still out" in shown.out


def test_a_pull_s_dry_run_names_no_temporary_file(project, bad_file, capsys):
    imported = take(project, bad_file, skip_bad=True, dry_run=True)
    show_pulled(Pulled(1, "http://host/projects/1", 3, 0, 6, 6, None, imported), dry_run=True)
    shown = capsys.readouterr()
    assert "would import what was pulled: 1 added" in shown.out
    assert str(bad_file) not in shown.out + shown.err
    assert "2 rows rejected:" in shown.err


def test_a_file_that_was_imported_already_is_said_to_be(project, tmp_path):
    file = write_csv(tmp_path / "l.csv", [(1, "cat")])
    take(project, file, format="csv")
    done = run_warm("import-labels", file, "--project", project.folder)
    assert f"{file} was imported already, as import 1; nothing changed" in done.stdout
    assert "next: alctl select --k 5" in done.stdout
