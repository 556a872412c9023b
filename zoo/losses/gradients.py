"""The derivatives written out: `gradient_of[loss]` takes what the loss takes, options included.

It returns the derivative of each example's own loss with respect to the first argument, in its shape and in
the precision of the loss. The formulas stand in the losses' docstrings. Where a loss is NaN because its
example has no label, the gradient is 0.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from zoo.losses import binary, classification, regression
from zoo.losses.inputs import (
    binary_pair,
    class_mask,
    class_pair,
    regression_pair,
    share_of_each,
    signed_pair,
)
from zoo.losses.logistic import logistic_gradient, logistic_loss


def _errors(predictions: Any, targets: Any) -> jax.Array:
    predictions, targets = regression_pair(predictions, targets)
    return predictions - targets


def _l1(predictions: Any, targets: Any) -> jax.Array:
    return jnp.sign(_errors(predictions, targets))


def _l2(predictions: Any, targets: Any) -> jax.Array:
    return 2 * _errors(predictions, targets)


def _smooth_l1(predictions: Any, targets: Any, *, beta: Any = 1.0) -> jax.Array:
    errors = _errors(predictions, targets)
    beta = jnp.asarray(beta, errors.dtype)
    inside = jnp.abs(errors) < beta
    return jnp.where(inside, errors / jnp.where(inside, beta, 1), jnp.sign(errors))


def _huber(predictions: Any, targets: Any, *, delta: Any = 1.0) -> jax.Array:
    errors = _errors(predictions, targets)
    delta = jnp.asarray(delta, errors.dtype)
    return jnp.clip(errors, -delta, delta)


def _log_cosh(predictions: Any, targets: Any) -> jax.Array:
    return jnp.tanh(_errors(predictions, targets))


def _softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: Any = 0.0,
    class_weights: Any = None,
    ignore_label: int | None = None,
    axis: int = -1,
    where: Any = None,
) -> jax.Array:
    logits, targets, labelled = classification.smoothed_targets(
        logits, labels, label_smoothing, class_weights, ignore_label, axis, where
    )
    gradient = jax.nn.softmax(logits, axis) * jnp.sum(targets, axis, keepdims=True) - targets
    return jnp.where(jnp.expand_dims(labelled, axis), gradient, 0)


def _poly_loss(logits: Any, labels: Any, *, epsilon: Any = 2.0, axis: int = -1) -> jax.Array:
    logits, y, _ = class_pair(logits, labels, axis)
    p = jax.nn.softmax(logits, axis)
    cross_entropy = p * jnp.sum(y, axis, keepdims=True) - y
    return cross_entropy - epsilon * p * (y - jnp.sum(y * p, axis, keepdims=True))


def _kl_divergence(log_predictions: Any, targets: Any, *, axis: int = -1, where: Any = None) -> jax.Array:
    log_predictions, targets = regression_pair(log_predictions, targets)
    counted = True if where is None else class_mask(where, "log_predictions", log_predictions)
    return jnp.where(counted, -targets, 0)


def _mean_squared_error_with_activation(
    logits: Any, labels: Any, *, activation: str = "softmax", axis: int = -1
) -> jax.Array:
    logits, y, labelled = class_pair(logits, labels, axis)
    p = classification.activate(logits, activation, axis)
    upstream = 2 / logits.shape[axis] * (p - y)
    return jnp.where(jnp.expand_dims(labelled, axis), _through(activation, p, upstream, axis), 0)


def _dice(logits: Any, labels: Any, *, smooth: Any = 1.0, where: Any = None) -> jax.Array:
    (p, y, counted), overlap, size, labelled = classification.dice_parts(logits, labels, smooth, where)
    classes, pixels = p.shape[-1], tuple(range(1, p.ndim - 1))
    overlap, size = jnp.expand_dims(overlap, pixels), jnp.expand_dims(size, pixels)
    upstream = (overlap / (2 * size) - y) / (classes * size)
    gradient = _through("sigmoid" if classes == 1 else "softmax", p, upstream, -1)
    return jnp.where(counted & labelled.reshape(labelled.shape + (1,) * (p.ndim - 1)), gradient, 0)


def _through(activation: str, p: jax.Array, upstream: jax.Array, axis: int) -> jax.Array:
    """A gradient with respect to `p` turned into one with respect to the logits."""
    if activation == "sigmoid":
        return upstream * p * (1 - p)
    return p * (upstream - jnp.sum(p * upstream, axis, keepdims=True))


def _binary_cross_entropy(logits: Any, labels: Any, *, pos_weight: Any = None, label_smoothing: Any = 0.0) -> jax.Array:
    logits, positive, negative = binary.weighted_labels(logits, labels, pos_weight, label_smoothing)
    return (positive + negative) * jax.nn.sigmoid(logits) - positive


def _binary_cross_entropy_with_probabilities(probabilities: Any, labels: Any) -> jax.Array:
    p, y = binary_pair("probabilities", probabilities, labels)
    return (1 - y) / jnp.maximum(1 - p, 1e-12) - y / jnp.maximum(p, 1e-12)


def _multilabel_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    pos_weight: Any = None,
    label_smoothing: Any = 0.0,
    axis: int = -1,
    where: Any = None,
) -> jax.Array:
    each = _binary_cross_entropy(logits, labels, pos_weight=pos_weight, label_smoothing=label_smoothing)
    return each * share_of_each("logits", each, axis, where)


def _focal(logits: Any, labels: Any, *, gamma: Any = 2.0, alpha: Any = None) -> jax.Array:
    z, y = binary_pair("logits", logits, labels)
    log_p, log_q = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
    log_u = jnp.logaddexp(jnp.log(y) + log_q, jnp.log(1 - y) + log_p)
    r = jnp.exp(log_p + log_q - log_u)  # in logarithms, because p, 1 - p and u all may vanish
    cross_entropy = -y * log_p - (1 - y) * log_q
    gradient = jnp.exp(gamma * log_u) * (jax.nn.sigmoid(z) - y + gamma * (1 - 2 * y) * r * cross_entropy)
    return gradient if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * gradient


def _hinge(scores: Any, labels: Any) -> jax.Array:
    scores, labels = signed_pair(scores, labels)
    return -labels * jnp.heaviside(1 - labels * scores, 0.5)


gradient_of: dict[Callable[..., jax.Array], Callable[..., Any]] = {
    regression.l1: _l1,
    regression.l2: _l2,
    regression.smooth_l1: _smooth_l1,
    regression.huber: _huber,
    regression.log_cosh: _log_cosh,
    classification.softmax_cross_entropy: _softmax_cross_entropy,
    classification.poly_loss: _poly_loss,
    classification.kl_divergence: _kl_divergence,
    classification.mean_squared_error_with_activation: _mean_squared_error_with_activation,
    classification.dice: _dice,
    binary.binary_cross_entropy: _binary_cross_entropy,
    binary.binary_cross_entropy_with_probabilities: _binary_cross_entropy_with_probabilities,
    binary.multilabel_cross_entropy: _multilabel_cross_entropy,
    binary.focal: _focal,
    binary.hinge: _hinge,
    logistic_loss: logistic_gradient,
}
