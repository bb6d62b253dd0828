"""How far annotators agree: against published examples, numbers worked by hand, and independent implementations."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alctl.agreement import measures, similarity
from alctl.agreement.dawid_skene import STEPS, accuracies
from alctl.agreement.measures import Answer, Judge, PairKappa, Row, Shared, Tally
from alctl.agreement.similarity import COCO_KEYPOINTS, COCO_SIGMAS, Part, compared
from alctl.labels import rle
from alctl.labels.annotation import Annotation

SIZE = (20, 30)
"""Height and width of the images here."""


def rows_of(answers: dict[str, str]) -> list[Row]:
    """Return what `history.agreement` returns, from one character a unit for each annotator."""
    rows = []
    for unit in range(len(next(iter(answers.values())))):
        given_ = {who: int(said[unit]) for who, said in sorted(answers.items()) if said[unit] != "."}
        rows += [
            Row(a, b, given_[a], given_[b], answers=len(given_), n=1) for a, b in combinations(given_, 2)
        ]
    return rows


# --- classes ----------------------------------------------------------------------------------------------------------

KRIPPENDORFF = {"A": "123321412...", "B": "1233224125.3", "C": ".3332342251.", "D": "12332441251."}
"""Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, nominal data."""

FLEISS = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip
"""Answers per class of ten units by 14 raters, of which textbooks work out that Fleiss' kappa is 0.210."""


def test_krippendorffs_alpha_of_his_own_example():
    assert measures.krippendorff(rows_of(KRIPPENDORFF)) == pytest.approx(0.743, abs=5e-4)


def test_fleiss_kappa_of_the_textbook_example():
    raters = [f"{i:02}" for i in range(14)]
    units = [[str(c + 1) for c, n in enumerate(row) for _ in range(n)] for row in FLEISS]
    rows = rows_of({who: "".join(unit[i] for unit in units) for i, who in enumerate(raters)})
    assert measures.fleiss(rows) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_of_two_raters_is_scotts_pi():
    # Scott's pi: observed 0.7; chance from the pooled shares 0.55² + 0.45² = 0.505
    counts = {(1, 1): 20, (2, 2): 15, (1, 2): 5, (2, 1): 10}
    rows = [Row("a", "b", x, y, answers=2, n=n) for (x, y), n in counts.items()]
    shares = (20 * 2 + 15) / 100
    chance = shares**2 + (1 - shares) ** 2
    assert measures.fleiss(rows) == pytest.approx((0.7 - chance) / (1 - chance))


def test_cohens_kappa_by_hand():
    # 50 items: both yes 20, both no 15, yes/no 5, no/yes 10: observed 0.7, expected 0.5
    counts = [((1, 1), 20), ((2, 2), 15), ((1, 2), 5), ((2, 1), 10)]
    rows = [Row("a", "b", x, y, answers=2, n=n) for (x, y), n in counts]
    (got,) = measures.kappas(rows)
    assert got.items == 50
    assert got.agreement == pytest.approx(0.7)
    assert got.kappa == pytest.approx(0.4)


def test_one_class_for_everything_says_nothing_about_agreement():
    rows = rows_of({"a": "111", "b": "111"})
    assert measures.krippendorff(rows) is None
    assert measures.fleiss(rows) is None
    assert measures.fleiss([]) is None
    assert measures.kappas(rows) == [PairKappa(["a", "b"], items=3, agreement=1.0, kappa=None)]


def classes_of(answers: dict[str, str]) -> list[Shared]:
    """Return the units that several annotators answered."""
    found = []
    for unit in range(len(next(iter(answers.values())))):
        said = tuple(Answer(who, int(given_[unit])) for who, given_ in answers.items() if given_[unit] != ".")
        if len(said) > 1:
            found.append(Shared(unit + 1, f"{unit + 1}.jpg", SIZE, said))
    return found


def tallied(judge: Judge, units: list[Shared]) -> Tally:
    tally = Tally(judge)
    for unit in units:
        tally.add(unit)
    return tally


