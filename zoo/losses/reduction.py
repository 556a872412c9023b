"""From losses per example to the one number that is minimised."""

from typing import Any

import jax
import jax.numpy as jnp

from zoo.losses.inputs import floating, same_shape


def reduce(loss: Any, where: Any = None, weights: Any = None) -> jax.Array:
    """The weighted mean over the valid examples: `sum_i v_i w_i loss_i / sum_i v_i w_i`.

    Args:
      loss: any shape, one number per example.
      where: booleans of that shape, True where an example is valid. What is masked may be NaN.
      weights: factors of that shape.

    Returns:
      A scalar; 0, with a gradient of 0, where nothing is valid or the weights add up to 0.

    >>> import jax.numpy as jnp
    >>> loss = jnp.array([1.0, 3.0, jnp.nan])
    >>> print(reduce(loss, where=jnp.array([True, True, False])))
    2.0
    >>> print(reduce(loss, where=jnp.zeros(3, bool)))
    0.0
    """
    loss = floating("loss", loss)
    weights = jnp.ones_like(loss) if weights is None else floating("weights", weights).astype(loss.dtype)
    same_shape("loss", loss, "weights", weights)
    if where is not None:
        where = jnp.asarray(where)
        if where.dtype != bool:
            raise TypeError(f"where must be boolean, not {where.dtype}: pass where.astype(bool).")
        same_shape("loss", loss, "where", where)
        loss, weights = jnp.where(where, loss, 0), jnp.where(where, weights, 0)
    total = jnp.sum(weights)
    return jnp.sum(weights * loss) / jnp.where(total == 0, 1, total)
