"""Pools: largest value, mean, mean to a given size, mean of everything."""

import functools
import itertools
import math
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from zoo.layers.convolution import Pair, pair

Edges = tuple[tuple[int, int], tuple[int, int]]  # pixels of padding: above and below, left and right


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0, *, ceil: bool = False) -> jax.Array:
    """Largest value of each window, padding with minus infinity.

    `ceil=True` rounds the number of windows up, as Caffe and torch's `ceil_mode`: a last window may hang over the
    right edge, but must start inside the image or its left padding.
    """
    rows, columns = (
        (padding, padding + _overhang(n, window, stride, padding) if ceil else padding) for n in x.shape[1:3]
    )
    return _max_pool(x, window, stride, (rows, columns))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: int, stride: int, edges: Edges) -> jax.Array:
    return nn.max_pool(x, (window, window), (stride, stride), edges)


@_max_pool.defjvp
def _max_pool_jvp(
    window: int, stride: int, edges: Edges, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """A window's tangent is that of its largest pixel, of equal ones of the first, as in torch.

    XLA's own derivative carries indices along instead: three to eight times the time on a CPU (`benchmarks/README.md`).
    """
    (x,), (dx,) = primals, tangents
    y = _max_pool(x, window, stride, edges)
    dy, found = jnp.zeros_like(y), jnp.zeros(y.shape, bool)
    pixels, moves = _pixels(x, window, stride, edges, -jnp.inf), _pixels(dx, window, stride, edges, 0)
    for pixel, move in zip(pixels, moves, strict=True):
        largest = (pixel == y) & ~found
        dy += jnp.where(largest, move, jnp.zeros((), y.dtype))
        found |= largest
    return y, dy


def _pixels(x: jax.Array, window: int, stride: int, edges: Edges, fill: float) -> Iterator[jax.Array]:
    """A map of the first pixels of all windows, a map of the second ones, and so on."""
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)), constant_values=fill)
    height, width = (n - window + 1 for n in x.shape[1:3])
    for i, j in itertools.product(range(window), repeat=2):
        yield x[:, i : i + height : stride, j : j + width : stride]


def _overhang(n: int, window: int, stride: int, padding: int) -> int:
    count = math.ceil((n + 2 * padding - window) / stride) + 1
    if (count - 1) * stride >= n + padding:
        count -= 1
    return max((count - 1) * stride + window - n - 2 * padding, 0)


def avg_pool(x: jax.Array, window: int, stride: int, padding: int = 0, *, count_include_pad: bool = True) -> jax.Array:
    """Mean of each window; `count_include_pad=False` divides by the number of true pixels in it, as TensorFlow does."""
    edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    zero = np.zeros((), x.dtype)  # not traced, or the sum has no gradient
    sums = lax.reduce_window(x, zero, lax.add, (1, window, window, 1), (1, stride, stride, 1), edges)
    if count_include_pad or not padding:
        return sums / window**2
    first = [np.arange(m) * stride - padding for m in sums.shape[1:3]]
    rows, columns = (
        np.minimum(start + window, n) - np.maximum(start, 0) for start, n in zip(first, x.shape[1:3], strict=True)
    )
    return sums / jnp.asarray(np.outer(rows, columns)[None, :, :, None], x.dtype)


def adaptive_avg_pool(x: jax.Array, size: Pair) -> jax.Array:
    """`[N, H, W, C] -> [N, h, w, C]`: output i is the mean of rows i H // h to ceil((i + 1) H / h), as in torch."""
    if x.shape[1:3] == pair(size):
        return x
    rows, columns = (_windows(n, m, x.dtype) for n, m in zip(x.shape[1:3], pair(size), strict=True))
    return jnp.einsum("nhwc,ph,qw->npqc", x, rows, columns)


def _windows(n: int, m: int, dtype: DTypeLike) -> jax.Array:
    start = [i * n // m for i in range(m)]
    stop = [-(-(i + 1) * n // m) for i in range(m)]
    weights = [[1 / (b - a) if a <= j < b else 0.0 for j in range(n)] for a, b in zip(start, stop, strict=True)]
    return jnp.asarray(weights, dtype)


def global_avg_pool(x: jax.Array) -> jax.Array:
    """`[N, H, W, C] -> [N, C]`."""
    return jnp.mean(x, axis=(1, 2))
