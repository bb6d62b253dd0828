"""Finding image files in folders as people keep them, and what one file turns out to be."""

import hashlib
import io
import os
import random
from pathlib import Path

import pytest
from PIL import Image

from alctl.images.scan import Skipped, ends_whole, probe, probe_all, walk
from tests.data import real_data

AS_ROOT = os.getuid() == 0


def encoded(kind: str, *, size: tuple[int, int] = (20, 30), seed: int = 0) -> bytes:
    """Return an image file of noise."""
    noise = random.Random(seed).randbytes(size[0] * size[1] * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, noise).save(buffer, kind)
    return buffer.getvalue()


PNG = encoded("PNG")


def make(root: Path, *paths: str) -> None:
    """Write a small PNG at each path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(PNG)


def found(root: Path) -> tuple[list[str], dict[str, str]]:
    """Return what a walk yields, and what it passed over with the reasons."""
    notes: list[Skipped] = []
    return list(walk(root, notes)), {note.path: note.reason for note in notes}


def test_names_as_people_write_them_are_found_in_order(tmp_path):
    names = [
        "a b/c d.jpg", "a.b.c/1.2.3.PNG", "same/x.jpg", "other/x.jpg", "Ärger/größe 東京.webp", "cafe\u0301.gif",
        "caf\u00e9.gif", "new\nline.tif", "'\"; DROP TABLE item.jpg", "%s.bmp", "-rf.jpeg", "x.jpg/y.jpg", "😀.tiff",
    ]  # fmt: skip
    make(tmp_path, *names)
    paths, skipped = found(tmp_path)
    assert sorted(paths) == sorted(names)
    assert skipped == {}
    assert list(walk(tmp_path)) == paths


def test_a_folder_is_read_by_name_files_first(tmp_path):
    make(tmp_path, "b/2.jpg", "b/10.jpg", "a/z.jpg", "c.jpg", "b/a/1.jpg")
    assert list(walk(tmp_path)) == ["c.jpg", "a/z.jpg", "b/10.jpg", "b/2.jpg", "b/a/1.jpg"]


def test_hidden_names_are_passed_over_in_silence_and_other_files_are_named(tmp_path):
    make(tmp_path, ".hidden.jpg", ".git/x.jpg", "._mac.jpg", ".jpg", "a/.thumbs/x.jpg", "seen.jpg")
    for name in ("notes.txt", "Makefile", "jpg", "photo.jpg.part", "a/labels.csv"):
        (tmp_path / name).write_text("x")
    paths, skipped = found(tmp_path)
    assert paths == ["seen.jpg"]
    assert skipped == dict.fromkeys(
        ["notes.txt", "Makefile", "jpg", "photo.jpg.part", "a/labels.csv"], "not an image file"
    )


def test_an_alctl_project_among_the_images_is_passed_over_but_may_be_the_root(tmp_path):
    make(tmp_path, "a.jpg", "project/rounds/0001/a.jpg", "project/b.jpg")
    (tmp_path / "project" / "alctl.toml").touch()
    assert list(walk(tmp_path)) == ["a.jpg"]
    assert list(walk(tmp_path / "project")) == ["b.jpg", "rounds/0001/a.jpg"]


def test_links_are_followed_and_no_folder_is_read_twice(tmp_path):
    make(tmp_path, "outside/far.jpg", "root/real/near.jpg")
    root = tmp_path / "root"
    (root / "link.jpg").symlink_to(tmp_path / "outside" / "far.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "again").symlink_to(tmp_path / "outside")
    (root / "real" / "up").symlink_to(root)
    (root / "real" / "self").symlink_to(root / "real")
    paths, skipped = found(root)
    assert paths == ["link.jpg", "again/far.jpg", "real/near.jpg"]
    assert skipped == {}


def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path):
    make(tmp_path, "good.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    paths, skipped = found(tmp_path)
    assert paths == ["good.jpg"]
    no_file = "a link to nothing, or not a regular file"
    assert skipped == {
        **dict.fromkeys(["dangling.jpg", "itself.jpg", "pipe.jpg", "endless.jpg"], no_file),
        **dict.fromkeys(["a", "b"], "not an image file"),
    }


def test_a_name_that_is_not_unicode_is_named_as_well_as_it_can_be(tmp_path):
    make(tmp_path, "good.jpg")
    for name in (b"caf\xe9.jpg", b"f\xff"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).mkdir()
    paths, skipped = found(tmp_path)
    assert paths == ["good.jpg"]
    assert skipped == dict.fromkeys(["caf\ufffd.jpg", "f\ufffd"], "name is not valid UTF-8")


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_what_may_not_be_read_is_named_and_the_rest_is_found(tmp_path):
    make(tmp_path, "closed/a.jpg", "open/b.jpg", "secret.jpg")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "secret.jpg").chmod(0)
    paths, skipped = found(tmp_path)
    (tmp_path / "closed").chmod(0o755)
    assert paths == ["secret.jpg", "open/b.jpg"]
    assert skipped == {"closed": "Permission denied"}
    assert probe(str(tmp_path / "secret.jpg")).problem == "Permission denied"


def test_a_read_only_folder_is_read(tmp_path):
    make(tmp_path, "a/b.jpg")
    (tmp_path / "a").chmod(0o555)
    assert list(walk(tmp_path)) == ["a/b.jpg"]
    (tmp_path / "a").chmod(0o755)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("verify", [False, True])
def test_a_whole_file_has_a_digest_and_a_size(tmp_path, kind, verify):
    data = encoded(kind)
    (tmp_path / "x").write_bytes(data)
    assert probe(str(tmp_path / "x"), verify=verify)[:4] == (hashlib.sha256(data).digest(), 20, 30, None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.98])
def test_a_truncated_file_is_broken_without_decoding_all_others(tmp_path, kind, part):
    data = encoded(kind, size=(64, 64))
    (tmp_path / "x").write_bytes(data[: int(len(data) * part)])
    result = probe(str(tmp_path / "x"))
    assert result.problem
    assert result[:3] == (None, None, None)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty file"),
        (b"just text, renamed", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"\xff\xd8\xff\xd9", "not an image"),
        (b"\0" * 5_000, "not an image"),
    ],
)
def test_a_file_that_is_no_image_says_what_it_is(tmp_path, data, problem):
    (tmp_path / "x.jpg").write_bytes(data)
    result = probe(str(tmp_path / "x.jpg"))
    assert result.digest is None
    assert problem in str(result.problem)


def test_a_file_that_is_not_there_says_so(tmp_path):
    assert probe(str(tmp_path / "x.jpg")).problem == "No such file or directory"
    assert probe(str(tmp_path)).problem == "Is a directory"


def test_the_extension_does_not_matter_only_the_content(tmp_path):
    (tmp_path / "x.jpg").write_bytes(PNG)
    assert probe(str(tmp_path / "x.jpg")).problem is None


def test_damage_within_is_only_found_by_verifying(tmp_path):
    broken = bytearray(PNG)
    start = broken.index(b"IDAT") + 4
    broken[start : start + 200] = bytes(200)
    (tmp_path / "x.png").write_bytes(broken)
    assert probe(str(tmp_path / "x.png")).problem is None
    assert "broken" in str(probe(str(tmp_path / "x.png"), verify=True).problem)


def test_bytes_after_the_end_of_a_jpeg_do_not_break_it(tmp_path):
    for extra in (b"\0" * 100, b"SEFT trailer of a phone", encoded("JPEG", seed=1)):
        (tmp_path / "x.jpg").write_bytes(encoded("JPEG") + extra)
        assert probe(str(tmp_path / "x.jpg"))[1:4] == (20, 30, None)


def test_an_end_is_recognised_by_kind():
    assert ends_whole("JPEG", encoded("JPEG"))
    assert not ends_whole("JPEG", encoded("JPEG")[:-1])
    assert not ends_whole("TIFF", encoded("TIFF"))
    assert not ends_whole(None, b"")


def test_real_portraits_are_upright_whatever_their_orientation():
    folder = real_data("exif_portrait.zip") / "exif_orientation"
    paths = list(walk(folder))
    assert len(paths) == 9
    probes = dict(probe_all(str(folder), paths))
    assert list(probes) == paths
    assert {result[1:4] for result in probes.values()} == {(1200, 1800, None)}
    assert len({result.digest for result in probes.values()}) == 9


def test_the_empty_files_of_a_real_dataset_are_named_and_its_masks_are_images():
    folder = real_data("openmmlab_samples.tar.xz")
    probes = dict(probe_all(str(folder), walk(folder), verify=True))
    bad = {path: result.problem for path, result in probes.items() if result.problem}
    assert len(bad) == 4
    assert set(bad.values()) == {"empty file"}
    assert len(probes) > 30
