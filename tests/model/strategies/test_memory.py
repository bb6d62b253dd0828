"""No strategy holds all pairs: a pool of 200,000 × 512 is chosen from in less than 4 GB."""

import subprocess
import sys

import pytest

QUERY = """
import resource, torch
from alctl.model.strategy import STRATEGIES
from tests.model.strategies.fakes import FakeCandidates, chance

embedding = torch.randn(200_000, 512)
pool = FakeCandidates(torch.rand(200_000, 1, 100).softmax(-1), embedding, torch.rand(200_000))
labeled = FakeCandidates(pool.probabilities[:1000], embedding[:1000].clone(), pool.predicted_loss[:1000])
picks = STRATEGIES.load("{name}")(**{options}).query(pool, labeled, 50, chance()).positions
assert len(set(picks.tolist())) == 50
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("core-set", {}),
        ("badge", {}),
        ("learning-loss-diverse", {}),
        ("uherding", {"references": 1000}),  # more would take minutes, and 40 MB for 20,000
    ],
)
def test_a_large_pool_fits_into_four_gigabytes(name, options):
    command = [sys.executable, "-c", QUERY.format(name=name, options=options)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(out) * 1024 < 4e9
