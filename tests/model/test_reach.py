import torch

from alctl.model.reach import Entries, Reach, better, joined, that_fit


def kernel(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def told(lists: Entries, count: int) -> list[dict[int, float]]:
    """Return each list as a mapping from column to kernel."""
    found = []
    for row in range(count):
        columns, values = lists.of(row)
        found.append(dict(zip(columns.tolist(), values.tolist(), strict=True)))
    return found


BELOW = torch.tensor([0.25, 0.25, 0.5])


def filled() -> Reach:
    """Return a store of five candidates, three of which have a list: of two entries, of none, of three."""
    reach = Reach(5, 100, torch.device("cpu"))
    reach.put(torch.tensor([3, 0, 4]), better(kernel([0.5, 0, 0.75], [0, 0, 0], [1, 0.5, 0.75]), BELOW))
    return reach


def test_lists_of_any_length_come_back_in_the_order_asked():
    reach = filled()
    assert reach.size.tolist() == [0, -1, -1, 2, 3]
    lists = reach.of(torch.tensor([4, 0, 3]))
    assert told(lists, 3) == [{0: 1.0, 1: 0.5, 2: 0.75}, {}, {0: 0.5, 2: 0.75}]


def test_a_new_list_takes_the_place_of_the_old_one():
    reach = filled()
    reach.put(torch.tensor([4]), better(kernel([0, 1, 0]), BELOW))
    assert told(reach.of(torch.tensor([3, 4])), 2) == [{0: 0.5, 2: 0.75}, {1: 1.0}]


def test_two_parts_of_lists_become_one():
    one, other = better(kernel([1, 0, 0], [0, 1, 0]), BELOW), better(kernel([0, 0, 1], [0.5, 0, 1]), BELOW)
    assert told(joined(one, other), 2) == [{0: 1.0, 2: 1.0}, {0: 0.5, 1: 1.0, 2: 1.0}]


def test_what_is_covered_leaves_the_lists_first():
    reach = filled()
    reach.shorten(torch.tensor([0.75, 0.25, 0.5]), torch.arange(5.0), room=4)
    assert reach.size.tolist() == [0, -1, -1, 1, 3]
    assert told(reach.of(torch.tensor([3, 4])), 2) == [{2: 0.75}, {0: 1.0, 1: 0.5, 2: 0.75}]
    assert reach.used == 4


def test_then_the_lists_of_the_lowest_bounds_go():
    reach = filled()
    reach.shorten(BELOW, torch.tensor([5.0, 0, 0, 1, 2]), room=4)
    assert reach.size.tolist() == [0, -1, -1, -1, 3]
    assert told(reach.of(torch.tensor([4])), 1) == [{0: 1.0, 1: 0.5, 2: 0.75}]


def test_the_highest_bounds_have_room_first():
    bound, sizes = torch.tensor([1.0, 3, 2, 3]), torch.tensor([1, 5, 2, 1])
    assert that_fit(bound, sizes, 8).tolist() == [1, 3, 2]
    assert that_fit(bound, sizes, 4).tolist() == []
