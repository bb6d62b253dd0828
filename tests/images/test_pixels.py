"""From files to pixels: whatever an image is stored as, and the cache in between."""

import hashlib
import io
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from alctl.errors import AlctlError
from alctl.images.decode import (
    BrokenImages,
    MissingImages,
    Source,
    allow_missing,
    check_decodable,
    read_image,
)
from alctl.images.pixels import ImageCache, decode_ahead
from alctl.model.tasks.classification import Classification
from tests.data import real_data
from tests.project_files import make_images, no_progress

TASK = Classification(("cat", "dog"))


def source(path: Path, item: int = 1) -> Source:
    return Source(item, str(path), hashlib.sha256(path.read_bytes()).digest())


def sources(folder: Path, n: int) -> list[Source]:
    return [source(folder / name, i) for i, name in enumerate(make_images(folder, n), start=1)]


def cache_in(folder: Path, *, rows: float = 1e6, size: int = 8) -> ImageCache:
    """Return a cache for ``rows`` images."""
    return ImageCache(
        folder / "cache", size, lambda image: TASK.encode_image(image, size), rows * 3 * size * size / 2**30
    )


class Counting(Classification):
    """Counts how many images it was given."""

    seen = 0

    def encode_image(self, image: Image.Image, size: int) -> np.ndarray:
        self.seen += 1
        return super().encode_image(image, size)


def decoded_by(folder: Path, some: list[Source], *, rows: float = 1e6) -> tuple[int, np.ndarray]:
    """Load images through the cache; return how many were decoded for it, and the pixels."""
    task = Counting(("cat",))
    cache = ImageCache(folder / "cache", 8, lambda image: task.encode_image(image, 8), rows * 192 / 2**30)
    pixels = cache.load(some, no_progress)
    return task.seen, np.array(pixels)


# --- decoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 32])
def test_every_exif_orientation_comes_out_upright(size):
    files = sorted(real_data("exif_portrait.zip").rglob("*_[1-8].jpg"))
    assert len(files) == 8
    upright = [np.asarray(read_image(source(file), size).resize((45, 60)), dtype=float) for file in files]
    assert all(image.shape == upright[0].shape for image in upright)
    assert max(np.abs(image - upright[0]).mean() for image in upright) < 6


def saved(tmp_path: Path, image: Image.Image, kind: str, **options: object) -> Source:
    file = tmp_path / f"image.{kind.lower()}"
    image.save(file, kind, **options)
    return source(file)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    levels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    image = read_image(saved(tmp_path, Image.fromarray(levels), "PNG"))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image)[..., 0] - levels / 257).max() <= 1


