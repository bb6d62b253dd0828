"""Label Studio's brush masks: runs of RGBA bytes, row by row, packed into a stream of bits.

The stream begins with the number of values (32 bits), the bits of a value less one (5) and four sizes less one (4 bits
each). Then come tokens: a bit that says "one value, repeated", two bits that choose a size, a length less one of that
size, and the value once, or as many values as the length says. What counts as painted is the fourth of every four
values, the alpha channel. COCO's run lengths are something else: see `labels/rle.py`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
LARGEST = 1 << 28
"""Pixels in a mask that is still believed; a longer one would not fit into memory with room to spare."""
SIZES = (3, 4, 8, 16)
"""Bits of a length, as Label Studio writes them."""
HEADER = 32 + 5 + 4 * 4
LONGEST = 1 << SIZES[-1]
"""Values that one token can repeat."""


def to_mask(packed: Sequence[int], width: int, height: int) -> Mask:
    """Return the (height, width) mask; ValueError if the stream does not hold that many pixels."""
    pixels = _pixels(width, height)
    data = _bytes(packed)
    header = int.from_bytes(data[:7], "big") >> 3
    if len(data) < 7 or header >> 21 != 4 * pixels:
        raise ValueError(
            f"a brush mask of {header >> 21:,} values, where {width} × {height} pixels have {4 * pixels:,}"
        )
    if header >> 16 & 31 != 7:
        raise ValueError("a brush mask whose values are not bytes")
    sizes = [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    ends, values = _runs(data, sizes, 4 * pixels)
    lengths = np.diff(np.minimum(ends, 4 * pixels) // 4, prepend=0)  # alpha is the last of every four
    return np.repeat(values > 0, lengths).reshape(height, width)


def of_mask(mask: Mask) -> list[int]:
    """Return a (height, width) mask as Label Studio packs it, all four channels alike; ValueError if it is too large."""
    height, width = mask.shape
    flat = np.ascontiguousarray(mask, dtype=bool).ravel()
    header = 4 * _pixels(width, height) << 21 | 7 << 16 | int("".join(f"{size - 1:x}" for size in SIZES), 16)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = 4 * np.diff(np.concatenate([starts, [len(flat)]]))
    pieces = -(-lengths // LONGEST)
    length = np.full(int(pieces.sum()), LONGEST)
    length[np.cumsum(pieces) - 1] = lengths - LONGEST * (pieces - 1)
    value = np.where(np.repeat(flat[starts], pieces), 255, 0)
    choice = np.searchsorted([1 << size for size in SIZES], length)
    size = np.array(SIZES)[choice]
    token = (4 | choice) << (size + 8) | (length - 1) << 8 | value
    packed = _joined(token, size + 11)
    packed[:7] |= np.frombuffer((header << 3).to_bytes(7, "big"), dtype=np.uint8)
    return [int(byte) for byte in packed]


def _pixels(width: int, height: int) -> int:
    if min(width, height) < 1 or width * height > LARGEST:
        raise ValueError(f"a brush mask of {width} × {height} pixels")
    return width * height


def _bytes(packed: Sequence[int]) -> bytes:
    try:
        return bytes(packed) if isinstance(packed, list) else b""
    except (TypeError, ValueError) as error:
        raise ValueError("a brush mask that is not a list of bytes") from error


def _runs(data: bytes, sizes: Sequence[int], total: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return where each run of one value ends, and the values.

    Where a token stands follows from the one before it, so this loop is Python's; what is in them is read at once.
    """
    padded = data + bytes(8)
    lengths, places, repeated = [], [], []
    done, at, end = 0, HEADER, len(data) * 8
    while done < total:
        window = int.from_bytes(padded[at >> 3 : (at >> 3) + 4], "big") << (at & 7)
        size = sizes[window >> 29 & 3]
        length = (window >> (29 - size) & ((1 << size) - 1)) + 1
        same = window >> 31 & 1
        at += 3 + size
        lengths.append(length)
        places.append(at)
        repeated.append(same)
        done += length
        at += 8 if same else 8 * length
        if at > end:
            raise ValueError("a brush mask that is cut off")
    return _values(padded, np.array(lengths), np.array(places), np.array(repeated, dtype=bool))


def _values(
    padded: bytes, lengths: NDArray[np.int64], places: NDArray[np.int64], repeated: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Turn tokens into runs: a token of different values becomes as many runs of one."""
    counts = np.where(repeated, 1, lengths)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(places, counts) + 8 * (np.arange(len(first)) - first)
    stream = np.frombuffer(padded, dtype=np.uint8).astype(np.uint16)
    pairs = stream[places >> 3] << 8 | stream[(places >> 3) + 1]
    ends = np.cumsum(np.repeat(np.where(repeated, lengths, 1), counts))
    return ends, (pairs >> (8 - (places & 7)).astype(np.uint16)).astype(np.uint8)


def _joined(tokens: NDArray[np.int64], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Write numbers of different widths, at most 33 bits, one after the other behind the header."""
    ends = HEADER + np.cumsum(bits)
    starts = ends - bits
    packed = np.zeros(int(ends[-1] + 7) // 8 + 5, dtype=np.uint8)
    windows = tokens << (40 - bits - (starts & 7))
    for byte in range(5):
        np.add.at(packed, (starts >> 3) + byte, (windows >> (32 - 8 * byte) & 255).astype(np.uint8))
    return packed[: int(ends[-1] + 7) // 8]
