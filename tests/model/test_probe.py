from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

from alctl.errors import AlctlError
from alctl.model import checkpoint
from alctl.model.calibration import Temperature, mean_loss
from alctl.model.probe import L2, L2_TRIED, Probe, blend_of, fit, held_out, load, predict, save
from tests.examples import examples

TEN = tuple("0123456789")
THREE = ("cat", "dog", "owl")


def digits(n: int, seed: int = 0):
    """Return n real images of handwritten digits as vectors (n, 64), their labels, and the mean of all unit vectors."""
    data = load_digits()
    mean = normalize(torch.from_numpy(data.data)).mean(0)
    chosen = np.random.default_rng(seed).permutation(len(data.target))[:n]
    return data.data[chosen], data.target[chosen].astype(np.int64), mean


def fitted(n: int, **options) -> Probe:
    vectors, labels, mean = digits(n)
    return fit(vectors, labels, TEN, pool_mean=mean, embedding="key", **options)


def wide(n: int, classes: int = 4, d: int = 300, *, clear: float = 0.6, seed: int = 0):
    """Return vectors (n, d) of overlapping classes in more dimensions than labels, and the labels."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 10))
    labels = rng.integers(classes, size=n)
    latent = clear * centres[labels] + rng.normal(size=(n, 10))
    mix = np.random.default_rng(98).normal(size=(10, d))
    return np.maximum(latent @ mix + rng.normal(size=(n, d)), 0), labels


def class_means(vectors, labels, mean, others):
    """Return 10 times the cosines (N, 10) of the others to the class means, by the definition."""
    z = normalize(torch.from_numpy(vectors)) - mean
    centres = torch.stack([z[labels == c].mean(0) if c in labels else torch.zeros(64) for c in range(10)])
    return 10 * normalize(normalize(torch.from_numpy(others)) - mean) @ normalize(centres).T


def plain(probe: Probe) -> Probe:
    """Return the probe with its logits as they are."""
    return replace(probe, temperature=Temperature())


def test_the_regression_of_four_points():
    vectors = np.array([[1.0, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]])
    probe = fit(
        3 * vectors, np.array([0, 0, 1, 1]), ("a", "b"), pool_mean=np.zeros(2), embedding="key", l2=1e-2
    )
    assert probe.head.linear.weight == pytest.approx(
        np.array([[2.277151, -1.138576], [-2.277151, 1.138576]]), abs=1e-6
    )
    assert probe.head.linear.bias == pytest.approx(np.zeros(2), abs=1e-6)
    assert probe.blend == pytest.approx(1 - 4 / 20)


@pytest.mark.parametrize("n", [100, 400])
def test_scikit_learn_gives_the_same_probabilities(n):
    vectors, labels, mean = digits(n)
    others, _, _ = digits(300, seed=1)
    unit = (normalize(torch.from_numpy(x)) - mean for x in (vectors, others))
    z, theirs = (
        next(unit),
        LogisticRegression(C=1 / (n * L2), solver="newton-cholesky", tol=1e-10, max_iter=500),
    )
    expected = theirs.fit(z, labels).predict_proba(next(unit))
    probe = fit(vectors, labels, TEN, pool_mean=mean, embedding="key")
    assert probe.blend == 0
    assert predict(plain(probe), others).numpy() == pytest.approx(expected, abs=1e-6)


def test_more_dimensions_than_labels_give_the_same_probabilities_too():
    vectors, labels = wide(80)
    others, _ = wide(50, seed=1)
    z, there = (x / np.linalg.norm(x, axis=1, keepdims=True) - 0.01 for x in (vectors, others))
    theirs = LogisticRegression(C=1 / (80 * L2), solver="newton-cholesky", tol=1e-10, max_iter=500).fit(
        z, labels
    )
    probe = fit(vectors, labels, tuple("abcd"), pool_mean=np.full(300, 0.01), embedding="key")
    assert probe.blend == 0
    assert predict(plain(probe), others).numpy() == pytest.approx(theirs.predict_proba(there), abs=1e-6)


def test_a_probe_learns_real_digits():
    vectors, labels, mean = digits(1200)
    probe = fit(vectors[:300], labels[:300], TEN, pool_mean=mean, embedding="key")
    assert (predict(probe, vectors[300:]).argmax(1).numpy() == labels[300:]).mean() > 0.9


@pytest.mark.parametrize("n", [10, 25, 60, 99, 100])
def test_below_ten_labels_a_class_the_class_means_are_blended_in(n):
    vectors, labels, mean = digits(n)
    others, _, _ = digits(200, seed=1)
    probe = fit(vectors, labels, TEN, pool_mean=mean, embedding="key")
    share = 1 - n / 100
    z = normalize(torch.from_numpy(others)) - mean
    linear = z.numpy() @ probe.head.linear.weight.T + probe.head.linear.bias
    logits = (1 - share) * linear + share * class_means(vectors, labels, mean, others).numpy()
    assert predict(plain(probe), others).numpy() == pytest.approx(softmax(logits, axis=1), abs=1e-6)


@pytest.mark.parametrize(("n", "share"), [(0, 1), (1, 0.99), (50, 0.5), (99, 0.01), (100, 0), (10_000, 0)])
def test_the_share_of_the_class_means_falls_to_zero_at_ten_labels_a_class(n, share):
    assert blend_of(n, 10) == pytest.approx(share)


def test_class_means_help_at_few_labels():
    right = {}
    for n in (20, 30):
        vectors, labels, mean = digits(1500, seed=n)
        probe = fit(vectors[:n], labels[:n], TEN, pool_mean=mean, embedding="key")
        z = normalize(torch.from_numpy(vectors[n:])) - mean
        alone = (z.numpy() @ probe.head.linear.weight.T + probe.head.linear.bias).argmax(1)
        blended = predict(probe, vectors[n:]).argmax(1).numpy()
        right[n] = [(answer == labels[n:]).mean() for answer in (blended, alone)]
    assert all(blended > alone for blended, alone in right.values())


def test_classes_without_labels_have_probability_zero_and_are_named():
    vectors, labels, mean = digits(200)
    known = ~np.isin(labels, [3, 9])
    probe = fit(vectors[known], labels[known], TEN, pool_mean=mean, embedding="key")
    found = predict(probe, vectors)
    assert probe.absent == ("3", "9")
    assert found.shape == (200, 10)
    assert not found[:, [3, 9]].any()
    assert torch.allclose(found.sum(1), torch.ones(200))
    assert not predict(probe, vectors, balance=1)[:, [3, 9]].any()


def test_one_labeled_class_is_the_only_answer():
    vectors, labels, mean = digits(100)
    for some in (labels == 4, np.arange(100) == 7):
        probe = fit(vectors[some], np.full(some.sum(), 4), TEN, pool_mean=mean, embedding="key")
        assert predict(probe, vectors)[:, 4].eq(1).all()
        assert len(probe.absent) == 9


@pytest.mark.parametrize("l2", [L2, pytest.param("cv", marks=pytest.mark.slow)])
def test_the_order_of_the_labels_changes_no_bit(l2):
    vectors, labels, mean = digits(110)
    vectors, labels = (
        np.concatenate([vectors, vectors[:9]]),
        np.concatenate([labels, labels[:9]]),
    )  # and copies
    others, _, _ = digits(500, seed=1)
    shuffled = np.random.default_rng(5).permutation(len(labels))
    one = fit(vectors, labels, TEN, pool_mean=mean, embedding="key", l2=l2)
    two = fit(vectors[shuffled], labels[shuffled], TEN, pool_mean=mean, embedding="key", l2=l2)
    assert one.temperature == two.temperature
    assert torch.equal(predict(one, others), predict(two, others))


@pytest.mark.parametrize("l2", L2_TRIED)
@pytest.mark.parametrize("clear", [0.2, 6])
def test_every_penalty_that_is_offered_reaches_its_minimum(l2, clear):
    vectors, labels = wide(60, clear=clear)
    probe = fit(vectors, labels, tuple("abcd"), pool_mean=np.zeros(300), embedding="key", l2=l2)
    z = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    error = softmax(z @ probe.head.linear.weight.T + probe.head.linear.bias, axis=1) - np.eye(4)[labels]
    assert np.linalg.norm(error.T @ z / 60 + l2 * probe.head.linear.weight) <= 1e-6
    assert np.linalg.norm(error.mean(0)) <= 1e-6


@settings(max_examples=examples(25))
@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 4), st.integers(0, 999))
def test_whatever_the_labels_the_probabilities_are_probabilities(n, d, classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    probe = fit(
        rng.normal(size=(n, d)),
        labels,
        [str(c) for c in range(classes)],
        pool_mean=np.zeros(d),
        embedding="key",
    )
    found = predict(probe, rng.normal(size=(17, d)))
    assert torch.allclose(found.sum(1), torch.ones(17), atol=1e-6)
    assert bool((found >= 0).all())
    assert found[:, [c not in labels for c in range(classes)]].eq(0).all()
    assert bool(np.isfinite(probe.temperature.used))


def test_the_temperature_comes_from_labels_that_were_held_out():
    vectors, labels = wide(200)
    probe = fit(vectors, labels, tuple("abcd"), pool_mean=np.zeros(300), embedding="key")
    others, theirs = wide(2000, seed=1)
    assert (
        predict(probe, vectors).argmax(1).numpy() == labels
    ).all()  # what it has learned from tells nothing
    assert (predict(probe, others).argmax(1).numpy() == theirs).mean() < 0.95
    assert probe.temperature.images == 200
    assert not probe.temperature.at_bound
    logits = predict(plain(probe), others).double().log().numpy()
    best = min(np.geomspace(0.1, 10, 200), key=lambda t: mean_loss(logits, theirs, t))
    assert probe.temperature.value == pytest.approx(best, rel=0.3)


def test_a_temperature_that_nothing_bounds_is_reported_and_not_used():
    vectors, labels = wide(60, clear=6)
    probe = fit(vectors, labels, tuple("abcd"), pool_mean=np.zeros(300), embedding="key")
    assert probe.temperature.at_bound
    assert torch.equal(predict(probe, vectors), predict(plain(probe), vectors))


def test_the_only_label_of_a_class_tells_no_temperature():
    vectors, labels, mean = digits(200)
    first = [int(np.flatnonzero(labels == c)[0]) for c in range(10)]
    assert fit(vectors[first], labels[first], TEN, pool_mean=mean, embedding="key").temperature.images == 0
    first.append(int(np.flatnonzero(labels == 0)[1]))
    assert fit(vectors[first], labels[first], TEN, pool_mean=mean, embedding="key").temperature.images == 2


@pytest.mark.slow
def test_the_penalty_can_be_chosen_by_held_out_loss():
    noisy, labels = wide(200, clear=0.2)
    probe = fit(noisy, labels, tuple("abcd"), pool_mean=np.zeros(300), embedding="key", l2="cv")
    clear, same = wide(200, clear=6)
    sure = fit(clear, same, tuple("abcd"), pool_mean=np.zeros(300), embedding="key", l2="cv")
    assert {probe.l2, sure.l2} <= set(L2_TRIED)
    assert probe.l2 > sure.l2
    assert torch.equal(
        predict(probe, noisy),
        predict(
            fit(noisy, labels, tuple("abcd"), pool_mean=np.zeros(300), embedding="key", l2=probe.l2), noisy
        ),
    )


def test_too_few_labels_choose_no_penalty():
    assert fitted(99, l2="cv").l2 == L2  # nine of a class and some
    vectors, labels, mean = digits(300)
    lone = (labels != 5) | (np.arange(300) == np.flatnonzero(labels == 5)[0])
    assert fit(vectors[lone], labels[lone], TEN, pool_mean=mean, embedding="key", l2="cv").l2 == L2


def test_balance_takes_the_shares_of_the_labels_off():
    vectors, labels, mean = digits(1500)
    rare = (labels >= 5) & (np.arange(1500) % 10 > 0)  # five classes with a tenth of the labels
    some = np.flatnonzero(~rare)[:300]
    rest = np.setdiff1d(np.arange(1500), some)
    probe = fit(vectors[some], labels[some], TEN, pool_mean=mean, embedding="key")
    share = torch.from_numpy(np.bincount(labels[some], minlength=10) / len(some))
    usual, balanced = predict(probe, vectors[rest]), predict(probe, vectors[rest], balance=1)
    assert torch.allclose(balanced.double(), normalize(usual.double() / share, p=1), atol=1e-6)
    assert torch.equal(predict(probe, vectors[rest], balance=0), usual)

    def balanced_accuracy(found):
        right = found.argmax(1).numpy() == labels[rest]
        return np.mean([right[labels[rest] == c].mean() for c in range(10)])

    assert balanced_accuracy(balanced) > balanced_accuracy(usual)


def test_balance_leaves_the_class_means_alone():
    vectors, labels, mean = digits(50)
    probe = fit(vectors, labels, TEN, pool_mean=mean, embedding="key")
    share = torch.from_numpy(np.bincount(labels, minlength=10) / 50)
    usual, balanced = (predict(plain(probe), vectors, balance=b).double() for b in (0, 1))
    assert torch.allclose(balanced, normalize(usual / share**0.5, p=1), atol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, torch.float16, torch.float32])
def test_vectors_may_be_of_any_float_type(kind):
    vectors, labels, mean = digits(120)  # whole numbers up to 16, exact in all of them
    exact = predict(fit(vectors, labels, TEN, pool_mean=mean, embedding="key"), vectors)
    if isinstance(kind, torch.dtype):
        other, known = torch.from_numpy(vectors).to(kind), torch.from_numpy(labels)
    else:
        other, known = vectors.astype(kind), labels
    assert torch.equal(predict(fit(other, known, TEN, pool_mean=mean, embedding="key"), other), exact)


def test_blocks_do_not_show():
    probe = fitted(120)
    vectors = np.tile(digits(500)[0], (9, 1))  # 4,500 rows: more than a block
    found = predict(probe, vectors)
    assert found.dtype == torch.float32
    assert torch.allclose(found[4000:4500], predict(probe, vectors[4000:4500]), atol=1e-7)
    assert predict(probe, vectors[:0]).shape == (0, 10)


def test_a_vector_of_zeros_is_no_error():
    vectors, labels, mean = digits(120)
    vectors[3] = 0
    found = predict(fit(vectors, labels, TEN, pool_mean=mean, embedding="key"), vectors)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(wrong):
    vectors, labels, mean = digits(4200 // 4)
    vectors = np.tile(vectors, (4, 1))
    vectors[4150, 7] = wrong
    with pytest.raises(AlctlError, match=r"position 4150 of 4200 .* is not finite.*alctl embed"):
        fit(vectors, np.tile(labels, 4), TEN, pool_mean=mean, embedding="key")
    with pytest.raises(AlctlError, match="position 4150"):
        predict(fitted(50), vectors)


def test_without_labels_there_is_no_probe():
    with pytest.raises(AlctlError, match="alctl import-labels"):
        fit(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), THREE, pool_mean=np.zeros(3), embedding="key")


@pytest.mark.parametrize("l2", [0, -1, 9e-7, float("nan"), float("inf")])
def test_a_penalty_that_is_next_to_nothing_is_refused(l2):
    with pytest.raises(AlctlError, match=r"--head-l2 is .*; it must be cv or a number from 1e-06 on"):
        fitted(20, l2=l2)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 3], [0, -1, 2]])
def test_labels_that_do_not_fit_are_a_bug(labels):
    with pytest.raises(ValueError, match="3 vectors"):
        fit(np.eye(3), np.array(labels), THREE, pool_mean=np.zeros(3), embedding="key")


@pytest.mark.parametrize("n", [50, 150])
def test_a_saved_probe_predicts_the_same(tmp_path, n):
    probe = fitted(n)
    save(tmp_path / "models" / "run-0001.safetensors", probe, {"task": "classification"})
    again, info = load(tmp_path / "models" / "run-0001.safetensors")
    others, _, _ = digits(100, seed=1)
    assert torch.equal(predict(again, others), predict(probe, others))
    assert torch.equal(predict(again, others, balance=1), predict(probe, others, balance=1))
    assert (again.temperature, again.l2, again.counts) == (probe.temperature, probe.l2, probe.counts)
    assert (again.classes, again.absent, again.embedding) == (probe.classes, probe.absent, probe.embedding)
    assert info == {"task": "classification"}


def test_held_out_answers_are_of_probes_that_have_not_seen_the_image():
    vectors, labels, mean = digits(150)
    probe = fit(vectors, labels, TEN, pool_mean=mean, embedding="key")
    said, own = held_out(probe, vectors, labels), predict(probe, vectors).numpy()
    assert said.shape == (150, 10)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert mean_loss(np.log(said), labels) > mean_loss(np.log(own), labels) + 0.1
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_allclose(held_out(probe, vectors[order], labels[order]), said[order], atol=1e-9)


def test_a_held_out_image_whose_class_nobody_else_has_gets_nothing():
    vectors, labels, mean = digits(60)
    few = np.concatenate([np.flatnonzero(labels != 3), np.flatnonzero(labels == 3)[:1]])
    probe = fit(vectors[few], labels[few], TEN, pool_mean=mean, embedding="key")
    assert held_out(probe, vectors[few], labels[few])[-1, 3] == 0


def test_a_file_that_is_no_probe_is_refused(tmp_path):
    path = tmp_path / "run-0001.safetensors"
    save(path, fitted(50))
    tensors, info = checkpoint.read(path)
    for parts, header in [
        ({name: t for name, t in tensors.items() if name != "bias"}, info),
        (tensors | {"weight": tensors["weight"][:9]}, info),
        (tensors | {"mean": tensors["mean"][:5]}, info),
        (tensors, info | {"classes": ["a"]}),
        (tensors, info | {"temperature": {"value": 1}, "counts": None}),
        ({}, {}),
    ]:
        checkpoint.write(path, parts, header)
        with pytest.raises(AlctlError, match="is damaged or holds no probe"):
            load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(AlctlError, match="is damaged"):
        load(path)
