"""What is particular to the losses between scores of K classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from tests.losses.cases import one_hot, value_and_both_gradients
from zoo.errors import UserError
from zoo.losses import (
    dice,
    gradient_of,
    kl_divergence,
    mean_squared_error_with_activation,
    poly_loss,
    softmax_cross_entropy,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 3, 2, 1, 2, 0])


def gradient(loss, logits, labels, **options):
    return jax.jit(jax.grad(lambda z: jnp.sum(loss(z, labels, **options))))(logits)


# Softmax cross entropy.


def test_both_of_optaxs_cross_entropies_agree():
    ours = softmax_cross_entropy(LOGITS, LABELS)
    assert_allclose(ours, optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS), rtol=1e-5)
    assert_allclose(ours, optax.softmax_cross_entropy(LOGITS, one_hot(LABELS)), rtol=1e-5)


def test_smoothing_is_a_mixture_with_the_uniform_distribution():
    smoothed = softmax_cross_entropy(LOGITS, LABELS, label_smoothing=0.3)
    uniform = softmax_cross_entropy(LOGITS, np.full((6, 4), 0.25, np.float32))
    assert_allclose(smoothed, 0.7 * softmax_cross_entropy(LOGITS, LABELS) + 0.3 * uniform, rtol=1e-5)


@pytest.mark.parametrize("labels", [LABELS % 3, one_hot(LABELS % 3)], ids=["integer", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_classes_that_do_not_exist_might_as_well_not_be_there(labels, smoothing):
    """`where` equals slicing the class away, in value and gradient; what stands in its logit is irrelevant."""
    where = np.array([[True, True, True, False]])
    sliced = labels if labels.ndim == 1 else labels[:, :3]
    logits = LOGITS.copy()
    logits[:, 3] = [np.nan, np.inf, 1e4, -np.inf, 0, 1]
    for w in (where, np.repeat(where, 6, 0)):
        options = {"label_smoothing": smoothing, "where": w}
        expected = softmax_cross_entropy(LOGITS[:, :3], sliced, label_smoothing=smoothing)
        assert_allclose(softmax_cross_entropy(logits, labels, **options), expected, rtol=1e-6)
        derivative = gradient(softmax_cross_entropy, logits, labels, **options)
        expected = gradient(softmax_cross_entropy, LOGITS[:, :3], sliced, label_smoothing=smoothing)
        assert_allclose(derivative[:, :3], expected, rtol=1e-5, atol=1e-7)
        assert np.all(derivative[:, 3] == 0)


def test_an_example_without_any_class_has_loss_0():
    where = np.ones((6, 4), bool)
    where[2] = False
    assert softmax_cross_entropy(LOGITS, LABELS, label_smoothing=0.1, where=where)[2] == 0
    derivative = gradient(softmax_cross_entropy, LOGITS, LABELS, label_smoothing=0.1, where=where)
    assert np.all(derivative[2] == 0)
    assert np.all(np.isfinite(derivative))


def test_an_integer_label_that_where_excludes_is_nan():
    loss = softmax_cross_entropy(LOGITS, LABELS, where=np.array([[True, True, True, False]]))
    assert np.array_equal(np.isnan(loss), LABELS == 3)


@pytest.mark.parametrize("ignored", [2, -100, 255])
def test_an_ignored_label_has_loss_and_gradient_0(ignored):
    labels = np.where(LABELS == 2, ignored, LABELS)
    labels = labels.astype(np.uint8) if ignored == 255 else labels
    options = {"ignore_label": ignored, "label_smoothing": 0.1}
    kept = LABELS != 2
    loss = softmax_cross_entropy(LOGITS, labels, **options)
    assert_allclose(loss[kept], softmax_cross_entropy(LOGITS[kept], LABELS[kept], label_smoothing=0.1), rtol=1e-6)
    assert np.all(loss[~kept] == 0)
    assert np.all(gradient(softmax_cross_entropy, LOGITS, labels, **options)[~kept] == 0)


def test_what_is_left_out_counts_for_nothing_whatever_it_holds():
    """Logits, soft labels and weights, of classes and of whole examples; in value and both gradients."""
    exists, kept = np.array([[True, True, True, False]]), LABELS != 3
    weights = np.array([1, 2, 3, 4], np.float32)
    soft = np.where(exists, 1 / 3, 0).astype(np.float32) * np.ones((6, 1), np.float32)
    for poison in (np.nan, np.inf, -np.inf):
        poison = np.float32(poison)
        spoilt = {"where": exists, "class_weights": np.where(exists[0], weights, poison)}
        clean = {"where": exists, "class_weights": weights}
        logits = np.where(exists, LOGITS, poison)
        for labels, bad_labels in ((LABELS % 3, LABELS % 3), (soft, np.where(exists, soft, poison))):
            expected = value_and_both_gradients(softmax_cross_entropy, **clean)(LOGITS, labels)
            for got, want in zip(
                value_and_both_gradients(softmax_cross_entropy, **spoilt)(logits, bad_labels), expected, strict=True
            ):
                assert_allclose(got, want, rtol=0)
        both = value_and_both_gradients(softmax_cross_entropy, ignore_label=3)
        value, *gradients = both(np.where(kept[:, None], LOGITS, poison), LABELS)
        assert np.all(value[~kept] == 0)
        for got, want in zip(gradients, both(LOGITS, LABELS)[1:], strict=True):
            assert_allclose(got, want, rtol=0)
            assert np.all(got[~kept] == 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_classes_may_be_on_any_axis(axis):
    logits, labels = RNG.normal(size=(2, 5, 3)).astype(np.float32), RNG.integers(0, 3, (2, 5))
    where = np.array([True, True, True]).reshape(1, 1, 3)
    options = {"label_smoothing": 0.1, "class_weights": np.array([1, 2, 3], np.float32)}
    moved = softmax_cross_entropy(
        np.moveaxis(logits, -1, axis), labels, axis=axis, where=np.moveaxis(where, -1, axis), **options
    )
    assert_allclose(moved, softmax_cross_entropy(logits, labels, **options), rtol=1e-6)
    for loss in (softmax_cross_entropy, poly_loss, mean_squared_error_with_activation):
        closed = gradient_of[loss](np.moveaxis(logits, -1, axis), labels, axis=axis)
        assert_allclose(np.moveaxis(closed, axis, -1), gradient_of[loss](logits, labels), rtol=1e-4, atol=1e-6)
        assert_allclose(closed, gradient(loss, np.moveaxis(logits, -1, axis), labels, axis=axis), atol=1e-5)


def test_the_gradient_for_soft_labels_can_be_had_too():
    """The teacher's side of a distillation: minus the log-probabilities, also where a label is 0."""
    derivative = jax.grad(lambda y: jnp.sum(softmax_cross_entropy(LOGITS, y)))(jnp.asarray(one_hot(LABELS)))
    assert_allclose(derivative, -jax.nn.log_softmax(LOGITS), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"class_weights": np.ones(3, np.float32)}, UserError, r"class_weights \[3\] must be \[4\].*\[6, 4\]"),
        ({"class_weights": np.ones(4, int)}, TypeError, r"class_weights must be floating point"),
        ({"where": np.ones((6, 4), int)}, TypeError, r"where must be boolean, not int.*astype\(bool\)"),
        ({"where": np.ones(6, bool)}, UserError, r"where \[6\] .*\[6, 4\].*\[1, K\]"),
        ({"where": np.ones((6, 3), bool)}, UserError, r"where \[6, 3\] .*\[6, 4\]"),
    ],
)
def test_softmax_cross_entropy_names_the_bad_option_and_the_fix(options, error, says):
    for function in (softmax_cross_entropy, gradient_of[softmax_cross_entropy]):
        with pytest.raises(error, match=says):
            function(LOGITS, LABELS, **options)


