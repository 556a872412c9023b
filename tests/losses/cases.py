"""Every public loss with inputs that suit it, a slow and obvious reference in NumPy, and its perfect prediction."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo import losses

CLASSES = 4


@dataclass(eq=False)
class Case:
    loss: Callable[..., Any]
    draw: Callable[[np.random.Generator, float], tuple[np.ndarray, np.ndarray]]
    reference: Callable[..., np.ndarray]  # in float64, by loops where the loss has none
    perfect: Callable[[np.ndarray], np.ndarray]  # targets -> the predictions whose loss is 0
    options: tuple[dict[str, Any], ...] = ({},)

    @property
    def name(self) -> str:
        return self.loss.__name__

    @functools.cached_property
    def compiled(self) -> list[Callable[[Any, Any], tuple[jax.Array, jax.Array, jax.Array]]]:
        """For each set of options the loss, its automatic and its closed gradient: one compilation is quicker."""
        return [value_and_both_gradients(self.loss, **options) for options in self.options]


def value_and_both_gradients(loss: Callable[..., Any], **options: Any) -> Callable[[Any, Any], tuple[jax.Array, ...]]:
    @jax.jit
    def both(predictions, targets):
        automatic = jax.grad(lambda p: jnp.sum(loss(p, targets, **options)))(predictions)
        closed = losses.gradient_of[loss](predictions, targets, **options)
        return loss(predictions, targets, **options), automatic, closed

    return both


def one_hot(labels: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


def real(rng, scale):
    return _f32(scale * rng.normal(size=6)), _f32(scale * rng.normal(size=6))


def binary(rng, scale):
    return _f32(scale * rng.normal(size=6)), rng.integers(0, 2, 6)


def probability(rng, scale):
    return _f32(rng.uniform(0.02, 0.98, 6)), rng.integers(0, 2, 6)


def margin(rng, scale):
    return _f32(scale * rng.normal(size=6)), 2 * rng.integers(0, 2, 6) - 1


def multiclass(rng, scale):
    return _f32(scale * rng.normal(size=(5, CLASSES))), rng.integers(0, CLASSES, 5)


def multilabel(rng, scale):
    return _f32(scale * rng.normal(size=(5, CLASSES))), rng.integers(0, 2, (5, CLASSES))


def distribution(rng, scale):
    z, t = scale * rng.normal(size=(5, CLASSES)), rng.dirichlet(np.ones(CLASSES), 5)
    return _f32(np.log(softmax(z))), _f32(t)


def segmentation(rng, scale):
    return _f32(scale * rng.normal(size=(3, 5, CLASSES))), rng.integers(0, CLASSES, (3, 5))


def _f32(x):
    return np.asarray(x, np.float32)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _smooth_l1(p, t, beta=1.0):
    return np.array([e * e / 2 / beta if e < beta else e - beta / 2 for e in abs(p - t)])


def _huber(p, t, delta=1.0):
    return np.array([e * e / 2 if e < delta else delta * (e - delta / 2) for e in abs(p - t)])


def _softmax_cross_entropy(z, y, label_smoothing=0.0, class_weights=None, ignore_label=None, where=None):
    w = np.ones(CLASSES) if class_weights is None else class_weights
    where = np.ones_like(z, bool) if where is None else np.broadcast_to(where, z.shape)
    result = []
    for row, label, exists in zip(z, y, where, strict=True):
        p = dict(zip(np.flatnonzero(exists), softmax(row[exists]), strict=True))
        target = {k: (1 - label_smoothing) * (k == label) + label_smoothing / len(p) for k in p}
        result.append(0.0 if label == ignore_label else -sum(w[k] * target[k] * np.log(p[k]) for k in p))
    return np.array(result)


def _poly_loss(z, y, epsilon=2.0):
    right = softmax(z)[np.arange(len(y)), y]
    return -np.log(right) + epsilon * (1 - right)


def _kl_divergence(log_q, t, where=None):
    where = np.ones_like(t, bool) if where is None else np.broadcast_to(where, t.shape)
    terms = [
        [a * np.log(a / np.exp(b)) if m and a > 0 else 0 for a, b, m in zip(*rows, strict=True)]
        for rows in zip(t, log_q, where, strict=True)
    ]
    return np.sum(terms, -1)


def _mean_squared_error(z, y, activation="softmax"):
    p = {"softmax": softmax, "sigmoid": sigmoid}[activation](z)
    return np.mean((p - one_hot(y)) ** 2, -1)


def _dice(z, y, smooth=1.0, where=None):
    where = np.ones(y.shape, bool) if where is None else where
    result = []
    for p, t, counted in zip(softmax(z), one_hot(y), where, strict=True):
        p, t = p[counted], t[counted]
        ratio = [(p[:, k] @ t[:, k] + smooth) / ((p[:, k].sum() + t[:, k].sum()) / 2 + smooth) for k in range(CLASSES)]
        result.append(1 - np.mean(ratio))
    return np.array(result)


def _binary_cross_entropy(z, y, pos_weight=1.0, label_smoothing=0.0):
    t = (1 - label_smoothing) * y + label_smoothing / 2
    return -pos_weight * t * np.log(sigmoid(z)) - (1 - t) * np.log(sigmoid(-z))


def _multilabel_cross_entropy(z, y, where=None, **options):
    where = np.ones_like(z, bool) if where is None else where
    each = _binary_cross_entropy(z, y, **options)
    return np.array([row[m].mean() if m.any() else 0.0 for row, m in zip(each, where, strict=True)])


def _focal(z, y, gamma=2.0, alpha=None):
    right = np.where(y, sigmoid(z), sigmoid(-z))
    weight = 1 if alpha is None else np.where(y, alpha, 1 - alpha)
    return -weight * (1 - right) ** gamma * np.log(right)


_SURE = 200.0  # a logit at which float32 knows no doubt
_SOME = np.array([[True, False, True, True]] * 4 + [[False] * 4])
_WEIGHTS = np.array([0.5, 1.0, 2.0, 0.0], np.float32)

CASES = [
    Case(losses.l1, real, lambda p, t: abs(p - t), lambda t: t),
    Case(losses.l2, real, lambda p, t: (p - t) ** 2, lambda t: t),
    Case(losses.smooth_l1, real, _smooth_l1, lambda t: t, ({}, {"beta": 0.5}, {"beta": 1e-6})),
    Case(losses.huber, real, _huber, lambda t: t, ({}, {"delta": 0.5}, {"delta": 3.0})),
    Case(losses.log_cosh, real, lambda p, t: np.logaddexp(p - t, t - p) - np.log(2), lambda t: t),
    Case(
        losses.softmax_cross_entropy,
        multiclass,
        _softmax_cross_entropy,
        lambda y: _SURE * one_hot(y),
        (
            {},
            {"label_smoothing": 0.1, "class_weights": _WEIGHTS, "ignore_label": 1},
            {"label_smoothing": 0.2, "ignore_label": 3, "where": np.array([[True, True, True, False]])},
        ),
    ),
    Case(losses.poly_loss, multiclass, _poly_loss, lambda y: _SURE * one_hot(y), ({}, {"epsilon": -0.5})),
    Case(
        losses.kl_divergence,
        distribution,
        _kl_divergence,
        lambda t: np.log(t),
        ({}, {"where": _SOME}),
    ),
    Case(
        losses.mean_squared_error_with_activation,
        multiclass,
        _mean_squared_error,
        lambda y: _SURE * one_hot(y),
        ({}, {"activation": "sigmoid"}),
    ),
    Case(
        losses.dice,
        segmentation,
        _dice,
        lambda y: _SURE * one_hot(y),
        ({}, {"smooth": 0.1, "where": np.array([[True, True, False, True, False]] * 2 + [[False] * 5])}),
    ),
    Case(
        losses.binary_cross_entropy,
        binary,
        _binary_cross_entropy,
        lambda y: _SURE * (2.0 * y - 1),
        ({}, {"pos_weight": 3.0, "label_smoothing": 0.1}),
    ),
    Case(
        losses.binary_cross_entropy_with_probabilities,
        probability,
        lambda p, y: -y * np.log(p) - (1 - y) * np.log(1 - p),
        lambda y: y.astype(float),
    ),
    Case(
        losses.multilabel_cross_entropy,
        multilabel,
        _multilabel_cross_entropy,
        lambda y: _SURE * (2.0 * y - 1),
        ({}, {"pos_weight": _WEIGHTS, "label_smoothing": 0.1, "where": _SOME}),
    ),
    Case(
        losses.focal,
        binary,
        _focal,
        lambda y: _SURE * (2.0 * y - 1),
        ({}, {"gamma": 0.5, "alpha": 0.25}, {"gamma": 0.0}),
    ),
    Case(losses.hinge, margin, lambda f, y: np.maximum(0, 1 - f * y), lambda y: 2.0 * y),
]
BY_NAME = {case.name: case for case in CASES}