def test_units_one_at_a_time_come_to_the_same_table_of_pairs():
    tally = tallied(Judge("classification"), classes_of(KRIPPENDORFF))
    rows = [Row(*key, n) for key, n in tally.rows.items()]
    assert measures.krippendorff(rows) == measures.krippendorff(rows_of(KRIPPENDORFF))
    assert (tally.items, tally.answers) == (11, 40)
    assert tally.shared["A", "B"] == 9
    assert tally.alike["A", "B"] == 8
    assert tally.people["A"].items == 9


def test_the_majority_holds_and_a_tie_goes_to_the_newest():
    judge = Judge("classification")
    said = {"112": 0, "12": 1, "21": 1, "1122": 3, "122": 1, "123": 2}
    for classes, place in said.items():
        answers = tuple(Answer(f"a{i}", int(c)) for i, c in enumerate(classes))
        chosen = measures.holds(judge, Shared(1, "", SIZE, answers))
        assert answers[chosen].category == int(classes[place]), classes


def test_a_heavier_vote_decides():
    answers = tuple(Answer(who, c) for who, c in (("expert", 1), ("b", 2), ("c", 2)))
    shared = Shared(1, "", SIZE, answers)
    for weight, holds in ((1.9, 2), (2.1, 1)):
        judge = Judge("classification", weights={"expert": weight})
        assert answers[measures.holds(judge, shared)].category == holds


@given(
    st.lists(st.integers(1, 3), min_size=2, max_size=6),
    st.floats(0.01, 50, allow_nan=False),
)
def test_equal_weights_of_any_size_are_the_majority(said, weight):
    answers = tuple(Answer(f"a{i}", c) for i, c in enumerate(said))
    shared = Shared(1, "", SIZE, answers)
    equal = Judge("classification", weights={a.annotator: weight for a in answers})
    chosen = measures.holds(Judge("classification"), shared)
    assert measures.holds(equal, shared) == chosen
    newest = {c: max(i for i, s in enumerate(said) if s == c) for c in said}
    assert said[chosen] == max(newest, key=lambda c: (said.count(c), newest[c]))


def test_the_worst_items_come_out_and_no_more_than_asked_for():
    units = classes_of({"a": "1" * 60, "b": "1" * 30 + "2" * 30, "c": "1" * 40 + "2" * 20})
    tally = tallied(Judge("classification"), units)
    worst = sorted(tally.worst, key=lambda entry: entry[:3], reverse=True)
    assert len(worst) == measures.WORST
    assert [found.item for *_, found in worst] == list(range(31, 51))
    assert {round(-value, 3) for value, *_ in worst} == {0.333}


# --- boxes ------------------------------------------------------------------------------------------------------------


def box(x: float, y: float, width: float, height: float, id_: int = 1) -> tuple[Annotation, int]:
    return Annotation("", bbox=(x, y, width, height)), id_


def test_boxes_are_compared_by_hand():
    one = [box(0, 0, 10, 10), box(15, 0, 10, 10), box(0, 12, 5, 5, 2)]
    other = [box(0, 0, 10, 8), box(0, 12, 5, 5, 1)]
    found = compared("detection", one, other, SIZE, {})
    assert found.classes == {1: Part(1, pytest.approx(0.8), 4), 2: Part(0, 0.0, 1)}  # type: ignore[arg-type]
    assert found.whole.f1 == pytest.approx(2 / 5)
    assert found.whole.mean == pytest.approx(0.8)
    assert found.value == pytest.approx(2 * 0.8 / 5)
    assert found.confused == {(2, 1): 1}


def test_the_pairing_is_the_best_of_all_and_not_the_first_that_fits():
    # greedily, the first box takes the one that the second needs
    one = [box(0, 0, 10, 10), box(2, 0, 10, 10)]
    other = [box(1, 0, 10, 10), box(4, 0, 10, 10)]
    alike = similarity.iou(similarity._boxes(one), similarity._boxes(other))
    assert alike[0, 1] < 0.5 < alike[1, 0]
    assert similarity.paired(alike).tolist() == [[0, 0], [1, 1]]


