"""Imports on PostgreSQL: every statement between a file and the label table, which other tests run on SQLite."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alctl.annotators import export_labels
from alctl.annotators.imports.problems import BadRowsError
from alctl.annotators.imports.undo import undo_import
from alctl.database import categories, labels
from alctl.labels import canonical_json
from alctl.project import Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import make_images, make_project, no_progress, take, write_csv

BOX = (2.0, 3.0, 4.0, 5.0)


@pytest.fixture
def make(postgres_url, tmp_path):
    """Makes a project on PostgreSQL of six images of 16 × 16 pixels, items 1 … 6."""

    projects = []

    def made(task: str) -> Project:
        make_images(tmp_path / "images", 6, size=16)
        project = make_project(tmp_path / "project", tmp_path / "images", task=task, database=postgres_url)
        projects.append(project)
        return project

    yield made
    for project in projects:
        project.engine.dispose()


def boxes_of(project: Project) -> dict[int, list[tuple[int, Any]]]:
    """Return class and box of each object, by item."""
    with project.reading() as connection:
        return {
            item: [(id_, thing.bbox) for thing, id_ in canonical_json.loads(text or "[]")]
            for item, _, text in labels.labeled_items(connection, "pool")
        }


def coco(file: Path, found: Sequence[tuple[str, str, tuple[float, ...]]], **image: Any) -> Path:
    """Write one box for each image: its name, a class and the box."""
    classes = {name: n for n, name in enumerate(dict.fromkeys(name for _, name, _ in found), 1)}
    content = {
        "images": [{"id": n, "file_name": path, **image} for n, (path, _, _) in enumerate(found, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": classes[name], "bbox": box}
            for n, (_, name, box) in enumerate(found, 1)
        ],
        "categories": [{"id": n, "name": name} for name, n in classes.items()],
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def studio(file: Path, answers: list[tuple[str, int, int, float]]) -> Path:
    """Write Label Studio's answers in percent of unknown sizes: image, annotator, day and where the box begins."""
    tasks = [
        {
            "id": n,
            "data": {"image": path},
            "annotations": [
                {
                    "id": n,
                    "completed_by": who,
                    "updated_at": f"2026-01-{day:02}T00:00:00Z",
                    "result": [
                        {
                            "type": "rectanglelabels",
                            "value": {
                                "x": x, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["cat"],
                            },
                        }
                    ],
                }
            ],
        }
        for n, (path, who, day, x) in enumerate(answers, 1)
    ]  # fmt: skip
    file.write_text(json.dumps(tasks), encoding="utf-8")
    return file


def test_images_are_matched_by_item_digest_path_end_and_name(make, tmp_path):
    project = make("classification")
    digest = hashlib.sha256((tmp_path / "images" / "0002.png").read_bytes()).hexdigest()
    rows = [
        (1, "", ""), ("", "renamed.png", digest), ("", "0003.png", ""), ("", "images\\0004.png", ""),
        ("", "else/where/0005.png", ""), ("", "images/0000002_0001.png", ""),
    ]  # fmt: skip
    file = write_csv(tmp_path / "l.csv", [(*row, "cat") for row in rows], ("item", "path", "sha256", "label"))
    assert take(project, file).added == 6


def test_every_kind_of_problem_is_explained(make, tmp_path):
    project = make("classification")
    rows = [
        (99, "", "", "cat", ""), (1, "other.png", "", "cat", ""), (2, "", "ab" * 32, "cat", ""),
        (3, "", "", "cot", ""), (4, "", "", "cat", "ann"), (4, "", "", "dog", "ann"), (5, "", "", "cat", "bob"),
        (5, "", "", "cat", "bob"), ("", "nowhere.png", "", "cat", ""),
    ]  # fmt: skip
    file = write_csv(tmp_path / "l.csv", rows, ("item", "path", "sha256", "label", "annotator"))
    with pytest.raises(BadRowsError) as raised:
        take(project, file)
    assert [problem.line for problem in raised.value.problems] == [2, 3, 4, 5, 6, 7, 9, 10]
    result = take(project, file, skip_bad=True, add_classes=True, unknown_images="leave")
    assert (result.added, result.unknown, len(result.rejected)) == (2, 1, 6)
    assert result.new_classes == ["cot"]


