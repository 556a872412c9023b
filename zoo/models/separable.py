"""What the MobileNets share: the 3x3 convolution and how others pad it where it halves its map."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.layers import Conv

Pad = Callable[[jax.Array], jax.Array]


def convolve_3x3(
    x: jax.Array, features: int, stride: int, pad: Pad | None = None, *, groups: int = 1, name: str
) -> jax.Array:
    """With a pixel of padding on all sides, or where it strides with what `pad` adds; in groups, or depthwise."""
    padding = 0 if pad and stride > 1 else 1
    x = pad(x) if pad and stride > 1 else x
    return Conv(features, 3, stride, padding, feature_group_count=groups, name=name)(x)


def pad_as_tensorflow(x: jax.Array) -> jax.Array:
    """As "SAME" for a 3x3 that halves: where the size is even, only after the last pixel."""
    return jnp.pad(x, ((0, 0), *((n % 2, 1) for n in x.shape[1:3]), (0, 0)))


def pad_after(x: jax.Array) -> jax.Array:
    """A pixel after the last row and the last column, whatever the size."""
    return jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
