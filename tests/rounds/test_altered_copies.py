"""The cosine from which two images are near-duplicates, where it is not known beforehand."""

import numpy as np
import pytest
import torch
from PIL import Image

from alctl.rounds.altered_copies import ALTERED, calibrate, is_measured, known_threshold, threshold
from alctl.rounds.backbones import ProjectBackbone, Used, used
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import no_progress, small_project


def test_most_copies_are_found_and_hardly_any_other_image():
    copies, others = torch.linspace(0.9, 1, 101), torch.linspace(0, 0.5, 101)
    assert threshold(copies, others) == 0.905  # 95 of 100 lie above
    assert threshold(copies, others + 0.45) == 0.945  # or one in a hundred is like another one


def test_copies_are_saved_again_halved_and_cropped():
    rows, columns = np.mgrid[0:80, 0:120].astype(np.uint8)
    image = Image.fromarray(np.stack([rows, columns, rows], axis=2))
    again, half, middle = (alter(image) for alter in ALTERED)
    assert again.size == image.size
    assert 0 < np.abs(np.asarray(again, int) - np.asarray(image, int)).mean() < 5
    assert half.size == (60, 40)
    assert middle.size == (114, 76)
    assert middle.getpixel((0, 0)) == (2, 3, 2)


@pytest.mark.parametrize(("count", "views"), [(24, 2), (5, 2), (24, 1)])
def test_a_backbone_is_calibrated_once_by_its_own_images(tmp_path, count, views):
    project = small_project(tmp_path, count)
    options = EmbedOptions(size=32, views=views, device="cpu")
    plan = plan_embedding(project, options)
    embed(project, plan, no_progress)
    with project.reading() as connection:
        known = used(connection)
        assert known == Used(plan.name, plan.key)
        found = known_threshold(connection, known)
    assert is_measured(known) == (views == 1)
    if count < 20 or views == 1:
        assert found is None
        return
    assert found is not None
    assert 0 < found <= 1
    assert isinstance(plan.source, ProjectBackbone)
    assert calibrate(project, known, plan.source, no_progress) is None  # not again
    chosen = select(project, SelectOptions(3, "maxherding", device="cpu", dry_run=True), no_progress)
    assert chosen.duplicates is not None
    assert chosen.duplicates.cosine == found
