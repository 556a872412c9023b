"""Losses between scores and labels, one per example, unreduced.

In the formulas `z` are logits, `y` labels, `p` probabilities, `s(z) = 1 / (1 + exp(-z))` the sigmoid and `K` the
number of classes. Each `Gradient` is what `zoo.losses.gradient_of` computes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from zoo.losses.inputs import class_mask, class_pair, floating


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: Any = 0.0,
    class_weights: Any = None,
    ignore_label: int | None = None,
    axis: int = -1,
    where: Any = None,
) -> jax.Array:
    """Cross entropy of `p = softmax(z)` against integer or soft labels: `-sum_k t_k log p_k`.

    The targets are `t_k = w_k ((1 - a) y_k + a / K)` with smoothing `a` and class weights `w`, torch's rule.
    Gradient: `p_j sum_k t_k - t_j`, which for plain labels is `p - y`.

    Args:
      logits: `[..., K]` unnormalised log-probabilities; minus infinity is a class of probability 0.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      label_smoothing: share of the labels' mass moved to the uniform distribution over all classes (Szegedy et al.
        2015, arXiv:1512.00567, section 7).
      class_weights: `[K]` factor of each class. For torch's weighted mean, whose denominator is the sum of the
        weights met, divide so yourself: `reduce(softmax_cross_entropy(logits, labels), weights=w[labels])`.
      ignore_label: the integer label that makes an example's loss 0 (torch's `ignore_index`). A mean over the others
        is `reduce(loss, where=labels != ignore_label)`.
      axis: the axis of classes.
      where: `[..., K]` booleans, the classes that exist; the others get neither probability nor smoothing.

    Returns:
      `[...]` nats. NaN where an integer label names no class: outside of `[0, K)`, or a class that `where` removes.

    >>> import jax.numpy as jnp
    >>> softmax_cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
    Array([1.3862944, 1.3862944], dtype=float32)
    """
    logits, targets, labelled = smoothed_targets(
        logits,
        labels,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_label=ignore_label,
        axis=axis,
        where=where,
    )
    # Unlike optax.softmax_cross_entropy, the safe one takes 0 * log 0 as 0.
    loss = optax.safe_softmax_cross_entropy(jnp.moveaxis(logits, axis, -1), jnp.moveaxis(targets, axis, -1))
    return jnp.where(labelled, loss, jnp.nan)


def smoothed_targets(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: Any,
    class_weights: Any,
    ignore_label: int | None,
    axis: int,
    where: Any,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The three things softmax cross entropy and its gradient are made of: logits, targets `t`, labelled or not."""
    integer = jnp.issubdtype(jnp.asarray(labels).dtype, jnp.integer)
    if ignore_label is not None and not integer:
        raise ValueError("ignore_label needs integer labels: mask the reduced loss of soft labels instead.")
    logits, targets, labelled = class_pair(logits, labels, axis)
    if where is not None:
        where = class_mask(where, logits)
        logits = jnp.where(where, logits, jnp.finfo(logits.dtype).min)
        exists = jnp.any(where, axis)
        if integer:
            labelled &= jnp.any(where & (targets > 0), axis) | ~exists
    targets = optax.smooth_labels(targets, label_smoothing, axis=axis, where=where)
    if where is not None:
        targets = jnp.where(where, targets, 0)
    if class_weights is not None:
        class_weights = floating("class_weights", class_weights).astype(logits.dtype)
        if class_weights.shape != (logits.shape[axis],):
            raise ValueError(
                f"class_weights {list(class_weights.shape)} must be [{logits.shape[axis]}], one a class of the "
                f"logits {list(logits.shape)}."
            )
        targets *= jnp.expand_dims(class_weights, [i for i in range(logits.ndim) if i != axis % logits.ndim])
    if ignore_label is not None:
        counted = jnp.asarray(labels) != ignore_label
        targets = jnp.where(jnp.expand_dims(counted, axis), targets, 0)
        labelled |= ~counted
    return logits, targets, labelled
