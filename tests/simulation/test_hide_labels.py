"""Datasets made ready for a simulation: held-out tests, thinned classes, wrong labels."""

from collections import Counter
from pathlib import Path

import pytest

from alctl.dataset.index import Dataset, Entry
from alctl.errors import AlctlError
from alctl.simulation.hide_labels import Shape, noisy, read_truth, shape, write_truth

CLASSES = ("ant", "bee", "cow", "dog", "eel")


def dataset_of(entries: list[Entry]) -> Dataset:
    return Dataset(Path("/images"), lambda: iter(entries))


def pool(count: int = 20) -> list[Entry]:
    return [Entry(f"{name}/{i}.png", "pool", name) for name in CLASSES for i in range(count)]


def shaped_entries(entries: list[Entry], seed: int = 0, **wanted) -> list[Entry]:
    return list(shape(dataset_of(entries), Shape(**wanted), seed).dataset.entries())


def test_a_test_split_of_its_own_is_kept():
    own = [Entry(f"test/{name}.png", "test", name) for name in CLASSES]
    found = shape(dataset_of(pool() + own), Shape(), 0)
    assert {entry for entry in found.dataset.entries() if entry.split == "test"} == set(own)
    assert found.truth == {entry.path: entry.category for entry in pool()}
    assert found.classes == list(CLASSES)
    assert found.test == 5


def test_without_one_a_random_fifth_is_held_out_and_hidden_from_the_oracle():
    found = shape(dataset_of(pool()), Shape(), 0)
    held = {entry.path for entry in found.dataset.entries() if entry.split == "test"}
    assert len(held) == 20
    assert not held & set(found.truth)
    assert len(found.truth) == 80


def test_the_test_depends_on_the_seed_only():
    again = shaped_entries(list(reversed(pool())), test=7)
    assert shaped_entries(pool(), test=7) == again
    assert shaped_entries(pool(), seed=1, test=7) != again
    assert sum(entry.split == "test" for entry in again) == 7


def test_half_of_the_classes_keep_their_share_of_the_pool_and_all_of_the_test():
    own = [Entry(f"test/{name}/{i}.png", "test", name) for name in CLASSES for i in range(10)]
    found = shape(dataset_of(pool(20) + own), Shape(imbalance=10), 3)
    left = Counter(found.truth.values())
    assert sorted(left.values()) == [2, 2, 20, 20, 20]
    assert found.rare == sorted(name for name, count in left.items() if count == 2)
    assert sum(entry.split == "test" for entry in found.dataset.entries()) == 50


def test_the_imbalance_is_the_same_for_the_same_seed():
    assert shaped_entries(pool(), imbalance=4) == shaped_entries(pool(), imbalance=4)
    chosen = {tuple(shape(dataset_of(pool()), Shape(4), s).rare) for s in range(5)}
    assert len(chosen) > 1


def test_a_rare_class_never_disappears():
    assert set(shape(dataset_of(pool(3)), Shape(imbalance=100, test=1), 0).truth.values()) == set(CLASSES)


def test_images_without_a_class_are_left_out_and_counted():
    found = shape(dataset_of([*pool(), Entry("what.png"), Entry("test/what.png", "test")]), Shape(), 0)
    assert found.without_class == 2
    assert all(entry.category for entry in found.dataset.entries())


@pytest.mark.parametrize(
    ("entries", "wanted", "words"),
    [
        ([Entry("1.png"), Entry("2.png")], Shape(), "names 0 classes"),
        (pool(1), Shape(test=5), "cannot be held out"),
        ([*pool(), Entry("t.png", "test", "ant")], Shape(test=5), "leave out --test"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_a_reason(entries, wanted, words):
    with pytest.raises(AlctlError, match=words):
        shape(dataset_of(entries), wanted, 0)


def test_label_noise_changes_its_share_to_other_classes_the_same_ones_for_a_seed():
    truth = {entry.path: str(entry.category) for entry in pool(200)}
    answers = noisy(truth, 0.3, 5)
    wrong = {path for path in truth if answers[path] != truth[path]}
    assert len(wrong) == 300
    assert answers == noisy(dict(reversed(truth.items())), 0.3, 5)
    assert answers != noisy(truth, 0.3, 6)
    into = Counter(answers[path] for path in wrong if truth[path] == "ant")
    assert set(into) == {"bee", "cow", "dog", "eel"}
    assert min(into.values()) > 5


def test_without_noise_the_answers_are_the_truth():
    truth = {"a.png": "ant", "b.png": "bee"}
    assert noisy(truth, 0, 1) == truth


def test_the_truth_comes_back_from_its_file_as_it_was(tmp_path: Path):
    truth = {'a,"b".png': "=cat", "ü/ö.png": " dog "}
    write_truth(tmp_path / "truth.csv", truth)
    assert read_truth(tmp_path / "truth.csv") == truth
