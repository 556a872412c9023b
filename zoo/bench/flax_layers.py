"""Flax's own layers under the calls of zoo's, and zoo's nets made of them.

Parameters and running statistics have the same names and shapes, so that the same variables suit both.
"""

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any
from unittest import mock

import flax.linen as nn
import jax

from zoo import layers, models, norm
from zoo.layers import Pair, pair


class BatchNorm(nn.BatchNorm):
    """Flax's normalisation, with our momentum, in the type of its input."""

    momentum: float = 0.9

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # type: ignore[override]
        return super().__call__(x, use_running_average=not train).astype(x.dtype)


def conv(
    features: int, kernel_size: Pair, stride: int = 1, padding: Pair = 0, *, use_bias: bool = False, **options: Any
) -> nn.Conv:
    """Flax's convolution, in the type of its input."""
    edges = [(p, p) for p in pair(padding)]
    return nn.Conv(features, pair(kernel_size), stride, edges, use_bias=use_bias, promote_dtype=_follow, **options)


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0, *, ceil: bool = False) -> jax.Array:
    """Flax's pool, over as many windows as ours."""
    return nn.max_pool(x, (window, window), (stride, stride), _edges(x, window, stride, padding, ceil=ceil))


def avg_pool(
    x: jax.Array, window: int, stride: int, padding: int = 0, *, count_include_pad: bool = True, ceil: bool = False
) -> jax.Array:
    """Flax's pool, over as many windows as ours."""
    edges = _edges(x, window, stride, padding, ceil=ceil)
    return nn.avg_pool(x, (window, window), (stride, stride), edges, count_include_pad)


def add_relu(x: jax.Array, y: jax.Array) -> jax.Array:
    """As two operations."""
    return nn.relu(x + y)


LAYERS = {"Conv": conv, "BatchNorm": BatchNorm, "max_pool": max_pool, "avg_pool": avg_pool, "add_relu": add_relu}
LAYERS |= {"relu6": nn.relu6}


def models_of(replaced: Mapping[str, Any] = LAYERS) -> ModuleType:
    """`zoo.models` once more, with these in the place of our layers; what everybody else has imported stays."""
    with (
        mock.patch.dict(sys.modules),
        mock.patch.dict(layers.__dict__, replaced),
        mock.patch.dict(norm.__dict__, replaced),
        mock.patch("zoo.models"),  # which the import writes
    ):
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{models.__name__}.")]:
            del sys.modules[name]
        return importlib.import_module(models.__name__)


def _follow(*arrays: jax.Array | None, dtype: Any = None, inexact: bool = True) -> list[jax.Array | None]:  # noqa: ARG001
    """The arrays in the type of the first, the input."""
    assert arrays[0] is not None
    return [array if array is None else array.astype(arrays[0].dtype) for array in arrays]


def _edges(x: jax.Array, window: int, stride: int, padding: int, *, ceil: bool = False) -> list[tuple[int, int]]:
    """Padding of height and width; rounding up, a last window that starts inside may hang over the right edge."""

    def after(n: int) -> int:
        windows = -(-(n + 2 * padding - window) // stride) + 1
        windows -= (windows - 1) * stride >= n + padding
        return max((windows - 1) * stride + window - n - padding, padding)

    return [(padding, after(n) if ceil else padding) for n in x.shape[1:3]]
