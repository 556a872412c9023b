"""What is particular to the losses of yes-or-no decisions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from numpy.testing import assert_allclose

from tests.losses.cases import value_and_both_gradients
from zoo.errors import UserError
from zoo.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_probabilities,
    focal,
    gradient_of,
    hinge,
    multilabel_cross_entropy,
    softmax_cross_entropy,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)).astype(np.float32)
LABELS = RNG.integers(0, 2, (6, 3))
SOFT = RNG.uniform(size=(6, 3)).astype(np.float32)


def gradient(loss, scores, labels, **options):
    return jax.jit(jax.grad(lambda z: jnp.sum(loss(z, labels, **options))))(scores)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(bool), SOFT], ids=["integer", "bool", "soft"])
def test_binary_cross_entropy_equals_optaxs(labels):
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, labels)
    assert_allclose(binary_cross_entropy(LOGITS, labels), expected, rtol=1e-5)
    closed = gradient_of[binary_cross_entropy](LOGITS, labels)
    assert_allclose(closed, gradient(binary_cross_entropy, LOGITS, labels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_softmax_cross_entropy_against_a_logit_of_0(smoothing):
    two = np.stack([np.zeros_like(LOGITS), LOGITS], -1)
    expected = softmax_cross_entropy(two, LABELS, label_smoothing=smoothing)
    assert_allclose(binary_cross_entropy(LOGITS, LABELS, label_smoothing=smoothing), expected, rtol=1e-5)


def test_pos_weight_weighs_the_positives_of_each_label():
    weight = np.array([0.0, 1.0, 5.0], np.float32)
    plain = binary_cross_entropy(LOGITS, LABELS)
    expected = np.where(LABELS == 1, weight[None], 1) * plain
    assert_allclose(binary_cross_entropy(LOGITS, LABELS, pos_weight=weight), expected, rtol=1e-5)
    with pytest.raises(UserError, match=r"pos_weight \[2\] and the last axis of logits \[3\]"):
        binary_cross_entropy(LOGITS, LABELS, pos_weight=weight[:2])
    with pytest.raises(TypeError, match="pos_weight must be floating point"):
        binary_cross_entropy(LOGITS, LABELS, pos_weight=3)


def test_probabilities_and_logits_give_the_same_cross_entropy():
    expected = binary_cross_entropy(LOGITS, SOFT)
    assert_allclose(binary_cross_entropy_with_probabilities(jax.nn.sigmoid(LOGITS), SOFT), expected, rtol=1e-5)


def test_a_certain_mistake_costs_100_and_still_has_a_gradient():
    """Torch's bounds. At the right answer the slope is that of `-log p`, where torch says 0."""
    p, y = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([1, 0, 0, 1])
    assert_allclose(binary_cross_entropy_with_probabilities(p, y), [100, 100, 0, 0])
    expected = [-1e12, 1e12, 1, -1]
    assert_allclose(gradient(binary_cross_entropy_with_probabilities, p, y), expected, rtol=1e-6)
    assert_allclose(gradient_of[binary_cross_entropy_with_probabilities](p, y), expected, rtol=1e-6)


def test_a_probability_that_is_not_a_number_does_not_cost_100():
    assert np.all(np.isnan(binary_cross_entropy_with_probabilities(np.full(2, np.nan, np.float32), np.array([0, 1]))))


def test_the_smallest_probability_costs_its_logarithm():
    tiny = np.float32(1.2e-38)
    assert_allclose(binary_cross_entropy_with_probabilities(tiny, 1), -np.log(1.2e-38), rtol=1e-5)


def test_multilabel_cross_entropy_is_the_mean_of_the_labels_that_are_known():
    where = np.array([[True, True, False]] * 5 + [[False] * 3])
    options = {"pos_weight": 2.0, "label_smoothing": 0.1}
    loss = multilabel_cross_entropy(LOGITS, LABELS, where=where, **options)
    assert_allclose(loss[:5], binary_cross_entropy(LOGITS, LABELS, **options)[:5, :2].mean(-1), rtol=1e-5)
    assert loss[5] == 0
    derivative = gradient(multilabel_cross_entropy, LOGITS, LABELS, where=where, **options)
    assert np.all(derivative[~where] == 0)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_unknown_label_counts_for_nothing_whatever_it_holds(poison):
    where = np.array([[True, True, False]] * 5 + [[False] * 3])
    both = value_and_both_gradients(multilabel_cross_entropy, pos_weight=2.0, where=where)
    spoilt = both(*(np.where(where, a, np.float32(poison)) for a in (LOGITS, SOFT)))
    for got, want in zip(spoilt, both(LOGITS, SOFT), strict=True):
        assert_allclose(got, want, rtol=0)


def test_multilabel_cross_entropy_over_another_axis():
    expected = multilabel_cross_entropy(LOGITS, LABELS)
    assert_allclose(multilabel_cross_entropy(LOGITS.T, LABELS.T, axis=0), expected, rtol=1e-6)
    closed = gradient_of[multilabel_cross_entropy](LOGITS.T, LABELS.T, axis=0)
    assert_allclose(closed.T, gradient(multilabel_cross_entropy, LOGITS, LABELS), rtol=1e-5, atol=1e-6)


def test_focal_loss_with_gamma_0_is_binary_cross_entropy():
    expected = binary_cross_entropy(LOGITS, LABELS)
    assert_allclose(focal(LOGITS, LABELS, gamma=0.0), expected, rtol=1e-5)
    assert_allclose(focal(LOGITS, LABELS, gamma=0.0, alpha=0.5), expected / 2, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_has_its_closed_form_gradient_for_soft_labels(gamma):
    closed = gradient_of[focal](LOGITS, SOFT, gamma=gamma, alpha=0.3)
    assert_allclose(closed, gradient(focal, LOGITS, SOFT, gamma=gamma, alpha=0.3), rtol=1e-4, atol=1e-6)


def test_focal_loss_forgives_easy_examples():
    easy, hard = np.float32(3.0), np.float32(-3.0)
    ratio = focal(easy, 1) / focal(hard, 1)
    assert ratio < binary_cross_entropy(easy, 1) / binary_cross_entropy(hard, 1) / 100


def test_hinge_equals_scikit_learns():
    signs = 2 * LABELS[:, 0] - 1
    assert_allclose(np.mean(hinge(LOGITS[:, 0], signs)), sklearn.metrics.hinge_loss(signs, LOGITS[:, 0]), rtol=1e-6)


def test_hinge_has_half_a_slope_at_its_corner():
    corner = np.array([1.0, -1.0], np.float32)
    assert_allclose(gradient_of[hinge](corner, corner), [-0.5, 0.5])
    assert_allclose(gradient(hinge, corner, corner), [-0.5, 0.5])


def test_hinge_refuses_booleans_and_says_how_to_sign_them():
    for function in (hinge, gradient_of[hinge]):
        with pytest.raises(TypeError, match=r"labels must be -1 and 1, not bool: pass 2 \* labels.astype"):
            function(LOGITS, LABELS.astype(bool))
