from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from alctl.errors import AlctlError
from alctl.model.loss_prediction import LossPredictionModule, TargetModel, Trained
from alctl.model.ranking import loss_ranking, ranking_lead
from alctl.model.score import Scorer, Unscored, evaluate, measure, predict
from alctl.model.strategies.learning_loss import LearningLoss
from alctl.model.strategy import UntrainedError
from alctl.model.tasks.classification import Classification
from alctl.model.train import new_model, train
from tests.fakes import classifier, id_images, id_reader, pictures, tiny

TASK = classifier()


@pytest.fixture(scope="module")
def trained():
    """A model after a few epochs, so that its batch normalisation has seen something."""
    images, targets = pictures(48)
    model = new_model(TASK, images, tiny(epochs=8, lr=0.01), seed=1)
    list(train(model, TASK, images, targets, range(48), seed=1))
    return model


def scorer(model, images, size=16, **options):
    return Scorer(model, TASK, lambda: (part.numpy() for part in images.split(size)), len(images), **options)


# --- Scorer -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_each_score_belongs_to_its_image_and_the_highest_are_chosen(size):
    ids = np.random.default_rng(0).permutation(1000)
    candidates = scorer(id_reader(), torch.from_numpy(id_images(ids)), size)
    scores = candidates.map(lambda prediction: prediction.predicted_loss)
    assert scores.tolist() == ids.tolist()
    chosen = LearningLoss().query(candidates, candidates, 10, torch.Generator())
    assert [ids[position] for position in chosen.positions] == list(range(999, 989, -1))


def test_scores_do_not_depend_on_the_batch(trained):
    images, _ = pictures(40, seed=5)
    for read in (
        lambda p: p.predicted_loss,
        lambda p: p.distributions.p.flatten(1),
        lambda p: p.embedding,
    ):
        one, seven, all_at_once = (scorer(trained, images, size).map(read) for size in (1, 7, 128))
        assert torch.allclose(one, all_at_once, atol=1e-5)
        assert torch.allclose(seven, all_at_once, atol=1e-5)


def test_scoring_twice_is_the_same_to_the_bit_and_changes_nothing(trained):
    images, _ = pictures(20, seed=5)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    trained.train()
    first = scorer(trained, images).map(lambda p: p.predicted_loss)
    assert not trained.training
    assert torch.equal(first, scorer(trained, images).map(lambda p: p.predicted_loss))
    assert not first.requires_grad
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def test_predictions_have_the_promised_shapes_and_targets(trained):
    images, targets = pictures(20, seed=5)

    def look(prediction):
        assert prediction.distributions.p.shape[1:] == (1, 4)
        assert prediction.embedding.shape[1:] == (32,)
        assert prediction.predicted_loss.dtype == torch.float32
        return prediction.target["class"]

    candidates = scorer(trained, images, 6, targets=targets)
    assert len(candidates) == 20
    assert torch.equal(candidates.map(look), targets["class"])
    assert torch.equal(torch.cat(list(candidates.images())), images)
    assert scorer(trained, images).map(lambda p: torch.tensor([p.target is None])).all()


def test_no_images_give_no_scores(trained):
    assert scorer(trained, torch.empty(0, 3, 8, 8, dtype=torch.uint8)[:0]).n == 0
    assert len(Scorer(trained, TASK, lambda: iter(()), 0).map(lambda p: p.predicted_loss)) == 0


def test_embeddings_are_the_models_and_cost_no_second_pass(trained):
    images, _ = pictures(20, seed=5)
    passes: list[int] = []

    def batches():
        passes.append(1)
        return (part.numpy() for part in images.split(6))

    candidates = Scorer(trained, TASK, batches, 20)
    assert torch.equal(candidates.embeddings(), scorer(trained, images, 6).map(lambda p: p.embedding))
    candidates.map(lambda p: p.predicted_loss)
    candidates.embeddings()
    assert len(passes) == 2


def test_without_a_model_there_are_frozen_vectors_or_a_sentence():
    frozen = torch.randn(4, 3)
    assert torch.equal(Unscored(4, frozen).embeddings(), frozen)
    with pytest.raises(AlctlError, match=r"`alctl embed`.*--strategy random"):
        Unscored(4).embeddings()
    with pytest.raises(UntrainedError, match="run `alctl train` first"):
        Unscored(4, frozen).map(lambda p: p.embedding)


