"""Losses of yes-or-no decisions, one per score; a multi-label problem is many such decisions.

In the formulas `z` are logits, `p` probabilities, `y` labels, and `s(z) = 1 / (1 + exp(-z))` is the sigmoid.
Each `Gradient` is the derivative with respect to the first argument, written under its loss; see `gradient_of`.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from zoo.losses.gradient import derivative_of, gradient_of
from zoo.losses.inputs import Scalar, cast_floating, prepare_binary, prepare_signed, require_same_shape, weigh_equally


def _weight_labels(
    logits: ArrayLike, labels: ArrayLike, pos_weight: ArrayLike | None, label_smoothing: Scalar
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the logits, `c t` and `1 - t`."""
    logits, labels = prepare_binary(logits, labels)
    targets = (1 - label_smoothing) * labels + label_smoothing / 2
    weight = jnp.ones((), logits.dtype)
    if pos_weight is not None:
        weight = cast_floating("pos_weight", pos_weight).astype(logits.dtype)
    if weight.ndim:
        require_same_shape("pos_weight", weight, "the last axis of logits", logits[(0,) * (logits.ndim - 1)])
        weight = weight.reshape((1,) * (logits.ndim - 1) + weight.shape)
    return logits, weight * targets, 1 - targets


def binary_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, *, pos_weight: ArrayLike | None = None, label_smoothing: Scalar = 0.0
) -> jax.Array:
    """Cross entropy of `p = s(z)`: `-c t log s(z) - (1 - t) log(1 - s(z))`.

    The target is `t = (1 - a) y + a / 2` with smoothing `a`, and `c` is the weight of the positives.
    With `c = 1` it is the softmax cross entropy of two classes with the logits `z` and 0.
    Gradient: `(c t + 1 - t) s(z) - c t`, which for plain labels is `s(z) - y`.

    Args:
      logits: `[...]` floating point.
      labels: `[...]` 0 and 1 (bool, integer or floating), or probabilities.
      pos_weight: `c`, a number or `[K]`, one per label along the last axis, as in torch. Above 1 it raises recall,
        below 1 precision.
      label_smoothing: `a`, the share of the label's mass that moves to the even guess.

    Returns:
      `[...]` nats.

    >>> import jax.numpy as jnp
    >>> print(binary_cross_entropy(jnp.array([0.0, 1e4]), jnp.array([1, 1])))
    [0.6931472 0.       ]
    """
    logits, positive, negative = _weight_labels(logits, labels, pos_weight, label_smoothing)
    return positive * jax.nn.softplus(-logits) + negative * jax.nn.softplus(logits)


