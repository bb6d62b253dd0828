"""`init`, `add` and `relink` on datasets as they are: broken, repeated, contradictory, moved, half there."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import create_engine, inspect

from alctl.annotators.imports.undo import undo_import
from alctl.database import categories, counts, items, labels
from alctl.database.bulk import run
from alctl.dataset.index import (
    Dataset,
    Ingested,
    Options,
    add,
    create,
    folder_dataset,
    manifest_dataset,
)
from alctl.dataset.moved import relink
from alctl.dataset.reserved import default_reserved
from alctl.errors import AlctlError
from alctl.project import Project, open_project
from tests.data import real_data
from tests.pools import rows_of, send

Init = Callable[..., tuple[Project, Ingested]]


def quiet(stage: str, done: int, total: int) -> None:
    """Show no progress."""


def picture(path: Path, seed: int = 0, *, kind: str = "PNG") -> Path:
    """Write an 8×6 image of noise; the same seed gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", (8, 6), random.Random(seed).randbytes(144)).save(path, kind)
    return path


def pictures(root: Path, *names: str, first: int = 1) -> Path:
    """Write images of different bytes."""
    for seed, name in enumerate(names, start=first):
        picture(root / name, seed)
    return root


@pytest.fixture
def init(tmp_path: Path, url: str) -> Iterator[Init]:
    """Make a project in a database of either kind; nothing is reserved unless asked for."""
    made: list[Project] = []

    def make(dataset: Dataset, **options: Any) -> tuple[Project, Ingested]:
        database = url if url.startswith("postgresql") else ""
        wanted = Options(**{"validation": 0, "test": 0, "database": database, **options})
        report = create(tmp_path / "project", dataset, wanted, quiet)
        made.append(open_project(tmp_path / "project"))
        return made[-1], report

    yield make
    for project in made:
        with project.reading() as connection:
            assert counts.broken_invariants(connection) == []
        project.engine.dispose()


def plain(root: Path) -> Dataset:
    return folder_dataset(root, class_folders=False)


def by_class(root: Path) -> Dataset:
    return folder_dataset(root, class_folders=True)


def extend(project: Project, dataset: Dataset, **options: Any) -> Ingested:
    return add(project, dataset, Options(**{"validation": 0, "test": 0, **options}), quiet)


def paths(project: Project) -> list[str]:
    with project.reading() as connection:
        return [path for _, path in sorted(items.paths(connection))]


def known(project: Project) -> dict[str, str | None]:
    """Return path and class of every item."""
    with project.reading() as connection:
        names = categories.categories(connection)
        of = {id_: names[c - 1] for id_, c, _ in labels.labeled_items(connection, "pool") if c}
        for split in ("validation", "test"):
            of |= {id_: names[c - 1] for id_, c, _ in labels.labeled_items(connection, split) if c}
        return {path: of.get(id_) for id_, path in sorted(items.paths(connection))}


def splits(project: Project) -> dict[str, str]:
    with project.reading() as connection:
        return dict(run(connection, "SELECT path, split FROM reserved JOIN item ON item.id = item_id").all())


def unusable(project: Project) -> dict[str, str]:
    with project.reading() as connection:
        return {row.path: row.reason for row in items.unusable_items(connection)}


def by_path(rows: Iterable[Any], column: str) -> dict[str, Any]:
    return {row.path: getattr(row, column) for row in rows}


def manifest(file: Path, text: str, encoding: str = "utf-8") -> Dataset:
    file.write_bytes(text.encode(encoding))
    return manifest_dataset(file)


# Folders


