"""The linear probe: a classifier on frozen embeddings, fitted in seconds and without chance (SELECTION.md §2).

Multinomial logistic regression on unit vectors, minus the pool's mean. Below 10 labels a class, where that knows less
than the mean of each class does, the two are blended. A temperature from held-out labels makes its probabilities honest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model import checkpoint
from alctl.model.calibration import Floats, Ints, Temperature, best_temperature, mean_loss
from alctl.model.distances import blocks
from alctl.model.logistic_regression import ROUGH, TOLERANCE, Linear, minimum, principal_axes

Vectors = np.ndarray | Tensor
"""(n, d) of any float type, in memory or mapped from a file; read in blocks."""

L2 = 1e-4
"""The penalty: as accurate as cross-validation from 50 to 2,000 labels, and calibrated (SELECTION.md §2.2)."""
L2_TRIED = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""What "cv" chooses from."""
ENOUGH = 10
"""Labels a class from which on the regression stands alone, and "cv" may choose."""
SHARPNESS = 10.0
"""What the cosine to a class mean is multiplied by to be a logit (SELECTION.md §2.2)."""
FOLDS = 5


class Head(NamedTuple):
    """The two classifiers on rows z, before they are blended."""

    linear: Linear
    centres: Floats
    """(C, d): the unit vector of the mean row of each class; zeros for a class without labels."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe. The output of a class without labels has probability 0; classes are never renumbered."""

    head: Head
    mean: Floats
    """(d,): the mean of the pool's unit vectors, which is taken off every unit vector."""
    classes: tuple[str, ...]
    """The C names, in the order of the outputs."""
    counts: tuple[int, ...]
    """How many labels of each class it was fitted to."""
    l2: float
    """The penalty, as given or as chosen."""
    temperature: Temperature
    embedding: str
    """The key of the table of embeddings that it reads; it means nothing on others."""

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without labels, which it never answers."""
        return tuple(name for name, count in zip(self.classes, self.counts, strict=True) if not count)

    @property
    def blend(self) -> float:
        """The share of the class means in the logits: 0 from 10 labels a class on."""
        return blend_of(sum(self.counts), len(self.classes))


def blend_of(labels: int, classes: int) -> float:
    """Return the share of the class means, max(0, 1 − n/(10C)), for n labels of C classes (SELECTION.md §2.2)."""
    return max(0.0, 1 - labels / (ENOUGH * classes))


def fit(
    vectors: Vectors,
    labels: Ints | Tensor,
    classes: Sequence[str],
    *,
    pool_mean: Vectors,
    embedding: str,
    l2: float | Literal["cv"] = L2,
    calibrate: bool = True,
) -> Probe:
    """Fit a probe to ``vectors`` (n, d) with ``labels`` (n,), which are positions in ``classes``.

    ``pool_mean`` (d,) is the mean of the pool's unit vectors, ``embedding`` the key of their table. With an ``l2`` of
    "cv" the penalty is the one of `L2_TRIED` with the lowest held-out loss, from 10 labels a class on and with two
    labels of each class that has any; else `L2`. Without ``calibrate``, for who wants answers only and no probabilities,
    the temperature is 1, which saves most of the time. The same labels give the same probe bit for bit, in whatever order
    they come. Raises AlctlError without labels, for vectors that are not finite and for an ``l2`` below 1e-6.
    """
    if l2 != "cv" and not min(L2_TRIED) <= l2 < np.inf:
        raise AlctlError(
            f"--head-l2 is {l2:g}; it must be cv or a number from {min(L2_TRIED):g} on, such as {L2:g}"
        )
    mean = _float64(pool_mean)
    z, known, _ = _learned_from(vectors, labels, mean, len(classes))
    axes = principal_axes(z)
    rows = z @ axes
    penalty = _chosen_l2(rows, known, len(classes)) if l2 == "cv" else float(l2)
    head = _head(rows, known, len(classes), penalty)
    return Probe(
        Head(Linear(head.linear.weight @ axes.T, head.linear.bias), head.centres @ axes.T),
        mean,
        tuple(classes),
        tuple(np.bincount(known, minlength=len(classes)).tolist()),
        penalty,
        _temperature(rows, known, len(classes), penalty) if calibrate else Temperature(),
        embedding,
    )


def _temperature(rows: Floats, labels: Ints, classes: int, l2: float) -> Temperature:
    """Return the temperature that held-out labels ask for."""
    logits, scored = _held_out(rows, labels, classes, l2, FOLDS, blend_of(len(labels), classes))
    return best_temperature(logits[scored], labels[scored])


def _learned_from(
    vectors: Vectors, labels: Ints | Tensor, mean: Floats, classes: int
) -> tuple[Floats, Ints, Ints]:
    """Return the centred unit rows z (n, d), their labels, and where they stood: by class, then by the digest of the row.

    That order depends on nothing but what the rows are: with it sums round alike and folds are the same however the
    labels come, and a digest is as good as a shuffle.
    """
    known = np.asarray(labels, dtype=np.int64)
    if not len(known):
        raise AlctlError(
            "a probe needs labels, and there are none; run `alctl select`, then `alctl import-labels`"
        )
    if len(known) != len(vectors) or known.min() < 0 or known.max() >= classes:
        raise ValueError(f"{len(vectors)} vectors, {len(known)} labels, {classes} classes")
    z = np.concatenate([_unit(vectors, rows) for rows in blocks(len(vectors))]) - mean
    order = sorted(range(len(z)), key=lambda i: (known[i], hashlib.sha256(z[i].tobytes()).digest()))
    return z[order], known[order], np.array(order, dtype=np.int64)


def predict(probe: Probe, vectors: Vectors, *, balance: float = 0.0) -> Tensor:
    """Return the probabilities (N, C) in float32 of ``vectors`` (N, d), which are read in blocks.

    ``balance`` is for balanced accuracy: 1 answers as if all classes were equally frequent, because ``balance`` times
    the logarithm of a class's share of the labels is taken off its logit (Menon et al., ICLR 2021; SELECTION.md §2.4).
    The class means know no shares, so only the regression's part of a blend is adjusted. 0 keeps the probabilities
    calibrated.
    """
    found = torch.zeros(len(vectors), len(probe.classes))
    for rows in blocks(len(vectors)):
        found[rows] = torch.from_numpy(probabilities(probe, centred(probe, vectors, rows), balance)).float()
    return found


def centred(probe: Probe, vectors: Vectors, rows: slice) -> Floats:
    """Return what a probe reads of some rows of ``vectors``: unit vectors minus the pool's mean, (n, d) float64."""
    return _unit(vectors, rows) - probe.mean


