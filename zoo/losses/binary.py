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
from zoo.losses.inputs import (
    Scalar,
    cast_floating,
    cast_number,
    prepare_binary,
    prepare_signed,
    require_same_shape,
    weigh_equally,
)


def _weight_labels(
    logits: ArrayLike, labels: ArrayLike, pos_weight: ArrayLike | None, label_smoothing: Scalar
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the logits, `c t` and `1 - t`."""
    logits, labels = prepare_binary(logits, labels)
    smoothing = cast_number("label_smoothing", label_smoothing, logits)
    targets = (1 - smoothing) * labels + smoothing / 2
    weight = jnp.ones((), logits.dtype)
    if pos_weight is not None:
        weight = cast_floating("pos_weight", pos_weight).astype(logits.dtype)
    if weight.ndim:
        require_same_shape("pos_weight", weight, "the last axis of logits", jnp.zeros(logits.shape[-1:]))
        weight = weight.reshape((1,) * (logits.ndim - 1) + weight.shape)
    return logits, weight * targets, 1 - targets


def binary_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, *, pos_weight: ArrayLike | None = None, label_smoothing: Scalar = 0.0
) -> jax.Array:
    """Cross entropy of `p = s(z)`: `-c t log s(z) - (1 - t) log(1 - s(z))`.

    The target is `t = (1 - a) y + a / 2` with smoothing `a`, and `c` is the weight of the positives.
    With `c = 1` it is the softmax cross entropy of two classes with the logits `z` and 0.
    Gradient: `(1 - t) s(z) - c t s(-z)`, which for plain labels is `s(z) - y`, to all digits.

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
    return negative * jax.nn.sigmoid(logits) - positive * jax.nn.sigmoid(-logits)


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
    return -y * _safe_log(p, 1 - p) - (1 - y) * _safe_log(1 - p, p)


@derivative_of(binary_cross_entropy_with_probabilities, _prepare_probabilities)
def _(p: jax.Array, y: jax.Array) -> jax.Array:
    q, p_above, q_above = 1 - p, _keep_from_zero(p), _keep_from_zero(1 - p)
    return jnp.where(p < q, p_above - y, (1 - y) - q_above) / (p_above * q_above)  # p - y over p (1 - p)


@jax.custom_jvp
def _safe_log(p: jax.Array, q: jax.Array) -> jax.Array:
    """`log p` from `p` or from `q = 1 - p`, whichever is the smaller and so has the more digits."""
    return jnp.maximum(jnp.where(p < q, jnp.log(jnp.maximum(p, 0)), jnp.log1p(-q)), -100)


@_safe_log.defjvp
def _(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    (p, q), (dp, _) = primals, tangents
    return _safe_log(p, q), dp / _keep_from_zero(p)  # with a slope of 0 a confident mistake could not be unlearned


def _keep_from_zero(p: jax.Array) -> jax.Array:
    return jnp.maximum(p, 1e-12)


def _hide_unknown(
    logits: ArrayLike, labels: ArrayLike, axis: int, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return logits and labels, 0 where unknown, and the weight of each label in the mean."""
    logits, labels = prepare_binary(logits, labels)
    share = weigh_equally("logits", logits, axis, where)
    return jnp.where(share > 0, logits, 0), jnp.where(share > 0, labels, 0), share


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
      where: `[..., K]` booleans, the labels that are known; an example with no known label has loss 0. What the
        others hold, NaN included, counts for nothing in loss and gradient.

    Returns:
      `[...]` nats per label.

    >>> import jax.numpy as jnp
    >>> print(multilabel_cross_entropy(jnp.array([[0.0, 1e4]]), jnp.array([[1, 1]])).round(4))
    [0.3466]
    """
    logits, labels, share = _hide_unknown(logits, labels, axis, where)
    loss = binary_cross_entropy(logits, labels, pos_weight=pos_weight, label_smoothing=label_smoothing)
    return jnp.sum(share * loss, axis)


@derivative_of(multilabel_cross_entropy, _hide_unknown)
def _(
    logits: jax.Array, labels: jax.Array, share: jax.Array, pos_weight: ArrayLike | None, label_smoothing: Scalar
) -> jax.Array:
    gradient = gradient_of[binary_cross_entropy]
    return share * gradient(logits, labels, pos_weight=pos_weight, label_smoothing=label_smoothing)


def _prepare_focal(
    logits: ArrayLike, labels: ArrayLike, gamma: Scalar, alpha: Scalar | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    logits, labels = prepare_binary(logits, labels)
    alpha = None if alpha is None else cast_number("alpha", alpha, logits)
    return logits, labels, cast_number("gamma", gamma, logits), alpha


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
    logits, labels, gamma, alpha = _prepare_focal(logits, labels, gamma, alpha)
    return optax.sigmoid_focal_loss(logits, labels, gamma=gamma, alpha=alpha)


@derivative_of(focal, _prepare_focal)
def _(z: jax.Array, y: jax.Array, g: jax.Array, a: jax.Array | None) -> jax.Array:
    log_p, log_q = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
    log_u = jnp.logaddexp(jnp.log(y) + log_q, jnp.log(1 - y) + log_p)
    r = jnp.exp(log_p + log_q - log_u)  # in logarithms, because p, 1 - p and u can all be 0
    cross_entropy = -y * log_p - (1 - y) * log_q
    error = (1 - y) * jax.nn.sigmoid(z) - y * jax.nn.sigmoid(-z)
    gradient = jnp.exp(g * log_u) * (error + g * (1 - 2 * y) * r * cross_entropy)
    return gradient if a is None else (a * y + (1 - a) * (1 - y)) * gradient


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
