"""Digits: values and gradients against the formulas as they stand in books, computed with 250 decimals by Python."""

import decimal
import functools
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.losses.cases import value_and_both_gradients
from zoo import losses

GRID = np.unique(np.concatenate([np.arange(-100, 101, 8), np.arange(-20, 20.5, 1), [-0.25, 0.25]])).astype(np.float32)
STEP = Decimal("1e-80")  # of the finite difference, which is exact to 160 decimals
SMALLEST = 1e-37  # below it float32 has fewer digits or none


def sigmoid(z):
    return 1 / (1 + (-z).exp())


def softmax(z):
    total = sum(x.exp() for x in z)
    return [x.exp() / total for x in z]


def one_hot(y, classes=3):
    return [Decimal(int(k == y)) for k in range(classes)]


def binary_cross_entropy(z, y):
    p = sigmoid(z[0])
    return -y * p.ln() - (1 - y) * (1 - p).ln()


def focal(z, y):
    p = sigmoid(z[0])
    return (p if y == 0 else 1 - p) ** 2 * binary_cross_entropy(z, y)


def cross_entropy(z, y):
    return -softmax(z)[y].ln()


def poly(z, y):
    return cross_entropy(z, y) + 2 * (1 - softmax(z)[y])


def squared_error(z, y):
    return sum((p - t) ** 2 for p, t in zip(softmax(z), one_hot(y), strict=True)) / 3


def squared_error_of_sigmoid(z, y):
    return sum((sigmoid(x) - t) ** 2 for x, t in zip(z, one_hot(y), strict=True)) / 3


def dice(z, y):
    """Of one pixel."""
    pairs = zip(softmax(z), one_hot(y), strict=True)
    return 1 - sum((p * t + 1) / ((p + t) / 2 + 1) for p, t in pairs) / 3


def smooth_l1(z, _):
    e = abs(z[0])
    return e * e / 2 if e < 1 else e - Decimal("0.5")


REGRESSION = {
    "l1": lambda z, _: abs(z[0]),
    "l2": lambda z, _: z[0] ** 2,
    "smooth_l1": smooth_l1,
    "huber": smooth_l1,
    "log_cosh": lambda z, _: ((z[0].exp() + (-z[0]).exp()) / 2).ln(),
}
BINARY = {
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "multilabel_cross_entropy": binary_cross_entropy,
}
CLASSES = {
    "softmax_cross_entropy": (cross_entropy, {}),
    "poly_loss": (poly, {}),
    "mean_squared_error_with_activation": (squared_error, {}),
    "mean_squared_error_with_activation, sigmoid": (squared_error_of_sigmoid, {"activation": "sigmoid"}),
    "dice": (dice, {}),
}


def exact(function, z, y):
    """Value and gradient at `z`, rounded to float64 at the end."""
    with decimal.localcontext(prec=250):
        z = [Decimal(float(x)) for x in z]
        moved = [[[x + sign * STEP * (i == j) for j, x in enumerate(z)] for sign in (1, -1)] for i in range(len(z))]
        slopes = [(function(ahead, y) - function(behind, y)) / (2 * STEP) for ahead, behind in moved]
        return float(function(z, y)), [float(slope) for slope in slopes]


def exact_on(function, grid, labels):
    pairs = [exact(function, z, int(y)) for z, y in zip(grid, labels, strict=True)]
    return np.array([value for value, _ in pairs]), np.array([slope for _, slope in pairs])


