"""Label files as tools and people leave them: each case of the shared folder becomes what its index says is right."""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from alctl.annotators.imports.import_labels import Imported
from alctl.database import categories
from alctl.dataset import index
from alctl.errors import AlctlError
from alctl.files import write_whole
from alctl.labels import canonical_json
from alctl.project import CONFIG, Project, config_text, open_project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.data import label_cases
from tests.project_files import copied, lasting_folder, no_progress, take

Labels = Mapping[str, tuple[str, ...]]
"""What an image has by its path: each class with its box, or a class alone."""


class Case(NamedTuple):
    """A file, and what it becomes: labels, or words of the sentence that refuses it."""

    name: str
    file: str
    right: Labels | str
    options: Mapping[str, str] = {}
    task: str = "detection"
    said: str = ""
    """What is counted."""
    add: bool = False


BOX = "cat 10 10 20 20"
VOC = {"origin": "0"}
ONE = {"a.jpg": (BOX,)}
SEVERAL = {"a.jpg": ("cat 10 10 30 20",)}
CASES = [
    Case("voc_cvat_all_frames", "", {"0.jpg": ("cat 10 10 40 30",)}, VOC, said="4 images without objects"),
    Case(
        "voc_cvat_all_frames", "",
        {"0.jpg": ("cat 10 10 40 30",), **{f"{n}.jpg": () for n in range(1, 5)}}, {**VOC, "empty": "true"},
    ),
    *(Case("masks_white", kind, SEVERAL, task="segmentation") for kind in ("grey", "rgb", "bit")),
    Case(
        "ls_two_images", "p.json", {"a.jpg": ("cat 10 8 20 16",), "ref/b.jpg": ("dog 50 40 20 16",)},
        said="2 answers are about one of several images",
    ),
    Case("ls_two_images", "q.json", {"ref/b.jpg": ("dog 50 40 20 16",)}),
    Case("voc_stale_filename", "", r"'b\.jpg'.*'a\.jpg'", VOC),
    Case("coco_rot_cvat", "instances_default.json", {"a.jpg": ("cat 45 5 10 60",)}, said="rotated boxes"),
    *(
        Case("round_ls_upload", file, dict.fromkeys(("Straße+2.jpg", "my photo (1).jpg", "plain.jpg"), (box,)), said="3 .*number")
        for file, box in (
            ("project.json", "cat 10 8 20 16"), ("coco.json", "cat 5 5 9 9"), ("rf.json", "cat 5 5 9 9"),
            ("yolo", "cat 45 36 10 8"),
        )
    ),
    Case(
        "coco_ls_upload", "result.json", {"cat one.jpg": (BOX,), "dog.jpg": ("dog 1 2 3 4",)}, said="upload",
    ),
    Case(
        "coco_win_prefix", "result.json", {"BitBlt_True.png": (BOX,), "sub/12.jpg": ("dog 1 2 3 4",)}, said="upload",
    ),
    Case(
        "coco_roboflow", "", {"a.jpg": ("cat 10 10 20 20.5",), "b.png": ("dog 10 10 20 20.5",)}, said="Roboflow",
    ),
    Case(
        "voc_converted_ext", "", dict.fromkeys(("a.jpg", "b.jpg", "c.JPG"), ("cat 10 10 40 30",)), VOC,
        said="suffix",
    ),
    Case("csv_case_ext", "t.csv", {"IMG_1.JPG": ("cat",), "b.jpeg": ("dog",)}, task="classification", said="suffix"),
    Case("coco_url", "result.json", {"sub/cat one.jpg": (BOX,), "dog.jpg": ("dog 1 2 3 4",)}),
    Case("coco_bom_nan_strings", "bom.json", ONE),
    Case("coco_bom_nan_strings", "u16.json", ONE),
    Case("coco_bom_nan_strings", "nan.json", "image id 0: 'a.jpg'.*NaN"),
    Case("coco_bom_nan_strings", "str.json", "'10', which is not a number"),
    Case("coco_bom_nan_strings", "w0.json", ONE),
    Case("coco_bom_nan_strings", "wnull.json", ONE),
    Case("coco_bom_nan_strings", "nocrowd.json", {"a.jpg": ("cat 1 2 3 4",)}),
    Case("coco_bom_nan_strings", "catmissing.json", "category id 7 is not in the file"),
    Case("coco_bom_nan_strings", "catnull.json", "category id None is not in the file"),
    Case("coco_bom_nan_strings", "flatseg.json", "polygon is 10, not a list of numbers"),
    Case("coco_bom_nan_strings", "twopoint.json", "polygon of 4 numbers"),
    Case("coco_bom_nan_strings", "rlebytes.json", "run|mask"),
    Case("coco_dup_category", "inf.json", {"a.jpg": ("cat 5 5 9 9",)}, add=True),
    Case("coco_dup_category", "ids.json", {"a.jpg": ("cat 5 5 9 9", "dog 1 1 2 2")}, add=True),
    Case("coco_dup_category", "emptyrle.json", "run|mask", add=True),
    Case("yolo_dups_crlf_bom", "", {"a.jpg": ("cat 40 32 20 16",), "b.jpg": ("dog 40 32 20 16",)}, said="twice"),
    Case("yolo_float_class", "", {"a.jpg": ("cat 40 32 20 16",)}),
    Case(
        "csv_tf_shuffled", "t.csv", {"a.jpg": ("cat 1 1 19 19", "dog 30 30 20 20"), "b.jpg": ("dog 1 1 19 19",)},
    ),
    *(
        Case("csv_excel_sep", file, {"a.jpg": ("cat",)}, task="classification")
        for file in ("s.csv", "u16.csv")
    ),
    Case("csv_excel_sep", "semi.csv", {"a.jpg": ("cat",), "b.jpg": ("dog",)}, task="classification"),
    Case("csv_excel_sep", "cp1252.csv", "UTF-8", task="classification"),
    Case("csv_wheat", "t.csv", {"0001.jpg": ("cat 34 22 56 36",)}, {"label": "cat"}),
    Case("csv_wheat", "oi.csv", {"0001.jpg": ("cat 10 16 20 32",)}),
    Case("csv_wheat", "via.csv", "VIA"),
    Case("csv_wheat", "retina.csv", {"a.jpg": ("cat 1 1 19 19",)}),
    Case("csv_wheat", "auto.csv", "columns"),
    Case("csv_wheat", "voxel.csv", {"a.jpg": ("cat",)}, task="classification"),
    Case("csv_xywh_center", "t.csv", "xywh.*center"),
    Case("csv_xywh_center", "t.csv", {"a.jpg": ("cat 10 10 5 5",)}, {"columns": "xywh=x:y:w:h"}),
    Case("csv_xywh_center", "t.csv", {"a.jpg": ("cat 7.5 7.5 5 5",)}, {"columns": "center=x:y:w:h"}),
    *(Case("csv_xywh_center", file, {"a.jpg": ("cat 1 1 4 4",)}) for file in ("u.csv", "v.csv")),
    *(
        Case(
            "csv_kaggle_idcode", file, {"000c1434d8d7.png": ("2",), "001639a390f0.png": ("4",)}, options,
            "classification", add=True,
        )
        for file, options in (("renamed.csv", {}), ("train.csv", {}), (
            "train.csv", {"columns": "image=id_code,label=diagnosis"},
        ))
    ),
    *(
        Case("coco_lists_by_image", file, tool)
        for file, tool in (
            ("labelbox.ndjson", "Labelbox"), ("scale.json", "Scale"), ("bdd.json", "BDD"), ("v7.json", "V7"),
            ("manifest.jsonl", "SageMaker"), ("datumaro.json", "Datumaro"), ("supervisely.json", "Supervisely"),
            ("cityscapes.json", "Cityscapes"), ("viaproj.json", "VIA"),
        )
    ),
    Case("coco_lists_by_image", "annotations.json", "CreateML"),
    Case("coco_lists_by_image", "labelme.json", "labelme JSON"),
    Case("coco_lists_by_image", "via.json", "VIA"),
    *(
        Case("folders_other", file, tool)
        for file, tool in (
            ("dota", "DOTA"), ("kitti", "KITTI"), ("super", "Supervisely"), ("wider.txt", "WIDER"),
            ("train.tfrecord", "TFRecord"), ("lm", "labelme"),
        )
    ),
    *(
        Case("zips_other", file, tool)
        for file, tool in (
            ("datumaro.zip", "Datumaro"), ("cvat_backup.zip", "CVAT backup"), ("seven.7z", "7z"), ("rar.rar", "RAR"),
            ("tar.tar.gz", "tar"), ("xlsx.xlsx", "Excel"), ("openimages.zip", "OpenImages"),
            ("fo_labels.json", "FiftyOne"),
        )
    ),
    Case("zips_other", "makesense.csv", {"a.jpg": ("cat 10 10 20 20",)}),
    Case("zips_other", "makesense_yolo.zip", "names"),
    Case("voc_size_swapped", "", "width and height.*swapped", VOC),
    Case("masks_roboflow", "train", SEVERAL, task="segmentation", said="Roboflow"),
]  # fmt: skip