def test_softmax_cross_entropy_names_what_is_wrong_with_its_labels():
    with pytest.raises(UserError, match="ignore_label needs integer labels"):
        softmax_cross_entropy(LOGITS, one_hot(LABELS), ignore_label=1)
    with pytest.raises(UserError, match=r"logits \[6, 4\] take integer labels \[6\], not \[6, 1\].*squeeze"):
        softmax_cross_entropy(LOGITS, LABELS[:, None])
    with pytest.raises(UserError, match=r"logits \[\] have no axis of classes"):
        softmax_cross_entropy(np.float32(1), np.int32(0))


# Poly loss and KL divergence.


def test_poly_loss_equals_optaxs():
    for epsilon in (-1.0, 0.0, 2.0):
        expected = optax.losses.poly_loss_cross_entropy(LOGITS, one_hot(LABELS), epsilon=epsilon)
        assert_allclose(poly_loss(LOGITS, LABELS, epsilon=epsilon), expected, rtol=1e-5)
    assert_allclose(poly_loss(LOGITS, LABELS), poly_loss(LOGITS, LABELS, epsilon=2.0))


def test_kl_divergence_is_cross_entropy_less_entropy():
    targets = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    entropy = -np.sum(targets * np.log(targets), -1)
    expected = softmax_cross_entropy(LOGITS, targets) - entropy
    assert_allclose(kl_divergence(jax.nn.log_softmax(LOGITS), targets), expected, rtol=1e-4, atol=1e-6)


