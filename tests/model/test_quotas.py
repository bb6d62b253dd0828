"""Choosing within limits: O43 and O44, any strategy, near-duplicates, and what happens where too little is left."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from alctl.model.near_duplicates import collapse
from alctl.model.quotas import NO_GROUP, Quota, balanced, choose, share_of
from alctl.model.score import Unscored
from alctl.model.strategies.maxherding import MaxHerding
from alctl.model.strategies.random import Random
from alctl.model.strategy import Candidates, QueryStrategy, Ranking, Selection, top_k

SCORES = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
CLASSES = torch.tensor([0, 0, 0, 0, 1, 1, 2])


@dataclass(frozen=True)
class Given(Ranking):
    """The images by scores that are given."""

    scores: Tensor

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        return top_k(self.scores, n)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def none() -> Unscored:
    return Unscored(0)


def within(n: int, *quotas: Quota, scores: Tensor = SCORES):
    return choose(Given(scores), Unscored(len(scores)), none(), n, rng(), quotas=lambda *_: quotas)


@pytest.mark.parametrize(
    ("labels", "n", "targets", "picks"),
    [
        ([0, 0, 0], 4, [2, 1, 1], [0, 1, 4, 6]),
        ([5, 0, 0], 4, [1, 2, 1], [0, 4, 5, 6]),
        ([0, 0, 0], 6, [3, 2, 1], [0, 1, 2, 4, 5, 6]),
    ],
)
def test_classes_are_filled_like_water(labels, n, targets, picks):
    """O43."""
    assert balanced(labels, [4, 2, 1], n) == targets
    assert within(n, Quota(CLASSES, targets)).positions.tolist() == picks


@pytest.mark.parametrize(("share", "n", "picks"), [(0.5, 4, [0, 1, 4, 5]), (0.34, 5, [0, 1, 4, 5, 6])])
def test_no_group_has_more_than_its_share(share, n, picks):
    """O44."""
    quota = Quota(CLASSES, [share_of(share, n)] * 3)
    assert within(n, quota).positions.tolist() == picks


def test_a_share_is_rounded_up_and_not_by_an_error_of_rounding():
    assert (share_of(0.07, 100), share_of(0.34, 5), share_of(0.3, 10), share_of(1, 7)) == (7, 2, 3, 7)


def test_missing_picks_come_from_the_skipped_in_the_order_of_the_ranking():
    found = within(6, Quota(CLASSES, [1, 1, 1]))
    assert found.positions.tolist() == [0, 4, 6, 1, 2, 3]
    assert (found.beyond, found.repeated) == (3, 0)
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.3, 0.8, 0.7, 0.6])


def test_an_image_without_a_group_is_not_limited():
    groups = torch.tensor([0, 0, NO_GROUP, NO_GROUP, NO_GROUP, 0, 0])
    assert within(5, Quota(groups, [1])).positions.tolist() == [0, 2, 3, 4, 1]


def test_several_limits_hold_at_once():
    other = Quota(torch.tensor([0, 1, 0, 1, 0, 1, 0]), [2, 1])
    found = within(4, Quota(CLASSES, [2, 2, 1]), other)
    assert found.positions.tolist() == [0, 1, 4, 2]
    assert found.beyond == 1
    assert within(3, Quota(CLASSES, [2, 2, 1]), other).positions.tolist() == [0, 1, 4]


@given(seed=st.integers(0, 1000), n=st.integers(0, 25), full=st.integers(0, 6))
def test_a_walk_down_a_random_ranking_takes_what_fits_and_never_too_few(seed, n, full):
    generator = rng(seed)
    groups = torch.randint(-1, 4, (20,), generator=generator)
    scores = torch.rand(20, generator=generator)
    found = within(n, Quota(groups, [full] * 4), scores=scores)
    taken, room, plain = found.positions.tolist(), [full] * 4, list[int]()
    order = scores.sort(descending=True, stable=True).indices.tolist()
    for i in order:
        group = int(groups[i])
        if len(plain) < n and (group == NO_GROUP or room[group]):
            plain.append(i)
            if group != NO_GROUP:
                room[group] -= 1
    rest = [i for i in order if i not in plain][: n - len(plain)]
    assert taken == [*plain, *rest][:n]
    assert len(taken) == min(n, 20)
    assert found.beyond == len(taken) - len(plain)


def plane(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def near(points: Tensor, cosine: float = 0.999, known: Tensor | None = None):
    return lambda order: collapse(points, cosine, known=known, order=order)


def test_of_near_duplicates_the_one_with_the_highest_score_stands_for_the_others():
    points = plane(0, 0.1, 0.2, 50, 50.1, 90, 140)
    scores = torch.tensor([0.1, 0.9, 0.2, 0.3, 0.8, 0.5, 0.4])
    found = choose(Given(scores), Unscored(7), none(), 4, rng(), collapse=near(points))
    assert found.positions.tolist() == [1, 4, 5, 6]
    assert found.repeated == 0
    whole = choose(Given(scores), Unscored(7), none(), 6, rng(), collapse=near(points))
    assert whole.positions.tolist() == [1, 4, 5, 6, 3, 2]
    assert whole.repeated == 2


def test_what_is_probably_labeled_already_is_the_last_resort():
    points, known = plane(0, 0.1, 50, 50.1), plane(0.05)
    scores = torch.tensor([0.9, 0.8, 0.2, 0.1])
    found = choose(Given(scores), Unscored(4), none(), 4, rng(), collapse=near(points, known=known))
    assert found.positions.tolist() == [2, 3, 0, 1]
    assert found.repeated == 3


def test_a_greedy_strategy_never_sees_near_duplicates_until_nothing_else_is_left():
    points = torch.cat([plane(0).expand(20, 2) + torch.arange(20)[:, None] * 1e-4, plane(60, 120, 180)])
    candidates = Unscored(len(points), points)
    found = choose(MaxHerding(), candidates, Unscored(0, points[:0]), 4, rng(), collapse=near(points))
    assert set(found.positions.tolist()) == {0, 20, 21, 22}
    more = choose(MaxHerding(), candidates, Unscored(0, points[:0]), 6, rng(), collapse=near(points))
    assert len(set(more.positions.tolist())) == 6
    assert more.repeated == 2


def masked_greedy(points: Tensor, groups: Tensor, room: list[int], n: int) -> list[int]:
    """Return what SELECTION.md §3.11 says: MaxHerding over all images, each pick among the groups with room."""
    x = torch.nn.functional.normalize(points.double())
    kernel = (-torch.cdist(x, x).square()).exp()
    covered, left, picks = torch.zeros(len(x), dtype=torch.float64), list(room), []
    for _ in range(n):
        gains = (kernel - covered).clamp(min=0).sum(1)
        gains[[i for i in range(len(x)) if i in picks or left[groups[i]] == 0]] = -1
        picks.append(int(gains.argmax()))
        left[groups[picks[-1]]] -= 1
        covered = torch.maximum(covered, kernel[picks[-1]])
    return picks


@pytest.mark.parametrize("room", [[10, 2], [1, 20], [0, 20]])
def test_herding_passes_over_full_groups_and_covers_their_images_all_the_same(room):
    points = torch.randn(60, 8, generator=rng(3))
    points[:40] += 3
    groups = torch.tensor([0] * 40 + [1] * 20)
    candidates, labeled = Unscored(60, points), Unscored(0, points[:0])
    found = choose(MaxHerding(), candidates, labeled, 10, rng(), quotas=lambda *_: [Quota(groups, room)])
    assert found.positions.tolist() == masked_greedy(points, groups, room, 10)
    assert found.positions.tolist() != choose(MaxHerding(), candidates, labeled, 10, rng()).positions.tolist()
    assert found.beyond == 0


def test_herding_takes_images_without_room_where_too_few_are_left():
    points = torch.randn(30, 8, generator=rng(3))
    groups = torch.arange(30) % 2
    candidates, labeled = Unscored(30, points), Unscored(0, points[:0])
    found = choose(MaxHerding(), candidates, labeled, 8, rng(), quotas=lambda *_: [Quota(groups, [2, 3])])
    assert found.positions[:5].tolist() == masked_greedy(points, groups, [2, 3], 5)
    assert (len(set(found.positions.tolist())), found.beyond) == (8, 3)


@dataclass(frozen=True)
class Twice(QueryStrategy):
    """The images with the most known ones before them first: it sees what is taken."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        first = len(labeled) % len(unlabeled)
        places = (torch.arange(len(unlabeled)) + first) % len(unlabeled)
        return Selection(places[:n], torch.full((min(n, len(places)),), float(len(labeled))).double())


