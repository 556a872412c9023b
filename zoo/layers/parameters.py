"""In which type parameters are stored: one rule for every layer."""

import flax.linen as nn
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
