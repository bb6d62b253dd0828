import pytest
import torch

from alctl.chance import permutation, stream


def test_a_stream_never_changes_between_versions():
    assert stream(0, "order", 1) == 8677279991123922410


def test_every_seed_purpose_and_epoch_has_its_own_stream():
    streams = {
        stream(seed, purpose, epoch) for seed in range(3) for purpose in ("a", "b") for epoch in range(50)
    }
    assert len(streams) == 300
    assert all(0 <= value < 2**63 for value in streams)


def test_names_do_not_run_into_each_other():
    assert (
        len(
            {
                stream(1, "ab", "c"),
                stream(1, "a", "bc"),
                stream(1, "abc"),
                stream(1, "a", 1),
                stream(1, "a", "1"),
            }
        )
        == 5
    )


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32 + 5, 2**63 - 1])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 10_000])
def test_a_permutation_is_that_of_torch(n, seed):
    assert permutation(seed, n) == torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