@cache
def made(name: str, task: str) -> Path:
    """Return a folder with the images of a case and a project of them; for a round's case, with a round."""
    folder, images = lasting_folder(), label_cases() / name / "img"
    classes = ("cat",) if name in ("masks_white", "coco_rot_cvat", "voc_size_swapped") else ("cat", "dog")
    wanted = index.Options(classes=classes, task=task, validation=0, test=0)
    (folder / "images").symlink_to(images)
    found = index.folder_dataset(folder / "images", class_folders=False)
    index.create(folder / "project", found, wanted, no_progress)
    write_whole(folder / "project" / CONFIG, config_text(first="random", database=wanted.database))
    project = open_project(folder / "project")
    if name == "round_ls_upload":
        select(project, SelectOptions(k=3, strategy="random"), no_progress)
    project.engine.dispose()
    return folder


def imported(case: Case, folder: Path) -> tuple[Project, Imported]:
    """Import a case's file into a project of its own."""
    project = copied(made(case.name, case.task), folder)
    file = label_cases() / case.name / "in" / case.file
    return project, take(project, file, add_classes=case.add, options=dict(case.options))


def in_force(project: Project) -> dict[str, tuple[str, ...]]:
    """Return what each labeled image has."""
    found: dict[str, tuple[str, ...]] = {}
    with project.reading() as connection:
        names = categories.categories(connection)
        rows = connection.exec_driver_sql(
            "SELECT i.path, l.category_id, l.annotations FROM label AS l JOIN item AS i ON i.id = l.item_id"
        )
        for path, class_, objects in rows:
            things = canonical_json.loads(objects) if objects else []
            found[path] = (
                tuple(sorted(_shown(names[id_ - 1], thing.bbox) for thing, id_ in things))
                if class_ is None
                else (names[class_ - 1],)
            )
    return found


def _shown(name: str, box: tuple[float, ...] | None) -> str:
    return " ".join([name, *(f"{number:g}" for number in box or ())])


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{case.file}-{n}" for n, case in enumerate(CASES)])
def test_a_case_becomes_what_is_right(case: Case, tmp_path: Path):
    if isinstance(case.right, str):
        with pytest.raises(AlctlError, match=f"(?s){case.right}"):
            imported(case, tmp_path)
        return
    project, result = imported(case, tmp_path)
    assert in_force(project) == {path: tuple(sorted(things)) for path, things in case.right.items()}
    told = "; ".join(f"{count} {what}" for what, count in result.notes.items())
    assert re.search(case.said, told), told


def test_every_case_of_the_folder_is_in_the_table():
    assert {case.name for case in CASES} == {
        entry.name for entry in os.scandir(label_cases()) if entry.is_dir()
    }
