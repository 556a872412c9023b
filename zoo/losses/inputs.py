"""What every loss accepts, and in which precision it computes: checked once, here.

Predictions are floating point; half precision is computed and returned in float32, float64 stays float64.
Shapes must agree: a loss never broadcasts, so `[N]` against `[N, 1]` is an error and not `[N, N]`.
"""

from typing import Any

import jax
import jax.numpy as jnp


def floating(name: str, array: Any) -> jax.Array:
    """`array` in at least float32; `TypeError` where it is not floating point."""
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, not {array.dtype}: pass {name}.astype(jnp.float32).")
    return array.astype(jnp.float64 if array.dtype == jnp.float64 else jnp.float32)


def same_shape(name: str, array: jax.Array, other_name: str, other: jax.Array) -> None:
    """`ValueError` where two arrays differ in shape."""
    if array.shape != other.shape:
        raise ValueError(
            f"{name} {list(array.shape)} and {other_name} {list(other.shape)} must have the same shape: "
            "a loss does not broadcast. Reshape one, or use jnp.broadcast_to where repeating is meant."
        )


def regression_pair(predictions: Any, targets: Any) -> tuple[jax.Array, jax.Array]:
    """Floating predictions and targets of one shape, both in the precision of the predictions."""
    predictions = floating("predictions", predictions)
    targets = floating("targets", targets).astype(predictions.dtype)
    same_shape("predictions", predictions, "targets", targets)
    return predictions, targets


def binary_pair(name: str, predictions: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
    """Floating predictions, and labels (bool, integer or float) of one shape in their precision."""
    predictions, labels = floating(name, predictions), jnp.asarray(labels)
    if not (labels.dtype == bool or jnp.issubdtype(labels.dtype, jnp.integer)):
        labels = floating("labels", labels)  # a TypeError for complex and the like
    same_shape(name, predictions, "labels", labels)
    return predictions, labels.astype(predictions.dtype)


def signed_pair(scores: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
    """Floating scores, and labels -1 and 1 (integer or float) of one shape in their precision."""
    if jnp.asarray(labels).dtype == bool:
        raise TypeError("hinge takes labels -1 and 1, not bool: pass 2 * labels.astype(jnp.int32) - 1.")
    return binary_pair("scores", scores, labels)


def class_pair(logits: Any, labels: Any, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits `[..., K]`, label probabilities `[..., K]` and `[...]` which examples have a label.

    Integer labels become one-hot. One outside of `[0, K)` names no class: the losses answer NaN for it.
    """
    logits, labels = floating("logits", logits), jnp.asarray(labels)
    if not logits.ndim:
        raise ValueError("logits [] have no axis of classes: pass [..., K], one logit a class.")
    examples = list(logits.shape)
    classes = examples.pop(axis)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        same_shape("logits", logits, "floating labels", labels)
        return logits, labels.astype(logits.dtype), jnp.ones(examples, bool)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            "labels must be integer classes or floating probabilities, "
            f"not {labels.dtype}: pass labels.astype(jnp.int32)."
        )
    if list(labels.shape) != examples:
        raise ValueError(
            f"logits {list(logits.shape)} take integer labels {examples}, not {list(labels.shape)}: drop "
            "an axis of one with labels.squeeze(), or pass probabilities in the shape of the logits."
        )
    labels = labels.astype(jnp.int32)  # uint8 could not count to more classes than 256
    one_hot = jax.nn.one_hot(labels, classes, axis=axis, dtype=logits.dtype)
    return logits, one_hot, (labels >= 0) & (labels < classes)


def class_mask(where: Any, name: str, array: jax.Array) -> jax.Array:
    """`where` as booleans in the shape of `array`; an axis of length one is repeated."""
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(f"where must be boolean, not {where.dtype}: pass where.astype(bool).")
    if where.ndim != array.ndim or any(w not in (1, n) for w, n in zip(where.shape, array.shape, strict=True)):
        raise ValueError(
            f"where {list(where.shape)} must have the shape of {name} {list(array.shape)} "
            "or ones in it, as [1, K] for classes that are missing in every example."
        )
    return jnp.broadcast_to(where, array.shape)


def share_of_each(name: str, array: jax.Array, axis: int, where: Any) -> jax.Array:
    """The factors of a masked mean along `axis`: 1 over the entries that count, 0 for the others."""
    counted = jnp.ones_like(array)
    if where is not None:
        counted = class_mask(where, name, array).astype(array.dtype)
    return counted / jnp.maximum(jnp.sum(counted, axis, keepdims=True), 1)
