"""Rounds without near-duplicates and within shares, through `select` and the real command."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.config import SelectConfig
from alctl.database import settings
from alctl.dataset import index
from alctl.errors import AlctlError
from alctl.project import Project, open_project
from alctl.report.facts import Options, gather
from alctl.report.pictures import shown
from alctl.report.sections import sections
from alctl.rounds import frozen
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.select import select
from alctl.rounds.select_options import EVERY, Limits, SelectOptions
from tests.data import real_data
from tests.project_files import (
    make_images,
    make_project,
    no_progress,
    paths_of,
    small_project,
    write_csv,
)
from tests.rounds.test_select import label, train
from tests.warm import run_warm, warm_json

NONE = Limits()


def choose(project: Project, k: int, limits: Limits = NONE, **options):
    given = {"device": "cpu", "guard": False, "strategy": "random", **options}
    return select(project, SelectOptions(k, limits=limits, **given), no_progress)


def picked(selected, why: str = "picked") -> list[int]:
    return [pick.item for pick in selected.picks if pick.why == why]


def give_vectors(project: Project, degrees: dict[int, float]) -> None:
    """Give every item a vector in the plane by a table of one's own."""
    angle = {i: np.deg2rad(degrees[i]) for i in degrees}
    paths = paths_of(project)
    rows = [(paths[i], np.cos(angle[i]), np.sin(angle[i])) for i in degrees]
    file = write_csv(project.folder.parent / "vectors.csv", rows, ("path", "x", "y"))
    embed(project, plan_embedding(project, EmbedOptions(f"table:{file}", device="cpu")), no_progress)


COSINE = 0.999  # 2.56 degrees


# --- near-duplicates --------------------------------------------------------------------------------------------------


def test_one_of_a_group_is_chosen_and_the_groups_are_counted_and_recorded(tmp_path):
    project = small_project(tmp_path, 8)
    give_vectors(project, {1: 0, 2: 1, 3: 2, 4: 60, 5: 61, 6: 120, 7: 180, 8: 240})
    selected = choose(project, 5, Limits(duplicates=COSINE), strategy="maxherding")
    assert sorted(picked(selected)) == [1, 4, 6, 7, 8]
    found = selected.duplicates
    assert (found.cosine, found.groups, found.left_out, found.labeled, found.repeated) == (COSINE, 2, 3, 0, 0)
    pairs = [(pair.item, pair.like, pair.apart) for pair in found.closest]
    assert set(pairs[:4]) == {(2, 1, False), (3, 2, False), (5, 4, False), (3, 1, False)}
    assert all(apart for _, _, apart in pairs[4:])
    assert len(found.closest) == 10
    assert selected.params["near_duplicates"]["groups"] == 2
    [row] = gather(project, Options(device="cpu"), no_progress).rounds
    assert row.params["near_duplicates"]["left_out"] == 3


def test_a_candidate_like_a_labeled_image_is_left_out_and_listed(tmp_path):
    project = small_project(tmp_path, 6)
    give_vectors(project, {1: 0, 2: 1, 3: 60, 4: 120, 5: 180, 6: 61})
    label(project, [1])
    selected = choose(project, 3, Limits(duplicates=COSINE), strategy="maxherding")
    assert set(picked(selected)) == {3, 4, 5}
    assert selected.duplicates.labeled == 1
    assert [(pair.item, pair.like, pair.labeled) for pair in selected.duplicates.probably_labeled] == [
        (2, 1, True)
    ]


def test_never_fewer_images_than_asked_while_any_is_left(tmp_path):
    project = small_project(tmp_path, 6)
    give_vectors(project, {1: 0, 2: 0.5, 3: 1, 4: 1.5, 5: 2, 6: 90})
    label(project, [1])
    limits = Limits(duplicates=COSINE, max_share={"folder": 0.2})
    selected = choose(project, 4, limits, strategy="maxherding")
    assert len(set(picked(selected))) == 4
    assert picked(selected)[0] == 6
    assert (selected.duplicates.labeled, selected.duplicates.repeated, selected.limits.beyond) == (4, 3, 0)


