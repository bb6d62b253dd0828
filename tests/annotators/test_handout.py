"""What annotators get of a round."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from alctl.annotators import handout
from alctl.errors import AlctlError
from alctl.project import Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import make_images, make_project, no_progress, small_project

NAMES = [
    "a, b.png",
    'say "hi".png',
    "ünï cødé 猫.png",
    "=1+1.png",
    "dots.in.name.png",
    "new\nline.png",
    "-x.png",
]


@pytest.fixture
def project(tmp_path):
    """Six images, one round of four of them."""
    made = small_project(tmp_path)
    select(made, SelectOptions(4), no_progress)
    return made


def export(project: Project, number: int = 1, **options) -> Path:
    return handout.export(project, number, no_progress, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file, by path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "items.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_export_holds_the_table_the_images_a_contact_sheet_and_a_manifest(project):
    folder = export(project)
    assert folder == project.folder / "rounds" / "0001"
    assert sorted(path.name for path in folder.iterdir()) == [
        "contact_sheet.jpg",
        "images",
        "items.csv",
        "manifest.json",
    ]
    rows = rows_of(folder)
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {(row["label"], row["annotator"], row["status"], row["seconds"]) for row in rows} == {
        ("", "", "", "")
    }
    for row in rows:
        original = project.folder.parent / "images" / row["path"]
        assert (folder / row["image"]).read_bytes() == original.read_bytes()


def test_exporting_again_gives_the_same_bytes_here_and_elsewhere(project, tmp_path):
    first = contents(export(project))
    assert contents(export(project)) == first
    assert contents(export(project, target=tmp_path / "else" / "where")) == first


def test_the_manifest_says_how_the_round_came_about_and_lists_every_digest(project):
    folder = export(project)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["round"], manifest["strategy"], manifest["requested"]) == (1, "random", 4)
    assert manifest["categories"] == ["cat", "dog"]
    for entry in manifest["items"]:
        assert hashlib.sha256((folder / entry["image"]).read_bytes()).hexdigest() == entry["sha256"]
    assert [entry["item"] for entry in manifest["items"]] == [int(row["item"]) for row in rows_of(folder)]


def test_a_table_that_was_filled_in_is_never_overwritten(project):
    table = export(project) / "items.csv"
    filled = table.read_text().replace(",,", ",cat,", 1)
    table.write_text(filled)
    with pytest.raises(AlctlError, match="filled in or changed"):
        export(project)
    assert table.read_text() == filled


def test_a_folder_that_holds_other_things_is_refused(project, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    with pytest.raises(AlctlError, match="not an export"):
        export(project, target=notes)
    folder = export(project)
    (folder / "what ann said.txt").write_text("keep me")
    with pytest.raises(AlctlError, match="what ann said"):
        export(project)
    assert (folder / "what ann said.txt").read_text() == "keep me"
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(AlctlError, match="file"):
        export(project, target=tmp_path / "file")


def test_a_file_beside_the_exported_images_is_not_deleted(project):
    folder = export(project)
    (folder / "images" / "drawn by ann.png").write_bytes(b"work")
    with pytest.raises(AlctlError, match="drawn by ann"):
        export(project)
    assert (folder / "images" / "drawn by ann.png").read_bytes() == b"work"


def test_hard_links_share_the_bytes_on_the_disk(project):
    folder = export(project, images="link")
    for row in rows_of(folder):
        assert (folder / row["image"]).samefile(project.folder.parent / "images" / row["path"])


def test_symbolic_links_point_at_the_originals(project):
    folder = export(project, images="symlink")
    for row in rows_of(folder):
        assert (folder / row["image"]).is_symlink()
        assert (folder / row["image"]).read_bytes() == (
            project.folder.parent / "images" / row["path"]
        ).read_bytes()


def test_copies_are_files_of_their_own(project):
    folder = export(project, images="copy")
    for row in rows_of(folder):
        original = project.folder.parent / "images" / row["path"]
        assert not (folder / row["image"]).samefile(original)
        assert (folder / row["image"]).read_bytes() == original.read_bytes()


def test_an_export_may_do_without_images(project):
    assert not (export(project, images="none") / "images").exists()


def test_a_link_in_the_pool_is_exported_as_the_file_it_leads_to(tmp_path):
    names = make_images(tmp_path / "elsewhere", 2)
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).symlink_to(tmp_path / "elsewhere" / name)
    project = make_project(tmp_path / "project", tmp_path / "images")
    select(project, SelectOptions(2), no_progress)
    for images in ("link", "copy"):
        folder = export(project, images=images)
        assert [file.is_symlink() for file in (folder / "images").iterdir()] == [False, False]


def test_names_with_commas_quotes_unicode_and_formulas_are_exported_and_no_cell_is_a_formula(tmp_path):
    made = make_images(tmp_path / "images", len(NAMES))
    for name, wanted in zip(made, NAMES, strict=True):
        (tmp_path / "images" / name).rename(tmp_path / "images" / wanted)
    project = make_project(tmp_path / "project", tmp_path / "images")
    select(project, SelectOptions(99), no_progress)
    folder = export(project)
    rows = rows_of(folder)
    assert {row["path"].removeprefix("'") for row in rows} == set(NAMES)
    assert all((folder / row["image"]).is_file() for row in rows)
    assert not [cell for row in rows for cell in row.values() if cell[:1] in set("=+-@")]


def test_the_same_name_in_two_folders_is_two_files(tmp_path):
    for folder, seed in (("a", 1), ("b", 2)):
        make_images(tmp_path / "images" / folder, 1, seed=seed)
    project = make_project(tmp_path / "project", tmp_path / "images")
    select(project, SelectOptions(2), no_progress)
    images = export(project) / "images"
    assert sorted(file.name for file in images.iterdir()) == ["0000001_0000.png", "0000002_0000.png"]


def test_the_longest_name_that_a_disk_takes_can_be_exported(tmp_path):
    make_images(tmp_path / "images", 1)
    (tmp_path / "images" / "0000.png").rename(tmp_path / "images" / ("x" * 251 + ".png"))
    project = make_project(tmp_path / "project", tmp_path / "images")
    select(project, SelectOptions(1), no_progress)
    (row,) = rows_of(export(project))
    assert (project.folder / "rounds" / "0001" / row["image"]).is_file()


@pytest.mark.parametrize("count", [1, 10, 23])
def test_the_contact_sheet_shows_every_image_in_the_order_of_its_rank(tmp_path, count):
    (tmp_path / "images").mkdir()
    for i in range(count):
        Image.new("L", (8, 8), 10 * i + 5).save(tmp_path / "images" / f"{i:02}.png")
    project = make_project(tmp_path / "project", tmp_path / "images")
    select(project, SelectOptions(count), no_progress)
    folder = export(project)
    expected = [10 * (int(row["item"]) - 1) + 5 for row in rows_of(folder)]
    with Image.open(folder / "contact_sheet.jpg") as sheet:
        gray = sheet.convert("L")
        seen = [gray.getpixel((72 + i % 10 * 136, 72 + i // 10 * 164)) for i in range(count)]
    assert all(abs(int(found) - wanted) <= 3 for found, wanted in zip(seen, expected, strict=True))  # type: ignore[arg-type]


def test_a_round_that_is_not_there_is_a_sentence(project, tmp_path):
    with pytest.raises(AlctlError, match="the last one is 1"):
        export(project, 2)
    with pytest.raises(AlctlError, match="none was selected yet"):
        export(small_project(tmp_path / "new"), 1)


def test_an_image_that_is_gone_or_broken_by_now_is_a_sentence_and_leaves_no_half_export(project):
    before = contents(export(project))
    path = project.folder.parent / "images" / rows_of(project.folder / "rounds" / "0001")[0]["path"]
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(AlctlError, match="alctl remove --missing"):
        export(project)
    path.write_bytes(data[:50])
    with pytest.raises(AlctlError, match="bytes have changed"):
        export(project)
    path.write_bytes(data)
    assert contents(project.folder / "rounds" / "0001") == before
    assert [file.name for file in (project.folder / "rounds").iterdir()] == ["0001"]
