"""Chosen labels against random ones: two probes on the same held-out images, and what it takes to tell them apart."""

from pathlib import Path

import numpy as np
import pytest

from alctl.database import labels, rounds
from alctl.model import probe as probes
from alctl.project import Project
from alctl.report.facts import Options, gather
from alctl.report.label_value import DRAWS
from alctl.report.write import make
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import no_progress, paths_of, small_project, take, write_csv

CLASSES = ("cat", "dog", "eel")


class Made:
    """A project with vectors, and what is true of its images."""

    def __init__(self, folder: Path, n: int = 150) -> None:
        self.project: Project = small_project(folder, n, classes=CLASSES, test=40)
        rng = np.random.default_rng(0)
        self.truth = rng.integers(3, size=n)
        self.vectors = (0.8 * rng.normal(size=(3, 6))[self.truth] + rng.normal(size=(n, 6))).astype(
            np.float16
        )
        paths = paths_of(self.project)
        rows = [(paths[i], *row) for i, row in enumerate(self.vectors.tolist(), start=1)]
        self.table = write_csv(folder / "vectors.csv", rows, ("path", *(f"v{i}" for i in range(6))))
        self.folder = folder

    def embed(self) -> None:
        plan = plan_embedding(self.project, EmbedOptions(f"table:{self.table}"))
        embed(self.project, plan, no_progress)

    def round(self, number: int, k: int, strategy: str, control: float) -> None:
        select(self.project, SelectOptions(k, strategy, control=control), no_progress)
        with self.project.reading() as connection:
            items = [pick.item_id for pick in rounds.picks(connection, number)]
        rows = [(item, CLASSES[self.truth[item - 1]]) for item in items]
        take(self.project, write_csv(self.folder / f"{number}.csv", rows))

    def facts(self):
        return gather(self.project, Options(device="cpu"), no_progress)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two rounds, the second half chosen and half random."""
    found = Made(tmp_path_factory.mktemp("value"))
    found.embed()
    found.round(1, 10, "random", 0.0)
    found.round(2, 20, "uherding", 0.5)
    return found


def test_the_counts_are_those_of_two_probes(made):
    found = made.facts().label_value
    assert found is not None
    with made.project.reading() as connection:
        first = [pick.item_id for pick in rounds.picks(connection, 1) if pick.rank]
        picks = rounds.picks(connection, 2)
        test = [row[0] for row in labels.labeled_items(connection, "test")]
        known = [row[0] for row in labels.labeled_items(connection, "pool")]
    arms = [[p.item_id for p in picks if p.why == why] for why in ("picked", "control")]
    x = made.vectors.astype(np.float64)
    pool = x[np.array(known) - 1]
    mean = (pool / np.linalg.norm(pool, axis=1, keepdims=True)).mean(axis=0)
    right = []
    for arm in arms:
        rows = np.array([*first, *arm]) - 1
        probe = probes.fit(x[rows], made.truth[rows], CLASSES, pool_mean=mean, embedding="")
        said = probes.predict(probe, x[np.array(test) - 1]).argmax(1).numpy()
        right.append(said == made.truth[np.array(test) - 1])
    b, c = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    assert (found.gained, found.lost) == (b, c)
    assert (found.labels, found.images, found.rounds, found.strategies) == (10, 40, [2], ["uherding"])
    assert found.difference.value == pytest.approx((b - c) / 40)


def test_rounds_are_summed_and_a_larger_arm_is_cut_to_the_smaller_again_and_again(tmp_path):
    made = Made(tmp_path)
    made.embed()
    made.round(1, 10, "random", 0.0)
    made.round(2, 20, "uherding", 0.25)
    made.round(3, 20, "uherding", 0.25)
    found = made.facts().label_value
    assert found is not None
    assert (found.rounds, found.labels, found.asked) == ([2, 3], 10, 80)
    assert found.gained * DRAWS == pytest.approx(round(found.gained * DRAWS))
    assert found == made.facts().label_value
    text, _ = make(made.project, "md", Options(device="cpu"), no_progress)
    assert "as many picks of uherding or control images (10 of each, 2 rounds)" in text
    if found.p >= 0.05:
        assert (
            f"They are not told apart: a true difference of 5 points would take about {found.needed:,}"
            in text
        )


def test_without_embeddings_or_control_images_nothing_is_claimed(tmp_path):
    made = Made(tmp_path)
    made.round(1, 10, "random", 0.2)
    assert made.facts().label_value is None
    made.embed()
    assert made.facts().label_value is None  # a random round has nothing to compare
