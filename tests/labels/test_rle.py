"""Run lengths of masks: the same as pycocotools, and no text does harm."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as peer

from alctl.labels import rle
from alctl.labels.annotation import RLE
from tests.examples import examples

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))
MASKS = SIDES.flatmap(lambda size: arrays.arrays(bool, size)) | SIDES.flatmap(
    lambda size: st.builds(lambda value: np.full(size, value), st.booleans())
)
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # in pycocotools
at_leisure = settings(max_examples=examples(300))


def theirs(mask: np.ndarray):
    return peer.encode(np.asfortranarray(mask.astype(np.uint8)))


@at_leisure
@given(MASKS)
def test_masks_become_the_text_that_pycocotools_writes(mask):
    assert rle.of_mask(mask) == RLE(mask.shape, theirs(mask)["counts"].decode())


@at_leisure
@given(MASKS)
def test_masks_come_back_and_pycocotools_agrees(mask):
    packed = rle.of_mask(mask)
    assert np.array_equal(rle.to_mask(packed), mask)
    assert np.array_equal(peer.decode({"size": packed.size, "counts": packed.counts.encode()}), mask)


@at_leisure
@given(MASKS)
def test_the_box_around_a_mask_is_that_of_pycocotools(mask):
    box = rle.box(rle.of_mask(mask))
    assert box == (tuple(peer.toBbox(theirs(mask)).tolist()) if mask.any() else None)


def test_a_photograph_sized_mask_with_long_runs_is_the_same():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[100:2900, 7:3999] = True
    mask[::7, ::11] ^= True
    assert rle.of_mask(mask).counts.encode() == theirs(mask)["counts"]
    assert np.array_equal(rle.to_mask(rle.of_mask(mask)), mask)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_any_run_lengths_that_fit_become_text_and_come_back(counts):
    pixels = sum(counts)
    if pixels:
        assert rle.unpacked(rle.packed(np.array(counts), (1, pixels))).tolist() == counts


@pytest.mark.parametrize(
    ("counts", "size"),
    [([3], (1, 2)), ([1], (1, 2)), ([-1, 3], (1, 2)), ([3, -1], (1, 2)), ([2**62, 2**62], (2, 2))],
)
def test_run_lengths_that_do_not_add_up_are_refused(counts, size):
    with pytest.raises(ValueError, match="do not add up"):
        rle.packed(np.array(counts), size)


def digits(text: str) -> list[int]:
    """Return the run lengths in a text, digit by digit; negative ones and a cut-off end are possible."""
    counts: list[int] = []
    value = place = 0
    for letter in text:
        digit = ord(letter) - 48
        value |= (digit & 31) << (5 * place)
        place += 1
        if not digit & 32:
            value -= (digit & 16) << (5 * place - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = place = 0
    return counts


def test_the_digits_of_the_tests_are_those_of_pycocotools():
    text = theirs(np.arange(999).reshape(27, 37) % 7 < 3)["counts"].decode()
    assert rle.unpacked(RLE((27, 37), text)).tolist() == digits(text)


@settings(max_examples=examples(1500))
@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), min_size=1, max_size=8), st.integers(0, 3))
@example("P0", 0)
@example("1PPPPPPP0", 0)
@example("111O", 0)
def test_any_text_is_the_mask_that_pycocotools_reads_or_is_refused(text, more):
    counts = digits(text)
    ends = not (ord(text[-1]) - 48) & 32
    fits = ends and min(counts) >= 0 and more == 0 and 0 < sum(counts) < 2**20
    size = (max(1, min(sum(counts), 2**20) + more), 1)
    try:
        runs = rle.unpacked(RLE(size, text))
    except ValueError:
        assert not fits
        return
    assert runs.tolist() == counts
    assert np.array_equal(
        rle.to_mask(RLE(size, text)), peer.decode({"size": list(size), "counts": text.encode()})
    )


@given(st.text(max_size=30), st.tuples(st.integers(-2, 60), st.integers(-2, 60)))
def test_any_other_text_is_refused_without_a_crash(text, size):
    try:
        runs = rle.unpacked(RLE(size, text))
    except ValueError:
        return
    assert runs.sum() == size[0] * size[1]


@pytest.mark.parametrize(
    ("size", "counts", "sentence"),
    [
        ((0, 5), "0", "5 × 0 pixels"),
        ((2**30, 2**30), "0", "pixels"),
        ((2, 2), "", "not COCO's text"),
        ((2, 2), "o", "not COCO's text"),
        ((2, 2), "\x7f", "not COCO's text"),
        ((2, 2), "é", "not COCO's text|do not add up"),
        ((2, 2), "o" * 9 + "0", "a run that is too long"),
        ((2, 2), "5", "do not add up"),
        ((2, 2), "\x00", "not COCO's text"),
        ((2, 2), "1" * 100_000, "do not add up"),
    ],
)
def test_hostile_texts_are_refused(size, counts, sentence):
    with pytest.raises(ValueError, match=sentence):
        rle.unpacked(RLE(size, counts))