def test_any_other_strategy_is_asked_again_without_the_full_group_and_knows_what_is_taken():
    candidates, labeled = Unscored(7, torch.zeros(7, 1)), Unscored(0, torch.zeros(0, 1))
    found = choose(Twice(), candidates, labeled, 4, rng(), quotas=lambda *_: [Quota(CLASSES, [2, 9, 9])])
    assert found.positions.tolist() == [0, 1, 6, 4]
    assert found.scores.tolist() == [0, 0, 2, 2]


def test_the_order_of_the_files_decides_only_which_of_a_group_stands_for_it():
    """Pitfall 46: the same groups of near-duplicates, whichever way round the folder is read."""
    points = torch.randn(30, 3, generator=rng(5)).repeat_interleave(3, 0)

    def chosen(order: Tensor) -> list[int]:
        candidates = Unscored(90, points[order])
        found = choose(
            MaxHerding(), candidates, Unscored(0, points[:0]), 5, rng(), collapse=near(points[order], 1.0)
        )
        return [int(order[i]) // 3 for i in found.positions]

    assert chosen(torch.arange(90)) == chosen(torch.arange(90).flip(0))


def test_random_picks_without_limits_are_those_of_the_strategy():
    plain = Random().query(Unscored(30), none(), 7, rng(1))
    found = choose(Random(), Unscored(30), none(), 7, rng(1))
    assert found.positions.tolist() == plain.positions.tolist()
    open_ = Quota(torch.zeros(30, dtype=torch.int64), [30])
    same = choose(Random(), Unscored(30), none(), 7, rng(1), quotas=lambda *_: [open_])
    assert same.positions.tolist() == plain.positions.tolist()