@given(st.data())
def test_the_likeness_of_boxes_is_that_of_every_possible_pairing(data):
    numbers = st.integers(0, 12)
    draw_box = st.builds(box, numbers, numbers, st.integers(1, 12), st.integers(1, 12))
    one, other = (data.draw(st.lists(draw_box, max_size=4)) for _ in range(2))
    found = compared("detection", one, other, SIZE, {})
    assert found.value == pytest.approx(compared("detection", other, one, SIZE, {}).value)
    assert 0 <= found.value <= 1
    assert compared("detection", one, one, SIZE, {}).value == pytest.approx(1.0)
    alike = [[overlap(a, b) for b, _ in other] for a, _ in one]
    assert found.whole.alike == pytest.approx(best(alike, frozenset()))


def overlap(a: Annotation, b: Annotation) -> float:
    """Return the IoU of boxes with whole coordinates by counting their pixels."""
    pixels = [
        {(x, y) for x in range(int(d.bbox[0]), int(d.bbox[0] + d.bbox[2])) for y in range(int(d.bbox[1]), int(d.bbox[1] + d.bbox[3]))}
        for d in (a, b) if d.bbox
    ]  # fmt: skip
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def best(alike: list[list[float]], taken: frozenset[int]) -> float:
    """Return the largest sum of likenesses of at least a half over all pairings, by trying all."""
    if not alike:
        return 0.0
    rest = best(alike[1:], taken)
    tried = [
        value + best(alike[1:], taken | {j})
        for j, value in enumerate(alike[0])
        if j not in taken and value >= 0.5
    ]
    return max([rest, *tried])


def test_two_empty_images_are_alike_and_one_empty_image_is_not():
    assert compared("detection", [], [], SIZE, {}).value == 1
    assert compared("detection", [box(0, 0, 5, 5)], [], SIZE, {}).value == 0


def test_a_crowd_is_no_object():
    crowd = (Annotation("", bbox=(0, 0, 20, 20), crowd=True), 1)
    assert compared("detection", [box(0, 0, 5, 5), crowd], [box(0, 0, 5, 5)], SIZE, {}).value == 1


# --- poses ------------------------------------------------------------------------------------------------------------


def pose(points, box_=(0.0, 0.0, 100.0, 100.0), id_: int = 1) -> tuple[Annotation, int]:
    return Annotation("", bbox=box_, keypoints=tuple(points)), id_


def test_poses_are_compared_by_hand():
    # d = 10, area 10,000, sigma 0.05: exp(-100 / (2 · 10,000 · 0.01)) = exp(-0.5); one of three points is only in one
    one = pose([(10, 10, 2), (50, 50, 2), (0, 0, 0)])
    other = pose([(10, 10, 1), (60, 50, 2), (90, 90, 2)])
    found = compared("pose", [one], [other], SIZE, {1: ("a", "b", "c")})
    assert found.classes[1].alike == pytest.approx((1 + math.exp(-0.5)) / 3)


def test_people_of_coco_have_its_spreads_and_agree_with_its_own_evaluation():
    pycocotools = pytest.importorskip("pycocotools.cocoeval")
    assert pytest.approx(list(COCO_SIGMAS)) == list(pycocotools.Params("keypoints").kpt_oks_sigmas)
    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.uniform(0, 100, (17, 2)), np.full(17, 2)])
    guess = truth + np.column_stack([rng.normal(0, 3, (17, 2)), np.zeros(17)])
    ours = compared("pose", [pose(truth)], [pose(guess)], SIZE, {1: COCO_KEYPOINTS}).classes[1].alike
    assert ours == pytest.approx(theirs(pycocotools.COCOeval, truth, guess), abs=1e-9)


def theirs(kind: Any, truth: np.ndarray, guess: np.ndarray) -> float:
    """Return OKS of one person as COCO's evaluation computes it."""
    ids = [1]
    evaluation = kind(iouType="keypoints")
    evaluation.params.imgIds, evaluation.params.catIds = ids, ids
    person = {"bbox": [0, 0, 100, 100], "area": 10_000, "num_keypoints": 17, "score": 1.0, "iscrowd": 0}
    evaluation._gts = {(1, 1): [{**person, "keypoints": truth.ravel().tolist()}]}
    evaluation._dts = {(1, 1): [{**person, "keypoints": guess.ravel().tolist()}]}
    return float(evaluation.computeOks(1, 1)[0, 0])


