"""From logits to probabilities, and the gradient back through them."""

from typing import Literal

import jax

from zoo.errors import UserError
from zoo.losses.softmax import sum_others

Activation = Literal["softmax", "sigmoid"]


def activate(logits: jax.Array, activation: Activation, axis: int) -> tuple[jax.Array, jax.Array]:
    """Return the probabilities `p` and `q = 1 - p`, each to all its digits."""
    if activation == "softmax":
        p = jax.nn.softmax(logits, axis)
        return p, sum_others(p, axis)
    if activation == "sigmoid":
        return jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    raise UserError(f'activation must be "softmax" or "sigmoid", not {activation!r}')


def chain_activation(activation: Activation, p: jax.Array, q: jax.Array, gradient: jax.Array, axis: int) -> jax.Array:
    """Turn a gradient with respect to the probabilities `p` into one with respect to the logits."""
    if activation == "sigmoid":
        return gradient * p * q
    return p * (q * gradient - sum_others(p * gradient, axis))
