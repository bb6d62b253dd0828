"""How often does the guard see a lead of predicted losses over margin, and how often one that is not there?

Command:  python benchmarks/guard.py
Hardware: 2-core x86-64, no GPU; 25 s of processor time
Date:     2026-11-27

The share of 1,000 runs in which the verdict is "above margin", by the true ranking accuracy of predicted losses:

| predicted losses | 20 images | 50 | 100 | 200 | 500 |
|---|---|---|---|---|---|
| 0.75 (no lead) | 0.009 | 0.013 | 0.020 | 0.027 | 0.025 |
| 0.78 | 0.037 | 0.084 | 0.140 | 0.282 | 0.632 |
| 0.80 | 0.049 | 0.158 | 0.373 | 0.676 | 0.978 |
| 0.85 | 0.155 | 0.688 | 0.976 | 1.000 | 1.000 |

And in which it is "below margin":

| predicted losses | 20 images | 50 | 100 | 200 | 500 |
|---|---|---|---|---|---|
| 0.70 | 0.055 | 0.156 | 0.313 | 0.591 | 0.945 |
| 0.75 (no lead) | 0.013 | 0.018 | 0.019 | 0.021 | 0.015 |

Wanted where there is no lead: a wrong refusal and, with the stricter rule, a wrong permission in at most 5 %. Reached.
"Equal" is said there in 48 % of the runs with 200 images, and in 96 % with 500.

True losses and the two scores are Gaussian, with known ranking accuracies: scores that correlate with the losses by ρ
put ½ + arcsin(ρ) / π of the pairs into the right order. Margin has 0.75, and the two scores correlate with each other
by 0.5. The standard error of a share is at most 0.016.
"""

import numpy as np

from alctl.model.ranking import ranking_lead, verdict

MARGIN = 0.75
BETWEEN = 0.5
RUNS = 1_000
SIZES = (20, 50, 100, 200, 500)
ACCURACIES = (0.70, 0.75, 0.78, 0.80, 0.85)


def verdicts(accuracy: float, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Return how often each verdict is given on ``n`` images where predicted losses have this ranking accuracy."""
    first, second = (np.sin(np.pi * (value - 0.5)) for value in (accuracy, MARGIN))
    covariance = np.array([[1, first, second], [first, 1, BETWEEN], [second, BETWEEN, 1]])
    found = []
    for _ in range(RUNS):
        true, module, margin = rng.multivariate_normal(np.zeros(3), covariance, size=n).T
        lead = ranking_lead(module, margin, true)
        found.append(verdict(lead) if lead else "not told apart")
    return {name: found.count(name) / RUNS for name in ("above", "below", "equal")}


def main() -> None:
    """Print one table for each verdict."""
    rng = np.random.default_rng(0)
    table = {a: {n: verdicts(a, n, rng) for n in SIZES} for a in ACCURACIES}
    for name in ("above", "below", "equal"):
        print(f"{name:<12}" + "".join(f"{f'n = {n}':>9}" for n in SIZES))
        for accuracy, row in table.items():
            print(f"{accuracy:<12.2f}" + "".join(f"{row[n][name]:>9.3f}" for n in SIZES))


if __name__ == "__main__":
    main()
