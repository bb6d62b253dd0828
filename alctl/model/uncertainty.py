"""How unsure a class distribution is: pure functions of probabilities (…, C), in float64."""

from collections.abc import Iterable

import torch
from torch import Tensor

from alctl.model.tensors import Distributions


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of (…, C), shape (…), in nats; 0·ln 0 is 0 (Shannon 1948)."""
    terms: Tensor = torch.special.entr(_exact(probabilities))
    return terms.sum(-1)


def least_confidence(probabilities: Tensor) -> Tensor:
    """Return 1 minus the highest probability of (…, C), shape (…) (Lewis & Gale 1994)."""
    return 1 - _exact(probabilities).amax(-1)


def margin(probabilities: Tensor) -> Tensor:
    """Return the highest minus the second highest probability of (…, C), shape (…); small is unsure."""
    highest = _exact(probabilities).topk(2, dim=-1).values
    return highest[..., 0] - highest[..., 1]


def dropout_entropies(passes: Iterable[Distributions]) -> tuple[Tensor, Tensor]:
    """Return the entropy of the mean and the mean entropy of dropout passes, (B,) each, in nats.

    Both are averaged over the distributions of an image. Means are taken of the differences from the first pass, so
    identical passes give two identical numbers, not nearly; passes are read one by one, and none is kept.
    """
    every = iter(passes)
    said = next(every)
    first, count = _exact(said.p), 1
    first_entropy = entropy(first)
    shift = torch.zeros_like(first)
    entropy_shift = torch.zeros_like(first_entropy)
    for later in every:
        shift += _exact(later.p) - first
        entropy_shift += entropy(later.p) - first_entropy
        count += 1
    of_mean = entropy(first + shift / count)
    return said.mean_of(of_mean), said.mean_of(first_entropy + entropy_shift / count)


def _exact(probabilities: Tensor) -> Tensor:
    """Return float64; 16 bits are refused, because a heatmap's entropies differ in the fifth digit only."""
    if probabilities.dtype in {torch.float16, torch.bfloat16}:
        raise TypeError(f"probabilities in {probabilities.dtype} are too coarse to rank; softmax in float32")
    return probabilities.double()
