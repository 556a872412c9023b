"""What the losses accept, and the precision in which they compute, checked in one place.

Predictions are floating point: half precision is computed and returned in float32, float64 stays float64.
Shapes must agree, because a loss never broadcasts: `[N]` against `[N, 1]` is an error and does not become `[N, N]`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from zoo.errors import UserError

Scalar = float | jax.Array  # an option that is one number; it may be traced


def cast_floating(name: str, array: ArrayLike) -> jax.Array:
    """Return `array` in at least float32; raise `TypeError` if it is not floating point."""
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, not {array.dtype}: pass {name}.astype(jnp.float32).")
    return array.astype(jnp.float64 if array.dtype == jnp.float64 else jnp.float32)


def cast_number(name: str, number: Scalar, like: jax.Array) -> jax.Array:
    """Return an option that is one number, in the precision of `like`; raise `UserError` if it is an array of them."""
    number = jnp.asarray(number, like.dtype)
    if number.ndim:
        raise UserError(
            f"{name} {list(number.shape)} must be one number",
            "weigh the examples in zoo.losses.reduce, because a loss does not broadcast",
        )
    return number


def cast_labels(labels: ArrayLike) -> jax.Array:
    """Return `labels` as an array; integers are int32, and one beyond its range is at its end, not wrapped around."""
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        return jnp.asarray(labels)
    own, target = jnp.iinfo(labels.dtype), jnp.iinfo(jnp.int32)
    return jnp.asarray(labels.clip(max(own.min, target.min), min(own.max, target.max))).astype(jnp.int32)


def require_boolean(where: ArrayLike) -> jax.Array:
    """Return `where` as an array; raise `TypeError` if it is not boolean."""
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(f"where must be boolean, not {where.dtype}: pass where.astype(bool).")
    return where


def require_same_shape(name: str, array: jax.Array, other_name: str, other: jax.Array) -> None:
    """Raise `UserError` if the two arrays differ in shape."""
    if array.shape != other.shape:
        raise UserError(
            f"{name} {list(array.shape)} and {other_name} {list(other.shape)} must have the same shape",
            "reshape one of them, or repeat it with jnp.broadcast_to, because a loss does not broadcast",
        )


def prepare_regression(predictions: ArrayLike, targets: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Return floating-point predictions and targets of one shape, both in the precision of the predictions."""
    predictions = cast_floating("predictions", predictions)
    targets = cast_floating("targets", targets).astype(predictions.dtype)
    require_same_shape("predictions", predictions, "targets", targets)
    return predictions, targets


def prepare_binary(predictions: ArrayLike, labels: ArrayLike, name: str = "logits") -> tuple[jax.Array, jax.Array]:
    """Return floating-point predictions, and labels (bool, integer or floating) of the same shape and precision."""
    predictions, labels = cast_floating(name, predictions), cast_labels(labels)
    if not (labels.dtype == bool or jnp.issubdtype(labels.dtype, jnp.integer)):
        labels = cast_floating("labels", labels)
    require_same_shape(name, predictions, "labels", labels)
    return predictions, labels.astype(predictions.dtype)


def prepare_signed(scores: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Return floating-point scores, and labels -1 and 1 (integer or floating) of the same shape and precision."""
    if jnp.asarray(labels).dtype == bool:
        raise TypeError("labels must be -1 and 1, not bool: pass 2 * labels.astype(jnp.int32) - 1.")
    return prepare_binary(scores, labels, "scores")


def prepare_classes(logits: ArrayLike, labels: ArrayLike, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return logits `[..., K]`, label probabilities `[..., K]` and which examples have a label `[...]`.

    Integer labels become one-hot. One outside `[0, K)` is not a class: the losses are NaN for it.
    """
    logits, labels = cast_floating("logits", logits), cast_labels(labels)
    if not logits.ndim:
        raise UserError("logits [] have no axis of classes", "pass [..., K], one logit per class")
    examples = list(logits.shape)
    classes = examples.pop(axis)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        require_same_shape("logits", logits, "floating-point labels", labels)
        return logits, labels.astype(logits.dtype), jnp.ones(examples, bool)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            "labels must be integer classes or floating-point probabilities, "
            f"not {labels.dtype}: pass labels.astype(jnp.int32)."
        )
    if list(labels.shape) != examples:
        raise UserError(
            f"logits {list(logits.shape)} take integer labels {examples}, not {list(labels.shape)}",
            "drop an axis with labels.squeeze(), or pass probabilities in the shape of the logits",
        )
    one_hot = jax.nn.one_hot(labels, classes, axis=axis, dtype=logits.dtype)
    return logits, one_hot, (labels >= 0) & (labels < classes)


def refuse_unlabelled(loss: jax.Array, labelled: jax.Array) -> jax.Array:
    """Return NaN where there is no label, without a NaN anywhere else for `jax_debug_nans` to stop at."""
    return jnp.where(labelled, loss, 0) / labelled.astype(loss.dtype)


def broadcast_mask(where: ArrayLike, name: str, array: jax.Array) -> jax.Array:
    """Return the mask `where` in the shape of `array`, with axes of length one repeated."""
    where = require_boolean(where)
    if where.ndim != array.ndim or any(w not in (1, n) for w, n in zip(where.shape, array.shape, strict=True)):
        raise UserError(
            f"where {list(where.shape)} must have the shape of {name} {list(array.shape)}, or 1 in place of a length",
            "pass [1, K], for example, for classes that are missing in every example",
        )
    return jnp.broadcast_to(where, array.shape)


def weigh_equally(name: str, array: jax.Array, axis: int, where: ArrayLike | None) -> jax.Array:
    """Return the weights of a masked mean along `axis`: 1 / n for each of the n entries that count, else 0."""
    counted = jnp.ones_like(array)
    if where is not None:
        counted = broadcast_mask(where, name, array).astype(array.dtype)
    return counted / jnp.maximum(jnp.sum(counted, axis, keepdims=True), 1)