def test_what_the_setting_and_the_backbone_say(tmp_path, monkeypatch):
    project = small_project(tmp_path, 6)
    assert choose(project, 2, dry_run=True).duplicates is None
    assert (
        choose(project, 2, Limits(duplicates=0.9), dry_run=True).duplicates.cosine == 0.9
    )  # computed for it
    monkeypatch.setattr(frozen, "PATIENCE", -1)
    with project.reading() as connection:
        assert settings.read(connection, settings.EMBEDDING) is None
    (project.folder / "cache").rename(tmp_path / "cache")
    with pytest.raises(AlctlError, match=r"this takes embeddings.*alctl embed"):
        choose(project, 2, Limits(duplicates=0.9))
    give_vectors(project, {i: 60 * i for i in range(1, 7)})
    own = choose(project, 2, strategy="maxherding", dry_run=True)
    assert own.duplicates is None  # nobody knows what is near in vectors of one's own
    embed(project, plan_embedding(project, EmbedOptions("efficientnet-lite0", device="cpu")), no_progress)
    assert choose(project, 2, strategy="maxherding", dry_run=True).duplicates.cosine == 0.92
    assert choose(project, 2, dry_run=True).duplicates is None  # random stays random unless it is asked
    assert choose(project, 2, Limits(duplicates=0.9), dry_run=True).duplicates.cosine == 0.9
    assert choose(project, 2, Limits(duplicates=0.0), strategy="maxherding", dry_run=True).duplicates is None
    for setting, cosine in ((0.8, 0.8), (0.0, None)):
        other = replace(project, config=replace(project.config, select=SelectConfig(duplicates=setting)))
        found = choose(other, 2, strategy="maxherding", dry_run=True).duplicates
        assert (found and found.cosine) == cosine


def test_two_files_with_the_same_bytes_are_one_item_from_the_start_and_need_no_embedding(tmp_path):
    names = make_images(tmp_path / "images", 3)
    shutil.copyfile(tmp_path / "images" / names[0], tmp_path / "images" / "copy.png")
    project = make_project(tmp_path / "project", tmp_path / "images")
    assert len(picked(choose(project, 10))) == 3


