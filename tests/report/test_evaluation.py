"""How good a model is at each class, from a table of true and said classes worked by hand."""

import pytest

from alctl.report.evaluation import class_accuracy


def test_each_class_has_the_share_of_its_images_and_of_what_is_called_so():
    cat, dog, emu = class_accuracy([[8, 2, 0], [1, 4, 0], [0, 0, 0]], ["cat", "dog", "emu"])
    assert (cat.images, cat.right, cat.taken_for) == (10, 8, "dog")
    assert (dog.images, dog.right, dog.taken_for) == (5, 4, "cat")
    assert (emu.images, emu.right, emu.recall, emu.precision, emu.taken_for) == (0, 0, None, None, None)
    assert cat.recall is not None
    assert cat.precision is not None
    assert dog.precision is not None
    assert cat.recall.value == pytest.approx(0.8)
    assert (cat.precision.value, dog.precision.value) == pytest.approx((8 / 9, 4 / 6))
    # Wilson's interval of 8 of 10, by its formula with z = 1.96
    assert (cat.recall.low, cat.recall.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_class_that_is_always_right_is_taken_for_nothing_else():
    assert [found.taken_for for found in class_accuracy([[3, 0], [0, 1]], ["cat", "dog"])] == [None, None]
