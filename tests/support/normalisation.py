"""Inputs for the tests of the normalisation."""

import jax


def arrays(shape, seed=0, dtype=None, mean=1.0, deviation=2.0):
    """x, scale, bias and a cotangent."""
    keys = jax.random.split(jax.random.key(seed), 4)
    x, dout = (jax.random.normal(k, shape, dtype) for k in keys[:2])
    scale, bias = (jax.random.normal(k, shape[-1:], dtype) for k in keys[2:])
    return x * deviation + mean, scale, bias, dout