@pytest.mark.parametrize("name", REGRESSION)
def test_losses_of_real_numbers_keep_their_digits(name):
    errors = np.geomspace(1e-12, 1e6, 37, dtype=np.float32)
    errors = np.concatenate([-errors, errors])
    value, slope = exact_on(REGRESSION[name], errors[:, None], 0 * errors)
    mine, automatic, closed = value_and_both_gradients(getattr(losses, name))(errors, 0 * errors)
    assert_allclose(mine, value, rtol=1e-6)
    assert_allclose(closed, slope[:, 0], rtol=1e-6)
    assert_allclose(automatic, slope[:, 0], rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_yes_or_no_losses_keep_their_digits(name):
    logits, labels = np.tile(GRID, 2)[:, None], np.repeat([0, 1], len(GRID))
    value, slope = exact_on(BINARY[name], logits, labels)
    mine, automatic, closed = value_and_both_gradients(getattr(losses, name))(logits, labels[:, None])
    tolerance = {"rtol": 3e-5 if name == "focal" else 1e-6, "atol": SMALLEST}  # focal: exp(2 log u) with log u of 100
    assert_allclose(mine.ravel(), value, **tolerance)
    assert_allclose(closed, slope, **tolerance)
    assert_allclose(automatic, slope, **tolerance)


@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_classes_keep_their_digits(name):
    """The first logit sweeps against two fixed ones, so that each label is right, wrong and in between."""
    function, options = CLASSES[name]
    logits = np.stack([np.tile(GRID, 3), np.zeros(3 * len(GRID)), np.full(3 * len(GRID), -1.5)], -1, dtype=np.float32)
    labels = np.repeat([0, 1, 2], len(GRID))
    value, slope = exact_on(function, logits, labels)
    if name == "dice":
        logits, labels, slope = logits[:, None], labels[:, None], slope[:, None]
    loss = getattr(losses, name.split(",")[0])
    mine, automatic, closed = value_and_both_gradients(loss, **options)(logits, labels)
    assert_allclose(mine, value, rtol=2e-6, atol=SMALLEST)
    assert_allclose(closed, slope, rtol=3e-6, atol=SMALLEST)
    if name == "softmax_cross_entropy":
        assert_allclose(automatic, slope, rtol=3e-6, atol=SMALLEST)


def test_cross_entropy_of_many_classes_keeps_its_digits():
    """Also where each probability is small, and where the targets are soft and nearly certain."""
    logits = np.zeros((2, 1000), np.float32)
    targets = np.zeros((2, 1000), np.float32)
    targets[0, 7] = 1
    logits[1, 7], targets[1], targets[1, 7] = 30, 1e-12, 1
    _, automatic, closed = value_and_both_gradients(losses.softmax_cross_entropy)(logits, targets)
    for row in range(2):
        z, t = logits[row].astype(np.longdouble), targets[row].astype(np.longdouble)
        p = np.exp(z - z.max())
        p /= p.sum()
        expected = p * t.sum() - t
        expected[7] = p[7] * np.delete(t, 7).sum() - t[7] * np.delete(p, 7).sum()
        assert_allclose(closed[row], expected.astype(float), rtol=1e-5)
        assert_allclose(automatic[row], expected.astype(float), rtol=1e-5)


def test_cross_entropy_of_probabilities_keeps_its_digits():
    """Close to 0 and 1, and where a soft label is the neighbour of the probability."""
    close = np.array([1e-30, 1e-9, 0.3, 0.5, 0.9, 1 - 2.0**-24], np.float32)
    p, y = np.concatenate([close, close, close]), np.concatenate([0 * close, 0 * close + 1, np.nextafter(close, 1)])
    p, y = p[:-1], y[:-1].astype(np.float32)
    value, _, closed = value_and_both_gradients(losses.binary_cross_entropy_with_probabilities)(p, y)
    with decimal.localcontext(prec=100):
        rows = [(Decimal(float(a)), Decimal(float(b))) for a, b in zip(p, y, strict=True)]
        expected = [float(-b * a.ln() - (1 - b) * (1 - a).ln()) for a, b in rows]
        slope = [float((1 - b) / (1 - a) - b / max(a, Decimal("1e-12"))) for a, b in rows]
    assert_allclose(value, expected, rtol=1e-6)
    assert_allclose(closed, slope, rtol=1e-6)


def test_the_gradient_and_hessian_of_logistic_regression_keep_their_digits():
    w, x = np.ones(1, np.float32), np.array([[17.0]], np.float32)
    with decimal.localcontext(prec=50):
        p = sigmoid(Decimal(17))
        slope, curvature = float(p - 1), float(p * (1 - p))
    dw, db = losses.logistic_gradient(w, np.float32(0), x, np.array([1]))
    assert_allclose([dw[0], db], [17 * slope, slope], rtol=1e-6)
    hessian = losses.logistic_hessian(w, np.float32(0), x, np.array([1]))
    assert_allclose(hessian, curvature * np.array([[289, 17], [17, 1]]), rtol=1e-6)


def test_smooth_l1_neither_overflows_nor_underflows_inside():
    """Its value is a plain float32 number although the square of the error is not."""
    errors = np.array([1e25, 1e-25], np.float32)
    for error, beta in zip(errors, (1e30, 1e-20), strict=True):
        assert_allclose(losses.smooth_l1(error, np.float32(0), beta=beta), float(error) ** 2 / 2 / beta, rtol=1e-6)
        slope = jax.grad(functools.partial(losses.smooth_l1, beta=beta))(error, np.float32(0))
        assert_allclose(slope, float(error) / beta, rtol=1e-6)


# Labels beyond the type that counts classes.


@pytest.mark.parametrize(("wrap", "x64"), [(np.array, False), (np.array, True), (jnp.array, True)])
@pytest.mark.parametrize("label", [2**32 + 1, -(2**32) + 1, 2**31, 2**63 + 1])
def test_a_label_that_does_not_fit_is_not_another_class(label, wrap, x64):
    with jax.enable_x64(x64):
        labels = wrap(np.array([label, 1], np.uint64 if label >= 2**63 else np.int64))
        logits = np.zeros((2, 3), np.float32)
        for loss in (losses.softmax_cross_entropy, losses.poly_loss, losses.mean_squared_error_with_activation):
            assert np.array_equal(np.isnan(loss(logits, labels)), [True, False])
        ignored = losses.softmax_cross_entropy(logits, labels, ignore_label=1)
        assert np.isnan(ignored[0])
        assert ignored[1] == 0
        assert losses.binary_cross_entropy(np.zeros(2, np.float32), labels).dtype == jnp.float32
        assert not np.array_equal(*losses.gradient_of[losses.binary_cross_entropy](np.zeros(2, np.float32), labels))
