"""Embedding a project: what lacks a vector gets one, once, and selecting uses them."""

import hashlib
import importlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from alctl.dataset import index, moved
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source
from alctl.images.embeddings import Embeddings
from alctl.model.backbone import Backbone
from alctl.model.efficientnet_lite import EfficientNetLite0
from alctl.project import Project, open_project
from alctl.rounds import train_plan, train_run
from alctl.rounds.backbones import used
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.frozen import FrozenGroups, vectors
from alctl.rounds.pool import quarantine
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import EmbeddingStatus, status
from tests.fakes import tiny
from tests.project_files import (
    make_images,
    make_project,
    no_progress,
    paths_of,
    small_project,
    subset_of,
    take,
    write_csv,
)


def run(project: Project, backbone: str = "", **options):
    plan = plan_embedding(project, EmbedOptions(backbone, **{"device": "cpu", **options}))
    return embed(project, plan, no_progress)


def sources(project: Project, *ids: int):
    paths, root = paths_of(project), Path(project.state().root)
    files = {i: root / paths[i] for i in ids}
    return [Source(i, str(file), hashlib.sha256(file.read_bytes()).digest()) for i, file in files.items()]


def frozen_vectors(project: Project, groups):
    return FrozenGroups(project, groups, no_progress, device="cpu").found


def table_of(project: Project, rows, header=None):
    file = project.folder.parent / "mine.csv"
    rows = list(rows)
    write_csv(file, rows, header or ("path", *(f"v{i}" for i in range(len(rows[0]) - 1))))
    return f"table:{file}"


# --- the default backbone ---------------------------------------------------------------------------------------------


def test_every_usable_image_gets_a_vector_once(tmp_path):
    project = small_project(tmp_path, 6, validation=1, test=1)
    assert status(project).embedding is None
    done = run(project)
    assert (done.backbone, done.dimension) == ("efficientnet-lite0", 1280)
    assert (done.embedded, done.already, done.lacking, done.excluded) == (6, 0, 0, 0)
    assert done.images_per_second == pytest.approx(done.embedded / done.seconds)
    assert status(project).embedding == EmbeddingStatus("efficientnet-lite0", 6, 0)
    plan = plan_embedding(project, EmbedOptions(device="cpu"))
    assert (len(plan.ids), plan.already, plan.seconds) == (0, 6, 0.0)
    again = embed(project, plan, no_progress)
    assert (again.embedded, again.already) == (0, 6)


def test_a_plan_says_how_long_it_takes_and_writes_nothing(tmp_path):
    project = small_project(tmp_path, 3)
    plan = plan_embedding(project, EmbedOptions(device="cpu"))
    assert plan.images_per_second is not None
    assert plan.seconds == pytest.approx(3 / plan.images_per_second)
    assert status(project).embedding is None
    assert not project.cache.exists()


def test_a_vector_is_that_of_the_backbone_for_the_images_own_pixels(tmp_path):
    project = small_project(tmp_path, 10)
    plan = plan_embedding(project, EmbedOptions(device="cpu"))
    embed(project, plan, no_progress)
    frozen = frozen_vectors(project, [sources(project, 9), sources(project, 2, 5)])
    assert frozen is not None
    assert [tuple(part.shape) for part in frozen] == [(1, 1280), (2, 1280)]
    path = paths_of(project)[9]
    assert isinstance(plan.source, Backbone)
    pixels = plan.source.encode(Image.open(f"{project.state().root}/{path}").convert("RGB"))
    expected = plan.source.embed(torch.from_numpy(pixels)[None])
    assert torch.allclose(frozen[0], expected, atol=5e-3)
    assert not torch.allclose(frozen[1][:1], expected, atol=5e-2)


def test_a_renamed_image_keeps_its_vector_and_a_new_one_lacks_it(tmp_path):
    project = small_project(tmp_path, 3)
    run(project)
    images = tmp_path / "images"
    (images / "0001.png").rename(images / "zzz.png")
    moved.relink(project, images, no_progress)
    assert len(plan_embedding(project, EmbedOptions(device="cpu")).ids) == 0
    make_images(tmp_path / "more", 2, seed=9)
    for name in ("0000.png", "0001.png"):
        (tmp_path / "more" / name).rename(images / f"new-{name}")
    index.add(project, index.folder_dataset(images, class_folders=False), index.Options(), no_progress)
    assert status(project).embedding == EmbeddingStatus("efficientnet-lite0", 3, 2)
    found = FrozenGroups(project, [sources(project, 1), sources(project, 4)], no_progress, device="cpu")
    assert (found.at_hand.missing, found.at_hand.images, found.at_hand.at_hand) == (1, 2, True)
    done = run(project)
    assert (done.embedded, done.already) == (2, 3)
    assert FrozenGroups(project, [sources(project, 1, 4)], no_progress, device="cpu").at_hand.missing == 0


