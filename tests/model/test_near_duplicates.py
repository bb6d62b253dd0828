"""Which images stand for which: leader clustering in one pass, in blocks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from alctl.model.distances import unit
from alctl.model.near_duplicates import Collapsed, closest, collapse


def at_degrees(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees, dtype=torch.float64).mul(math.pi / 180)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def plainly(points: Tensor, cosine: float, known: Tensor, order: Tensor) -> Collapsed:
    """Say the definition in a loop over pairs, in float64."""
    points, known = points.double(), known.double()
    by, old, found, kept = [-1] * len(points), [-1] * len(points), [1.0] * len(points), list[int]()
    for i in order.tolist():
        leaders = [(known[j], -1, j) for j in range(len(known))] + [(points[j], j, -1) for j in kept]
        for vector, position, place in leaders:
            lengths = float(points[i].norm() * vector.norm())
            value = float((points[i] * vector).sum()) / lengths if lengths else 0.0
            if value >= cosine - 1e-9:
                by[i], old[i], found[i] = position, place, min(value, 1.0)
                break
        else:
            by[i] = i
            kept.append(i)
    return Collapsed(torch.tensor(by), torch.tensor(old), torch.tensor(found, dtype=torch.float64))


def same(one: Collapsed, other: Collapsed) -> bool:
    return (
        one.by.tolist() == other.by.tolist()
        and one.known.tolist() == other.known.tolist()
        and one.cosine.tolist() == pytest.approx(other.cosine.tolist(), abs=1e-12)
    )


def test_similar_images_are_represented_by_the_first_of_them():
    """O31."""
    points, cosine = at_degrees(0, 1, 2, 3, 40, 41, 90), math.cos(math.radians(1.5))
    found = collapse(points, cosine)
    assert found.kept.tolist() == [0, 2, 4, 6]
    assert found.by.tolist() == [0, 0, 2, 2, 4, 4, 6]
    found = collapse(points, cosine, order=torch.tensor([3, 1, 0, 2, 6, 5, 4]))
    assert found.kept.tolist() == [1, 3, 5, 6]
    assert found.by.tolist() == [1, 1, 3, 3, 5, 5, 6]


def test_known_images_lead_first_and_are_not_compared_with_each_other():
    points, known = at_degrees(0, 1, 2, 3, 40), at_degrees(1, 1.2, 39)
    found = collapse(points, math.cos(math.radians(1.5)), known=known)
    assert found.known.tolist() == [0, 0, 0, -1, 2]
    assert found.by.tolist() == [-1, -1, -1, 3, -1]
    assert found.kept.tolist() == [3]
    assert found.cosine[4] == pytest.approx(math.cos(math.radians(1)))


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 60),
    labeled=st.integers(0, 8),
    rows=st.integers(1, 70),
    wide=st.booleans(),
    cosine=st.sampled_from([0.3, 0.8, 0.95, 1.0]),
)
def test_it_is_the_plain_definition_in_any_order_whatever_the_block(seed, n, labeled, rows, wide, cosine):
    rng = torch.Generator().manual_seed(seed)
    d = 90 if wide else 3
    centres = torch.randn(6, d, generator=rng)
    points, known = (
        centres[torch.randint(0, 6, (size,), generator=rng)]
        + 0.4 * torch.randn(size, d, generator=rng) * torch.randint(0, 2, (size, 1), generator=rng)
        for size in (n, labeled)
    )
    points[torch.rand(n, generator=rng) < 0.05] = 0
    order = torch.randperm(n, generator=rng)
    assert same(
        collapse(points, cosine, known=known, order=order, rows=rows), plainly(points, cosine, known, order)
    )


def test_every_image_is_near_its_leader_and_no_two_leaders_are_near_each_other():
    many = unit(torch.randn(2500, 3, generator=torch.Generator().manual_seed(1)))
    found = collapse(many, 0.98)
    kept = many[found.kept]
    assert bool((kept @ kept.T - torch.eye(len(kept)) < 0.98001).all())
    assert bool(((many * many[found.by]).sum(1) > 0.97999).all())
    assert found.cosine[found.kept].tolist() == [1.0] * len(kept)


def test_more_images_than_a_block_of_leaders_holds(monkeypatch):
    many = torch.randn(700, 5, generator=torch.Generator().manual_seed(2))
    whole = collapse(many, 0.9)
    monkeypatch.setattr("alctl.model.near_duplicates.COLUMNS", 64)
    monkeypatch.setattr("alctl.model.near_duplicates.PAIRS", 7)
    assert same(collapse(many, 0.9, rows=100), whole)


def test_an_image_without_a_vector_is_like_nothing():
    points = torch.zeros(3, 4)
    assert collapse(points, 0.5, known=points[:1]).kept.tolist() == [0, 1, 2]


def test_a_vector_that_is_not_finite_is_named():
    points = torch.ones(5, 2)
    points[3, 1] = torch.nan
    with pytest.raises(FloatingPointError, match="position 3"):
        collapse(points, 0.9)


@given(seed=st.integers(0, 10_000), n=st.integers(0, 40), labeled=st.integers(0, 5), rows=st.integers(1, 50))
def test_the_closest_pairs_are_those_of_all_pairs(seed, n, labeled, rows):
    rng = torch.Generator().manual_seed(seed)
    points, known = torch.randn(n, 4, generator=rng), torch.randn(labeled, 4, generator=rng)
    both = torch.nn.functional.normalize(torch.cat([known, points]).double(), dim=1)
    every = [
        (float(both[i] @ both[j]), i, j) for i in range(labeled, len(both)) for j in range(i)
    ]  # known ones are never compared with each other
    every.sort(key=lambda pair: -pair[0])
    found = closest(points, 10, known=known, rows=rows)
    assert [pair.cosine for pair in found] == pytest.approx([pair[0] for pair in every[:10]], abs=1e-12)
    for close in found:
        other = known[close.known] if close.known >= 0 else points[close.other]
        exact = torch.nn.functional.cosine_similarity(points[close.one].double(), other.double(), dim=0)
        assert close.cosine == pytest.approx(float(exact))
        assert (close.known >= 0) == (close.other < 0)