def test_kl_divergence_takes_0_log_0_as_0():
    """Where both distributions exclude a class; optax says NaN."""
    log_q, t = np.array([-np.inf, np.log(0.5), np.log(0.5)], np.float32), np.array([0, 0.5, 0.5], np.float32)
    assert np.isnan(optax.kl_divergence(log_q, t))
    assert_allclose(kl_divergence(log_q, t), 0, atol=1e-7)
    assert np.all(np.isfinite(gradient(kl_divergence, log_q, t)))


def test_kl_divergence_does_not_take_nan_for_0():
    """Torch says NaN; a comparison with 0 is false for both."""
    log_q, t = np.log(np.array([0.5, 0.5], np.float32)), np.array([np.nan, 0.5], np.float32)
    assert np.isnan(kl_divergence(log_q, t))
    known = value_and_both_gradients(kl_divergence, where=np.array([False, True]))(np.where(t > 0, log_q, np.nan), t)
    assert all(np.all(np.isfinite(number)) for number in known)


def test_kl_divergence_over_another_axis():
    targets = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    log_q = np.asarray(jax.nn.log_softmax(LOGITS))
    assert_allclose(kl_divergence(log_q.T, targets.T, axis=0), kl_divergence(log_q, targets), rtol=1e-6)
    with pytest.raises(UserError, match=r"where \[4\] must have the shape of log_predictions \[6, 4\]"):
        kl_divergence(log_q, targets, where=np.ones(4, bool))


# The squared error that saturates, and Dice.


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_squared_error_loses_its_gradient_where_cross_entropy_keeps_it(activation):
    """A confident mistake: the reason why cross entropy is preferred; and why this one is not convex."""
    logits, label = np.array([[-10.0, 10.0]], np.float32), np.array([0])
    squared = gradient(mean_squared_error_with_activation, logits, label, activation=activation)
    assert np.max(np.abs(squared)) < 1e-3
    assert np.max(np.abs(gradient(softmax_cross_entropy, logits, label))) > 0.999
    a, b = np.array([[-12.0, 12.0]], np.float32), np.array([[4.0, -4.0]], np.float32)
    loss = [mean_squared_error_with_activation(z, label, activation=activation)[0] for z in (a, (a + b) / 2, b)]
    assert loss[1] > (loss[0] + loss[2]) / 2


def test_an_unknown_activation_is_named():
    with pytest.raises(UserError, match='activation must be "softmax" or "sigmoid", not \'tanh\''):
        mean_squared_error_with_activation(LOGITS, LABELS, activation="tanh")


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("classes", [1, 3])
def test_dice_equals_optaxs(smooth, classes):
    logits = RNG.normal(size=(2, 4, 5, classes)).astype(np.float32)
    targets = one_hot(RNG.integers(0, 3, (2, 4, 5)), 3)[..., :classes]
    expected = optax.losses.dice_loss(logits, targets, smooth=smooth)
    assert_allclose(dice(logits, targets, smooth=smooth), expected, rtol=1e-5)
    closed = gradient_of[dice](logits, targets, smooth=smooth)
    assert_allclose(closed, gradient(dice, logits, targets, smooth=smooth), rtol=1e-3, atol=1e-7)


def test_dice_of_masked_pixels_is_that_of_the_others():
    logits, labels = RNG.normal(size=(2, 5, 3)).astype(np.float32), RNG.integers(0, 3, (2, 5))
    where = np.array([[True, False, True, True, False]] * 2)
    marked = np.where(where, labels, 255).astype(np.uint8)  # as segmentation maps mark their borders
    expected = dice(logits[:, where[0]], labels[:, where[0]])
    assert_allclose(dice(logits, marked, where=where), expected, rtol=1e-6)
    assert np.all(gradient(dice, logits, marked, where=where)[~where] == 0)
    nothing = value_and_both_gradients(dice, where=np.zeros_like(where), smooth=0.0)(logits, labels)
    assert all(np.all(number == 0) for number in nothing)
    both = value_and_both_gradients(dice, where=where)
    for poison in (np.nan, np.inf, -np.inf):
        soft = np.where(where[..., None], one_hot(labels, 3), np.float32(poison))
        spoilt = both(np.where(where[..., None], logits, np.float32(poison)), soft)
        for got, want in zip(spoilt, both(logits, labels), strict=True):
            assert_allclose(got, want, rtol=1e-6)


def test_dice_names_what_is_wrong_with_its_inputs():
    with pytest.raises(UserError, match=r"logits \[4\] must be \[N, ..., K\]"):
        dice(LOGITS[0], np.int32(0))
    with pytest.raises(TypeError, match="where must be boolean"):
        dice(LOGITS, LABELS, where=np.ones(6))
    with pytest.raises(UserError, match=r"where \[6, 4\] and the pixels of the logits \[6\]"):
        dice(LOGITS, LABELS, where=np.ones((6, 4), bool))
