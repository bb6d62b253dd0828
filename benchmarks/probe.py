"""How long does it take to fit the linear probe, and is it at its minimum?

Command:  OMP_NUM_THREADS=1 python benchmarks/probe.py
Hardware: 2-core x86-64, one thread, other work beside it: read the ratios, not the seconds
Date:     2026-11-27

    labels   fit s   regression alone s   scikit-learn s   gradient   temperature   accuracy
       100    0.26                 0.10             0.20      2e-09          0.91      0.419
     1,000    2.53                 1.30             1.14      4e-09          0.88      0.590
     5,000    7.65                 2.47             4.60      4e-09          0.81      0.632

Vectors of 1,280 dimensions, as many as efficientnet-lite0 gives: 10 overlapping classes with 40 degrees of freedom behind
a random rectified layer. A fit is a regression, five rougher ones for the temperature, and the class means;
"regression alone" is the first of these, "scikit-learn" the same minimum by LogisticRegression(C=1/(n·1e-4), tol=1e-9).
"gradient" is the length of the objective's gradient where the fit ends. CPU seconds of one thread, one run each.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from alctl.model.logistic_regression import Floats, Ints, Linear, minimum, principal_axes
from alctl.model.probe import L2, Probe, fit, predict

D, CLASSES, TEST = 1280, 10, 2000
Result = TypeVar("Result")


def clustered(n: int) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=n)
    latent = 0.35 * rng.normal(size=(CLASSES, 40))[labels] + rng.normal(size=(n, 40))
    rows = np.maximum(latent @ rng.normal(size=(40, D)) / 40**0.5 + 0.8 * rng.normal(size=(n, D)), 0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def gradient(probe: Probe, rows: Floats, labels: Ints) -> float:
    """Return the length of the gradient, by the definition."""
    weight, bias = probe.head.linear
    logits = rows @ weight.T + bias
    error = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    return float(np.hypot(np.linalg.norm(error.T @ rows + L2 * weight), np.linalg.norm(error.sum(0))))


def timed(run: Callable[..., Result], *arguments: object) -> tuple[float, Result]:
    start = time.process_time()
    result = run(*arguments)
    return time.process_time() - start, result


def whole(rows: Floats, labels: Ints, mean: Floats) -> Probe:
    return fit(rows, labels, [str(c) for c in range(CLASSES)], pool_mean=mean, embedding="")


def regression(rows: Floats, labels: Ints) -> Linear:
    return minimum(rows @ principal_axes(rows), labels, CLASSES, L2)


def scikit_learn(rows: Floats, labels: Ints) -> LogisticRegression:
    return LogisticRegression(C=1 / (len(rows) * L2), tol=1e-9, max_iter=2000).fit(rows, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds to fit the linear probe.")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000, 5000])
    sizes = parser.parse_args().labels
    vectors, labels = clustered(max(sizes) + TEST)
    mean = vectors.mean(axis=0)
    print("labels   fit s   regression alone s   scikit-learn s   gradient   temperature   accuracy")
    for n in sizes:
        some, known = vectors[:n], labels[:n]
        ours, probe = timed(whole, some, known, mean)
        alone, _ = timed(regression, some - mean, known)
        theirs, _ = timed(scikit_learn, some - mean, known)
        right = predict(probe, vectors[-TEST:]).argmax(1) == torch.from_numpy(labels[-TEST:])
        print(
            f"{n:6,} {ours:7.2f} {alone:20.2f} {theirs:16.2f} {gradient(probe, some - mean, known):10.0e} "
            f"{probe.temperature.used:13.2f} {right.double().mean():10.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
