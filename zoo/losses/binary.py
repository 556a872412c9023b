"""Losses of yes-or-no decisions, one score each, unreduced; a multi-label problem is many of them.

In the formulas `z` are logits, `p` probabilities, `y` labels and `s(z) = 1 / (1 + exp(-z))` is the sigmoid.
Each `Gradient` is the derivative with respect to the first argument that `zoo.losses.gradient_of` computes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from zoo.losses.inputs import binary_pair, floating, same_shape, share_of_each, signed_pair


def binary_cross_entropy(logits: Any, labels: Any, *, pos_weight: Any = None, label_smoothing: Any = 0.0) -> jax.Array:
    """Cross entropy of `p = s(z)`: `-c t log s(z) - (1 - t) log(1 - s(z))`.

    The target is `t = (1 - a) y + a / 2` with smoothing `a`, and `c` is the weight of the positives.
    With `c = 1` and `a = 0` it is softmax cross entropy between the logits `z` and 0.
    Gradient: `(c t + 1 - t) s(z) - c t`, which for plain labels is `s(z) - y`.

    Args:
      logits: `[...]` floating point.
      labels: `[...]` 0 and 1 (bool, integer or floating), or probabilities.
      pos_weight: `c`, a number or `[K]`, one a label of the last axis, as in torch. Above 1 it buys recall,
        below 1 precision.
      label_smoothing: `a`, share of the label's mass moved to the even guess.

    Returns:
      `[...]` nats.

    >>> import jax.numpy as jnp
    >>> print(binary_cross_entropy(jnp.array([0.0, 1e4]), jnp.array([1, 1])))
    [0.6931472 0.       ]
    """
    logits, positive, negative = weighted_labels(logits, labels, pos_weight, label_smoothing)
    return positive * jax.nn.softplus(-logits) + negative * jax.nn.softplus(logits)


def weighted_labels(
    logits: Any, labels: Any, pos_weight: Any, label_smoothing: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits, `c t` and `1 - t`: what binary cross entropy and its gradient are made of."""
    logits, labels = binary_pair("logits", logits, labels)
    targets = (1 - label_smoothing) * labels + label_smoothing / 2
    weight = jnp.ones((), logits.dtype)
    if pos_weight is not None:
        weight = floating("pos_weight", pos_weight).astype(logits.dtype)
    if weight.ndim:
        same_shape("pos_weight", weight, "the last axis of logits", logits[(0,) * (logits.ndim - 1)])
        weight = weight.reshape((1,) * (logits.ndim - 1) + weight.shape)
    return logits, weight * targets, 1 - targets


def binary_cross_entropy_with_probabilities(probabilities: Any, labels: Any) -> jax.Array:
    """Cross entropy of probabilities: `-y log p - (1 - y) log(1 - p)`. With logits at hand, do not take this
    one.

    Safe at exactly 0 and 1: as in torch's `binary_cross_entropy` the logarithm is at least -100 and its slope
    at most `1e12`. Gradient: `(1 - y) / (1 - p) - y / p`, at `p = y` thus 1 or -1, where torch says 0.

    Args:
      probabilities: `[...]` floating point in [0, 1].
      labels: `[...]` 0 and 1 (bool, integer or floating), or probabilities.

    Returns:
      `[...]` nats, at most 100.

    >>> import jax.numpy as jnp
    >>> print(binary_cross_entropy_with_probabilities(jnp.array([0.0, 1.0, 0.5]), jnp.array([1, 1, 1])))
    [100.          0.          0.6931472]
    """
    probabilities, labels = binary_pair("probabilities", probabilities, labels)
    return -labels * _safe_log(probabilities) - (1 - labels) * _safe_log(1 - probabilities)


@jax.custom_jvp
def _safe_log(p: jax.Array) -> jax.Array:
    return jnp.where(p > 0, jnp.maximum(jnp.log(jnp.where(p > 0, p, 1)), -100), -100)


@_safe_log.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (p,), (dp,) = primals, tangents
    return _safe_log(p), dp / jnp.maximum(p, 1e-12)  # a dead zone would never leave a confident mistake


def multilabel_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    pos_weight: Any = None,
    label_smoothing: Any = 0.0,
    axis: int = -1,
    where: Any = None,
) -> jax.Array:
    """The mean over an example's labels of their `binary_cross_entropy`: K labels are K yes-or-no questions.

    Torch's `multilabel_soft_margin_loss`. Gradient: that of `binary_cross_entropy` divided by the number of
    labels.

    Args:
      logits: `[..., K]` floating point.
      labels: `[..., K]` 0 and 1 (bool, integer or floating), or probabilities.
      pos_weight: weight of the positives, a number or `[K]` along the last axis.
      label_smoothing: share of each label's mass moved to the even guess.
      axis: the axis of labels.
      where: `[..., K]` booleans, the labels that are known; an example without any has loss 0.

    Returns:
      `[...]` nats per label.

    >>> import jax.numpy as jnp
    >>> print(multilabel_cross_entropy(jnp.array([[0.0, 1e4]]), jnp.array([[1, 1]])).round(4))
    [0.3466]
    """
    loss = binary_cross_entropy(logits, labels, pos_weight=pos_weight, label_smoothing=label_smoothing)
    return jnp.sum(loss * share_of_each("logits", loss, axis, where), axis)


def focal(logits: Any, labels: Any, *, gamma: Any = 2.0, alpha: Any = None) -> jax.Array:
    """Focal loss: binary cross entropy times `a u^gamma`, so that easy examples count little.

    Lin et al. 2017, arXiv:1708.02002, equation 5, by optax. `u = y (1 - s(z)) + (1 - y) s(z)` is what the
    right answer lacks in probability, and `a = alpha y + (1 - alpha) (1 - y)`, or 1 without `alpha`.
    Gradient: `a u^gamma (s(z) - y + gamma (1 - 2 y) r CE)` with `r = s(z) (1 - s(z)) / u` and the cross
    entropy `CE`.

    Args:
      logits: `[...]` floating point.
      labels: `[...]` 0 and 1 (bool, integer or floating), or probabilities.
      gamma: how fast easy examples fade, at least 0; at 0 this is binary cross entropy.
      alpha: weight of the positives, `1 - alpha` that of the negatives; torchvision's default is 0.25.

    Returns:
      `[...]` nats.

    >>> import jax.numpy as jnp
    >>> print(focal(jnp.zeros(2), jnp.array([0, 1]), gamma=1.0).round(4))
    [0.3466 0.3466]
    """
    return optax.sigmoid_focal_loss(*binary_pair("logits", logits, labels), gamma=gamma, alpha=alpha)


def hinge(scores: Any, labels: Any) -> jax.Array:
    """The margin that is missing: `max(0, 1 - y f)`, the loss of a support vector machine.

    Gradient: `-y` where `y f < 1`, 0 where `y f > 1`, halfway at the joint.

    Args:
      scores: `[...]` floating point, the decision function `f`.
      labels: `[...]` -1 and 1, integer or floating; of 0 and 1 make `2 * labels - 1`.

    Returns:
      `[...]` in the unit of the scores.

    >>> import jax.numpy as jnp
    >>> print(hinge(jnp.array([2.0, 0.5, -1.0]), jnp.array([1, 1, 1])))
    [0.  0.5 2. ]
    """
    return optax.hinge_loss(*signed_pair(scores, labels))