def probabilities(probe: Probe, z: Floats, balance: float = 0.0) -> Floats:
    """Return the probabilities (n, C) in float64 of rows ``z`` (n, d) as `centred` gives them; see `predict`."""
    found = np.zeros((len(z), len(probe.classes)))
    counts = np.array(probe.counts)
    known = counts > 0
    shift = np.log(counts[known] / counts.sum()) * balance * (1 - probe.blend)
    logits = _logits(probe.head, z, probe.blend)[:, known]
    found[:, known] = softmax(logits / probe.temperature.used - shift, axis=1)
    return found


def held_out(probe: Probe, vectors: Vectors, labels: Ints | Tensor) -> Floats:
    """Return the probabilities (n, C) of labeled images by probes like this one that have not seen them.

    Five of them, each fitted without a fifth of the images (SELECTION.md §2.3). An image whose class the others have no
    label of has probability 0 of its own class.
    """
    z, known, order = _learned_from(vectors, labels, probe.mean, len(probe.classes))
    rows = z @ principal_axes(z)
    blend = blend_of(len(known), len(probe.classes))
    logits, scored = _held_out(rows, known, len(probe.classes), probe.l2, FOLDS, blend)
    found = np.zeros_like(logits)
    found[order[scored]] = softmax(logits[scored] / probe.temperature.used, axis=1)
    return found


def save(path: Path, probe: Probe, info: Mapping[str, Any] | None = None) -> None:
    """Write a probe to ``path`` as safetensors, whole or not at all; ``info`` is the caller's own JSON."""
    arrays = {
        "weight": probe.head.linear.weight,
        "bias": probe.head.linear.bias,
        "centres": probe.head.centres,
        "mean": probe.mean,
    }
    info = {
        "head": "probe",
        "embedding": probe.embedding,
        "classes": probe.classes,
        "counts": probe.counts,
        "l2": probe.l2,
        "temperature": asdict(probe.temperature),
        "info": dict(info or {}),
    }
    checkpoint.write(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, info)