def test_the_backbone_and_the_size_are_remembered(tmp_path):
    project = small_project(tmp_path, 2)
    run(project, size=64)
    plan = plan_embedding(project, EmbedOptions(device="cpu"))
    assert plan.key.preprocessing["size"] == 64
    assert len(plan.ids) == 0
    assert len(plan_embedding(project, EmbedOptions(device="cpu", size=96)).ids) == 2


def test_a_broken_image_is_quarantined_and_the_others_get_their_vectors(tmp_path):
    project = small_project(tmp_path, 4)
    (tmp_path / "images" / paths_of(project)[2]).write_bytes(b"no image")
    done = run(project)
    assert list(done.quarantined) == [2]
    assert done.embedded == 3
    assert [row.id for row in status(project).unusable] == [2]
    assert status(project).embedding == EmbeddingStatus("efficientnet-lite0", 3, 0)


@pytest.mark.parametrize("cache", ["", "shared"])
def test_an_image_that_becomes_unusable_no_longer_counts(tmp_path, cache):
    """With a cache folder of its own, which several projects may share, only this project's images count."""
    project = small_project(tmp_path, 4)
    if cache:
        shared = f'[storage]\ncache = "{tmp_path / cache}"\n'
        (project.folder / "alctl.toml").write_text(shared)
        project = open_project(project.folder)
        make_images(tmp_path / "others", 3, seed=5)
        other = make_project(tmp_path / "other", tmp_path / "others")
        (other.folder / "alctl.toml").write_text(shared)
        run(open_project(other.folder), size=32)
        assert status(project).embedding is None
    run(project, size=32)
    assert status(project).embedding == EmbeddingStatus("efficientnet-lite0", 4, 0)
    quarantine(project, BrokenImages({2: "broken since"}))
    assert status(project).embedding == EmbeddingStatus("efficientnet-lite0", 3, 0)


def test_a_missing_image_is_left_out_and_counted_as_lacking(tmp_path):
    project = small_project(tmp_path, 40)
    plan = plan_embedding(project, EmbedOptions(device="cpu", size=32))
    (tmp_path / "images" / paths_of(project)[40]).unlink()
    done = embed(project, plan, no_progress)
    assert (done.embedded, done.lacking, list(done.missing)) == (39, 1, [40])
    assert len(Embeddings(project.cache, plan.key)) == 39


def test_many_missing_images_stop_it_and_what_was_done_is_kept(tmp_path):
    project = small_project(tmp_path, 40)
    plan = plan_embedding(project, EmbedOptions(device="cpu", size=32))
    for item in range(34, 41):
        (tmp_path / "images" / paths_of(project)[item]).unlink()
    with pytest.raises(AlctlError, match="alctl relink"):
        embed(project, plan, no_progress)
    assert len(Embeddings(project.cache, plan.key)) == 33


def test_a_subset_is_that_of_the_next_round_with_the_labeled_and_the_reserved(tmp_path):
    project = small_project(tmp_path, 30, validation=2, test=2)
    free = subset_of(project, 26, seed=0, number=1)
    take(project, write_csv(tmp_path / "l.csv", [(free[0], "cat"), (free[1], "dog")]))
    drawn = set(subset_of(project, 5, seed=project.state().seed, number=1))
    plan = plan_embedding(project, EmbedOptions(device="cpu", size=32, subset=5))
    assert set(plan.ids.tolist()) == drawn | {free[0], free[1]} | (set(range(1, 31)) - set(free))
    assert embed(project, plan, no_progress).lacking == 30 - len(plan.ids)


# --- other backbones --------------------------------------------------------------------------------------------------


