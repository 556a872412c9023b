"""In which types parameters are stored and sums are taken: one rule for every layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def stored_dtype(module: nn.Module) -> DTypeLike:
    """The `param_dtype` of the nearest enclosing module that has one; float32 outside of any.

    A model states `param_dtype` once; its layers find it here instead of being handed it through every block.
    """
    enclosing = module.parent
    while isinstance(enclosing, nn.Module):
        if hasattr(enclosing, "param_dtype"):
            return enclosing.param_dtype
        enclosing = enclosing.parent
    return jnp.float32


def wide_dtype(x: jax.Array) -> jnp.dtype:
    """The type in which sums are taken: float64 for float64, else float32."""
    return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def widen(x: jax.Array) -> jax.Array:
    """x in the type of sums. What a layer makes of it is rounded once, to the type of x."""
    return x.astype(wide_dtype(x))


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias` per channel, `[..., C]`, whose gradient sums over a whole batch: in bfloat16, 4096 ones were 1024."""
    wide = widen(x)
    return (wide + bias.astype(wide.dtype).reshape((1,) * (x.ndim - 1) + bias.shape)).astype(x.dtype)
