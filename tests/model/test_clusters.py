import torch

from alctl.model.clusters import central, principal


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_principal_components_keep_the_distances_of_points_that_need_no_more():
    plane = (torch.randn(50, 3, generator=rng()) @ torch.randn(3, 20, generator=rng(1)) + 5).double()
    few = principal(plane, 3)
    assert few.shape == (50, 3)
    assert torch.allclose(torch.cdist(few, few), torch.cdist(plane, plane), atol=1e-5)


def test_fewer_points_than_dimensions_have_the_same_components():
    few = torch.randn(30, 40, generator=rng()).double()
    copies = torch.cat([few, few])  # more than dimensions, and they vary alike
    for count in (5, 30, 39):
        ours, theirs = principal(few, count), principal(copies, count)[:30]
        assert torch.allclose(torch.cdist(ours, ours), torch.cdist(theirs, theirs), atol=1e-5)


def test_points_of_few_dimensions_stay_as_they_are():
    points = torch.randn(10, 4, generator=rng())
    for components in (0, 4, 100):
        assert principal(points, components) is points


def test_the_first_component_is_the_direction_in_which_points_differ_most():
    points = torch.randn(200, 2, generator=rng()) * torch.tensor([1.0, 9.0])
    along = principal(points, 1)[:, 0]
    assert abs(float(torch.corrcoef(torch.stack([along, points[:, 1]]))[0, 1])) > 0.99


def test_the_member_nearest_to_the_mean_stands_for_a_cluster_the_largest_first():
    points = torch.tensor([0.0, 10, 1, 11, 2, 30])[:, None]
    positions, sizes = central(points, torch.tensor([4, 1, 4, 1, 4, 0]))
    assert positions.tolist() == [2, 1, 5]
    assert sizes.tolist() == [3, 2, 1]


def test_equal_members_and_equal_clusters_go_by_position():
    points = torch.tensor([5.0, 5, 0, 2, 0, 2])[:, None]
    positions, sizes = central(points, torch.tensor([2, 2, 0, 0, 1, 1]))
    assert positions.tolist() == [0, 2, 4]
    assert sizes.tolist() == [2, 2, 2]