def test_a_folder_becomes_a_pool(tmp_path, init):
    root = pictures(
        tmp_path / "data", "b/2.jpg", "a/1.png", "a/b/c d.webp", "Größe 1.5.bmp", "same/x.gif", "x.gif"
    )
    project, report = init(plain(root))
    assert paths(project) == ["Größe 1.5.bmp", "x.gif", "a/1.png", "a/b/c d.webp", "b/2.jpg", "same/x.gif"]
    assert report.items == report.counts["new"] == 6
    assert report.classes == []
    state = project.state()
    assert (state.root, state.task, state.seed) == (str(root.resolve()), "classification", 0)
    with project.reading() as connection:
        assert [row[3:] for row in rows_of(connection, "item")] == [(8, 6)] * 6
        assert rows_of(connection, "label") == []
    state_files = {"alctl.db", "alctl.db-shm", "alctl.db-wal", "alctl.lock", "alctl.toml"}
    assert {path.name for path in project.folder.iterdir()} <= state_files


def test_broken_files_are_listed_with_the_reason_and_never_usable(tmp_path, init):
    root = pictures(tmp_path / "data", "good.png")
    (root / "empty.jpg").touch()
    (root / "text.jpg").write_text("not an image")
    whole = picture(tmp_path / "whole.jpg", kind="JPEG").read_bytes()
    (root / "half.jpg").write_bytes(whole[: len(whole) // 2])
    png = picture(tmp_path / "whole.png").read_bytes()
    (root / "half.png").write_bytes(png[: len(png) // 2])
    project, report = init(plain(root))
    broken = by_path(report.broken, "problem")
    assert set(broken) == {"empty.jpg", "text.jpg", "half.jpg", "half.png"}
    assert broken["empty.jpg"] == "empty file"
    assert "not an image" in broken["text.jpg"]
    assert unusable(project) == broken
    with project.reading() as connection:
        assert counts.count(connection).states["pool"] == {
            "labeled": 0, "out": 0, "overdue": 0, "unlabeled": 1, "skipped": 0, "unusable": 4,
        }  # fmt: skip


def test_a_dataset_without_a_usable_image_makes_no_project(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(AlctlError, match=r"no usable image in .*\.png"):
        create(tmp_path / "project", plain(tmp_path / "data"), Options(), quiet)
    (tmp_path / "data" / "x.jpg").touch()
    with pytest.raises(AlctlError, match=r"1 files are broken, the first is x\.jpg"):
        create(tmp_path / "project", plain(tmp_path / "data"), Options(), quiet)
    with pytest.raises(AlctlError, match="is not a folder"):
        plain(tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_same_bytes_are_one_item_and_the_others_are_listed(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png")
    for copy in ("a copy.png", "z/a.png"):
        (root / "z").mkdir(exist_ok=True)
        shutil.copy(root / "a.png", root / copy)
    project, report = init(plain(root))
    assert paths(project) == ["a copy.png", "b.png"]
    assert by_path(report.duplicates, "same_as") == {"a.png": "a copy.png", "z/a.png": "a copy.png"}
    again = extend(project, plain(root))
    assert again.counts["known"] == 4
    assert again.duplicates == []


def test_of_equal_files_in_several_splits_the_test_one_becomes_the_item(tmp_path, init):
    root = tmp_path / "data"
    for split, seeds in {"train": (1, 2, 3), "val": (2, 4), "test": (3, 4, 5)}.items():
        for seed in seeds:
            picture(root / split / "cat" / f"{split}{seed}.png", seed)
    project, report = init(by_class(root), validation=None, test=None)
    assert splits(project) == {
        "test/cat/test3.png": "test",
        "test/cat/test4.png": "test",
        "test/cat/test5.png": "test",
        "val/cat/val2.png": "validation",
    }
    assert paths(project).count("train/cat/train1.png") == 1
    assert report.items == 5
    assert report.labels == 5
    assert (report.validation, report.test) == (0, 0)  # nothing is drawn beside a dataset's own split
    with project.reading() as connection:
        assert [row[0] for row in labels.labeled_items(connection, "pool")] == [
            1 + paths(project).index("train/cat/train1.png")
        ]


def test_the_same_bytes_in_two_class_folders_get_no_label_and_are_both_listed(tmp_path, init):
    root = tmp_path / "data"
    picture(root / "cat" / "1.png", 1)
    picture(root / "dog" / "2.png", 2)
    picture(root / "dog" / "1 too.png", 1)
    picture(root / "cat" / "1 again.png", 1)
    project, report = init(by_class(root))
    assert known(project) == {"cat/1 again.png": None, "dog/2.png": "dog"}
    assert by_path(report.contradictions, "category") == {
        "cat/1 again.png": "cat", "cat/1.png": "cat", "dog/1 too.png": "dog",
    }  # fmt: skip
    assert report.labels == 1
    assert report.classes == ["cat", "dog"]


def test_class_folders_give_labels_and_images_beside_them_none(tmp_path, init):
    root = pictures(tmp_path / "data", "Kätzchen/a/1.png", "Zebra/1.png", "apple/1.png", "loose.png")
    project, report = init(by_class(root))
    assert report.classes == ["Kätzchen", "Zebra", "apple"]
    assert known(project) == {
        "loose.png": None, "Kätzchen/a/1.png": "Kätzchen", "Zebra/1.png": "Zebra", "apple/1.png": "apple",
    }  # fmt: skip


def test_given_classes_keep_their_order_and_a_strange_one_is_an_error(tmp_path, init):
    root = pictures(tmp_path / "data", "cat/1.png", "dog/2.png")
    with pytest.raises(AlctlError, match=r"classes that --classes does not: dog"):
        init(by_class(root), classes=["owl", "cat"])
    assert not (tmp_path / "project").exists()
    _, report = init(by_class(root), classes=["owl", "dog", "cat"])
    assert report.classes == ["owl", "dog", "cat"]


def test_a_read_only_dataset_and_links_in_it_work(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png")
    pictures(tmp_path / "far", "b.png", first=2)
    (root / "link.png").symlink_to(tmp_path / "far" / "b.png")
    (root / "far").symlink_to(tmp_path / "far")
    (root / "loop").symlink_to(root)
    (root / "dead.png").symlink_to("nowhere.png")
    before = sorted(root.iterdir())
    root.chmod(0o555)
    project, report = init(plain(root))
    root.chmod(0o755)
    assert paths(project) == ["a.png", "link.png"]
    assert by_path(report.duplicates, "same_as") == {"far/b.png": "link.png"}
    assert by_path(report.skipped, "reason").keys() == {"dead.png"}
    assert sorted(root.iterdir()) == before


def test_a_project_inside_its_own_dataset_is_no_part_of_it(tmp_path):
    root = pictures(tmp_path, "a.png")
    report = create(root / "alctl-project", plain(root), Options(validation=0, test=0), quiet)
    assert report.items == 1
    pictures(root / "alctl-project" / "rounds", "b.png", first=2)
    project = open_project(root / "alctl-project")
    assert extend(project, plain(root)).counts["new"] == 0
    project.engine.dispose()


def test_a_root_whose_name_is_not_unicode_gives_a_sentence(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    picture(root / "a.png")
    with pytest.raises(AlctlError, match="not valid UTF-8"):
        plain(root)


def test_validation_and_test_images_are_drawn_and_by_default_no_more_than_a_fifth(tmp_path, init):
    root = pictures(tmp_path / "data", *(f"{i}.png" for i in range(40)))
    project, report = init(plain(root), validation=None, test=5, seed=3)
    assert (report.validation, report.test) == (8, 5)
    assert sorted(splits(project).values()) == ["test"] * 5 + ["validation"] * 8


def test_a_dry_run_says_the_same_and_leaves_nothing(tmp_path, init, url):
    root = pictures(tmp_path / "data", "cat/1.png", "cat/2.png", "dog/3.png")
    (root / "dog" / "4.png").touch()
    before = sorted(tmp_path.rglob("*"))
    tried = create(tmp_path / "deep" / "project", by_class(root), Options(test=1, dry_run=True), quiet)
    assert sorted(tmp_path.rglob("*")) == before
    project, made = init(by_class(root), test=1, validation=None)
    assert tried == made
    pictures(root, "cat/5.png", first=5)
    with project.reading() as connection:
        tables = {table: rows_of(connection, table) for table in ("item", "label", "reserved", "category")}
    assert extend(project, by_class(root), dry_run=True).counts["new"] == 1
    with project.reading() as connection:
        assert tables == {table: rows_of(connection, table) for table in tables}


# Adding


def test_adding_twice_adds_nothing(tmp_path, init):
    root = pictures(tmp_path / "data", "cat/1.png", "dog/2.png")
    (root / "dog" / "3.png").touch()
    shutil.copy(root / "cat" / "1.png", root / "cat" / "1 copy.png")
    project, _ = init(by_class(root), test=1)
    with project.reading() as connection:
        before = {
            table: rows_of(connection, table)
            for table in ("item", "label", "duplicate", "unusable", "reserved")
        }
    for _ in range(2):
        report = extend(project, by_class(root))
        assert {fate: n for fate, n in report.counts.items() if n} == {"known": 4}
        assert report.labels == 0
        with project.reading() as connection:
            assert before == {table: rows_of(connection, table) for table in before}


def test_a_second_folder_outside_the_root_extends_the_pool(tmp_path, init):
    project, _ = init(plain(pictures(tmp_path / "data", "a.png")))
    far = pictures(tmp_path / "far", "x/b.png", "x/c.png", first=2)
    shutil.copy(tmp_path / "data" / "a.png", far / "a.png")
    report = extend(project, plain(far))
    assert paths(project) == ["a.png", "../far/x/b.png", "../far/x/c.png"]
    assert by_path(report.duplicates, "same_as") == {"../far/a.png": "a.png"}
    assert extend(project, plain(far / "x")).counts["known"] == 2
    assert extend(project, plain(tmp_path / "data")).counts["known"] == 1
    for path in paths(project):
        assert (Path(project.state().root) / path).is_file()


def test_new_classes_are_appended_by_adding(tmp_path, init):
    root = pictures(tmp_path / "data", "dog/1.png", "owl/2.png")
    project, _ = init(by_class(root))
    pictures(root, "ant/3.png", "dog/4.png", first=3)
    report = extend(project, by_class(root))
    assert report.classes == ["dog", "owl", "ant"]
    assert report.labels == 2
    assert known(project)["ant/3.png"] == "ant"


def test_a_repaired_file_becomes_usable_with_its_label(tmp_path, init):
    root = pictures(tmp_path / "data", "cat/1.png")
    (root / "cat" / "2.png").touch()
    project, _ = init(by_class(root))
    picture(root / "cat" / "2.png", 2)
    report = extend(project, by_class(root))
    assert report.counts["repaired"] == 1
    assert unusable(project) == {}
    assert known(project) == {"cat/1.png": "cat", "cat/2.png": "cat"}
    assert extend(project, by_class(root)).counts["known"] == 2


def test_broken_files_that_are_repaired_with_the_same_bytes_stay_one_item(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png")
    (root / "b.png").touch()
    (root / "c.png").touch()
    (root / "d.png").touch()
    project, _ = init(plain(root))
    for name in ("b.png", "c.png", "new.png"):
        picture(root / name, 9)
    shutil.copy(root / "a.png", root / "d.png")
    for _ in range(2):
        extend(project, plain(root))
        assert paths(project) == ["a.png", "b.png", "c.png", "d.png"]
        assert set(unusable(project)) == {"c.png", "d.png"}
    with project.reading() as connection:
        assert [row[0] for row in rows_of(connection, "duplicate")] == ["new.png"]


def test_a_broken_test_image_is_still_a_test_image_when_it_is_repaired(tmp_path, init):
    root = pictures(tmp_path / "data", "train/cat/1.png", "test/cat/2.png")
    (root / "test" / "cat" / "3.png").touch()
    project, _ = init(by_class(root))
    picture(root / "test" / "cat" / "3.png", 3)
    extend(project, plain(root))
    assert splits(project) == {"test/cat/2.png": "test", "test/cat/3.png": "test"}


def test_a_changed_file_is_listed_and_the_item_stays_what_it_was(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png", "c.png")
    project, _ = init(plain(root))
    with project.reading() as connection:
        before = rows_of(connection, "item")
    picture(root / "a.png", 50)
    (root / "b.png").write_bytes(b"")
    shutil.copy(root / "a.png", root / "new.png")
    report = extend(project, plain(root))
    assert set(by_path(report.changed, "path")) == {"a.png", "b.png"}
    assert report.counts["new"] == 1
    with project.reading() as connection:
        assert rows_of(connection, "item")[:3] == before
    assert paths(project)[3] == "new.png"


def test_images_reserved_by_adding_were_never_sent_out(tmp_path, init):
    root = pictures(tmp_path / "data", *(f"{i}.png" for i in range(10)))
    project, _ = init(plain(root))
    with project.writing("test") as connection:
        send(connection, range(1, 9))
    report = extend(project, plain(root), validation=5)
    assert report.validation == 2
    assert set(splits(project)) == set(paths(project)[8:])


def test_adding_when_the_root_has_gone_says_relink_and_adds_nothing(tmp_path, init):
    project, _ = init(plain(pictures(tmp_path / "data", "a.png")))
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(AlctlError, match="alctl relink"):
        extend(project, plain(pictures(tmp_path / "moved", "b.png", first=2)))
    assert paths(project) == ["a.png"]


# Moving


def test_moved_and_reshuffled_images_are_found_by_their_bytes(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png", "c.png", "d/e.png")
    shutil.copy(root / "a.png", root / "a copy.png")
    (root / "broken.png").touch()
    project, _ = init(plain(root))
    with project.reading() as connection:
        digests = {row[0]: row[2] for row in rows_of(connection, "item")}
    new = tmp_path / "new"
    root.rename(new)
    (new / "a.png").rename(new / "tmp")  # a and b exchange their names
    (new / "b.png").rename(new / "a.png")
    (new / "tmp").rename(new / "b.png")
    (new / "d").rename(new / "z")
    found, lost = relink(project, new, quiet)
    assert (found, lost) == (5, [])
    assert project.state().root == str(new)
    with project.reading() as connection:
        assert {row[0]: row[2] for row in rows_of(connection, "item")} == digests
        assert [row[0] for row in rows_of(connection, "duplicate")] == ["b.png"]
    assert sorted(paths(project)) == ["a copy.png", "a.png", "broken.png", "c.png", "z/e.png"]
    assert unusable(project) == {"broken.png": "empty file"}
    assert extend(project, plain(new)).counts["known"] == 6


def test_images_that_are_not_in_the_new_place_are_named_and_keep_the_old_one(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png", "c.png")
    project, _ = init(plain(root))
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(root / "b.png", new / "a.png")
    assert relink(project, new, quiet, dry_run=True) == (1, ["../data/a.png", "../data/c.png"])
    assert project.state().root == str(root)
    assert paths(project) == ["a.png", "b.png", "c.png"]
    assert relink(project, new, quiet) == (1, ["../data/a.png", "../data/c.png"])
    assert paths(project) == ["../data/a.png", "a.png", "../data/c.png"]
    assert relink(project, root, quiet) == (3, [])
    assert paths(project) == ["a.png", "b.png", "c.png"]


def test_a_name_that_now_holds_another_image_is_not_given_to_the_lost_one(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png")
    project, _ = init(plain(root))
    picture(root / "a.png", 77)
    assert relink(project, root, quiet) == (1, ["a.png (item 1)"])
    assert extend(project, plain(root)).counts["new"] == 1
    assert paths(project) == ["a.png (item 1)", "b.png", "a.png"]


def test_a_folder_with_none_of_the_images_is_refused(tmp_path, init):
    project, _ = init(plain(pictures(tmp_path / "data", "a.png")))
    with pytest.raises(AlctlError, match="none of the pool's images"):
        relink(project, pictures(tmp_path / "other", "a.png", first=9), quiet)
    assert paths(project) == ["a.png"]
    assert project.state().root == str(tmp_path / "data")


# Manifests


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("m.csv", "path,label,split\na.png,cat,train\nsub/b c.png,dog,test\nd.png,,val\n", "utf-8-sig"),
        ("m.csv", 'label,other,path,split\r\ncat,x,./a.png,\r\ndog,,"sub/b c.png",TEST\r\n,,d.png,Dev\r\n', "utf-8"),
        ("m.tsv", "path\tlabel\tsplit\na.png\tcat\t\nsub\\b c.png\tdog\ttest\nd.png\t\tvalidation\n", "utf-8-sig"),
        (
            "m.jsonl",
            '{"path": "a.png", "label": "cat"}\n\n{"path": "sub/b c.png", "label": "dog", "split": "test"}\n'
            '{"path": "d.png", "label": null, "split": "val", "boxes": []}\n',
            "utf-8-sig",
        ),
    ],
)  # fmt: skip
def test_a_manifest_gives_paths_labels_and_splits(tmp_path, name, text, encoding):
    root = pictures(tmp_path / "data", "a.png", "sub/b c.png", "d.png", "not listed.png")
    dataset = manifest(root / name, text, encoding)
    assert [(entry.path, entry.split, entry.category) for entry in dataset.entries()] == [
        ("a.png", "pool", "cat"),
        ("sub/b c.png", "test", "dog"),
        ("d.png", "validation", None),
    ]
    assert list(dataset.entries()) == list(dataset.entries())


def test_a_manifest_makes_a_project_with_absolute_outside_and_missing_files(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png")
    far = pictures(tmp_path / "far", "b.png", first=2)
    rows = ["path,label", "a.png,cat", f"{far / 'b.png'},dog", "gone.png,cat", f"{root}/../data/a.png,cat"]
    project, report = init(manifest(root / "m.csv", "\n".join(rows)))
    assert known(project) == {"a.png": "cat", "../far/b.png": "dog", "gone.png": None}
    assert by_path(report.broken, "problem") == {"gone.png": "No such file or directory"}
    assert extend(project, manifest_dataset(root / "m.csv")).counts["new"] == 0


def test_a_file_that_a_manifest_lists_once_per_object_is_one_item(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png", "c.png")
    (root / "broken.png").touch()
    rows = [
        "path,label,split",
        *["a.png,cat,train"] * 3,
        *["broken.png,cat,"] * 3,
        "b.png,cat,",
        "b.png,dog,",
    ]
    rows += ["c.png,cat,train", "c.png,cat,test"]
    project, report = init(manifest(root / "m.csv", "\n".join(rows)))
    assert known(project) == {"a.png": "cat", "broken.png": None, "b.png": None, "c.png": "cat"}
    assert splits(project) == {"c.png": "test"}
    assert by_path(report.contradictions, "category").keys() == {"b.png"}
    assert report.counts["repeated"] == 6
    assert report.duplicates == []


def test_numbers_as_labels_in_jsonl_are_classes_and_zero_is_one_of_them(tmp_path, init):
    root = pictures(tmp_path / "data", "a.png", "b.png")
    rows = [{"path": "a.png", "label": 0}, {"path": "b.png", "label": 1}]
    project, _ = init(manifest(root / "m.jsonl", "\n".join(map(json.dumps, rows))))
    assert known(project) == {"a.png": "0", "b.png": "1"}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("m.csv", "file,label\na.png,cat\n", r"no column 'path'; its columns are: file, label"),
        ("m.csv", "", "no column 'path'"),
        ("m.csv", "path,split\na.png,train\nb.png,holdout\n", r"line 3: split 'holdout' is none of"),
        ("m.csv", "path,label\na.png,cat\n,dog\n", "line 3: no path"),
        ("m.csv", "path\na\0b.png\n", "m.csv"),
        ("m.csv", 'path\n"' + "x" * 200_000 + '"\n', "not a table"),
        ("m.jsonl", '{"path": "a.png"}\n{"path": \n', "line 2: not JSON"),
        ("m.jsonl", '["a.png"]\n', "line 1: an object with a path is wanted, not list"),
        ("m.jsonl", '{"path": "a\\u0000b.png"}\n', "line 1: no file can be called"),
        ("m.jsonl", '{"path": "\\ud800.png"}\n', "line 1: no file can be called"),
        ("m.jsonl", '{"file": "a.png"}\n', "line 1: no path"),
    ],
)
def test_a_bad_manifest_is_an_error_with_its_line(tmp_path, name, text, sentence):
    root = pictures(tmp_path / "data", "a.png", "b.png")
    with pytest.raises(AlctlError, match=sentence):
        create(tmp_path / "project", manifest(root / name, text), Options(), quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_manifest_in_another_encoding_gives_a_sentence(tmp_path):
    root = pictures(tmp_path / "data", "a.png")
    for encoding in ("utf-16", "latin-1"):
        with pytest.raises(AlctlError, match="UTF-8"):
            list(manifest(root / "m.csv", "path,label\na.png,Kätzchen\n", encoding).entries())
    with pytest.raises(AlctlError, match="cannot read"):
        list(manifest_dataset(root / "nothing.csv").entries())


# The project folder


def test_a_folder_that_is_occupied_is_left_alone(tmp_path):
    root = pictures(tmp_path / "data", "a.png")
    full, file, mine = tmp_path / "full", tmp_path / "file", tmp_path / "p.partial"
    pictures(full, "precious.png")
    file.write_text("precious")
    pictures(mine, "precious.png")
    for folder, sentence in (
        (full, "not an empty folder"),
        (file, "not an empty folder"),
        (tmp_path / "p", "in the way"),
    ):
        with pytest.raises(AlctlError, match=sentence):
            create(folder, plain(root), Options(), quiet)
    assert (full / "precious.png").is_file()
    assert (mine / "precious.png").is_file()
    assert file.read_text() == "precious"
    (tmp_path / "empty").mkdir()
    create(tmp_path / "empty", plain(root), Options(), quiet)
    with pytest.raises(AlctlError, match="already holds a project"):
        create(tmp_path / "empty", plain(root), Options(), quiet)


KILLED = """
import os, signal, sys
from pathlib import Path
from alctl.dataset.index import Options, create, folder_dataset
def progress(stage, done, total):
    if done >= int(sys.argv[3]):
        print("now", flush=True)
        os.kill(os.getpid(), signal.SIGKILL) if sys.argv[4] == "die" else sys.stdin.readline()
create(Path(sys.argv[1]), folder_dataset(Path(sys.argv[2]), class_folders=False), Options(), progress)
"""


def test_an_init_that_was_killed_leaves_no_project_and_the_next_one_works(tmp_path):
    root = pictures(tmp_path / "data", *(f"{i}.png" for i in range(150)))
    for moment in (1, 150):
        command = [sys.executable, "-c", KILLED, tmp_path / "project", root, str(moment), "die"]
        assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == -9
        assert not (tmp_path / "project").exists()
    assert (tmp_path / "project.partial").is_dir()
    create(tmp_path / "project", plain(root), Options(), quiet)
    project = open_project(tmp_path / "project")
    assert len(paths(project)) == 150
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "project"]
    assert not (tmp_path / "project" / "init.lock").exists()
    project.engine.dispose()


def test_two_inits_of_one_folder_do_not_disturb_each_other(tmp_path):
    root = pictures(tmp_path / "data", *(f"{i}.png" for i in range(3)))
    command = [sys.executable, "-c", KILLED, tmp_path / "project", root, "3", "wait"]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "now\n"
    with pytest.raises(AlctlError, match="another `alctl init`"):
        create(tmp_path / "project", plain(root), Options(), quiet)
    first.communicate("\n")
    assert first.returncode == 0
    project = open_project(tmp_path / "project")
    assert len(paths(project)) == 3
    project.engine.dispose()


def test_a_postgresql_database_holds_one_project_and_a_failed_init_none(tmp_path, postgres_url):
    root = pictures(tmp_path / "data", "a.png")
    (tmp_path / "none").mkdir()
    options = Options(database=postgres_url)
    with pytest.raises(AlctlError, match="no usable image"):
        create(tmp_path / "p0", plain(tmp_path / "none"), options, quiet)
    create(tmp_path / "p1", plain(root), options, quiet)
    with pytest.raises(AlctlError, match="already holds a project"):
        create(tmp_path / "p2", plain(root), options, quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "none", "p1"]
    engine = create_engine(postgres_url)
    assert "staged_item" not in inspect(engine).get_table_names()
    engine.dispose()


# Real data


def test_a_real_table_without_a_path_column_says_which_columns_it_has():
    file = real_data("clothing_dev.zip") / "clothing_dev" / "labels.csv"
    with pytest.raises(AlctlError, match=r"no column 'path'; its columns are: file, label"):
        list(manifest_dataset(file).entries())


def test_real_class_folders_with_a_repeated_file_name_become_labels(tmp_path):
    packed = next(path.parents[1] for path in real_data("cifar10_test.tar.xz").rglob("0000.jpg"))
    for folder in packed.iterdir():
        if folder.is_dir():
            (tmp_path / "data" / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:20]:
                shutil.copy(image, tmp_path / "data" / folder.name)
    report = create(tmp_path / "project", by_class(tmp_path / "data"), Options(), quiet)
    assert report.items == report.labels == 200
    assert report.classes == sorted(report.classes)
    assert len(report.classes) == 10
    assert (report.validation, report.test) == (20, 10)
    assert (report.broken, report.duplicates, report.skipped) == ([], [], [])


def test_the_empty_images_of_a_real_dataset_are_quarantined_and_its_portraits_are_upright(tmp_path):
    for pack in ("openmmlab_samples.tar.xz", "exif_portrait.zip"):
        shutil.copytree(real_data(pack), tmp_path / "data" / pack.partition(".")[0])
    report = create(tmp_path / "project", plain(tmp_path / "data"), Options(verify=True), quiet)
    assert [row.problem for row in report.broken] == ["empty file"] * 4
    project = open_project(tmp_path / "project")
    with project.reading() as connection:
        portraits = [row for row in rows_of(connection, "item") if "Portrait_" in row[1]]
        assert {row[3:] for row in portraits} == {(1200, 1800)}
        assert len(portraits) == 9
    project.engine.dispose()


@pytest.mark.parametrize(
    ("images", "validation", "test"),
    [(3, 0, 0), (4, 0, 0), (10, 2, 0), (60, 12, 3), (100, 20, 5), (200, 20, 10), (300, 30, 15), (5_000, 500, 250),
     (100_000, 500, 500)],
)  # fmt: skip
def test_the_guard_can_judge_by_what_is_reserved_and_four_fifths_are_left_to_teach(images, validation, test):
    assert default_reserved("validation", images) == validation
    assert default_reserved("test", images) == test


def test_classes_of_folders_go_with_the_labels_that_brought_them(init, tmp_path):
    project, _ = init(by_class(pictures(tmp_path / "images", "cat/a.png", "dog/b.png")))
    assert undo_import(project, 1).classes == ["cat", "dog"]
    picture(tmp_path / "images" / "cat" / "c.png", 9)
    extend(project, by_class(tmp_path / "images"))
    assert known(project)["cat/c.png"] == "cat"
    with project.reading() as connection:
        assert categories.resolver(connection) == {"cat": 1, "dog": 2}
