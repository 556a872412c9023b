"""Depthwise convolution on a CPU: every channel by a kernel of its own.

There is nothing to multiply matrices with: the map is shifted once for each pixel of the kernel, weighted and added.
XLA's CPU compiler makes one loop of that, forward and for the gradient of the map, in which it would compute whatever
made the map once for each of the shifts. The kernel's gradient, a sum over all images and pixels, it would take channel
by channel, each time through the whole map.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from zoo.layers.materialise import materialise
from zoo.layers.parameters import widen

Edges = tuple[tuple[int, int], tuple[int, int]]  # pixels of padding: above and below, left and right
NO_EDGES = (0, 0), (0, 0)


def convolve_depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: list[tuple[int, int]]) -> jax.Array:
    """`[N, H, W, C]` by `[h, w, 1, C]`; sums are taken in float32 at least and rounded once."""
    wide, taps, edges = widen(x), jnp.squeeze(widen(kernel), 2), tuple(padding)
    y = _depthwise.bind(_vary(wide, taps), _vary(taps, wide), stride=stride, edges=edges)
    return y.astype(x.dtype)


def _vary(array: jax.Array, other: jax.Array) -> jax.Array:
    """The array as one of each device of `shard_map` where the other is: its gradient is then summed over them."""
    axes = tuple(jax.typeof(other).mat.varying - jax.typeof(array).mat.varying)
    return lax.pcast(array, axes, to="varying") if axes else array


def _shift_and_add(x: jax.Array, taps: jax.Array, *, stride: int, edges: Edges) -> jax.Array:
    height, width, channels = taps.shape
    x = _pad(x, edges)
    rows, columns = ((n - size) // stride * stride + 1 for n, size in zip(x.shape[1:3], (height, width), strict=True))
    y: Any = 0
    for i, j in _positions(taps.shape):
        stop = (x.shape[0], i + rows, j + columns, channels)
        pixels = lax.slice(x, (0, i, j, 0), stop, (1, stride, stride, 1))  # indexing gathers where N is unknown
        y = y + pixels * taps[i, j].reshape(1, 1, 1, channels)
    return y


def _transpose_x(dy: jax.Array, x: Any, taps: jax.Array, *, stride: int, edges: Edges) -> jax.Array:
    """Where nothing is left out it is dy by the kernel turned round, whose padding is what the first one lacked."""
    if stride > 1:
        shift_and_add = partial(_shift_and_add, taps=taps, stride=stride, edges=edges)
        return jax.linear_transpose(shift_and_add, jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype))(materialise(dy))[0]
    (above, below), (left, right) = edges
    height, width = (size - 1 for size in taps.shape[:2])
    padded = _pad(dy, ((height - above, height - below), (width - left, width - right)))
    return _shift_and_add(materialise(padded), lax.rev(taps, (0, 1)), stride=1, edges=NO_EDGES)


def _transpose_taps(dy: jax.Array, x: jax.Array, taps: Any, *, stride: int, edges: Edges) -> jax.Array:
    """Row by row of every image, for all pixels of the kernel at once: what is summed stays in the cache."""
    images, rows, columns, channels = dy.shape
    height, width, _ = taps.aval.shape
    if not dy.size:
        return jnp.zeros(taps.aval.shape, dy.dtype)
    x = materialise(_pad(x, edges))

    def add_row(number: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        image, row = number // rows, number % rows
        dout = lax.dynamic_slice(dy, (image, row, 0, 0), (1, 1, columns, channels))[0, 0]
        seen = lax.dynamic_slice(x, (image, row * stride, 0, 0), (1, height, x.shape[2], channels))[0]

        def pixels(i: int, j: int) -> jax.Array:
            return lax.slice(seen[i], (j, 0), (j + (columns - 1) * stride + 1, channels), (stride, 1))

        return tuple(s + pixels(i, j) * dout for s, (i, j) in zip(sums, _positions(taps.aval.shape), strict=True))

    zeros = _vary(jnp.zeros((columns, channels), dy.dtype), dy)
    sums = lax.fori_loop(0, images * rows, add_row, (zeros,) * (height * width))
    return jnp.stack([jnp.sum(s, 0) for s in sums]).reshape(height, width, channels)


def _pad(x: jax.Array, edges: Edges) -> jax.Array:
    """By zeros; what is below zero is cut off."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(before, after, 0) for before, after in ((0, 0), *edges, (0, 0))])


def _positions(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Rows and columns of a kernel."""
    return itertools.product(range(shape[0]), range(shape[1]))


def _shape_of_output(x: Any, taps: Any, *, stride: int, edges: Edges) -> Any:
    padded = (n + before + after for n, (before, after) in zip(x.shape[1:3], edges, strict=True))
    rows, columns = ((n - size) // stride + 1 for n, size in zip(padded, taps.shape, strict=False))
    return x.update(shape=(x.shape[0], rows, columns, x.shape[3]))


def _map(arrays: tuple[jax.Array, ...], axes: tuple[Any, ...], **options: Any) -> tuple[jax.Array, int]:
    return jax.vmap(partial(_shift_and_add, **options), in_axes=axes)(*arrays), 0


_depthwise = Primitive("depthwise")
_depthwise.def_impl(jax.jit(_shift_and_add, static_argnames=("stride", "edges")))
_depthwise.def_abstract_eval(_shape_of_output)
ad.defbilinear(_depthwise, _transpose_x, _transpose_taps)
batching.primitive_batchers[_depthwise] = _map
mlir.register_lowering(_depthwise, mlir.lower_fun(_shift_and_add, multiple_results=False))