@pytest.mark.parametrize("promised", [3, 5])
def test_images_that_are_missing_or_too_many_are_a_bug_not_a_shift(trained, promised):
    images = pictures(4)[0].numpy()
    with pytest.raises(RuntimeError, match=f"{promised} images were promised and 4 came"):
        Scorer(trained, TASK, lambda: iter([images]), promised).map(lambda p: p.predicted_loss)


def test_a_model_without_module_has_no_predicted_losses_but_all_else():
    images, _ = pictures(8)
    candidates = scorer(new_model(TASK, images, tiny(loss_weight=0.0), seed=0), images)
    assert candidates.map(lambda p: p.embedding).isfinite().all()
    with pytest.raises(AlctlError, match="trained with loss_weight 0"):
        candidates.map(lambda p: p.predicted_loss)


def test_bfloat16_keeps_the_order_of_fresh_scores():
    images, _ = pictures(300, seed=5)
    first = new_model(TASK, images, tiny(), seed=1)
    other = new_model(TASK, images, tiny(precision="bf16"), seed=1)
    fp32, bf16 = (scorer(m, images).map(lambda p: p.predicted_loss).numpy() for m in (first, other))
    assert (loss_ranking(bf16, fp32).spearman or 0) > 0.98
    assert len(np.unique(bf16)) > 250


# --- dropout ----------------------------------------------------------------------------------------------------------


