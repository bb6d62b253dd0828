"""Every file and folder of real exports is imported, or refused with a sentence; never anything else."""

from pathlib import Path

import pytest

from alctl.errors import AlctlError
from tests.data import real_data
from tests.project_files import small_project, take

READ = {".json", ".xml", ".csv", ".txt", ".yaml", ".names", ".data", ".png", ".mat", ".npy", ""}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "detection", "pose", "segmentation"])
def test_whatever_lies_in_real_exports_is_imported_or_refused_with_a_sentence(task, tmp_path):
    root = real_data("exports.tar.xz")
    project = small_project(tmp_path, task=task)
    refused = 0
    places = [path for path in sorted(root.rglob("*")) if path.is_dir() or path.suffix.lower() in READ]
    for path in places:
        with pytest.raises(AlctlError) as raised:  # none of their images is in this pool
            take(project, path, add_classes=True)
        assert len(str(raised.value)) > len(str(path)), path
        refused += 1
    assert refused == len(places) > 300


def named(root: Path, place: str) -> Path:
    (found,) = root.rglob(place)
    return found


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("labelme_dataset/img1.xml", "none of the formats"),
        ("mpii_json_dataset/dataset_wo_numpy_files/mpii_annotations.json", "none of the formats"),
        ("vott_json_dataset/dataset/train-export.json", "none of the formats"),
        ("datumaro_dataset/diverse/annotations/train.json", "is Datumaro, which alctl does not read"),
        ("cvat_dataset/for_video/annotations.xml", "CVAT for images"),
        ("coco_captions/annotations/captions_train.json", "caption"),
        ("coco_panoptic/annotations/panoptic_train.json", "panoptic"),
    ],
)
def test_what_alctl_does_not_read_is_said(place, sentence, tmp_path):
    root = real_data("exports.tar.xz")
    with pytest.raises(AlctlError, match=sentence):
        take(small_project(tmp_path, task="detection"), named(root, place), add_classes=True)
