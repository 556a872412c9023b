"""Two-dimensional convolution."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zoo.layers.initialisers import he_fan_out
from zoo.layers.parameters import add_bias, stored_dtype

Pair = int | tuple[int, int]  # of height and width; an int stands for both


def pair(value: Pair) -> tuple[int, int]:
    """Height and width.

    >>> pair(3), pair((1, 7))
    ((3, 3), (1, 7))
    """
    height, width = np.broadcast_to(value, 2).tolist()
    return height, width


def take_every(x: jax.Array, stride: int) -> jax.Array:
    """Every `stride`-th pixel of `[N, H, W, C]`, from the first on.

    The slices end with their last pixel: of an unknown size, only then do they have a strided convolution's.
    """
    rows, columns = ((n - 1) // stride * stride + 1 for n in x.shape[1:3])
    return x[:, :rows:stride, :columns:stride]


class Conv(nn.Module):
    """Two-dimensional convolution `[N, H, W, C] -> [N, H', W', features]`; no bias unless asked for.

    A 1x1 convolution is a product of two matrices and is written as one: on a CPU 1.7 to 5 times as fast, forward
    and backward (`benchmarks/README.md`).

    Attributes:
      features: output channels.
      kernel_size: an int or (height, width).
      stride: the same in both directions.
      padding: zeros on both sides of height and width; an int or (height, width).
      feature_group_count: number of groups; both channel counts are multiples of it.
      use_bias: adds a learnt `[features]`.
      kernel_init, bias_init: initialisers of `kernel` (HWIO) and `bias`.
    """

    features: int
    kernel_size: Pair
    stride: int = 1
    padding: Pair = 0
    feature_group_count: int = 1
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = he_fan_out
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, dtype = pair(self.kernel_size), stored_dtype(self)
        shape = (*size, x.shape[-1] // self.feature_group_count, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, dtype).astype(x.dtype)
        padding = [(p, p) for p in pair(self.padding)]
        if size == (1, 1) and self.feature_group_count == 1:
            if any(map(any, padding)):
                x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
            x = take_every(x, self.stride)
            # Not over [N, H, W, C]: XLA's CPU backward pass would transpose the incoming gradient for the kernel's.
            y = jnp.dot(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), kernel[0, 0]).reshape(
                *x.shape[:-1], self.features
            )
        else:
            strides, layout = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
            y = lax.conv_general_dilated(
                x,
                kernel,
                strides,
                padding,
                dimension_numbers=layout,
                feature_group_count=self.feature_group_count,
            )
        if self.use_bias:
            y = add_bias(y, self.param("bias", self.bias_init, (self.features,), dtype))
        return y
