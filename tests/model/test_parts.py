"""Candidates made of other candidates: rows stay with their images."""

import pytest
import torch

from alctl.errors import AlctlError
from alctl.model.parts import Joined, Part, Remembered
from alctl.model.score import Scorer
from alctl.model.strategies.learning_loss import LearningLoss
from tests.fakes import classifier, id_images, id_reader


class Counted(Scorer):
    """Counts the passes over its images."""

    passes = 0

    def images(self):
        self.passes += 1
        return super().images()


def scorer(ids, *, batch: int = 3) -> Counted:
    images = id_images(ids)
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    return Counted(id_reader(), classifier(names=("a", "b"), size=4), lambda: iter(parts), len(ids))


def said(candidates) -> list[float]:
    found: list[float] = candidates.map(lambda seen: seen.predicted_loss).tolist()
    return found


def test_a_part_holds_the_rows_of_its_images_in_its_order():
    whole = scorer([7, 300, 12, 5, 900])
    part = Part(whole, torch.tensor([4, 0, 3]))
    assert len(part) == 3
    assert said(part) == [said(whole)[i] for i in (4, 0, 3)]
    assert part.embeddings().tolist() == whole.embeddings()[[4, 0, 3]].tolist()
    assert [image.tolist() for image in part.images()] == [id_images([i]).tolist() for i in (900, 7, 5)]


def test_joined_candidates_come_one_after_the_other_and_empty_ones_are_not_asked():
    one, other = scorer([7, 300]), scorer([12])
    joined = Joined([scorer([]), one, other])
    assert len(joined) == 3
    assert said(joined) == said(one) + said(other)
    assert joined.embeddings().tolist() == one.embeddings().tolist() + other.embeddings().tolist()
    assert torch.cat(list(joined.images())).tolist() == id_images([7, 300, 12]).tolist()


def test_the_model_is_asked_once_for_many_questions(monkeypatch):
    whole = scorer([7, 300, 12, 5])
    remembered = Remembered(whole)
    first = said(remembered)
    assert said(remembered) == first == said(scorer([7, 300, 12, 5]))
    most = remembered.map(lambda seen: seen.distributions.likeliest()[1])
    assert most.tolist() == whole.map(lambda seen: seen.distributions.likeliest()[1]).tolist()
    assert whole.passes == 2  # the second one is the line above
    monkeypatch.setattr("alctl.model.parts.REMEMBERED", 5)
    small = Remembered(whole)
    assert said(small) == said(small) == first
    assert whole.passes == 4


def test_a_model_without_predicted_losses_still_says_so_when_it_is_asked_again():
    whole = scorer([7, 300])
    whole.trained.module = None
    remembered = Remembered(whole)
    remembered.map(lambda seen: seen.distributions.p[:, 0, 0])
    with pytest.raises(AlctlError, match="predicts no losses"):
        LearningLoss().query(remembered, scorer([]), 1, torch.Generator())