def test_people_without_points_are_compared_by_their_boxes():
    empty = [(0.0, 0.0, 0)] * 3
    one, other = pose(empty, (0, 0, 10, 10)), pose(empty, (0, 0, 10, 8))
    assert compared("pose", [one], [other], SIZE, {1: ("a", "b", "c")}).value == pytest.approx(0.8)


# --- segmentations ----------------------------------------------------------------------------------------------------


def polygon(x: float, y: float, width: float, height: float, id_: int) -> tuple[Annotation, int]:
    corners = (x, y, x + width, y, x + width, y + height, x, y + height)
    return Annotation("", segmentation=(corners,)), id_


def mask(x: int, y: int, width: int, height: int, id_: int) -> tuple[Annotation, int]:
    pixels = np.zeros(SIZE, dtype=bool)
    pixels[y : y + height, x : x + width] = True
    return Annotation("", segmentation=rle.of_mask(pixels)), id_


def test_segmentations_are_compared_by_hand():
    one = [polygon(0, 0, 10, 10, 1), polygon(20, 0, 5, 4, 2)]
    other = [mask(0, 0, 10, 5, 1), mask(0, 15, 5, 5, 3)]
    found = compared("segmentation", one, other, SIZE, {})
    assert found.classes == {1: Part(1, 0.5, 2), 2: Part(0, 0.0, 2), 3: Part(0, 0.0, 2)}
    assert found.value == pytest.approx(0.5 / 3)


def test_a_polygon_and_a_mask_of_the_same_pixels_are_the_same():
    one, other = [polygon(3, 2, 7, 11, 1)], [mask(3, 2, 7, 11, 1)]
    assert compared("segmentation", one, other, SIZE, {}).value == 1
    assert compared("segmentation", [], [], SIZE, {}).value == 1


def test_what_is_drawn_later_covers_what_was_drawn_earlier():
    painted = similarity.painted([mask(0, 0, 10, 10, 5), polygon(5, 5, 10, 10, 9)], {5: 1, 9: 2}, SIZE)
    assert (painted == 1).sum() == 75
    assert (painted == 2).sum() == 100


