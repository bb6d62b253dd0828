import numpy as np
import pytest
from scipy.stats import chisquare

from alctl.chance import stream
from alctl.database.random_order import RandomOrder, chunks

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 65_535, 65_536, 65_537, 200_003]


@pytest.mark.parametrize("n", SIZES)
def test_the_order_holds_every_id_once_and_can_be_inverted(n):
    for seed in range(3):
        order = RandomOrder(n, seed)
        ids = order.ids(0, n)
        assert sorted(ids.tolist()) == list(range(1, n + 1))
        assert order.places(ids).tolist() == list(range(n))


def test_an_empty_pool_has_an_empty_order():
    assert RandomOrder(0, 5).ids(0, 10).tolist() == []


def test_any_part_of_the_order_is_the_same_as_of_the_whole():
    order = RandomOrder(10_007, 3)
    whole = order.ids(0, 10_007)
    assert order.ids(4_000, 4_100).tolist() == whole[4_000:4_100].tolist()
    assert order.ids(10_000, 20_000).tolist() == whole[10_000:].tolist()
    assert order.ids(20_000, 30_000).tolist() == []
    assert order.places(np.array([17, 5, 10_007])).tolist() == [
        int(np.flatnonzero(whole == i)[0]) for i in (17, 5, 10_007)
    ]


def test_the_first_ids_of_ten_million_are_distinct_and_spread_over_all_of_them():
    ids = RandomOrder(10_000_000, 1).ids(0, 20_000)
    assert len(set(ids.tolist())) == 20_000
    assert chisquare(np.histogram(ids, bins=100, range=(0.5, 10_000_000.5))[0]).pvalue > 1e-4


@pytest.mark.parametrize("n", [3, 4, 10, 37])
def test_every_id_is_as_likely_at_every_place_over_many_seeds(n):
    seeds = 80 * n
    first, last = np.zeros(n, int), np.zeros(n, int)
    for seed in range(seeds):
        ids = RandomOrder(n, seed).ids(0, n)
        first[ids[0] - 1] += 1
        last[ids[-1] - 1] += 1
    assert chisquare(first).pvalue > 1e-4
    assert chisquare(last).pvalue > 1e-4


def test_no_order_of_four_ids_is_much_likelier_than_another():
    orders: dict[tuple[int, ...], int] = {}
    for seed in range(4_800):
        key = tuple(RandomOrder(4, seed).ids(0, 4).tolist())
        orders[key] = orders.get(key, 0) + 1
    assert len(orders) == 24
    assert 140 <= min(orders.values()) <= max(orders.values()) <= 260


def test_neighbours_in_the_order_are_no_neighbours_in_the_pool():
    ids = RandomOrder(100_000, 9).ids(0, 100_000).astype(float)
    for lag in (1, 2, 256, 512):
        assert abs(np.corrcoef(ids[:-lag], ids[lag:])[0, 1]) < 0.02


def test_different_seeds_share_no_more_places_than_chance_would():
    a, b = (RandomOrder(1_000, seed).ids(0, 1_000) for seed in (0, 1))
    assert int((a == b).sum()) < 10
    overlap = len(set(a[:100].tolist()) & set(b[:100].tolist()))
    assert 1 <= overlap <= 25


def test_streams_of_different_purposes_differ_and_repeat():
    seeds = {stream(0, "subset", 1), stream(0, "subset", 2), stream(1, "subset", 1), stream(0, "subset", "1")}
    assert len(seeds) == 4
    assert stream(0, "subset", 1) == stream(0, "subset", 1)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_chunks_cover_all_ids_in_order():
    ids = np.arange(1, 26)
    parts = list(chunks(ids, 10))
    assert [len(part) for part in parts] == [10, 10, 5]
    assert np.concatenate(parts).tolist() == ids.tolist()
