"""Selecting a round: strategies speak in positions, the pool in ids."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from sqlalchemy import update

from alctl.annotators import classes
from alctl.database.tables import training_run
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model.checkpoint import read, write
from alctl.model.strategy import STRATEGIES, QueryStrategy, Selection
from alctl.model.tensors import Targets
from alctl.project import Project
from alctl.rounds import train_plan, train_run, trained_model
from alctl.rounds.predict import predict
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.rounds.strategy_choice import make_strategy
from alctl.status import check, status
from tests.fakes import tiny
from tests.project_files import (
    TINY_FLAGS,
    make_images,
    make_project,
    no_progress,
    parsed,
    paths_of,
    small_project,
    subset_of,
    take,
    write_csv,
)
from tests.warm import run_code, run_warm, warm_json


def choose(project: Project, k: int = 3, **options):
    return select(project, SelectOptions(k, **{"device": "cpu", "guard": False, **options}), no_progress)


def picked(selected) -> list[int]:
    return [pick.item for pick in selected.picks if pick.rank is not None]


def label(project: Project, ids, classes=("cat", "dog")) -> None:
    rows = [(i, classes[i % len(classes)]) for i in ids]
    take(project, write_csv(project.folder / f"labels-{min(ids)}.csv", rows))


def train(project: Project, **changes) -> None:
    plan = train_plan.plan_training(project, tiny(epochs=1, **changes), None)
    list(train_run.run_training(project, plan, no_progress))


# --- the stub model ---------------------------------------------------------------------------------------------------


def gray_of(item: int) -> int:
    """Return the gray level of an item: distinct for 1 … 250, and in no order."""
    return item * 73 % 251


def make_brightness_the_predicted_loss(project: Project) -> None:
    """Overwrite the weights of the last training run, and its digest, so that the predicted loss is gray × a constant."""
    file = project.folder / "models" / "run-0001.safetensors"
    weights, header = read(file)
    for name, tensor in weights.items():
        if name.endswith(("mean", "bias")):  # of the images, of batch normalisation, of linear layers
            tensor.zero_()
        elif tensor.dim() == 1:  # standard deviations, batch normalisation's weights and running variances
            tensor.fill_(1.0)
        else:
            tensor.fill_(0.01)
    write(file, weights, header)
    with project.writing("test") as connection:
        connection.execute(update(training_run).values(digest=file_digest(file)))


def test_the_real_command_picks_exactly_the_brightest_images_of_the_subset(tmp_path):
    """Were scores and items out of step by one, or a batch, a cache row or the subset in another order, this would fail.

    The gray levels are distinct and in no order of the ids, so any other matching of the 50 scores to the 50 items
    names other items: two different permutations agree on the first 7 places by chance once in 50·49·…·44 times.
    The cache is filled in the order of training first (items 1 to 20), so its rows are not in the order of the ids
    of the subset either. The exported pixels are looked at in the end: item, path and file belong together too.
    """
    images, folder = tmp_path / "images", tmp_path / "project"
    images.mkdir()
    project = make_project_of_grays(folder, images, 200)
    label(project, range(1, 21))
    run_warm("train", "--epochs", "1", "--project", folder, *TINY_FLAGS)
    make_brightness_the_predicted_loss(project)

    subset = subset_of(project, 50, seed=0, number=1)  # an oracle: what the round is going to see
    assert len(set(subset)) == 50
    assert set(subset).isdisjoint(range(1, 21))
    expected = sorted(subset, key=gray_of, reverse=True)[:7]

    result = warm_json(
        "select", "--k", "7", "--subset", "50", "--no-guard", "--device", "cpu", "--project", folder
    )

    assert [pick["item"] for pick in result["picks"]] == expected
    scores = [pick["score"] for pick in result["picks"]]
    ratios = [score / gray_of(item) for score, item in zip(scores, expected, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 7, rel=1e-4)
    with (Path(result["folder"]) / "items.csv").open(encoding="utf-8", newline="") as stream:
        exported = [Image.open(Path(result["folder"]) / row["image"]) for row in csv.DictReader(stream)]
    assert [image.getpixel((0, 0)) for image in exported] == [gray_of(item) for item in expected]


def make_project_of_grays(folder: Path, images: Path, n: int) -> Project:
    for item in range(1, n + 1):
        Image.new("L", (8, 8), gray_of(item)).save(images / f"{item:03}.png")
    project = make_project(folder, images)
    assert paths_of(project) == {item: f"{item:03}.png" for item in range(1, n + 1)}
    return project


# --- what is selected, and what never ---------------------------------------------------------------------------------


def test_the_first_round_is_random_and_takes_the_reserved_images_along(tmp_path):
    project = small_project(tmp_path, 20, validation=3, test=4)
    selected = choose(project, 5)
    assert (selected.strategy, selected.run, len(picked(selected)), selected.reserved) == (
        "random",
        None,
        5,
        7,
    )
    why = [pick.why for pick in selected.picks]
    assert [why.count(word) for word in ("picked", "validation", "test")] == [5, 3, 4]
    assert all((pick.rank is None) == (pick.why != "picked") for pick in selected.picks)
    assert len({pick.item for pick in selected.picks}) == 12
    assert status(project).states["test"]["out"] == 4
    assert choose(project, 5).reserved == 0


def test_an_item_is_never_sent_twice_until_nothing_is_left(tmp_path):
    project = small_project(tmp_path, 20, validation=2, test=3)
    sent: list[int] = []
    for _ in range(5):
        sent += picked(choose(project, 4))
    assert len(sent) == len(set(sent)) == 15  # the last two rounds: three, then nothing
    nothing = choose(project, 4)
    assert nothing.picks == []
    assert len(status(project).rounds) == 4  # an empty round is not recorded
    assert check(project) == []


def test_more_than_is_left_gives_what_is_left(tmp_path):
    selected = choose(small_project(tmp_path, 6), 100)
    assert (selected.requested, len(picked(selected)), selected.left) == (100, 6, 6)


def test_resend_takes_what_is_out_or_skipped_but_nothing_labeled_reserved_or_unusable(tmp_path):
    project = small_project(tmp_path, 12, test=2)
    free = picked(choose(project, 10))
    labeled, skipped, unusable, *out = free
    rows = [(labeled, "cat", ""), (skipped, "", "skip"), (unusable, "", "unusable")]
    take(project, write_csv(tmp_path / "l.csv", rows, ("item", "label", "status")))
    assert choose(project, 10, dry_run=True).picks == []
    assert sorted(picked(choose(project, 10, resend=True))) == sorted([skipped, *out])


def test_a_dry_run_records_nothing_and_says_what_the_real_one_then_does(tmp_path):
    project = small_project(tmp_path, 10)
    dry = choose(project, 4, dry_run=True)
    assert status(project).rounds == []
    assert list(project.folder.glob("rounds/*")) == []
    assert picked(choose(project, 4)) == picked(dry)


def test_the_same_seed_selects_the_same_and_another_seed_does_not(tmp_path):
    project = small_project(tmp_path, 40)
    first = picked(choose(project, 10, seed=1, dry_run=True))
    assert picked(choose(project, 10, seed=1, dry_run=True)) == first
    assert picked(choose(project, 10, seed=2, dry_run=True)) != first


def test_every_strategy_sees_the_same_subset(tmp_path):
    project = small_project(tmp_path, 40)
    label(project, range(1, 9))
    train(project)
    expected = subset_of(project, 12, seed=0, number=1)
    for strategy in ("random", "learning-loss", "entropy"):
        selected = choose(project, 12, strategy=strategy, subset=12, dry_run=True)
        assert sorted(picked(selected)) == expected
        assert selected.candidates == 12


def test_a_subset_smaller_than_k_grows_to_k(tmp_path):
    assert len(picked(choose(small_project(tmp_path, 10), 6, subset=2))) == 6


def test_once_trained_the_project_selects_by_predicted_loss_and_says_with_which_run(tmp_path):
    project = small_project(tmp_path, 20)
    label(project, range(1, 9))
    train(project)
    selected = choose(project, 3)
    assert (selected.strategy, selected.run) == ("learning-loss", 1)
    scores = [pick.score for pick in selected.picks]
    assert scores == sorted(scores, reverse=True)


def test_a_model_whose_classes_grew_is_used_and_the_new_ones_are_named(tmp_path):
    project = small_project(tmp_path, 20)
    label(project, range(1, 9))
    train(project)
    take(project, write_csv(tmp_path / "l.csv", [(9, "newt"), (10, "cat")]), add_classes=True)
    selected = choose(project, 3)
    assert selected.stale == ["newt"]
    assert len(picked(selected)) == 3


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "params", "sentence"),
    [
        ("entropi", {}, "did you mean 'entropy'"),
        ("random", {"beta": "4"}, "no parameter 'beta'; it has: none"),
        ("badge", {"strange": "1"}, "no parameter 'strange'"),
        ("typiclust", {"neighbours": "many"}, "strategy 'typiclust'"),
    ],
)
def test_a_strategy_or_parameter_that_does_not_exist_is_a_sentence(strategy, params, sentence):
    with pytest.raises(AlctlError, match=sentence):
        make_strategy(strategy, params)


@pytest.mark.parametrize("strategy", ["learning-loss", "entropy", "badge"])
def test_a_strategy_that_needs_a_model_says_so_before_there_is_one(tmp_path, strategy):
    project = small_project(tmp_path, 6)
    with pytest.raises(AlctlError, match="run `alctl train` first"):
        choose(project, 2, strategy=strategy)
    assert status(project).rounds == []


def test_a_missing_image_is_left_out_and_named_and_not_quarantined(tmp_path):
    project = small_project(tmp_path, 6)
    (tmp_path / "images" / "0003.png").unlink()
    selected = choose(project, 6)
    assert sorted(pick.item for pick in selected.picks) == [1, 2, 3, 5, 6]
    assert list(selected.missing) == [4]
    assert status(project).states["pool"]["unlabeled"] == 1


def test_many_missing_images_are_an_error_that_names_all_and_relink_and_quarantines_nothing(tmp_path):
    project = small_project(tmp_path, 6)
    for name in ("0003.png", "0004.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(AlctlError, match=r"(?s)0003\.png.*0004\.png.*alctl relink"):
        choose(project, 6)
    assert status(project).states["pool"]["unlabeled"] == 6
    assert status(project).rounds == []


# --- quarantine -------------------------------------------------------------------------------------------------------


def hide_damage(folder: Path, name: str) -> None:
    """Make a PNG whose header and end are whole, so that `init` takes it, and whose pixels do not decode."""
    data = bytearray((folder / name).read_bytes())
    middle = data.index(b"IDAT") + 10
    data[middle : middle + 20] = bytes(20)
    (folder / name).write_bytes(data)


def test_an_image_that_does_not_decode_is_quarantined_and_the_next_candidate_takes_its_place(tmp_path):
    names = make_images(tmp_path / "images", 12)
    hide_damage(tmp_path / "images", names[4])
    hide_damage(tmp_path / "images", names[7])
    project = make_project(tmp_path / "project", tmp_path / "images")
    order = picked(choose(project, 12, seed=3, dry_run=True))
    assert sorted(order) == [1, 2, 3, 4, 6, 7, 9, 10, 11, 12]
    assert {row.id for row in status(project).unusable} == {5, 8}
    selected = choose(project, 10)
    assert len(picked(selected)) == 10
    assert status(project).states["pool"] == {
        "labeled": 0, "out": 10, "overdue": 0, "unlabeled": 0, "skipped": 0, "unusable": 2,
    }  # fmt: skip


def test_a_file_that_changed_since_it_was_indexed_is_quarantined_with_that_reason(tmp_path):
    project = small_project(tmp_path, 8)
    changed = tmp_path / "images" / "0002.png"
    changed.write_bytes(changed.read_bytes()[:40])
    selected = choose(project, 8)
    assert list(selected.quarantined) == [3]
    assert "not the one that was indexed" in selected.quarantined[3]
    assert sorted(picked(selected)) == [1, 2, 4, 5, 6, 7, 8]


def test_a_broken_reserved_image_does_not_go_out(tmp_path):
    names = make_images(tmp_path / "images", 8)
    for name in names[:4]:
        hide_damage(tmp_path / "images", name)
    project = make_project(tmp_path / "project", tmp_path / "images", test=4)
    selected = choose(project, 8)
    assert {pick.item for pick in selected.picks} == {5, 6, 7, 8}
    assert sorted(selected.quarantined) == [1, 2, 3, 4]


def test_scoring_quarantines_what_does_not_decode_and_fills_the_subset_up(tmp_path):
    names = make_images(tmp_path / "images", 30)
    project_images = tmp_path / "images"
    for name in names[20:24]:
        hide_damage(project_images, name)
    project = make_project(tmp_path / "project", project_images)
    label(project, range(1, 9))
    train(project)
    selected = choose(project, 5, subset=18)
    assert set(selected.quarantined) <= {21, 22, 23, 24}
    assert selected.quarantined
    assert selected.candidates == 18
    assert set(picked(selected)).isdisjoint(selected.quarantined)
    assert check(project) == []


def test_training_leaves_out_an_image_that_does_not_decode_and_names_it(tmp_path):
    names = make_images(tmp_path / "images", 10)
    hide_damage(tmp_path / "images", names[2])
    project = make_project(tmp_path / "project", tmp_path / "images")
    label(project, range(1, 11))
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    done = train_run.to_the_end(train_run.run_training(project, plan, no_progress), lambda _: None)
    assert list(done.quarantined) == [3]
    assert done.run.labeled == 9
    assert status(project).states["pool"]["unusable"] == 1


def test_predictions_hold_one_line_for_every_usable_image_and_quarantine_the_rest(tmp_path):
    names = make_images(tmp_path / "images", 12)
    hide_damage(tmp_path / "images", names[11])
    project = make_project(tmp_path / "project", tmp_path / "images", test=2)
    label(project, range(1, 9))
    train(project)
    model = trained_model.required_model(project, "cpu")
    assert predict(project, model, tmp_path / "all.csv", "all", no_progress).images == 11
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["item"]) for row in rows] == list(range(1, 12))
    assert [row["path"] for row in rows] == names[:11]
    assert {row["predicted"] for row in rows} <= {"cat", "dog"}
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)


# --- plugins ----------------------------------------------------------------------------------------------------------

THIRD_PARTY = """
from dataclasses import dataclass
import torch
from alctl.model.strategy import QueryStrategy, Selection