def test_the_model_of_the_last_training_run_is_a_backbone_until_the_next_one(tmp_path):
    project = small_project(tmp_path, 8)
    take(project, write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 5)]))
    with pytest.raises(AlctlError, match="no network is trained yet"):
        run(project, "model")
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    list(train_run.run_training(project, plan, no_progress))
    done = run(project, "model")
    assert (done.embedded, done.dimension) == (8, 8 * 4)
    assert frozen_vectors(project, [sources(project, 1, 8)]) is not None
    assert status(project).embedding == EmbeddingStatus("model", 8, 0)
    list(
        train_run.run_training(project, train_plan.plan_training(project, tiny(epochs=2), None), no_progress)
    )
    assert frozen_vectors(project, [sources(project, 1, 8)]) is None
    assert status(project).embedding == EmbeddingStatus("model", 0, 8)
    assert run(project).embedded == 8


def test_a_table_of_ones_own_is_matched_by_path(tmp_path):
    project = small_project(tmp_path, 4)
    paths = paths_of(project)
    done = run(project, table_of(project, [(paths[3], 3, 30), (paths[1], 1, 10), ("else.png", 7, 7)]))
    assert (done.embedded, done.lacking, done.dimension) == (2, 2, 2)
    found = frozen_vectors(project, [sources(project, 1, 3)])
    assert found is not None
    assert found[0].tolist() == [[1, 10], [3, 30]]
    assert status(project).embedding == EmbeddingStatus(done.backbone, 2, 2)


def test_a_table_may_be_an_array_beside_a_list_of_paths(tmp_path):
    project = small_project(tmp_path, 3)
    paths = paths_of(project)
    np.save(tmp_path / "v.npy", np.array([[2.0, 0, 1], [1, np.nan, 1], [0, 0, 0]]))
    (tmp_path / "v.txt").write_text(f"{paths[2]}\n{paths[1]}\n{paths[3]}\n")
    done = run(project, f"table:{tmp_path / 'v.npy'}")
    assert (done.embedded, done.excluded) == (3, 2)
    found = frozen_vectors(project, [sources(project, 2)])
    assert found is not None
    assert found[0].tolist() == [[2, 0, 1]]


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        ([("0000.png", "x")], None, "line 2: could not convert"),
        ([("0000.png", 1), ("0001.png",)], None, "line 3: 1 cells instead of 2"),
        ([("0000.png", 1)], ("file", "v"), "first column is not called path"),
        ([("0000.png", 1), ("0000.png", 2)], None, "more than one row for '0000.png'"),
        ([("a/0000.png", 1)], None, "no image of the project has a path of the table, such as a/0000.png"),
        ([("0000.png",)], None, "holds no vectors"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_in_a_sentence(tmp_path, rows, header, sentence):
    project = small_project(tmp_path, 2)
    with pytest.raises(AlctlError, match=sentence):
        run(project, table_of(project, rows, header))
    assert status(project).embedding is None


def test_an_array_that_cannot_be_right_is_refused_in_a_sentence(tmp_path):
    project = small_project(tmp_path, 2)
    file = tmp_path / "v.npy"
    with pytest.raises(AlctlError, match="cannot read"):
        run(project, f"table:{file}")
    file.write_bytes(b"no array")
    with pytest.raises(AlctlError, match=r"not a \.npy file"):
        run(project, f"table:{file}")
    np.save(file, np.arange(4))
    with pytest.raises(AlctlError, match="not one row of floats"):
        run(project, f"table:{file}")
    np.save(file, np.ones((2, 3)))
    (tmp_path / "v.txt").write_text("0000.png\n")
    with pytest.raises(AlctlError, match=r"has 1 lines, and .* has 2 rows"):
        run(project, f"table:{file}")
    with pytest.raises(AlctlError, match=r"neither a \.csv nor a \.npy"):
        run(project, "table:v.parquet")


@pytest.mark.parametrize("backbone", ["model", "table:x.csv"])
def test_a_size_is_refused_where_it_means_nothing(tmp_path, backbone):
    with pytest.raises(AlctlError, match="leave --size out"):
        run(small_project(tmp_path, 1), backbone, size=64)


# --- selecting --------------------------------------------------------------------------------------------------------

HIGHEST = """
import torch
from dataclasses import dataclass
from alctl.model.strategy import QueryStrategy, top_k

@dataclass(frozen=True)
class Highest(QueryStrategy):
    def query(self, unlabeled, labeled, n, rng):
        assert labeled.embeddings().tolist() == [[-1.0, 0.5]], labeled.embeddings()
        return top_k(unlabeled.embeddings()[:, 0], n)
"""


@pytest.fixture
def highest(tmp_path, monkeypatch):
    """A query strategy that takes the images whose vectors begin with the highest number, before any training."""
    packages = tmp_path / "packages"
    info = packages / "highest_first-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "highest_first.py").write_text(HIGHEST)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: highest-first\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[alctl.strategies]\nhighest = highest_first:Highest\n")
    monkeypatch.syspath_prepend(str(packages))
    importlib.invalidate_caches()
    yield "highest"
    sys.modules.pop("highest_first", None)


