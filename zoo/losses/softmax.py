"""Cross entropy of a softmax and its slope, to all digits: no difference of nearly equal numbers, such as `p - 1`."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def compute_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return `-sum_k t_k log p_k` over the last axis, with 0 for `0 log 0`.

    Optax's loses its digits where `p_k` is nearly 1, and its gradient does too.
    """
    return jnp.sum(targets * jnp.where(targets == 0, 0, _compute_surprise(logits)), -1)


@compute_cross_entropy.defjvp
def _(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    (logits, targets), (d_logits, d_targets) = primals, tangents
    surprise = _compute_surprise(logits)
    surprise = jnp.where(jnp.isinf(surprise), 0, surprise)  # infinity times the 0 of targets that are fixed is NaN
    slope = compute_slope(logits, targets, -1)
    return compute_cross_entropy(logits, targets), jnp.sum(slope * d_logits + surprise * d_targets, -1)


def compute_slope(logits: jax.Array, targets: jax.Array, axis: int) -> jax.Array:
    """Return `p_j sum_k t_k - t_j`, as `p_j sum_(k != j) t_k - t_j sum_(k != j) p_k`."""
    p = jax.nn.softmax(logits, axis)
    return p * sum_others(targets, axis) - targets * sum_others(p, axis)


def sum_others(x: jax.Array, axis: int) -> jax.Array:
    """Return `sum_(k != j) x_k` for each `j`, which is `1 - p_j` for a softmax.

    Subtracting `x_j` from the sum is exact enough unless it is most of it: the largest is left out instead.
    """
    largest = _find_largest(jnp.abs(x), axis)
    others = jnp.sum(x, axis, keepdims=True, where=~largest)
    return jnp.where(largest, others, jnp.sum(x, axis, keepdims=True) - x)


def _compute_surprise(logits: jax.Array) -> jax.Array:
    """Return `-log p`: how far a logit is below the largest, plus what the others add to that."""
    largest = _find_largest(logits, -1)
    below = jnp.sum(logits, -1, keepdims=True, where=largest) - logits
    return below + jnp.log1p(jnp.sum(jnp.exp(-below), -1, keepdims=True, where=~largest))


def _find_largest(x: jax.Array, axis: int) -> jax.Array:
    return jax.nn.one_hot(jnp.argmax(x, axis), x.shape[axis], axis=axis, dtype=bool)
