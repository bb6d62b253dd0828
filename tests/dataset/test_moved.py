"""Files that are gone: taken out of the project, found again elsewhere, and never taken for copies of each other."""

import shutil
from pathlib import Path

import pytest

from alctl.database import items, labels, rounds
from alctl.database.bulk import run
from alctl.dataset import index
from alctl.dataset.index import Options, folder_dataset
from alctl.dataset.moved import relink, remove_missing
from alctl.errors import AlctlError
from alctl.project import Project
from tests.pools import send
from tests.project_files import no_progress, paths_of, small_project, take, write_csv


def add(project: Project, folder: Path, *, verify: bool = False) -> index.Ingested:
    dataset = folder_dataset(folder, class_folders=False)
    return index.add(project, dataset, Options(validation=0, test=0, verify=verify), no_progress)


def unusable(project: Project) -> dict[int, str]:
    with project.reading() as connection:
        return {row.id: row.reason for row in items.unusable_items(connection)}


def aliases(project: Project) -> dict[str, int]:
    with project.reading() as connection:
        return dict(run(connection, "SELECT path, item_id FROM duplicate").all())


def test_a_file_that_is_restored_after_a_partial_relink_is_its_own_image_again(tmp_path):
    """It was noted as a copy of the item's file, which does not exist; so nothing could read the image."""
    project = small_project(tmp_path, 4)
    old, new = tmp_path / "images", tmp_path / "new"
    new.mkdir()
    for name in ("0000.png", "0001.png", "0002.png"):
        shutil.move(old / name, new / name)
    lost = (old / "0003.png").rename(tmp_path / "safe.png")
    assert relink(project, new, no_progress).missing == ["../images/0003.png"]
    lost.rename(new / "restored.png")
    report = add(project, new)
    assert report.counts["found again"] == 1
    assert (report.counts["duplicate"], report.counts["new"]) == (0, 0)
    assert paths_of(project)[4] == "restored.png"
    assert aliases(project) == {}


def test_where_an_image_s_own_file_is_deleted_its_copy_takes_its_place(tmp_path):
    project = small_project(tmp_path, 2)
    images = tmp_path / "images"
    for name in ("b.png", "c.png"):
        shutil.copy(images / "0000.png", images / name)
    assert add(project, images).counts["duplicate"] == 2
    (images / "0000.png").unlink()
    report = add(project, images)
    assert report.counts["found again"] == 1
    assert paths_of(project)[1] == "b.png"
    assert aliases(project) == {"c.png": 1}


def test_a_copy_stays_a_copy_while_the_image_s_own_file_is_there(tmp_path):
    project = small_project(tmp_path, 2)
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "images" / "0000.png", tmp_path / "more" / "b.png")
    assert add(project, tmp_path / "more").counts["duplicate"] == 1
    assert paths_of(project)[1] == "0000.png"


def labeled(tmp_path: Path, n: int = 6) -> Project:
    project = small_project(tmp_path, n)
    rows = [(i, ("cat", "dog")[i % 2]) for i in range(1, n)]
    take(project, write_csv(tmp_path / "l.csv", rows))
    return project


def labels_of(project: Project) -> list[int]:
    with project.reading() as connection:
        return sorted(labels.labeled_ids(connection))


def test_what_is_removed_is_not_used_any_more_keeps_its_labels_and_comes_back(tmp_path):
    project = labeled(tmp_path)
    away = tmp_path / "away"
    away.mkdir()
    for name in ("0001.png", "0005.png"):
        (tmp_path / "images" / name).rename(away / name)
    assert remove_missing(project, no_progress, dry_run=True).images == ["0001.png", "0005.png"]
    assert unusable(project) == {}
    assert remove_missing(project, no_progress).images == ["0001.png", "0005.png"]
    assert unusable(project) == {2: items.GONE, 6: items.GONE}
    assert labels_of(project) == [1, 3, 4, 5]
    with project.reading() as connection:
        assert run(connection, "SELECT count(*) FROM label").scalar() == 5
    assert remove_missing(project, no_progress) == remove_missing(project, no_progress)
    assert remove_missing(project, no_progress).already == 2
    (away / "0001.png").rename(tmp_path / "images" / "0001.png")  # to where it was
    (away / "0005.png").rename(tmp_path / "images" / "elsewhere.png")
    assert add(project, tmp_path / "images").counts["found again"] == 2
    assert unusable(project) == {}
    assert labels_of(project) == [1, 2, 3, 4, 5]
    assert paths_of(project)[6] == "elsewhere.png"


def test_relink_brings_removed_images_back_too(tmp_path):
    project = labeled(tmp_path)
    (tmp_path / "images" / "0001.png").rename(tmp_path / "0001.png")
    remove_missing(project, no_progress)
    (tmp_path / "0001.png").rename(tmp_path / "images" / "0001.png")
    (tmp_path / "images").rename(tmp_path / "moved")
    assert relink(project, tmp_path / "moved", no_progress) == (6, [])
    assert unusable(project) == {}


def test_broken_images_stay_what_they_are(tmp_path):
    project = labeled(tmp_path)
    with project.writing("test") as connection:
        items.quarantine(connection, {1: "broken: for a test"})
    (tmp_path / "images" / "0000.png").unlink()
    (tmp_path / "images" / "0001.png").unlink()
    remove_missing(project, no_progress)
    assert unusable(project) == {1: "broken: for a test", 2: items.GONE}


def test_a_moved_folder_is_not_removed_unless_somebody_insists(tmp_path):
    project = labeled(tmp_path)
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(AlctlError, match=r"6 of 6 images are not in .*alctl relink"):
        remove_missing(project, no_progress)
    assert unusable(project) == {}
    assert len(remove_missing(project, no_progress, force=True).images) == 6


def test_a_round_goes_out_without_what_is_removed(tmp_path):
    project = small_project(tmp_path, 6)
    with project.writing("test") as connection:
        send(connection, [1, 2, 3])
    (tmp_path / "images" / "0001.png").unlink()
    remove_missing(project, no_progress)
    with project.reading() as connection:
        assert [pick.item_id for pick in rounds.picks(connection, 1, recalled=False)] == [1, 3]
        assert [pick.item_id for pick in rounds.picks(connection, 1)] == [1, 2, 3]


def test_what_verify_found_broken_is_not_whole_to_an_add_that_looks_less_closely(tmp_path):
    from tests.images.test_jpeg_end import encoded

    project = small_project(tmp_path, 2)
    data = encoded()
    (tmp_path / "images" / "cut.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    assert add(project, tmp_path / "images", verify=True).counts["broken"] == 1
    report = add(project, tmp_path / "images")
    assert (report.counts["repaired"], report.counts["known"]) == (0, 3)
    (tmp_path / "images" / "cut.jpg").write_bytes(data)
    assert add(project, tmp_path / "images").counts["repaired"] == 1
