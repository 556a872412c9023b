"""Pools: largest value, mean, mean to a given size, mean of everything.

Means are summed in float32 at least and rounded once. Height and width may be unknown, as in `jax.export`.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from zoo.layers.convolution import Pair, pair
from zoo.layers.materialise import materialise
from zoo.layers.parameters import widen

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
    return _reduce_windows(x, -jnp.inf, lax.max, window, stride, edges)


def _reduce_windows(
    x: jax.Array, start: float, reduce: Callable[[Any, Any], Any], window: int, stride: int, edges: Edges
) -> jax.Array:
    """`lax.reduce_window`, which XLA's CPU compiler does pixel by pixel; small windows there are maps of pixels."""

    def by_windows(x: jax.Array) -> jax.Array:
        zero = np.asarray(start, x.dtype)  # not traced, or the sum has no gradient
        return lax.reduce_window(
            x, zero, reduce, (1, window, window, 1), (1, stride, stride, 1), ((0, 0), *edges, (0, 0))
        )

    def by_pixels(x: jax.Array) -> jax.Array:
        return materialise(functools.reduce(reduce, _pixels(x, window, stride, edges, start)))

    return by_windows(x) if window > LARGEST else lax.platform_dependent(x, cpu=by_pixels, default=by_windows)


LARGEST = 3  # window whose pixels are taken one by one


@_max_pool.defjvp
def _max_pool_jvp(
    window: int, stride: int, edges: Edges, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """A window's tangent is that of its largest pixel, of equal ones of the first, of NaNs of the last, as in torch.

    XLA's own derivative carries indices along instead: two to eight times the time on a CPU (`benchmarks/README.md`).
    """
    (x,), (dx,) = primals, tangents
    y = _max_pool(x, window, stride, edges)
    choose = functools.partial(_choose_pixels, x, y, window, stride, edges)
    chosen = lax.cond(jnp.any(jnp.isnan(y)), lambda: choose(nans=True), lambda: choose(nans=False))
    dy = jnp.zeros(y.shape, widen(dx).dtype)
    for number, move in enumerate(_pixels(widen(dx), window, stride, edges, 0)):
        dy += jnp.where(chosen == number, move, jnp.zeros((), dy.dtype))
    return y, materialise(dy.astype(y.dtype))


def _choose_pixels(x: jax.Array, y: jax.Array, window: int, stride: int, edges: Edges, *, nans: bool) -> jax.Array:
    """For each window the number of its first pixel that equals y, and with `nans` of the last NaN if y is one."""
    chosen = jnp.full(y.shape, -1, jnp.int16)
    for number, pixel in reversed([*enumerate(_pixels(x, window, stride, edges, jnp.nan))]):  # padding equals nothing
        chosen = jnp.where(pixel == y, jnp.int16(number), chosen)
    if nans:
        for number, pixel in enumerate(_pixels(jnp.isnan(x), window, stride, edges, fill=False)):
            chosen = jnp.where(pixel, jnp.int16(number), chosen)
    return chosen


def _pixels(x: jax.Array, window: int, stride: int, edges: Edges, fill: float) -> Iterator[jax.Array]:
    """A map of the first pixels of all windows, a map of the second ones, and so on."""
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)), constant_values=fill)
    height, width = ((n - window) // stride * stride + 1 for n in x.shape[1:3])  # up to the last window's start
    for i, j in itertools.product(range(window), repeat=2):
        stop = (x.shape[0], i + height, j + width, x.shape[3])
        yield lax.slice(x, (0, i, j, 0), stop, (1, stride, stride, 1))  # indexing gathers where N is unknown


def _overhang(n: int, window: int, stride: int, padding: int) -> int:
    """How far the last window hangs over the right padding, if their number is rounded up."""
    last = (n + padding - 1 + min(padding + stride - window, 0)) // stride  # it starts at a pixel or left of all
    return max(last * stride + window - n - 2 * padding, 0)


def avg_pool(
    x: jax.Array, window: int, stride: int, padding: int = 0, *, count_include_pad: bool = True, ceil: bool = False
) -> jax.Array:
    """Mean of each window; `count_include_pad=False` divides by the number of true pixels in it, as TensorFlow does.

    `ceil=True` rounds the number of windows up, as in `max_pool`; what hangs over the padding counts for nothing.
    """
    over = [_overhang(n, window, stride, padding) if ceil else 0 for n in x.shape[1:3]]
    rows, columns = ((padding, padding + more) for more in over)
    wide = widen(x)
    sums = _reduce_windows(wide, 0, lax.add, window, stride, (rows, columns))
    border = padding if count_include_pad else 0  # whose pixels count
    if border == padding and over == [0, 0]:
        return (sums / float(window**2)).astype(x.dtype)

    def count(n: int, windows: int) -> jax.Array:
        start = jnp.arange(windows) * stride - padding
        return (jnp.minimum(start + window, n + border) - jnp.maximum(start, -border)).astype(wide.dtype)

    heights, widths = map(count, x.shape[1:3], sums.shape[1:3])
    return (sums / (heights.reshape(1, -1, 1, 1) * widths.reshape(1, 1, -1, 1))).astype(x.dtype)


def adaptive_avg_pool(x: jax.Array, size: Pair) -> jax.Array:
    """`[N, H, W, C] -> [N, h, w, C]`: output i is the mean of rows i H // h to ceil((i + 1) H / h), as in torch."""
    if x.shape[1:3] == pair(size):
        return x
    wide = widen(x)
    rows, columns = (_shares(n, m, wide.dtype) for n, m in zip(x.shape[1:3], pair(size), strict=True))
    return jnp.einsum("nhwc,ph,qw->npqc", wide, rows, columns, precision="highest").astype(x.dtype)


def _shares(n: int, m: int, dtype: DTypeLike) -> jax.Array:
    """`[m, n]`: the share of each of n pixels in each of m means."""
    mean, pixel = jnp.arange(m).reshape(-1, 1), jnp.arange(n).reshape(1, -1)
    start, stop = mean * n // m, -(-(mean + 1) * n // m)
    return jnp.where((start <= pixel) & (pixel < stop), 1 / (stop - start).astype(dtype), jnp.zeros((), dtype))


def global_avg_pool(x: jax.Array) -> jax.Array:
    """`[N, H, W, C] -> [N, C]`."""
    return jnp.mean(x, axis=(1, 2))