def test_a_palette_gives_its_colours(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert read_image(saved(tmp_path, image, "PNG")).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_white(tmp_path, mode):
    image = Image.new(mode, (4, 4), 0)
    assert read_image(saved(tmp_path, image, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_palette_colour_shows_white(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((1, 1), 1)
    found = read_image(saved(tmp_path, image, "PNG", transparency=0))
    assert (found.getpixel((0, 0)), found.getpixel((1, 1))) == ((255, 255, 255), (10, 200, 30))


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    for size in (0, 8):
        red, green, blue = read_image(saved(tmp_path, image, "JPEG"), size).getpixel((3, 3))  # type: ignore[misc]
        assert (red > 240, green < 20, blue < 20) == (True, True, True)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_and_gray_become_rgb(tmp_path, mode):
    assert read_image(saved(tmp_path, Image.new(mode, (4, 4), 255), "PNG")).getpixel((0, 0)) == (
        255,
        255,
        255,
    )


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    file = tmp_path / "a.gif"
    frames[0].save(file, save_all=True, append_images=frames[1:])
    assert read_image(source(file)).getpixel((0, 0)) == (255, 0, 0)


def test_a_jpeg_that_is_decoded_smaller_looks_the_same(tmp_path):
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (800, 600), Image.Resampling.BICUBIC
    )
    found = saved(tmp_path, smooth, "JPEG", quality=95)
    small, full = read_image(found, 64), read_image(found)
    assert 64 <= min(small.size) < min(full.size)
    a, b = (np.asarray(TASK.encode_image(image, 64), dtype=float) for image in (small, full))
    assert np.abs(a - b).mean() < 2


def test_a_broken_file_is_named_with_its_reason(tmp_path):
    file = tmp_path / "a.png"
    for content in (b"", b"hello", make_png()[:60], make_png()[:-100]):
        file.write_bytes(content)
        with pytest.raises(BrokenImages) as raised:
            read_image(source(file, 7))
        assert list(raised.value.reasons) == [7]
        assert raised.value.reasons[7].startswith("broken: ")


def make_png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
        stream, "PNG"
    )
    return stream.getvalue()


def test_a_changed_file_is_broken_and_a_missing_one_is_an_error(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(make_png())
    indexed = source(file)
    Image.new("RGB", (4, 4)).save(file)
    with pytest.raises(BrokenImages) as raised:
        read_image(indexed)
    assert "bytes have changed" in raised.value.reasons[1]
    file.unlink()
    with pytest.raises(AlctlError, match="alctl relink"):
        read_image(indexed)


def test_all_images_that_cannot_be_decoded_are_named_at_once_with_what_is_wrong(tmp_path):
    some = sources(tmp_path, 4)
    check_decodable(some, no_progress)
    Path(some[1].path).write_bytes(b"another file")
    cut = Path(some[3].path).read_bytes()[:60]
    Path(some[3].path).write_bytes(cut)
    some[3] = source(Path(some[3].path), 4)
    seen: list[int] = []
    with pytest.raises(BrokenImages) as raised:
        check_decodable(some, lambda stage, done, total: seen.append(done))
    assert raised.value.reasons.keys() == {2, 4}
    assert "bytes have changed" in raised.value.reasons[2]
    assert raised.value.reasons[4].startswith("broken: ")
    assert seen == [1, 2, 3, 4]


# --- the cache --------------------------------------------------------------------------------------------------------


def test_images_come_in_the_order_that_was_asked_for(tmp_path):
    some = sources(tmp_path / "images", 20)
    order = np.random.default_rng(0).permutation(20)
    expected = np.stack([TASK.encode_image(read_image(some[i], 8), 8) for i in order])
    cache_in(tmp_path).load(some[:11], no_progress)  # a cache filled in another order
    assert (decoded_by(tmp_path, [some[i] for i in order])[1] == expected).all()
    assert (decoded_by(tmp_path, [some[i] for i in order])[1] == expected).all()


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_are_the_pieces_of_the_whole(tmp_path, size):
    some = sources(tmp_path / "images", 10)
    cache = cache_in(tmp_path)
    batches = list(cache.batches(some, no_progress, size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert (np.concatenate(batches) == cache.load(some, no_progress)).all()


def test_the_second_pass_decodes_nothing(tmp_path):
    some = sources(tmp_path / "images", 10)
    first, pixels = decoded_by(tmp_path, some)
    assert first == 10
    for one in some:
        Path(one.path).unlink()
    again, same = decoded_by(tmp_path, some)
    assert again == 0
    assert (same == pixels).all()


def test_an_image_that_is_asked_for_twice_at_once_is_right_both_times(tmp_path):
    some = sources(tmp_path / "images", 3)
    for _ in range(2):
        _, pixels = decoded_by(tmp_path, [some[1], some[0], some[1]])
        assert (pixels[0] == pixels[2]).all()
        assert (pixels[0] != pixels[1]).any()


def test_no_images_are_no_batches(tmp_path):
    assert cache_in(tmp_path).load([], no_progress).shape == (0, 3, 8, 8)


def test_a_full_cache_stores_what_fits_and_the_pixels_are_right_all_the_same(tmp_path):
    some = sources(tmp_path / "images", 10)
    _, expected = decoded_by(tmp_path / "large", some)
    for count in (10, 4, 4):
        decoded, pixels = decoded_by(tmp_path, some, rows=6.5)
        assert decoded == count
        assert (pixels == expected).all()
    stored = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("pixels.u8"))
    assert stored == 6 * 192


def test_a_cache_without_room_is_emptied_for_the_new_images(tmp_path):
    some = sources(tmp_path / "images", 16)
    decoded_by(tmp_path, some[:8], rows=10.5)
    assert decoded_by(tmp_path, some[8:], rows=10.5)[0] == 8
    assert decoded_by(tmp_path, some[8:], rows=10.5)[0] == 0


def test_a_cache_that_is_more_than_half_full_is_kept_while_everything_fits(tmp_path):
    some = sources(tmp_path / "images", 9)
    decoded_by(tmp_path, some, rows=10.5)
    assert decoded_by(tmp_path, some, rows=10.5)[0] == 0


def test_a_cache_of_no_size_stores_nothing(tmp_path):
    some = sources(tmp_path / "images", 3)
    assert [decoded_by(tmp_path, some, rows=0)[0] for _ in range(2)] == [3, 3]


def test_broken_images_are_named_at_the_end_and_the_others_were_right(tmp_path):
    some = sources(tmp_path / "images", 10)
    good = list(cache_in(tmp_path / "other").batches(some, no_progress, 4))
    for i in (2, 7):
        Path(some[i].path).write_bytes(b"no image")
    for _ in range(2):  # broken ones are not stored either
        batches: list[np.ndarray] = []
        with pytest.raises(BrokenImages) as raised:
            batches.extend(cache_in(tmp_path).batches(some, no_progress, 4))
        assert sorted(raised.value.reasons) == [3, 8]
    pixels, expected = np.concatenate(batches), np.concatenate(good)
    whole = [i for i in range(10) if i not in (2, 7)]
    assert (pixels[whole] == expected[whole]).all()
    assert not pixels[[2, 7]].any()


@pytest.mark.parametrize(
    "damage", ["slots deleted", "slots damaged", "pixels deleted", "pixels cut", "all deleted"]
)
def test_a_damaged_cache_is_filled_again(tmp_path, damage):
    some = sources(tmp_path / "images", 6)
    _, expected = decoded_by(tmp_path, some)
    (slots,), (pixels,) = ([*(tmp_path / "cache").rglob(name)] for name in ("slots.npy", "pixels.u8"))
    if damage in {"slots deleted", "all deleted"}:
        slots.unlink()
    if damage == "slots damaged":
        slots.write_bytes(slots.read_bytes()[:20])
    if damage in {"pixels deleted", "all deleted"}:
        pixels.unlink()
    if damage == "pixels cut":
        pixels.write_bytes(pixels.read_bytes()[:500])
    assert (decoded_by(tmp_path, some)[1] == expected).all()
    decoded, again = decoded_by(tmp_path, some)
    assert decoded == 0
    assert (again == expected).all()


def test_a_pass_that_is_given_up_keeps_what_it_has(tmp_path):
    some = sources(tmp_path / "images", 9)
    passing = cache_in(tmp_path).batches(some, no_progress, 3)
    next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert decoded_by(tmp_path, some)[0] == 6


def test_while_one_pass_fills_the_cache_another_reads_and_decodes_the_rest_itself(tmp_path):
    some = sources(tmp_path / "images", 12)
    _, expected = decoded_by(tmp_path / "other", some)
    decoded_by(tmp_path, some[:4])
    filling = cache_in(tmp_path).batches(some, no_progress, 3)
    first = next(filling)
    decoded, pixels = decoded_by(tmp_path, some)
    assert decoded == 8
    assert (pixels == expected).all()
    assert (np.concatenate([first, *filling]) == expected).all()
    assert decoded_by(tmp_path, some)[0] == 0


FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.images.test_pixels import fill_slowly
fill_slowly(Path(sys.argv[1]), int(sys.argv[2]))
"""


def fill_slowly(folder: Path, n: int) -> None:
    """Fill a cache one image at a time, asking after each; a test runs this in a process of its own and kills it."""
    names = sorted((folder / "images").iterdir())
    some = [source(name, i) for i, name in enumerate(names[:n], start=1)]
    for _ in cache_in(folder).batches(some, no_progress, 1):
        sys.stdout.write("one more\n")
        sys.stdout.flush()
        sys.stdin.readline()


@pytest.mark.slow
def test_a_cache_whose_filling_was_killed_is_usable(tmp_path):
    some = sources(tmp_path / "images", 30)
    _, expected = decoded_by(tmp_path / "other", some)
    decoded_by(tmp_path, some[:3])
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", FILL, str(tmp_path), "30", str(root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(8):
            assert process.stdout.readline() == "one more\n"
            process.stdin.write("go on\n")
            process.stdin.flush()
        process.send_signal(signal.SIGKILL)
    for _ in range(2):
        assert (decoded_by(tmp_path, some)[1] == expected).all()
    assert decoded_by(tmp_path, some)[0] == 0


def test_two_processes_at_once_both_get_the_right_pixels(tmp_path):
    some = sources(tmp_path / "images", 40)
    _, expected = decoded_by(tmp_path / "other", some)
    context = multiprocessing.get_context("forkserver")
    with context.Pool(3) as pool:
        answers = pool.starmap(digest_of_pass, [(tmp_path, some, seed) for seed in range(9)])
    digests = {
        hashlib.sha256(expected[np.random.default_rng(seed).permutation(40)].tobytes()).hexdigest()
        for seed in range(9)
    }
    assert set(answers) == digests
    assert (decoded_by(tmp_path, some)[1] == expected).all()


def digest_of_pass(folder: Path, some: list[Source], seed: int) -> str:
    """Load the images in some order through a small cache that has to be emptied; return the pixels' digest."""
    order = np.random.default_rng(seed).permutation(len(some))
    pixels = cache_in(folder, rows=30.5).load([some[i] for i in order], no_progress)
    return hashlib.sha256(pixels.tobytes()).hexdigest()


# --- decoding without storing -----------------------------------------------------------------------------------------


def test_decoding_ahead_keeps_the_order_and_names_what_is_broken(tmp_path):
    found = sources(tmp_path, 12)
    for broken in (3, 5, 6):
        Path(found[broken - 1].path).write_bytes(b"no image")
    batches = list(decode_ahead(found, lambda image: TASK.encode_image(image, 8), 8, 2))
    assert [[source.id for source in batch.sources] for batch in batches] == [
        [1, 2], [4], [], [7, 8], [9, 10], [11, 12],
    ]  # fmt: skip
    assert [sorted(batch.broken) for batch in batches] == [[], [3], [5, 6], [], [], []]
    for batch in batches:
        assert len(batch.pixels) == len(batch.sources)
        for source_, pixels in zip(batch.sources, batch.pixels, strict=True):
            assert np.array_equal(pixels, TASK.encode_image(read_image(source_), 8))


def test_decoding_ahead_goes_on_without_files_that_are_gone(tmp_path):
    found = sources(tmp_path, 4)
    Path(found[2].path).unlink()
    batches = list(decode_ahead(found, lambda image: TASK.encode_image(image, 8), 8, 2))
    assert [[source.id for source in batch.sources] for batch in batches] == [[1, 2], [4]]
    assert [dict(batch.missing) for batch in batches] == [
        {},
        {3: f"{found[2].path}: No such file or directory"},
    ]


# --- what is missing --------------------------------------------------------------------------------------------------


def test_all_that_is_missing_is_named_at_once_with_what_to_do(tmp_path):
    some = sources(tmp_path / "images", 40)
    for i in range(30):
        Path(some[i].path).unlink()
    for ask in (
        lambda: check_decodable(some, no_progress),
        lambda: cache_in(tmp_path).load(some, no_progress),
    ):
        with pytest.raises(MissingImages) as raised:
            ask()
        assert raised.value.reasons.keys() == set(range(1, 31))
        lines = str(raised.value).splitlines()
        assert lines[0] == "30 images are not there:"
        assert lines[1:21] == [
            f"  item {i}, {some[i - 1].path}: No such file or directory" for i in range(1, 21)
        ]
        assert lines[21] == "  … and 10 more"
        assert "alctl relink" in lines[22]
        assert "alctl remove --missing" in lines[22]


@pytest.mark.parametrize(
    ("missing", "of", "allowed"),
    [(0, 0, True), (1, 5, True), (2, 5, False), (1, 1, False), (10, 100, True), (11, 100, False)],
)
def test_work_goes_on_without_a_tenth_and_no_more(missing, of, allowed):
    gone = dict.fromkeys(range(missing), "somewhere")
    if allowed:
        allow_missing(gone, of)
    else:
        with pytest.raises(MissingImages):
            allow_missing(gone, of)


def test_a_cache_of_before_the_rule_changed_serves_nothing(tmp_path):
    """Folders were called after the size and Pillow alone, and 16 bits came out by each image's own brightness."""
    some = sources(tmp_path / "images", 3)
    decoded_by(tmp_path, some)
    (folder,) = (tmp_path / "cache").iterdir()
    folder.rename(tmp_path / "cache" / f"8px-pillow-{PIL.__version__}")
    assert decoded_by(tmp_path, some)[0] == 3
