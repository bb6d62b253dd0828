"""`alctl show`: contact sheets with what annotators said, and where a round lies among all embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.database import rounds
from alctl.errors import AlctlError
from alctl.images.contact_sheet import contact_sheet, thumbnails
from alctl.images.decode import Source
from alctl.project import Project
from alctl.report import show
from alctl.rounds import train_plan, train_run
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.fakes import tiny
from tests.project_files import no_progress, small_project, take, write_csv
from tests.warm import run_warm, warm_json


def rounds_of(folder: Path) -> Project:
    """Make a project with a labeled random round, a model, and a second round, partly random, of which one is answered."""
    project = small_project(folder, 60)
    first = select(project, SelectOptions(12), no_progress)
    rows = [(pick.item, ("cat", "dog")[i % 2]) for i, pick in enumerate(first.picks)]
    take(project, write_csv(folder / "labels.csv", rows))
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    list(train_run.run_training(project, plan, no_progress))
    second = select(project, SelectOptions(8, device="cpu", guard=False, control=0.25), no_progress)
    take(project, write_csv(folder / "more.csv", [(second.picks[0].item, "cat")]))
    return project


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that no test changes."""
    return rounds_of(tmp_path_factory.mktemp("show"))


def test_the_sheet_says_what_annotators_said_since_and_which_images_are_random(project):
    with project.reading() as connection:
        picks = rounds.picks(connection, 2)
    small = thumbnails(
        [Source(p.item_id, f"{project.state().root}/{p.path}", p.digest) for p in picks], no_progress
    ).images
    said = {p.item_id: "no answer yet" for p in picks}
    said[picks[0].item_id] = "cat"
    for pick in picks[-2:]:
        said[pick.item_id] = "(random) no answer yet"
    shown = show.contact_sheet(project, 2, no_progress)
    assert same(shown.image, contact_sheet(picks, small, said))
    assert shown.about == {"round": 2, "strategy": "learning-loss", "images": 8, "shown": 8}


def test_a_label_that_is_too_long_stays_below_its_own_image():
    picks = [rounds.Pick(i, "", b"", 1, 1, i, 1.0, "picked") for i in (1, 2)]
    long = contact_sheet(picks, [None, None], {1: "a very long\nname " * 20})
    none = contact_sheet(picks, [None, None], {})
    assert np.array_equal(np.asarray(long)[:, 140:], np.asarray(none)[:, 140:])
    assert not same(long, none)


def test_a_broken_image_leaves_its_place_blank(tmp_path):
    project = rounds_of(tmp_path)
    with project.reading() as connection:
        broken = rounds.picks(connection, 2)[3]
    (tmp_path / "images" / broken.path).write_bytes(b"no image")
    whole = np.asarray(show.contact_sheet(project, 2, no_progress).image)
    tile = whole[8:136, 8 + 3 * 136 : 136 + 3 * 136]
    assert (tile == 255).all()
    assert not (whole[8:136, 8 + 2 * 136 : 136 + 2 * 136] == 255).all()


def test_the_embedding_holds_picks_labels_and_the_rest_and_repeats(project):
    first, second = (show.embedding(project, 2, "cpu", no_progress) for _ in range(2))
    assert first.about["images"] == {"rest": 60 - 12 - 8, "labeled": 12, "picked": 8}
    assert (first.about["run"], first.about["random_state"]) == (1, 0)
    assert first.about == second.about
    assert same(first.image, second.image)
    red, _, blue = np.asarray(first.image).astype(int).transpose(2, 0, 1)
    for kind, there in (
        ("picked", red - blue > 100),
        ("labeled", blue - red > 100),
        ("rest", (red > 150) & (red < 220)),
    ):
        assert there.sum() > 5 * first.about["images"][kind], kind


def test_the_first_round_is_embedded_by_the_newest_model(project):
    assert show.embedding(project, 1, "cpu", no_progress).about["images"] == {
        "rest": 48,
        "labeled": 0,
        "picked": 12,
    }


def test_points_that_are_apart_stay_apart():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(40, 16)), rng.normal(size=(40, 16)) + 30]).astype(np.float32)
    places, parameters = show.arrange(vectors, 3)
    centres = places[:40].mean(axis=0), places[40:].mean(axis=0)
    spread = max(places[:40].std(axis=0).max(), places[40:].std(axis=0).max())
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * spread
    assert parameters["random_state"] == 3
    assert parameters["perplexity"] == pytest.approx(79 / 3)


def test_equal_embeddings_are_refused():
    with pytest.raises(AlctlError, match="all embeddings are the same"):
        show.arrange(np.ones((20, 4), np.float32), 0)


def test_the_command_draws_the_last_round_and_the_file_says_how(project, tmp_path):
    done = run_warm("show", "-p", project.folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "round-0002.png") as image:
        assert json.loads(image.info["alctl"])["round"] == 2
    drawn = warm_json(
        "show", 2, "-p", project.folder, "--embedding", "--device", "cpu", "--out", tmp_path / "e.png"
    )
    with Image.open(tmp_path / "e.png") as image:
        assert json.loads(image.info["alctl"]) == {
            key: value for key, value in drawn.items() if key not in {"file", "missing"}
        }
    assert {file.name for file in tmp_path.iterdir()} == {"round-0002.png", "e.png"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((9,), "there is no round 9; the last one is 2"),
        ((2, "--out", "a.xyz"), "a.xyz is no picture file"),
        ((2, "--out", "no/a.png"), "cannot write no/a.png"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(project, tmp_path, arguments, said):
    done = run_warm("show", *arguments, "-p", project.folder, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_before_the_first_round_there_is_nothing_to_show(tmp_path):
    with pytest.raises(AlctlError, match="no round was selected yet"):
        show.last_round(small_project(tmp_path))


def test_an_embedding_needs_a_model(tmp_path):
    project = small_project(tmp_path)
    select(project, SelectOptions(3), no_progress)
    with pytest.raises(AlctlError, match="nothing is trained yet"):
        show.embedding(project, 1, "cpu", no_progress)
