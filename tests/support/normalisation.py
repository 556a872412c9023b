"""Inputs for the tests of the normalisation."""

import jax.numpy as jnp
import numpy as np


def arrays(shape, seed=0, dtype=None, mean=1.0, deviation=2.0):
    """x, scale, bias and a cotangent: by NumPy, because JAX compiles its draws anew for every shape."""
    random = np.random.default_rng(seed)
    x, dout = random.normal(mean, deviation, shape), random.normal(size=shape)
    scale, bias = random.normal(size=(2, *shape[-1:]))
    return tuple(jnp.asarray(value, dtype or float) for value in (x, scale, bias, dout))
