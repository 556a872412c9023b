"""Batch normalisation forward and backward in the six classic steps, by hand, for reading.

`zoo.batch_norm` is tested against these, and they against JAX's derivative of the definition.
"""

import math

import jax.numpy as jnp
from jax import Array

Cache = tuple[Array, Array, Array, Array]  # the centred x, the inverse deviation, the normalised x, the scale


def batch_norm_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, Cache]:
    """The six steps (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1).

    Args:
      x: `[..., C]`.
      scale, bias: `[C]`, the paper's gamma and beta.
      epsilon: added to the variance.

    Returns:
      The output, like `x`, and the cache for `batch_norm_backward`.
    """
    axes, row = tuple(range(x.ndim - 1)), (1,) * (x.ndim - 1) + scale.shape
    mean = jnp.mean(x, axes, keepdims=True)  # 1
    centred = x - mean  # 2
    var = jnp.mean(jnp.square(centred), axes, keepdims=True)  # 3
    inverse = 1 / jnp.sqrt(var + epsilon)  # 4
    normalised = centred * inverse  # 5
    out = normalised * scale.reshape(row) + bias.reshape(row)  # 6
    return out, (centred, inverse, normalised, scale.reshape(row))


def batch_norm_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """The six steps back, the last one first.

    Args:
      dout: gradient of the loss with respect to the output, `[..., C]`.
      cache: what `batch_norm_forward` returned beside the output.

    Returns:
      The gradients with respect to x `[..., C]`, scale `[C]` and bias `[C]`.
    """
    centred, inverse, normalised, scale = cache
    axes = tuple(range(dout.ndim - 1))
    count = math.prod(dout.shape[:-1])
    dbias = jnp.sum(dout, axes)  # 6
    dscale = jnp.sum(dout * normalised, axes)
    dnormalised = dout * scale
    dinverse = jnp.sum(dnormalised * centred, axes, keepdims=True)  # 5
    dcentred = dnormalised * inverse
    dvar = dinverse * (-0.5) * inverse**3  # 4
    dcentred = dcentred + dvar * 2 * centred / count  # 3: the second branch of the centred x
    dmean = -jnp.sum(dcentred, axes, keepdims=True)  # 2
    dx = dcentred + dmean / count  # 1: the second branch of x
    return dx, dscale, dbias
