"""Label Studio's brush masks, against what its own converter packs and against a slow reading of the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alctl.labels.parsing.label_studio import brush_masks

HOLE = np.ones((300, 200), dtype=bool)
HOLE[5, 7] = False
ROWS, COLUMNS = np.mgrid[:40, :60]
DISC = (ROWS - 18) ** 2 + (COLUMNS - 30) ** 2 < 200
COLOURED = np.array([[1, 0, 0], [0, 1, 1]], dtype=bool)
PACKED_BY_LABEL_STUDIO = [  # label-studio-sdk 2.1.2, converter.brush: mask2rle, and encode_rle of pixels of all colours
    (HOLE, "0003a980391bff0fbbff8c03ffffffffffffffffffffe66fffc0"),
    (
        DISC,
        "00002580391bff043300b7ffb4c0315ffebb00c77ffabc0321ffea700c97ffa7c0329ffe9700cb7ffa3c0331ffe8b00cc7ffa1c0335f"
        "fe8300cd7ffa0c0335ffe8300cd7ff9fc0339ffe7b00ce7ff9ec0339ffe7f00cd7ffa0c0335ffe8300cd7ffa0c0335ffe8700cc7ffa2"
        "c0331ffe8f00cb7ffa5c0329ffe9f00c97ffa9c0321ffeaf00c77ffaec0315ffed300b7ffc1bfc00",
    ),
    (
        COLOURED,
        "00000018391bf8014064000007f8028064420000f0191080005006442000190190000000e01e019000001fe0",
    ),
]


def in_bits(*fields: tuple[int, int]) -> list[int]:
    """Return bytes that hold numbers, each with its count of bits."""
    text = "".join(f"{number:0{bits}b}" for number, bits in fields)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def header(values: int, sizes: tuple[int, ...] = (3, 4, 8, 16), word: int = 8) -> list[tuple[int, int]]:
    return [(values, 32), (word - 1, 5), *((size - 1, 4) for size in sizes)]


def slowly_read(packed: list[int]) -> list[int]:
    """Return the values of a stream, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise EOFError
        return int(bits[at - count : at], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        same, size = take(1), sizes[take(2)]
        length = take(size) + 1
        values += [take(word)] * length if same else [take(word) for _ in range(length)]
    return values


masks = arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 40)), elements=st.booleans())
blobs = st.builds(
    lambda mask, times: np.repeat(np.repeat(mask, times, axis=0), times, axis=1), masks, st.integers(1, 30)
)


@pytest.mark.parametrize(("mask", "packed"), PACKED_BY_LABEL_STUDIO, ids=["hole", "disc", "coloured"])
def test_what_label_studio_packs_is_read(mask, packed):
    height, width = mask.shape
    assert (brush_masks.to_mask(list(bytes.fromhex(packed)), width, height) == mask).all()


@pytest.mark.parametrize(("mask", "packed"), PACKED_BY_LABEL_STUDIO[1:2], ids=["disc"])
def test_a_mask_is_packed_as_label_studio_packs_it(mask, packed):
    theirs = bytes.fromhex(packed)
    assert bytes(brush_masks.of_mask(mask)) == theirs[: len(brush_masks.of_mask(mask))]
    assert not any(theirs[len(brush_masks.of_mask(mask)) :])


@given(mask=st.one_of(masks, blobs))
def test_what_is_packed_says_the_same_bit_by_bit_and_comes_back(mask):
    packed = brush_masks.of_mask(mask)
    height, width = mask.shape
    assert slowly_read(packed) == np.repeat(np.where(mask.ravel(), 255, 0), 4).tolist()
    assert (brush_masks.to_mask(packed, width, height) == mask).all()


@given(
    pixels=st.lists(st.lists(st.integers(0, 255), min_size=4, max_size=4), min_size=1, max_size=8),
    sizes=st.tuples(*[st.integers(5, 16)] * 4),
    choice=st.integers(0, 3),
)
def test_values_that_are_not_repeated_and_other_sizes_are_read(pixels, sizes, choice):
    values = [value for pixel in pixels for value in pixel]
    token = [(0, 1), (choice, 2), (len(values) - 1, sizes[choice]), *((value, 8) for value in values)]
    packed = in_bits(*header(len(values), sizes), *token)
    assert slowly_read(packed) == values
    assert brush_masks.to_mask(packed, len(pixels), 1).tolist() == [[pixel[3] > 0 for pixel in pixels]]


def test_a_mask_of_many_millions_of_pixels_is_packed_in_few_bytes():
    mask = np.zeros((5000, 4000), dtype=bool)
    mask[1000:4000] = True
    packed = brush_masks.of_mask(mask)
    assert len(packed) < 10_000
    assert (brush_masks.to_mask(packed, 4000, 5000) == mask).all()


def test_a_run_that_reaches_over_the_end_is_cut_off():
    packed = in_bits(*header(8), (1, 1), (1, 2), (15, 4), (255, 8))
    assert brush_masks.to_mask(packed, 2, 1).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        ([], "0 values"),
        ([0, 0, 0], "0 values"),
        (in_bits(*header(12), (1, 1), (1, 2), (11, 4), (255, 8)), "12 values"),
        (in_bits(*header(8, word=16), (1, 1), (0, 2), (7, 3), (255, 16)), "not bytes"),
        (in_bits(*header(8)), "cut off"),
        (in_bits(*header(8), (0, 1), (0, 2), (7, 3), (255, 8)), "cut off"),
        ([256], "not a list of bytes"),
        ([-1], "not a list of bytes"),
        (["a"], "not a list of bytes"),
        ([None], "not a list of bytes"),
        ("text", "0 values"),
        (10**12, "0 values"),
    ],
)
def test_a_stream_that_is_not_a_mask_of_this_size_is_refused(packed, problem):
    with pytest.raises(ValueError, match=problem):
        brush_masks.to_mask(packed, 2, 1)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (-1, 5), (10**9, 10**9), (1 << 15, 1 << 14)])
def test_a_size_that_nobody_can_mean_takes_no_memory(width, height):
    with pytest.raises(ValueError, match="pixels"):
        brush_masks.to_mask([0, 0, 0, 8], width, height)


@given(rest=st.binary(max_size=80), width=st.integers(1, 40), height=st.integers(1, 40))
def test_random_bits_are_read_as_the_slow_way_reads_them_or_refused(rest, width, height):
    packed = list((4 * width * height).to_bytes(4, "big") + b"\x39\x1b\xf8" + rest)
    try:
        values = slowly_read(packed)[: 4 * width * height]
    except EOFError:
        with pytest.raises(ValueError, match="cut off"):
            brush_masks.to_mask(packed, width, height)
    else:
        assert (brush_masks.to_mask(packed, width, height).ravel() == (np.array(values[3::4]) > 0)).all()