def test_objects_are_scaled_clipped_refused_and_renumbered(make, tmp_path):
    project = make("detection")
    found = [
        ("0000.png", "typo", (30.0, 1.0, 4.0, 4.0)),  # far outside
        ("0001.png", "tpyo", (-0.9, 1.0, 0.8, 4.0)),  # nothing would be left
        ("0002.png", "owl", (12.0, 3.0, 4.5, 5.0)),
        ("0003.png", "cat", BOX),
        ("nowhere.png", "ytpo", BOX),
    ]
    result = take(project, coco(tmp_path / "l.json", found), add_classes=True, skip_bad=True)
    assert (result.added, len(result.rejected), result.unknown, result.new_classes) == (2, 2, 1, ["owl"])
    assert boxes_of(project) == {3: [(3, (12.0, 3.0, 4.0, 5.0))], 4: [(1, BOX)]}
    with pytest.raises(BadRowsError, match="16 × 16 pixels, and its labels are for 32 × 32"):
        take(project, coco(tmp_path / "m.json", found[3:4], width=32, height=32))
    assert take(project, studio(tmp_path / "s.json", [("0004.png", 1, 1, 25.0)])).added == 1
    assert boxes_of(project)[5] == [(1, (4.0, 0.0, 8.0, 8.0))]


def test_the_newest_answer_of_an_annotator_holds_in_whatever_order_files_come(make, tmp_path):
    project = make("detection")
    two = [("0000.png", 1, 1, 0.0), ("0000.png", 1, 3, 25.0), ("0000.png", 2, 2, 50.0)]
    assert take(project, studio(tmp_path / "a.json", two)).added == 2
    old = take(project, studio(tmp_path / "b.json", [("0000.png", 1, 2, 50.0)]))
    assert (old.outdated, old.batch) == (1, None)
    new = take(project, studio(tmp_path / "c.json", [("0000.png", 1, 4, 50.0)]))
    assert (new.changed, boxes_of(project)[1]) == (1, [(1, (8.0, 0.0, 8.0, 8.0))])
    assert undo_import(project, new.batch or 0).labels == 1
    with project.reading() as connection:
        rows = labels.with_items(connection, "", every_annotator=True)
    assert [json.loads(row["annotations"])[0]["bbox"][0] for row in rows] == [4.0, 8.0]
    assert take(project, tmp_path / "c.json").changed == 1


def test_the_same_file_again_a_round_and_an_undo(make, tmp_path):
    project = make("classification")
    number = select(project, SelectOptions(k=2, strategy="random"), no_progress).round
    rows = [(item, "cat") for item in range(1, 7)]
    file = write_csv(tmp_path / "l.csv", rows)
    first = take(project, file, round=number)
    assert (first.added, first.outside) == (2, 4)
    assert (take(project, file).added, take(project, file).earlier) == (4, 2)
    with project.reading() as connection:
        assert [batch.id for batch in labels.imports(connection)] == [1, 2]
    assert undo_import(project, 1).labels == 2
    assert len(boxes_of(project)) == 4
    out = export_labels.export_labels(project, tmp_path / "out.csv", "csv", every_annotator=True)
    assert (out.labels, out.left_out) == (4, {})


def test_a_name_that_postgresql_refuses_is_a_problem_of_its_row(make, tmp_path):
    project = make("classification")
    rows = [(1, "ca\0t", ""), (2, "cat", "a\0b"), (3, "cat", "ann")]
    file = write_csv(tmp_path / "l.csv", rows, ("item", "label", "annotator"))
    result = take(project, file, skip_bad=True, add_classes=True)
    assert (result.added, [problem.line for problem in result.rejected]) == (1, [2, 3])
    with project.reading() as connection:
        assert categories.categories(connection) == ["cat", "dog"]
