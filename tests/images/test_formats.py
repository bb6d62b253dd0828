"""Which files are read, within which bounds, and what is said about the others."""

import random
import threading
from pathlib import Path

import pytest
from PIL import Image

from alctl.images import formats
from alctl.images.decode import BrokenImages, Source, read_image
from alctl.images.formats import MEMORY, readable, unread
from alctl.images.scan import Skipped, probe, walk
from alctl.labels.annotation import IMAGE_SUFFIXES

WRITTEN = [".jpe", ".jfif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".webp", ".gif", ".tif"]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_pillow_reads_is_an_image(tmp_path, suffix):
    if suffix not in readable():
        assert suffix in {".avif", ".jp2", ".j2k"}
        pytest.skip("this Pillow was built without it")
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    noise = Image.frombytes("RGB", (20, 30), random.Random(0).randbytes(1800)).convert(mode)
    noise.save(tmp_path / f"a{suffix}")
    assert list(walk(tmp_path)) == [f"a{suffix}"]
    assert probe(str(tmp_path / f"a{suffix}"))[1:] == (20, 30, None, None, False)
    assert read_image(Source(1, str(tmp_path / f"a{suffix}"), None)).size == (20, 30)


def test_heic_is_read_where_its_package_is_installed_and_else_named_with_the_command(tmp_path):
    (tmp_path / "IMG_0001.HEIC").write_bytes(b"x")
    notes: list[Skipped] = []
    found = list(walk(tmp_path, notes))
    if ".heic" in readable():
        assert found == ["IMG_0001.HEIC"]
        import pillow_heif

        pillow_heif.from_pillow(Image.new("RGB", (20, 30), "red")).save(tmp_path / "red.heic")
        assert probe(str(tmp_path / "red.heic"))[1:4] == (20, 30, None)
        assert read_image(Source(1, str(tmp_path / "red.heic"), None)).getpixel((5, 5))[0] > 240  # type: ignore[index]
    else:
        assert found == []
        assert notes == [Skipped("IMG_0001.HEIC", unread()[".heic"], image=True)]
        assert "pip install 'alctl[heic]'" in notes[0].reason


def test_images_in_other_formats_are_told_apart_from_what_is_no_image(tmp_path):
    for name in ("a.jxl", "b.DNG", "c.dcm", "notes.txt", "d.xmp"):
        (tmp_path / name).write_bytes(b"x")
    notes: list[Skipped] = []
    assert list(walk(tmp_path, notes)) == []
    assert {note.path: note.image for note in notes} == {
        "a.jxl": True, "b.DNG": True, "c.dcm": True, "notes.txt": False, "d.xmp": False,
    }  # fmt: skip
    assert all("convert it to PNG or JPEG" in note.reason for note in notes if note.image)


def test_every_image_suffix_is_read_or_has_advice():
    assert set(IMAGE_SUFFIXES) <= readable() | set(unread())
    assert not readable() & set(unread())


@pytest.mark.parametrize(
    "folder", ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", ".thumbnails", "a/@eaDir"]
)
def test_folders_of_thumbnails_and_deleted_files_stay_out(tmp_path, folder):
    (tmp_path / folder / "IMG.jpg").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / folder / "IMG.jpg" / "SYNOPHOTO_THUMB_M.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "IMG.jpg")
    assert list(walk(tmp_path)) == ["IMG.jpg"]


@pytest.mark.parametrize(("kind", "several"), [("TIFF", True), ("GIF", True), ("WEBP", True), ("PNG", True)])
def test_several_pages_are_told_and_the_first_counts(tmp_path, kind, several):
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    file = tmp_path / f"a.{kind.lower()}"
    pages[0].save(file, kind, save_all=True, append_images=pages[1:])
    assert probe(str(file)).several == several
    red, green, blue = read_image(Source(1, str(file), None)).getpixel((4, 4))  # type: ignore[misc]
    assert (red > 240, green < 20, blue < 20) == (True, True, True)
    pages[0].save(file, kind)
    assert not probe(str(file)).several


# --- memory -----------------------------------------------------------------------------------------------------------


def test_an_image_of_too_many_pixels_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "a.pbm"
    with file.open("wb") as stream:
        stream.write(b"P4 20000 20000\n")
        stream.truncate(20000 * 20000 // 8)
    assert probe(str(file)).problem == (
        "too large: it has more than 178,956,970 pixels; save it smaller or cut it into tiles, then `alctl add`"
    )
    with pytest.raises(BrokenImages) as raised:
        read_image(Source(1, str(file), None), 64)
    assert "too large" in raised.value.reasons[1]


def test_a_file_of_gigabytes_is_refused_unread(tmp_path):
    with (tmp_path / "a.tif").open("wb") as stream:
        stream.truncate(3 * 2**30)  # takes no space, but reading it would take memory
    assert probe(str(tmp_path / "a.tif")).problem == (
        "too large: the file has 3.0 GB; save it smaller or cut it into tiles, then `alctl add`"
    )


def test_threads_wait_until_there_is_memory_and_one_image_may_have_all_of_it():
    budget = formats._Budget(100)
    running = peak = 0
    lock = threading.Lock()

    def hold(size: int) -> None:
        nonlocal running, peak
        with budget.taken(size):
            with lock:
                running += min(size, 100)
                peak = max(peak, running)
            with lock:
                running -= min(size, 100)

    threads = [threading.Thread(target=hold, args=(size,)) for size in (60, 60, 1000, 30, 40, 100) * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak <= 100
    assert budget._left == 100


def test_what_was_held_is_given_back_by_an_error():
    before = MEMORY._left
    with pytest.raises(ZeroDivisionError), MEMORY.taken(10):
        raise ZeroDivisionError
    assert MEMORY._left == before


MEASURE = """
import resource, sys
from alctl.images.decode import Source, read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_image(Source(1, sys.argv[1], None), 224)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, *image.size)
"""


def test_144_megapixels_of_one_bit_take_no_gigabyte(tmp_path: Path):
    import subprocess
    import sys

    Image.new("1", (12_000, 12_000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 20_000
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.png")]
    root = Path(__file__).parents[2]
    said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    megabytes, width, height = map(int, said.split())
    assert (width, height) == (462, 462)
    assert megabytes < 250