@derivative_of(binary_cross_entropy, _weight_labels)
def _(logits: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    return (positive + negative) * jax.nn.sigmoid(logits) - positive


_prepare_probabilities = functools.partial(prepare_binary, name="probabilities")


def binary_cross_entropy_with_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Cross entropy of probabilities, for where there are no logits: `-y log p - (1 - y) log(1 - p)`.

    Safe at exactly 0 and 1: as in torch's `binary_cross_entropy`, the logarithm is at least -100 and its slope
    at most `1e12`. Gradient: `(1 - y) / (1 - p) - y / p`, which is 1 or -1 at `p = y`, where torch's is 0.

    Args:
      probabilities: `[...]` floating point in [0, 1].
      labels: `[...]` 0 and 1 (bool, integer or floating), or probabilities.

    Returns:
      `[...]` nats, at most 100.

    >>> import jax.numpy as jnp
    >>> print(binary_cross_entropy_with_probabilities(jnp.array([0.0, 1.0, 0.5]), jnp.array([1, 1, 1])))
    [100.          0.          0.6931472]
    """
    p, y = _prepare_probabilities(probabilities, labels)
    return -y * _safe_log(p) - (1 - y) * _safe_log(1 - p)


@derivative_of(binary_cross_entropy_with_probabilities, _prepare_probabilities)
def _(p: jax.Array, y: jax.Array) -> jax.Array:
    return (1 - y) / _keep_from_zero(1 - p) - y / _keep_from_zero(p)


@jax.custom_jvp
def _safe_log(p: jax.Array) -> jax.Array:
    return jnp.where(p > 0, jnp.maximum(jnp.log(jnp.where(p > 0, p, 1)), -100), -100)


@_safe_log.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (p,), (dp,) = primals, tangents
    return _safe_log(p), dp / _keep_from_zero(p)  # with a slope of 0 a confident mistake could not be unlearned


def _keep_from_zero(p: jax.Array) -> jax.Array:
    return jnp.maximum(p, 1e-12)


def multilabel_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    label_smoothing: Scalar = 0.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Mean of `binary_cross_entropy` over the labels of an example: K labels are K yes-or-no questions.

    Torch's `multilabel_soft_margin_loss`. Gradient: that of `binary_cross_entropy`, divided by the number of
    labels that count.

    Args:
      logits: `[..., K]` floating point.
      labels: `[..., K]` 0 and 1 (bool, integer or floating), or probabilities.
      pos_weight: weight of the positives, a number or `[K]` along the last axis.
      label_smoothing: the share of each label's mass that moves to the even guess.
      axis: the axis of labels.
      where: `[..., K]` booleans, the labels that are known; an example with no known label has loss 0.

    Returns:
      `[...]` nats per label.

    >>> import jax.numpy as jnp
    >>> print(multilabel_cross_entropy(jnp.array([[0.0, 1e4]]), jnp.array([[1, 1]])).round(4))
    [0.3466]
    """
    loss = binary_cross_entropy(logits, labels, pos_weight=pos_weight, label_smoothing=label_smoothing)
    return jnp.sum(loss * weigh_equally("logits", loss, axis, where), axis)


@derivative_of(multilabel_cross_entropy, gradient_of[binary_cross_entropy])
def _(gradient: jax.Array, axis: int, where: ArrayLike | None) -> jax.Array:
    return gradient * weigh_equally("logits", gradient, axis, where)


def focal(logits: ArrayLike, labels: ArrayLike, *, gamma: Scalar = 2.0, alpha: Scalar | None = None) -> jax.Array:
    """Focal loss: binary cross entropy times `a u^gamma`, so that easy examples count little.

    Lin et al. 2017, arXiv:1708.02002, equation 5, computed by optax. `u = y (1 - s(z)) + (1 - y) s(z)` is the
    probability of the wrong answer, and `a = alpha y + (1 - alpha) (1 - y)`, or 1 without `alpha`.
    Gradient: `a u^gamma (s(z) - y + gamma (1 - 2 y) r CE)` with `r = s(z) (1 - s(z)) / u` and cross entropy `CE`.

    Args:
      logits: `[...]` floating point.
      labels: `[...]` 0 and 1 (bool, integer or floating), or probabilities.
      gamma: how quickly easy examples lose weight, at least 0; with 0 this is binary cross entropy.
      alpha: weight of the positives, `1 - alpha` that of the negatives; torchvision's default is 0.25.

    Returns:
      `[...]` nats.

    >>> import jax.numpy as jnp
    >>> print(focal(jnp.zeros(2), jnp.array([0, 1]), gamma=1.0).round(4))
    [0.3466 0.3466]
    """
    return optax.sigmoid_focal_loss(*prepare_binary(logits, labels), gamma=gamma, alpha=alpha)


@derivative_of(focal, prepare_binary)
def _(z: jax.Array, y: jax.Array, gamma: Scalar, alpha: Scalar | None) -> jax.Array:
    log_p, log_q = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
    log_u = jnp.logaddexp(jnp.log(y) + log_q, jnp.log(1 - y) + log_p)
    r = jnp.exp(log_p + log_q - log_u)  # in logarithms, because p, 1 - p and u can all be 0
    cross_entropy = -y * log_p - (1 - y) * log_q
    gradient = jnp.exp(gamma * log_u) * (jax.nn.sigmoid(z) - y + gamma * (1 - 2 * y) * r * cross_entropy)
    return gradient if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * gradient


def hinge(scores: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Hinge loss, the margin that is missing: `max(0, 1 - y f)`, as in a support vector machine.

    Gradient: `-y` where `y f < 1`, 0 where `y f > 1`, and `-y / 2` where `y f = 1`.

    Args:
      scores: `[...]` floating point, the decision function `f`.
      labels: `[...]` -1 and 1, integer or floating; labels 0 and 1 become `2 * labels - 1`.

    Returns:
      `[...]` in the unit of the scores.

    >>> import jax.numpy as jnp
    >>> print(hinge(jnp.array([2.0, 0.5, -1.0]), jnp.array([1, 1, 1])))
    [0.  0.5 2. ]
    """
    return optax.hinge_loss(*prepare_signed(scores, labels))


@derivative_of(hinge, prepare_signed)
def _(scores: jax.Array, labels: jax.Array) -> jax.Array:
    return -labels * jnp.heaviside(1 - labels * scores, 0.5)
