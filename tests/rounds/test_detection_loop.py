"""Detection from nothing to the next round, through the real commands, on real blood cells."""

import csv
import json
import shutil

import pytest

from tests.data import real_data
from tests.warm import run_warm

CLASSES = "RBC,WBC,Platelets"


@pytest.fixture
def cells(tmp_path):
    """Return BCCD's folder, and a manifest of 24 of its images for the pool and 8 for each other split."""
    root = next(real_data("bccd.tar.xz").rglob("BCCD"))
    if not (root / "JPEGImages").is_dir():
        root = next(path.parent for path in root.rglob("JPEGImages"))
    rows = []
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        names = (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:count]
        rows += [
            (str(root / "JPEGImages" / f"{name}.jpg"), {"train": "pool"}.get(split, split)) for name in names
        ]
    with (tmp_path / "images.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "split"), *rows])
    return root


def said(*arguments):
    done = run_warm(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def answered(cells, project, number, folder):
    """Import what annotators say of a round: the files of its images."""
    folder.mkdir()
    with (project / "rounds" / f"{number:04}" / "items.csv").open() as stream:
        for row in csv.DictReader(stream):
            name = next(value for value in row.values() if value.endswith(".jpg")).rpartition("BloodImage")[2]
            shutil.copy(cells / "Annotations" / f"BloodImage{name.removesuffix('.jpg')}.xml", folder)
    said("import-labels", folder, "--option", "origin=0", "--skip-bad", "-p", project)


@pytest.mark.slow
def test_boxes_are_labeled_learned_measured_and_the_next_round_is_chosen(cells, tmp_path):
    project = tmp_path / "project"
    said("init", tmp_path / "images.csv", "--task", "detection", "--classes", CLASSES, "-p", project)
    said("select", "--k", 12, "--strategy", "random", "--format", "voc", "-p", project)
    answered(cells, project, 1, tmp_path / "first")
    training = ["--epochs", 4, "--batch-size", 8, "--width", 16, "--image-size", 96, "--weights", "none"]
    told = said("train", *training, "-p", project)
    assert "training ssd-tiny at 96 px" in told
    assert "ssd300_vgg16 would take about 6 s an image here" in told
    assert "AP: RBC" in told
    assert "mAP@0.5" in told
    assert "this already" in said("train", *training, "-p", project)
    for strategy in ("entropy", "core-set", "learning-loss-diverse"):
        said("select", "--k", 3, "--strategy", strategy, "--dry-run", "-p", project)
    refused = run_warm("select", "--k", 3, "--strategy", "badge", "-p", project)
    assert refused.returncode == 1
    assert "this model predicts boxes" in refused.stderr
    refused = run_warm("predict", "--out", tmp_path / "predictions.csv", "-p", project)
    assert refused.returncode == 1
    assert "predict writes one class for each image, and this model says boxes" in refused.stderr
    said(
        "select", "--k", 4, "--strategy", "learning-loss", "--format", "coco", "--predictions", "-p", project
    )
    assert list((project / "rounds" / "0002").rglob("*.json"))
    answered(cells, project, 2, tmp_path / "second")
    said("train", *training, "-p", project)
    said("report", "--out", tmp_path / "report.html", "-p", project)
    assert "mAP@0.5" in (tmp_path / "report.html").read_text()
    said("export-labels", tmp_path / "labels.json", "--format", "coco", "-p", project)
    assert len(json.loads((tmp_path / "labels.json").read_text())["annotations"]) > 100
