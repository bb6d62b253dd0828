"""Item ids in bulk: pieces of a list of them, and a fixed random order of all of them.

It needs NumPy, so commands that draw nothing, such as `status`, never import it.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from alctl.chance import stream

Ids = NDArray[np.int64]
Words = NDArray[np.uint64]


def chunks(ids: Ids, size: int = 50_000) -> Iterator[Ids]:
    """Yield ``ids`` in pieces that one statement can take."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


class RandomOrder:
    """A fixed random order of the ids 1…n for one seed, computed in either direction for any part of it.

    It is a Feistel network on the bits of the id, restricted to 1…n by walking along its cycles, so that neither a
    shuffled list nor a scan of the pool is needed: the first few thousand of 10 million take a millisecond.
    """

    ROUNDS = 6

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self._half = max(1, -(-max(n - 1, 1).bit_length() // 2))
        self._mask = np.uint64((1 << self._half) - 1)
        self._keys = [np.uint64(stream(seed, "order", i)) for i in range(self.ROUNDS)]

    def ids(self, start: int, stop: int) -> Ids:
        """Return the ids at places ``start`` to ``stop`` of the order."""
        places = np.arange(start, min(stop, self.n), dtype=np.uint64)
        return self._walk(places, self._forward).astype(np.int64) + 1

    def places(self, ids: Ids) -> Ids:
        """Return the place of each id in the order: the inverse of `ids`."""
        return self._walk((ids - 1).astype(np.uint64), self._backward).astype(np.int64)

    def _walk(self, values: Words, step: Callable[[Words], Words]) -> Words:
        values = step(values)
        while (outside := values >= self.n).any():
            values[outside] = step(values[outside])
        return values

    def _forward(self, values: Words) -> Words:
        left, right = values >> np.uint64(self._half), values & self._mask
        for key in self._keys:
            left, right = right, left ^ self._mix(right, key)
        return (left << np.uint64(self._half)) | right

    def _backward(self, values: Words) -> Words:
        left, right = values >> np.uint64(self._half), values & self._mask
        for key in reversed(self._keys):
            left, right = right ^ self._mix(left, key), left
        return (left << np.uint64(self._half)) | right

    def _mix(self, values: Words, key: np.uint64) -> Words:
        """Hash to half the bits (the finaliser of splitmix64)."""
        mixed = values ^ key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (mixed ^ (mixed >> np.uint64(31))) & self._mask
