"""One range for all images of more than 8 bits in a project: measured by `init`, written down, used by everything."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.database import settings
from alctl.dataset import measure_levels
from alctl.images.levels import Range
from alctl.project import Project, open_project
from alctl.rounds.pool import source_of
from alctl.rounds.training_set import cache_of
from tests.fakes import classifier
from tests.project_files import no_progress
from tests.warm import run_warm, warm_json


def deep(file: Path, *values: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([values] * len(values), np.uint16)).save(file)


def written(project: Project) -> dict[str, Range]:
    with project.reading() as connection:
        return {str(kind): range_ for kind, range_ in settings.levels(connection).items()}


def seen(project: Project, size: int) -> dict[str, list[int]]:
    """Return what a network sees of the first row of each image."""
    task = classifier(names=("cat", "dog"), size=size)
    with project.reading() as connection:
        from alctl.database import items

        found = items.fetch(connection, items.usable(connection, "all"))
    sources = [source_of(project.state().root, item) for item in found]
    pixels = cache_of(project, task).load(sources, no_progress)
    return {item.path: pixels[i, 0, 0].tolist() for i, item in enumerate(found)}


def init(tmp_path: Path, *args: object) -> Project:
    warm_json("init", tmp_path / "images", "--validation", 0, "--test", 0, "-p", tmp_path / "p", *args)
    return open_project(tmp_path / "p")


def test_12_bits_in_16_are_measured_once_for_dark_and_bright_images_alike(tmp_path):
    deep(tmp_path / "images" / "bright.png", 0, 1000, 2000, 4000)
    for name, brightest in (("dark.png", 255), ("darker.png", 256)):
        deep(tmp_path / "images" / name, 0, 100, 200, brightest)
    project = init(tmp_path)
    assert written(project) == {"16-bit": Range(0, 4095)}
    assert seen(project, 4) == {
        "bright.png": [0, 62, 125, 249], "dark.png": [0, 6, 12, 16], "darker.png": [0, 6, 12, 16],
    }  # fmt: skip


def test_init_prints_the_range_and_how_it_was_found(tmp_path):
    for i in range(70):
        deep(tmp_path / "images" / f"{i}.png", 0, i, 1023, 4)
    said = run_warm("init", tmp_path / "images", "-p", tmp_path / "p").stdout
    assert "16-bit images go from 0 (black) to 1,023 (white), as 64 of them show; --range sets it" in said


def test_what_a_person_says_is_not_measured(tmp_path):
    deep(tmp_path / "images" / "a.png", 0, 10, 20, 30)
    project = init(tmp_path, "--range", "10,4095")
    assert written(project) == {"16-bit": Range(10, 4095)}


@pytest.mark.parametrize("given", ["5", "5,5", "9,1", "0,inf", "a,b", "1,2,3"])
def test_a_range_that_is_none_is_refused(tmp_path, given):
    deep(tmp_path / "images" / "a.png", 0, 10)
    done = run_warm("init", tmp_path / "images", "-p", tmp_path / "p", "--range", given)
    assert done.returncode == 1
    assert "--range" in done.stderr
    assert not (tmp_path / "p").exists()


def test_a_range_stays_when_more_images_come_and_the_first_deep_ones_are_measured_then(tmp_path):
    Image.new("RGB", (4, 4), "red").save((tmp_path / "images").mkdir() or tmp_path / "images" / "a.png")
    project = init(tmp_path)
    assert written(project) == {}
    deep(tmp_path / "images" / "b.png", 0, 4000)
    warm_json("add", tmp_path / "images", "-p", tmp_path / "p")
    assert written(project) == {"16-bit": Range(0, 4095)}
    deep(tmp_path / "images" / "c.png", 0, 60000)
    Image.fromarray(np.array([[0.0, 20.0, 36.5]] * 3, np.float32)).save(tmp_path / "images" / "d.tif")
    report = warm_json("add", tmp_path / "images", "-p", tmp_path / "p")
    assert report["levels"] == [{"kind": "floating point", "black": 0, "white": 36.5, "images": 1}]
    assert written(project) == {"16-bit": Range(0, 4095), "floating point": Range(0, 36.5)}


def test_the_sample_is_that_of_the_digests_and_not_of_the_order(tmp_path):
    from alctl.images.scan import Probe

    probes = [(f"{i}.png", Probe(bytes([i]) * 32, 1, 1, None, "16-bit")) for i in range(200)]
    found = []
    for order in (probes, probes[::-1]):
        sample = measure_levels.Sample()
        for path, probe in order:
            sample.see(path, probe)
        found.append({kind: sorted(paths) for kind, paths in sample.paths().items()})
    assert found[0] == found[1]
    assert len(found[0]["16-bit"]) == measure_levels.SAMPLE