def with_dropout():
    """Return a tiny convolutional model with batch normalisation and dropout before its head."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 36, 4)
    )
    model = TargetModel(network, ("2",), "<5", (8, 8))
    statistics = torch.full((3,), 60.0), torch.full((3,), 40.0)
    return Trained(model, LossPredictionModule(model.channels), *statistics, tiny())


def drawn_p(said):
    """Return the probabilities of each pass, (B, T, C)."""
    return torch.cat([drawn.p for drawn in said.dropout()], dim=1)


def test_dropout_passes_are_stochastic_in_dropout_only():
    images, _ = pictures(12)
    model = with_dropout()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    candidates = scorer(model, images, 5)
    drawn = candidates.map(drawn_p, dropout_passes=6)
    assert drawn.shape == (12, 6, 4)
    assert torch.allclose(drawn.sum(-1), torch.ones(12, 6))
    assert drawn.std(dim=1).max() > 0.01
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    for read in (lambda p: p.embedding, lambda p: p.predicted_loss):
        assert torch.equal(candidates.map(read, dropout_passes=3), candidates.map(read))


def test_dropout_passes_repeat_with_the_seed_and_leave_the_global_chance_alone():
    images, _ = pictures(12)
    model = with_dropout()
    drawn = []
    for seed in (1, 1, 2):
        state = torch.get_rng_state()
        drawn.append(scorer(model, images, seed=seed).map(drawn_p, dropout_passes=2))
        assert torch.equal(state, torch.get_rng_state())
        torch.rand(1)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_model_without_dropout_refuses_dropout_passes(trained):
    with pytest.raises(AlctlError, match="needs a model with dropout"):
        scorer(trained, pictures(4)[0]).map(drawn_p, dropout_passes=2)


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_ranking_accuracy_counts_ties_as_half_or_not_at_all():
    got = loss_ranking(np.array([2.5, 0.2, 1, 2.5, 0.1, 2]), np.array([3, 1, 2, 2, 0.5, 4]))
    assert got.ranking_accuracy == pytest.approx(0.8214285714)
    assert got.ranking_accuracy_strict == pytest.approx(0.7857142857)
    assert (got.ties_predicted, got.ties_true) == (1, 1)


def test_correlations_have_their_known_values():
    got = loss_ranking(np.array([1.1, 1.9, 3.5, 3, 6]), np.array([1.0, 2, 3, 4, 5]))
    assert got.pearson == pytest.approx(0.9205608288)
    assert got.spearman == pytest.approx(0.9)


@pytest.mark.parametrize("seed", range(20))
def test_ranking_accuracy_is_that_of_every_pair(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    predicted, true = rng.integers(0, 8, (2, n)).astype(float)
    right = strict = every = 0.0
    for i in range(n):
        for j in range(i):
            if true[i] != true[j]:
                sign = np.sign(predicted[i] - predicted[j]) * np.sign(true[i] - true[j])
                right += (1 + sign) / 2
                strict += sign > 0
                every += 1
    got = loss_ranking(predicted, true)
    if every:
        assert got.ranking_accuracy == pytest.approx(right / every)
        assert got.ranking_accuracy_strict == pytest.approx(strict / every)
    else:
        assert got.ranking_accuracy is None


@pytest.mark.parametrize(
    ("predicted", "true", "accuracy"),
    [([1, 1, 1], [1, 2, 3], 0.5), ([1, 2, 3], [1, 1, 1], None), ([1], [2], None), ([1, 1], [2, 2], None)],
)
def test_what_cannot_be_said_is_none(predicted, true, accuracy):
    got = loss_ranking(np.array(predicted, float), np.array(true, float))
    assert got.ranking_accuracy == accuracy
    assert got.pearson is None
    assert got.spearman is None


def test_evaluation_reports_the_task_and_how_well_losses_were_predicted(trained):
    images, targets = pictures(30, seed=5)
    metrics = evaluate(trained, TASK, images, targets, batch_size=7).by_name()
    predictions = predict(trained, TASK, images, targets)
    p = scorer(trained, images).map(lambda said: said.distributions.p[:, 0])
    correct = p.argmax(1) == targets["class"]
    assert predictions.quality is not None
    assert predictions.quality.tolist() == correct.double().tolist()
    assert torch.equal(predictions.likeliest, p.argmax(1))
    assert torch.equal(predictions.confidence, p.amax(1))
    assert metrics["accuracy"] == pytest.approx(correct.float().mean().item())
    true = -p[torch.arange(30), targets["class"]].log()
    assert predictions.target_loss is not None
    assert torch.allclose(predictions.target_loss, true, atol=1e-5)
    assert predictions.predicted_loss is not None
    assert metrics["target_loss"] == pytest.approx(true.mean().item(), abs=1e-5)
    assert predictions.predicted_loss.shape == (30,)
    by_pairs = loss_ranking(predictions.predicted_loss.numpy(), predictions.target_loss.numpy())
    assert metrics["ranking_accuracy"] == by_pairs.ranking_accuracy
    assert {"balanced_accuracy", "ranking_accuracy_strict", "pearson", "spearman"} <= metrics.keys()


def test_evaluation_leaves_the_mode_and_takes_arrays(trained):
    images, targets = pictures(10, seed=5)
    trained.train()
    from_array = evaluate(trained, TASK, images.numpy(), targets)
    assert trained.training
    trained.eval()
    assert from_array == evaluate(trained, TASK, images, targets)


def test_without_targets_or_module_less_is_said():
    images, targets = pictures(10)
    model = new_model(TASK, images, tiny(loss_weight=0.0), seed=0)
    assert predict(model, TASK, images).target_loss is None
    with pytest.raises(ValueError, match="labeled images"):
        measure(predict(model, TASK, images))
    without_module = evaluate(model, TASK, images, targets).by_name()
    free = {"entropy_ranking_accuracy", "margin_ranking_accuracy"}
    assert without_module.keys() == {"accuracy", "balanced_accuracy", "target_loss"} | free


def test_entropy_and_margin_are_ranked_as_their_strategies_rank_and_compared_on_the_same_images(trained):
    images, targets = pictures(60, seed=6)
    said = predict(trained, TASK, images, targets)
    assert said.predicted_loss is not None
    assert said.target_loss is not None
    p, true, module = (
        t.double().numpy()
        for t in (
            scorer(trained, images).map(lambda said: said.distributions.p[:, 0]),
            said.target_loss,
            said.predicted_loss,
        )
    )
    entropy = -(p * np.log(p)).sum(axis=1)
    closeness = np.sort(p, axis=1)[:, -2] - p.max(axis=1)
    metrics = measure(said, interval=True)
    assert metrics.uncertainty is not None
    assert metrics.uncertainty.entropy_ranking_accuracy == loss_ranking(entropy, true).ranking_accuracy
    assert metrics.uncertainty.margin_ranking_accuracy == loss_ranking(closeness, true).ranking_accuracy
    assert metrics.lead == ranking_lead(module, closeness, true)


def test_nothing_to_predict_is_a_sentence(trained):
    with pytest.raises(AlctlError, match="no images"):
        predict(trained, TASK, pictures(1)[0][:0])


def test_predictions_are_made_when_they_are_asked_for(trained):
    class Counting(Classification):
        """Counts how often distributions are made."""

        made: ClassVar[list[int]] = []

        def distributions(self, raw, like=None):
            self.made.append(len(raw))
            return super().distributions(raw, like)

    images, _ = pictures(6)
    candidates = Scorer(trained, classifier(Counting), lambda: iter([images.numpy()]), 6)
    (said,) = candidates.each()
    assert said.embedding.shape == (6, 32)
    assert Counting.made == []
    assert said.distributions is said.distributions
    assert Counting.made == [6]
    with pytest.raises(ValueError, match="no pass with dropout was asked for"):
        list(said.dropout())