def test_the_control_is_drawn_before_anything_is_left_out(tmp_path):
    """Pitfall 56: with limits it is the same as without, and an image that is like a control image is left out."""
    project = small_project(tmp_path, 30)
    give_vectors(project, {i: i // 3 * 36.0 + i % 3 * 0.5 for i in range(1, 31)})
    plain = choose(project, 10, strategy="maxherding", control=0.5, dry_run=True)
    limits = Limits(duplicates=COSINE, max_share={"folder": 0.1})
    selected = choose(project, 10, limits, strategy="maxherding", control=0.5, dry_run=True)
    control = picked(selected, "control")
    assert control == picked(plain, "control")
    assert len(control) == len(picked(selected)) == 5
    group = Counter(i // 3 for i in [*control, *picked(selected)])
    assert all(group[i // 3] == 1 for i in picked(selected))


@pytest.mark.slow
def test_with_limits_the_control_is_still_uniform(tmp_path):
    project = small_project(tmp_path, 10)
    give_vectors(project, {i: 0.1 * i if i <= 6 else 60.0 * i for i in range(1, 11)})
    counts = np.zeros(11)
    for seed in range(100):
        limits = Limits(duplicates=COSINE)
        for item in picked(choose(project, 4, limits, seed=seed, control=0.5, dry_run=True), "control"):
            counts[item] += 1
    assert counts.sum() == 200
    assert (np.abs(counts[1:] - 20) < 17).all()  # standard deviation 4.0


# --- shares -----------------------------------------------------------------------------------------------------------


def manifest_project(folder: Path, rows, header=("path", "source")) -> Project:
    make_images(folder / "images", len(rows))
    file = write_csv(folder / "images" / "m.csv", rows, header)
    options = index.Options(classes=("cat", "dog"), validation=0, test=0)
    index.create(folder / "project", index.manifest_dataset(file), options, no_progress)
    return open_project(folder / "project")


def test_no_value_of_a_column_has_more_than_its_share(tmp_path):
    rows = [(f"{i:04}.png", "phone" if i < 16 else "web" if i < 18 else "") for i in range(20)]
    project = manifest_project(tmp_path, rows)
    selected = choose(project, 10, Limits(max_share={"source": 0.3}))
    assert Counter(rows[i - 1][1] for i in picked(selected))["phone"] == 6  # 3, and 3 for lack of others
    assert (selected.limits.most, selected.limits.unknown, selected.limits.beyond) == (
        {"source": 3},
        {"source": 2},
        3,
    )
    assert selected.params["limits"]["max_share"] == {"source": 0.3}


def test_a_column_may_come_later_and_the_newest_value_counts(tmp_path):
    project = small_project(tmp_path, 6)
    images = tmp_path / "images"
    for text in ("old", "new"):
        rows = [(f"{i:04}.png", text if i else "one") for i in range(6)]
        file = write_csv(images / "m.csv", rows, ("path", "patient"))
        options = index.Options(validation=0, test=0)
        assert index.add(project, index.manifest_dataset(file), options, no_progress).counts["known"] == 6
    selected = choose(project, 2, Limits(max_share={"patient": 0.5}), dry_run=True)
    assert 1 in picked(selected)
    with pytest.raises(AlctlError, match="no image to choose from has a column 'age'; there are: patient"):
        choose(project, 2, Limits(max_share={"age": 0.5}))


def test_a_manifest_beside_the_folder_of_images_names_the_same_items(tmp_path):
    project = small_project(tmp_path, 4)
    file = write_csv(
        tmp_path / "m.csv", [(f"images/{i:04}.png", "web") for i in range(4)], ("path", "source")
    )
    options = index.Options(validation=0, test=0)
    assert index.add(project, index.manifest_dataset(file), options, no_progress).counts["known"] == 4
    assert choose(project, 2, Limits(max_share={"source": 0.5}), dry_run=True).limits.most == {"source": 1}


def test_folders_and_cameras_are_groups_too(tmp_path):
    images = tmp_path / "images"
    for folder, n, make in (("a", 6, "Canon"), ("b/c", 3, "Nikon"), ("", 3, "")):
        make_images(images / folder, n, seed=n + len(folder))
        for file in (images / folder).glob("*.png"):
            exif = Image.Exif()
            exif[0x010F] = make
            Image.open(file).save(file, exif=exif if make else None)
    project = make_project(tmp_path / "project", images)
    paths = paths_of(project)
    assert len(paths) == 12
    chosen = [paths[i] for i in picked(choose(project, 6, Limits(max_share={"folder": 0.3}), dry_run=True))]
    assert Counter(path.rpartition("/")[0] for path in chosen) == {"a": 2, "b/c": 2, "": 2}
    selected = choose(project, 9, Limits(max_share={"camera": 0.3}), dry_run=True)
    assert Counter(paths[i].partition("/")[0] for i in picked(selected) if "/" in paths[i]) == {
        "a": 3,
        "b": 3,
    }
    assert selected.limits.unknown == {"camera": 3}


def test_without_columns_or_cameras_the_sentence_says_what_there_is(tmp_path):
    project = small_project(tmp_path, 4)
    with pytest.raises(AlctlError, match=r"no column|has a column 'source' \(those of a manifest"):
        choose(project, 2, Limits(max_share={"source": 0.5}))
    with pytest.raises(AlctlError, match="says in its EXIF data"):
        choose(project, 2, Limits(max_share={"camera": 0.5}))
    assert choose(project, 2, dry_run=True).round == 1  # nothing was recorded


# --- classes ----------------------------------------------------------------------------------------------------------


def test_classes_need_a_model_and_labels_of_most_classes(tmp_path):
    project = small_project(tmp_path, 12)
    for limits in (Limits(balance=True), Limits(per_class={EVERY: 2})):
        with pytest.raises(AlctlError, match=r"predicts, and none is asked: run `alctl train` first"):
            choose(project, 2, limits)
    label(project, [1, 2, 3])
    train(project)
    with pytest.raises(AlctlError, match="1 of 2 classes have 2 labels or more"):
        choose(project, 2, Limits(balance=True), strategy="entropy")
    label(project, [4, 5])
    assert choose(project, 4, Limits(balance=True), strategy="entropy", dry_run=True).limits.beyond == 0
    with pytest.raises(AlctlError, match="there is no class 'owl'; there are: cat, dog"):
        choose(project, 2, Limits(per_class={"owl": 2}), strategy="entropy")


def test_picks_are_even_among_predicted_classes_for_rankings_and_greedy_strategies(tmp_path):
    project = small_project(tmp_path, 60)
    give_vectors(project, {i: 6.0 * i for i in range(1, 61)})
    label(project, range(1, 17))
    train(project)
    from alctl.database import items
    from alctl.rounds.groups import classes_of
    from alctl.rounds.pool import source_of
    from alctl.rounds.trained_model import required_model

    model = required_model(project, "cpu")
    with project.reading() as connection:
        found = items.fetch(connection, np.arange(1, 61))
    sources = [source_of(project.state().root, item) for item in found]
    predicted = classes_of(project, model).predicted(model.candidates(project, sources, no_progress)).tolist()
    free = Counter(predicted[16:])
    for strategy in ("entropy", "uherding"):
        selected = choose(project, 8, Limits(balance=True), strategy=strategy, dry_run=True)
        counted = Counter(predicted[i - 1] for i in picked(selected))
        wanted = [min(4, free[0]), min(4, free[1])]
        wanted = [max(wanted[0], 8 - free[1]), max(wanted[1], 8 - free[0])]
        assert [counted[0], counted[1]] == list(selected.limits.balance.values()) == wanted
        most = choose(project, 3, Limits(per_class={"cat": 1, EVERY: 2}), strategy=strategy, dry_run=True)
        assert Counter(predicted[i - 1] for i in picked(most))[0] <= 1 or most.limits.beyond


# --- through the command ----------------------------------------------------------------------------------------------


def test_the_command_says_what_it_left_out(tmp_path):
    project = small_project(tmp_path, 8)
    give_vectors(project, {1: 0, 2: 1, 3: 2, 4: 60, 5: 61, 6: 120, 7: 180, 8: 240})
    label(project, [7, 8])
    words = (
        "select",
        "--k",
        6,
        "--strategy",
        "maxherding",
        "--duplicates",
        COSINE,
        "--max-share",
        "folder=0.5",
    )
    told = run_warm(*words, "--dry-run", "--project", project.folder)
    assert "2 groups of near-duplicates (cosine 0.999 or more): 3 images left out" in told.stdout
    assert "at most 3 images of one folder" in told.stdout
    assert "nothing else was left, so 3 near-duplicates went out as well" in told.stdout + told.stderr
    result = warm_json(*words, "--project", project.folder)
    assert (result["duplicates"]["groups"], result["limits"]["most"]) == (2, {"folder": 3})
    facts = gather(open_project(project.folder), Options(device="cpu"), no_progress)
    assert {pair.item for pair in facts.rounds[0].pairs} <= shown(facts)
    [rounds] = [section for section in sections(facts) if section.name == "rounds"]
    text = str(rounds.blocks)
    assert "2 groups of near-duplicates (cosine 0.999 or more), 3 images left out" in text
    assert "Round 1, the most similar images" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max-share", "source"], "--max-share 'source' is not GROUP=SHARE"),
        (["--max-share", "source=2"], "a share is above 0 and at most 1"),
        (["--max-share", "source=nan"], "a share is above 0 and at most 1"),
        (["--per-class", "cat=many"], "'many' is no number of images"),
        (["--relabel", "--balance"], "--relabel takes no limits"),
    ],
)
def test_a_limit_that_makes_no_sense_is_a_sentence(tmp_path, words, sentence):
    project = small_project(tmp_path, 3)
    done = run_warm("select", "--k", 1, *words, "--project", project.folder)
    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.slow
def test_altered_copies_of_real_photos_are_found_and_other_photos_are_not(tmp_path):
    """60 photos, 12 of them again as a JPEG of quality 40: 12 groups at 0.92, and none among the photos themselves."""
    photos = sorted(real_data("clothing_dev.zip").rglob("*.jpg"))[:60]
    images = tmp_path / "images"
    images.mkdir()
    for i, photo in enumerate(photos):
        shutil.copyfile(photo, images / f"{i:02}.jpg")
        if i < 12:
            Image.open(photo).convert("RGB").save(images / f"{i:02}-again.jpg", quality=40)
    project = make_project(tmp_path / "project", images)
    embed(project, plan_embedding(project, EmbedOptions(device="cpu")), no_progress)
    selected = choose(project, 60, strategy="maxherding")
    paths = paths_of(project)
    assert (selected.duplicates.groups, selected.duplicates.left_out) == (12, 12)
    assert all(pair.path[:2] == pair.like_path[:2] for pair in selected.duplicates.closest)
    assert len({paths[i][:2] for i in picked(selected)}) == 60