def test_a_strategy_gets_the_vector_of_each_image_before_anything_is_trained(tmp_path, highest):
    """The numbers are distinct and in no order of the items, so another matching would choose others."""
    project = small_project(tmp_path, 20)
    take(project, write_csv(tmp_path / "l.csv", [(7, "cat")]))
    choose = SelectOptions(3, highest, device="cpu", subset=12)
    number = {i: i * 7 % 23 for i in range(1, 21)} | {7: -1}
    run(project, table_of(project, [(path, number[i], 0.5) for i, path in paths_of(project).items()]))
    subset = subset_of(project, 12, seed=project.state().seed, number=1)
    expected = sorted(subset, key=lambda i: -number[i])[:3]
    selected = select(project, choose, no_progress)
    assert [pick.item for pick in selected.picks] == expected
    assert [pick.score for pick in selected.picks] == [number[i] for i in expected]


def test_an_embedding_that_lacks_a_candidate_is_not_used(tmp_path, highest):
    project = small_project(tmp_path, 5)
    paths = paths_of(project)
    run(project, table_of(project, [(paths[i], i, 0.5) for i in range(1, 5)]))
    with pytest.raises(AlctlError, match="run `alctl embed`"):
        select(project, SelectOptions(2, highest, device="cpu"), no_progress)


@pytest.mark.parametrize("strategy", ["core-set", "uherding", "typiclust"])
def test_a_strategy_that_compares_images_leaves_out_what_has_no_usable_vector(tmp_path, strategy):
    """Zero, infinite and NaN vectors: the farthest from everything, if they counted, so core-set would begin there."""
    project = small_project(tmp_path, 8)
    useless = {2: (0, 0), 5: ("inf", 1), 6: ("nan", 1), 7: (1e-30, 0)}
    paths = paths_of(project)
    take(project, write_csv(tmp_path / "l.csv", [(7, "cat"), (8, "dog")]))
    run(project, table_of(project, [(path, *useless.get(i, (i, 1))) for i, path in paths.items()]))
    selected = select(project, SelectOptions(6, strategy, device="cpu", subset=0), no_progress)
    assert sorted(pick.item for pick in selected.picks) == [1, 3, 4]
    assert selected.incomparable == [2, 5, 6, 7]
    at_random = select(project, SelectOptions(6, "random", device="cpu", subset=0), no_progress)
    assert sorted(pick.item for pick in at_random.picks) == [2, 5, 6]
    assert not at_random.incomparable


def test_where_no_vector_is_usable_a_strategy_that_compares_images_says_so(tmp_path):
    project = small_project(tmp_path, 3)
    run(project, table_of(project, [(path, 0, 0) for path in paths_of(project).values()]))
    with pytest.raises(
        AlctlError, match="no image that could be chosen has an embedding that tells anything"
    ):
        select(project, SelectOptions(2, "maxherding", device="cpu"), no_progress)


