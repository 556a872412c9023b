"""Local response normalisation, which batch normalisation replaced."""

import jax
import numpy as np
from jax import lax

from zoo.layers.parameters import widen


def local_response_norm(x: jax.Array, *, size: int, alpha: float, beta: float, k: float) -> jax.Array:
    """x / (k + alpha * sum of squares over `size` neighbouring channels) ** beta (Krizhevsky et al. 2012, section 3.3).

    `alpha` multiplies the sum, as in the paper; Caffe and torch divide theirs by `size`.
    """
    before, wide = size // 2, widen(x)
    window, edges = (1, 1, 1, size), [(0, 0)] * 3 + [(before, size - 1 - before)]
    squares = lax.reduce_window(wide * wide, np.zeros((), wide.dtype), lax.add, window, (1, 1, 1, 1), edges)
    return (wide / (float(k) + float(alpha) * squares) ** float(beta)).astype(x.dtype)