@dataclass(frozen=True)
class Backwards(QueryStrategy):
    step: int = 1

    def query(self, unlabeled, labeled, n, rng):
        positions = torch.arange(len(unlabeled) - 1, -1, -self.step)[:n]
        return Selection(positions, positions.double())
"""


def test_a_strategy_of_another_distribution_works_through_the_real_command(tmp_path):
    site = tmp_path / "site"
    info = site / "elsewhere-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "elsewhere.py").write_text(THIRD_PARTY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[alctl.strategies]\nbackwards = elsewhere:Backwards\n")
    project = small_project(tmp_path, 10)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from alctl.__main__ import main; main()"
    words = ("select", "--k", 3, "--strategy", "backwards", "--param", "step=2", "--json")
    result = run_code(code, *words, "--project", project.folder)
    assert [pick["item"] for pick in parsed(result)["picks"]] == [10, 8, 6]
    assert parsed(result)["params"] == {"step": 2}


def test_strategies_get_the_targets_of_labeled_images_and_none_of_others(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Look(QueryStrategy):
        def query(self, unlabeled, labeled, n, rng):
            for candidates in (unlabeled, labeled):
                candidates.map(noted)
            return Selection(torch.arange(n), torch.zeros(n, dtype=torch.float64))

    seen: list[Targets | None] = []

    def noted(said):
        seen.append(said.target)
        return torch.zeros(len(said.embedding))

    project = small_project(tmp_path)
    take(project, write_csv(tmp_path / "l.csv", [(5, "cat"), (2, "dog"), (3, "dog")]))
    list(
        train_run.run_training(project, train_plan.plan_training(project, tiny(epochs=1), None), no_progress)
    )
    monkeypatch.setattr(STRATEGIES, "load", lambda name: Look)
    options = SelectOptions(1, "entropy", device="cpu", dry_run=True)
    select(project, options, no_progress)
    assert seen[0] is None
    assert seen[1] is not None
    assert seen[1]["class"].tolist() == [1, 1, 0]  # of items 2, 3, 5
    seen.clear()
    classes.add(project, ["owl"])
    take(project, write_csv(tmp_path / "m.csv", [(4, "owl")]))
    select(project, options, no_progress)
    assert seen == [None, None]  # the model has never seen an owl
