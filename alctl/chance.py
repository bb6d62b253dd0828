"""Chance: one recorded seed, and an independent stream of random numbers for every purpose."""

import hashlib
import json


def stream(seed: int, *purpose: str | int) -> int:
    """Return the seed of the stream for ``purpose``, in [0, 2⁶³); what one stream consumes never moves another."""
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