@given(
    st.lists(
        st.tuples(st.integers(-3, 28), st.integers(-3, 18), st.integers(1, 12), st.integers(1, 12)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_polygons_are_painted_where_they_are_also_over_the_edge(boxes):
    wanted = np.zeros(SIZE, dtype=bool)
    inside = [b for b in boxes if b[0] + b[2] > 0 and b[1] + b[3] > 0]
    for x, y, width, height in inside:
        wanted[max(0, y) : y + height, max(0, x) : x + width] = True
    painted = similarity.painted([polygon(b[0], b[1], b[2], b[3], 1) for b in inside], {1: 1}, SIZE)
    assert (painted == 1).tolist() == wanted.tolist()


# --- what holds where people drew differently -------------------------------------------------------------------------


def drawn(*answers: tuple[str, Any]) -> Shared:
    return Shared(1, "", SIZE, tuple(Answer(who, None, things) for who, things in answers))


def test_the_drawing_holds_that_is_most_like_the_others():
    middle = [box(1, 0, 10, 10)]
    shared = drawn(
        ("a", [box(0, 0, 10, 10)]), ("b", middle), ("c", [box(2, 0, 10, 10)]), ("d", [box(15, 5, 4, 4)])
    )
    assert measures.holds(Judge("detection"), shared) == 1


def test_of_two_drawings_the_newest_holds_or_the_one_of_the_heavier_vote():
    shared = drawn(("a", [box(0, 0, 10, 10)]), ("b", [box(2, 0, 10, 10)]))
    assert measures.holds(Judge("detection"), shared) == 1
    assert measures.holds(Judge("detection", weights={"a": 1.1}), shared) == 0
    assert measures.holds(Judge("detection", weights={"a": 0.7, "b": 0.7}), shared) == 1


def test_pairs_of_objects_add_up_over_the_images():
    judge = Judge("detection")
    units = [
        drawn(("a", [box(0, 0, 10, 10)]), ("b", [box(0, 0, 10, 8)])),
        drawn(("b", [box(0, 0, 10, 10)]), ("a", [box(0, 0, 10, 10), box(12, 0, 5, 5)])),
    ]
    tally = tallied(judge, units)
    both = tally.together["a", "b"]
    assert both == Part(2, pytest.approx(1.8), 5)  # type: ignore[arg-type]
    assert tally.quality()["a"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert tally.people["a"].decided == 0  # of two, who came last would be right


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_a_tie_says_nothing_about_anybody_whoever_was_imported_first(task):
    judge = Judge(task)
    one = [Answer(who, None, [box(0, 0, 10, height)]) for who, height in (("a", 10), ("b", 8), ("c", 10))]
    if task == "classification":
        one = [Answer(who, category) for who, category in (("a", 1), ("b", 2), ("c", 1))]
    for order in ((0, 1), (1, 0)):
        tied = tallied(judge, [Shared(1, "1.jpg", (20, 20), tuple(one[i] for i in order))])
        assert {who: (row.decided, row.with_consensus) for who, row in tied.people.items()} == {
            "a": (0, 0), "b": (0, 0),
        }  # fmt: skip
    decided = tallied(judge, [Shared(1, "1.jpg", (20, 20), tuple(one))])
    assert decided.people["a"].with_consensus == 1
    assert decided.people["b"].with_consensus < 1
    same = tallied(judge, [Shared(1, "1.jpg", (20, 20), (one[0], one[2]))])
    assert same.people["a"].decided == same.people["c"].with_consensus == 1


# --- Dawid and Skene --------------------------------------------------------------------------------------------------


def simulated(quality: list[float], n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return items, annotators and classes of answers that are right as often as told, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    right = rng.random((n, len(quality))) < np.array(quality)
    wrong = (truth[:, None] + rng.integers(1, classes, right.shape)) % classes
    said = np.where(right, truth[:, None], wrong)
    items, people = np.divmod(np.arange(said.size), len(quality))
    return items, people, said.ravel(), right.mean(axis=0)


def test_the_accuracy_of_annotators_is_found_without_the_truth():
    items, people, said, really = simulated([0.95, 0.8, 0.6, 0.3], 2_000, 4)
    assert accuracies(items, people, said) == pytest.approx(really, abs=0.02)


def test_accuracies_do_not_depend_on_how_the_items_are_cut_into_blocks():
    items, people, said, _ = simulated([0.9, 0.7, 0.7], 500, 3)
    whole = accuracies(items, people, said)
    assert accuracies(items, people, said, block=30) == pytest.approx(whole)


def test_em_is_that_of_dawid_and_skene():
    """Their equations 2.3 to 2.5, written down as they stand, without smoothing."""
    items, people, said, _ = simulated([0.9, 0.75, 0.6], 300, 2)
    found = accuracies(items, people, said, smoothing=1e-9)
    table = said.reshape(300, 3)
    truth = np.array([[np.mean(row == c) for c in range(2)] for row in table])
    for _ in range(STEPS):
        prior = truth.mean(axis=0)
        pi = np.array([
            [[truth[table[:, j] == s, c].sum() / truth[:, c].sum() for s in range(2)] for c in range(2)]
            for j in range(3)
        ])  # fmt: skip
        likely = np.array(
            [[prior[c] * np.prod([pi[j, c, row[j]] for j in range(3)]) for c in range(2)] for row in table]
        )
        truth = likely / likely.sum(axis=1, keepdims=True)
    assert found == pytest.approx([sum(prior[c] * pi[j, c, c] for c in range(2)) for j in range(3)], abs=1e-4)


def test_nobody_is_perfect_or_hopeless_by_two_items():
    items, people, said, _ = simulated([0.9, 0.9, 0.9], 100, 2)
    few = [0, 1], [3, 3], [said[0], said[3]]
    found = accuracies(
        *(np.concatenate([all_, more]) for all_, more in zip((items, people, said), few, strict=True))
    )
    assert 0.5 < found[3] < 0.99