def load(path: Path) -> tuple[Probe, dict[str, Any]]:
    """Return the probe in ``path``, and the caller's ``info``; AlctlError for any other file."""
    tensors, info = checkpoint.read(path)
    try:
        weight, bias, centres, mean = (
            tensors[name].double().numpy() for name in ("weight", "bias", "centres", "mean")
        )
        probe = Probe(
            Head(Linear(weight, bias), centres),
            mean,
            tuple(map(str, info["classes"])),
            tuple(map(int, info["counts"])),
            float(info["l2"]),
            Temperature(**info["temperature"]),
            str(info["embedding"]),
        )
        shape = (len(probe.counts), *mean.shape)
        found = dict(info["info"])
        fits = weight.shape == centres.shape == shape and bias.shape == (len(probe.classes),) == shape[:1]
    except (KeyError, TypeError, ValueError) as error:
        raise AlctlError(f"{path} is damaged or holds no probe: {error}") from error
    if not fits:
        raise AlctlError(f"{path} is damaged or holds no probe: its parts do not fit each other")
    return probe, found


def _head(rows: Floats, labels: Ints, classes: int, l2: float, tolerance: float = TOLERANCE) -> Head:
    """Fit both classifiers to ``rows`` (n, d)."""
    sums = np.zeros((classes, rows.shape[1]))
    np.add.at(sums, labels, rows)
    return Head(minimum(rows, labels, classes, l2, tolerance=tolerance), _scaled_to_1(sums))


def _logits(head: Head, rows: Floats, blend: float) -> Floats:
    """Return the blended logits (n, C) of ``rows`` (n, d), minus infinity for a class without labels."""
    logits = (1 - blend) * (rows @ head.linear.weight.T + head.linear.bias)
    if blend:
        logits += blend * SHARPNESS * (_scaled_to_1(rows) @ head.centres.T)
    return logits


def _held_out(
    rows: Floats, labels: Ints, classes: int, l2: float, folds: int, blend: float
) -> tuple[Floats, np.ndarray]:
    """Return logits (n, C) of each row by a probe that has not seen it, and whether that has seen its class (n,).

    Row i is of fold i modulo ``folds``; rows are sorted by class, so each class is dealt out evenly.
    """
    logits = np.full((len(labels), classes), -np.inf)
    fold_of = np.arange(len(labels)) % folds
    for out in (fold_of == fold for fold in range(folds)):
        if 0 < out.sum() < len(labels):
            logits[out] = _logits(_head(rows[~out], labels[~out], classes, l2, ROUGH), rows[out], blend)
    return logits, np.isfinite(logits[np.arange(len(labels)), labels])


def _chosen_l2(rows: Floats, labels: Ints, classes: int) -> float:
    """Return the penalty with the lowest held-out loss; `L2` where the labels are too few to tell."""
    counts = np.bincount(labels)
    folds = min(FOLDS, int(counts[counts > 0].min()))
    if folds < 2 or len(labels) < ENOUGH * classes:
        return L2
    return min(
        L2_TRIED, key=lambda l2: mean_loss(_held_out(rows, labels, classes, l2, folds, blend=0.0)[0], labels)
    )


def _unit(vectors: Vectors, rows: slice) -> Floats:
    """Return some rows of ``vectors`` in float64, scaled to length 1; a row of zeros stays so."""
    found = _float64(vectors[rows])
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        position = rows.start + int(np.argmin(finite))
        raise AlctlError(
            f"the embedding at position {position} of {len(vectors)} (counted from 0) is not finite, and a probe can "
            "say nothing of it; leave the image out, or run `alctl embed` again after deleting the embeddings"
        )
    return _scaled_to_1(found)


def _float64(vectors: Vectors) -> Floats:
    """Return float64 on the CPU, whatever the type."""
    if isinstance(vectors, Tensor):
        return vectors.detach().cpu().double().numpy()
    return np.asarray(vectors, dtype=np.float64)


def _scaled_to_1(rows: Floats) -> Floats:
    """Return the rows scaled to length 1; a row of zeros stays so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled
