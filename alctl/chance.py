"""Chance: one recorded seed, and an independent stream of random numbers for every purpose."""

import hashlib
import json


def stream(seed: int, *purpose: str | int) -> int:
    """Return the seed of the stream for ``purpose``, in [0, 2⁶³); what one stream consumes never moves another."""
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def permutation(seed: int, n: int) -> list[int]:
    """Return the numbers from 0 to n - 1 in the order of `torch.randperm` with a generator of this seed, without torch.

    Both shuffle by Fisher and Yates with the Mersenne Twister MT19937 (Matsumoto & Nishimura 1998), seeded by 32 bits.
    """
    import numpy as np

    twister = np.random.RandomState(seed & 0xFFFFFFFF)
    order = list(range(n))
    steps = twister.randint(0, 2**32, max(n - 1, 0), dtype=np.uint32) % np.arange(n, 1, -1, dtype=np.uint32)
    for i, step in enumerate(steps.tolist()):
        order[i], order[i + step] = order[i + step], order[i]
    return order