def test_two_views_are_the_mean_of_the_unit_vectors_of_an_image_and_its_mirror_image(tmp_path):
    project = small_project(tmp_path, 2, size=40)
    one = plan_embedding(project, EmbedOptions(device="cpu", size=32))
    run(project, size=32, views=2)
    again = plan_embedding(project, EmbedOptions(device="cpu"))
    assert (len(again.ids), again.key.preprocessing["views"]) == (0, 2)  # remembered, like the size
    assert again.key.digest != one.key.digest
    assert isinstance(one.source, Backbone)
    image = Image.open(sources(project, 1)[0].path).convert("RGB")
    both = [
        one.source.embed(torch.from_numpy(one.source.encode(seen))[None])[0]
        for seen in (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    ]
    expected = both[0] / both[0].norm() + both[1] / both[1].norm()
    found = frozen_vectors(project, [sources(project, 1)])
    assert found is not None
    assert torch.allclose(found[0][0], expected / expected.norm(), atol=2e-3)
    with pytest.raises(AlctlError, match="leave --views out"):
        run(project, "table:x.csv", views=2)


# --- what holds for every kind of backbone ----------------------------------------------------------------------------


@pytest.fixture(params=["efficientnet-lite0", "torchvision", "timm"])
def own_weights(request, tmp_path):
    """Return what makes a file of random weights, by a seed, and returns the name of the backbone that it is."""
    if request.param == "timm":
        timm = pytest.importorskip("timm")

    def make(seed: int) -> str:
        torch.manual_seed(seed)
        if request.param == "timm":
            network, name = timm.create_model("test_convnext"), "timm:test_convnext"
        elif request.param == "torchvision":
            network, name = torchvision.models.mobilenet_v3_small(), "torchvision:mobilenet_v3_small"
        else:
            network, name = EfficientNetLite0(), "efficientnet-lite0"
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(
            torch.randn(4, 3, 64, 64)
        )  # what is normalised by it is of a size that float16 can tell
        file = tmp_path / f"{seed}.pt"
        torch.save(network.state_dict(), file)
        return f"file:{name}={file}"

    return make


def key_by(project: Project, name: str, **options):
    return plan_embedding(project, EmbedOptions(name, **{"device": "cpu", **options})).key


def test_own_weights_are_a_backbone_with_a_table_of_their_own(tmp_path, own_weights):
    """Vectors never mix: other weights, other views and another file's content are other tables."""
    project = small_project(tmp_path, 3, size=40)
    first, second = own_weights(1), own_weights(2)
    done = run(project, first)
    assert (done.embedded, done.backbone, done.excluded) == (3, first, 0)
    assert status(project).embedding == EmbeddingStatus(first, 3, 0)
    keys = [key_by(project, name, views=views).digest for name in (first, second) for views in (1, 2)]
    assert len(set(keys)) == 4
    assert len(plan_embedding(project, EmbedOptions(device="cpu")).ids) == 0  # it goes on with the same
    shutil.copy(Path(second.partition("=")[2]), Path(first.partition("=")[2]))
    make_images(tmp_path / "images" / "more", 1, seed=9)
    index.add(
        project, index.folder_dataset(tmp_path / "images", class_folders=False), index.Options(), no_progress
    )
    with pytest.raises(AlctlError, match="run `alctl embed` to compute them anew"):
        vectors(project, used_by(project), sources(project, 4), no_progress, "cpu")


def test_the_vectors_of_every_backbone_do_not_depend_on_batches_or_a_stop(tmp_path, own_weights):
    project = small_project(tmp_path, 5, size=40)
    plan = plan_embedding(project, EmbedOptions(own_weights(1), device="cpu"))
    assert isinstance(plan.source, Backbone)
    images = [Image.open(one.path).convert("RGB") for one in sources(project, *range(1, 6))]
    pixels = torch.from_numpy(np.stack([plan.source.encode(image) for image in images]))
    together = plan.source.embed(pixels)
    alone = torch.cat([plan.source.embed(one[None]) for one in pixels])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4 * float(together.abs().max()))
    with pytest.raises(KeyboardInterrupt):
        embed(project, replace(plan, ids=plan.ids[:2]), stopped_after(1))
    again = plan_embedding(project, EmbedOptions(device="cpu"))
    assert again.key == plan.key
    assert embed(project, again, no_progress).embedded == 5 - again.already
    found = frozen_vectors(project, [sources(project, *range(1, 6))])
    assert found is not None
    assert torch.allclose(found[0], together, rtol=2e-3, atol=2e-3 * float(together.abs().max()))


def stopped_after(count: int):
    """Return a progress that stops the work once it has been told of ``count`` images."""

    def shown(stage: str, done: int, total: int) -> None:
        if stage == "embedding images" and done >= count:
            raise KeyboardInterrupt

    return shown


def used_by(project: Project):
    with project.reading() as connection:
        found = used(connection)
    assert found is not None
    return found
