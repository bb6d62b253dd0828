"""What others record while an import has staged its file and waits for the lock: it is as if they had come first."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from alctl.annotators import classes, ledger
from alctl.annotators.imports.import_labels import Imported, ImportOptions, import_labels
from alctl.annotators.imports.undo import undo_import
from alctl.database import categories, labels
from alctl.dataset import index, moved
from alctl.errors import AlctlError
from alctl.project import WRITER, Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import make_images, make_project, no_progress, small_project, take, write_csv

Act = Callable[[Project, Path], object]


class Between:
    """Holds the lock until an import waits for it, and lets others write before it gets it."""

    def __init__(self, project: Project, act: Callable[[], object]) -> None:
        self.act = act
        self.read = 0
        self.held = ExitStack()
        self.held.enter_context(project.held("select", WRITER))

    def __call__(self, stage: str, _done: int, _total: int) -> None:
        if stage.startswith("waiting for "):
            self.held.close()
            self.act()
        self.read += stage == "reading labels"


def state(project: Project) -> tuple[Any, ...]:
    """Return what a project says of its labels, without when."""
    with project.reading() as connection:
        rows = labels.with_items(connection, "", every_annotator=True)
        return [dict(row) for row in rows], categories.class_list(connection), categories.resolver(connection)


def add_image(project: Project, folder: Path) -> None:
    make_images(folder / "more", 1, size=9)
    (folder / "more" / "0000.png").rename(folder / "images" / "new.png")
    index.add(
        project, index.folder_dataset(folder / "images", class_folders=False), index.Options(), no_progress
    )


def other_labels(project: Project, folder: Path) -> None:
    rows = [(1, "emu", "bob"), (2, "owl", "bob"), (3, "cat", "ann")]
    take(project, write_csv(folder / "o.csv", rows, ("item", "label", "annotator")), add_classes=True)


def relink_turned(project: Project, folder: Path) -> None:
    """Let two images have each other's names, in a new folder."""
    turned = folder / "turned"
    turned.mkdir()
    for number in range(6):
        other = {0: 1, 1: 0}.get(number, number)
        (turned / f"{other:04}.png").write_bytes((folder / "images" / f"{number:04}.png").read_bytes())
    moved.relink(project, turned, no_progress)


ACTS: dict[str, Act] = {
    "nothing": lambda *_: None,
    "a rename": lambda project, _: classes.rename(project, "cat", "lynx"),
    "a merge": lambda project, _: classes.merge(project, "dog", "cat"),
    "a class of the same name": lambda project, _: classes.add(project, "owl"),
    "a class that looks alike": lambda project, _: classes.add(project, "Owl"),
    "other labels and classes": other_labels,
    "an undo": lambda project, _: undo_import(project, 1),
    "an image that was unknown": add_image,
    "a folder in which images changed names": relink_turned,
    "a round": lambda project, _: select(project, SelectOptions(k=2, strategy="random"), no_progress),
    "a recall": lambda project, _: ledger.recall(project, 1, items=[], overdue=False),
}


def at_once(folder: Path, act: Act, options: dict[str, Any], between: bool, **kind: str) -> tuple[Any, ...]:
    """Return what an import did and left, with ``act`` before it or between its reading and its writing."""
    project = small_project(folder, 6) if not kind else _on_server(folder, **kind)
    first = write_csv(folder / "f.csv", [(2, "dog", "ann")], ("item", "label", "annotator"))
    take(project, first)
    select(project, SelectOptions(k=3, strategy="random"), no_progress)
    rows = [
        ("0000.png", "cat", "ann"), ("0001.png", "dog", "ann"), ("0002.png", "owl", "ann"),
        ("0003.png", "dog", "bob"), ("new.png", "cat", "ann"), ("0004.png", "owl", "bob"),
    ]  # fmt: skip
    file = write_csv(folder / "l.csv", rows, ("path", "label", "annotator"))
    wanted = ImportOptions(**options, unknown_images="leave")
    result: Imported | str
    try:
        if between:
            result = import_labels(project, file, wanted, Between(project, lambda: act(project, folder)))
        else:
            act(project, folder)
            result = import_labels(project, file, wanted)
    except AlctlError as error:
        result = type(error).__name__
    found = state(project)
    project.engine.dispose()
    return result if isinstance(result, str) else _told(result), found


def _told(result: Imported) -> tuple[Any, ...]:
    return (
        result.added, result.changed, result.unchanged, result.outside, result.unknown, result.new_classes,
        [(problem.line, problem.problem) for problem in result.rejected], result.batch,
    )  # fmt: skip


def _on_server(folder: Path, database: str) -> Project:
    make_images(folder / "images", 6)
    return make_project(folder / "project", folder / "images", database=database)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("options", [{"add_classes": True, "skip_bad": True}, {"skip_bad": True, "round": 1}])
def test_what_others_wrote_in_between_counts_as_written_before(tmp_path, act, options):
    before = at_once(tmp_path / "before", act, options, between=False)
    assert at_once(tmp_path / "between", act, options, between=True) == before


@pytest.mark.parametrize("name", ["other labels and classes", "a folder in which images changed names"])
def test_it_does_so_on_a_server(tmp_path, postgres_url, name):
    options = {"add_classes": True, "skip_bad": True}
    before = at_once(tmp_path / "before", ACTS[name], options, between=False)
    assert at_once(tmp_path / "x", ACTS[name], options, between=True, database=postgres_url) == before


def test_the_same_file_by_somebody_else_in_between_is_taken_once(tmp_path):
    project = small_project(tmp_path, 6)
    file = write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")])
    late = import_labels(project, file, ImportOptions(), Between(project, lambda: take(project, file)))
    assert (late.added, late.unchanged, late.earlier) == (0, 2, 1)
    assert len(state(project)[0]) == 2


@pytest.mark.parametrize(("name", "times"), [("nothing", 1), ("a rename", 2), ("labels alone", 1)])
def test_a_file_is_read_again_only_if_images_or_classes_changed(tmp_path, name, times):
    project = small_project(tmp_path, 6)
    rows = [(n % 6 + 1, "cat", f"a{n}") for n in range(1_500)]
    file = write_csv(tmp_path / "l.csv", rows, ("item", "label", "annotator"))
    others = {**ACTS, "labels alone": lambda p, f: take(p, write_csv(f / "o.csv", [(1, "dog")]))}
    between = Between(project, lambda: others[name](project, tmp_path))
    assert import_labels(project, file, ImportOptions(), between).added == 1_500
    assert between.read == times


def test_others_write_while_a_file_is_read(tmp_path):
    project = small_project(tmp_path, 6)
    rows = [(n % 6 + 1, "cat", f"a{n}") for n in range(1_500)]
    file = write_csv(tmp_path / "l.csv", rows, ("item", "label", "annotator"))
    written: list[Imported] = []

    def others(stage: str, done: int, _total: int) -> None:
        if stage == "reading labels" and not written:
            written.append(
                take(
                    project,
                    write_csv(tmp_path / "o.csv", [(1, "dog", "eve")], ("item", "label", "annotator")),
                )
            )

    assert import_labels(project, file, ImportOptions(), others).added == 1_500
    assert [one.added for one in written] == [1]
    assert len(state(project)[0]) == 1_501
