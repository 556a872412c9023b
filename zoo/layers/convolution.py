"""Two-dimensional convolution."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zoo.layers.depthwise import convolve_depthwise
from zoo.layers.initialisers import he_fan_out
from zoo.layers.materialise import materialise_gradient
from zoo.layers.parameters import add_bias, stored_dtype

Pair = int | tuple[int, int]  # of height and width; an int stands for both
Padding = list[tuple[int, int]]


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
    # One slice: indexing would gather, where the number of images is unknown.
    return lax.slice(x, (0, 0, 0, 0), (x.shape[0], rows, columns, x.shape[3]), (1, stride, stride, 1))


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int = 1) -> jax.Array:
    """`lax.conv_general_dilated` of `[N, H, W, C]` by `[h, w, C / groups, F]`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def convolve_groups(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int) -> jax.Array:
    """Each group of channels by kernels of its own, `[N, H, W, C]` by `[h, w, C / groups, F]`.

    On a CPU a few groups together are one convolution, with zeros between them: XLA's gradient of a grouped kernel
    takes up to 200 times as long (`benchmarks/README.md`). There what is not finite spreads to the neighbouring groups.
    Groups of one channel are shifted and added up, `convolve_depthwise`.
    """
    depthwise = kernel.shape[2:] == (1, groups)
    by_chunks = partial(_convolve_chunks, stride=stride, padding=padding, groups=groups)
    by_shifts = partial(convolve_depthwise, stride=stride, padding=padding)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=by_shifts if depthwise else by_chunks,
        default=partial(convolve, stride=stride, padding=padding, groups=groups),
    )


def _convolve_chunks(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int) -> jax.Array:
    """Every chunk of neighbouring groups by one dense kernel, of which one block per group is not zero."""
    *size, inputs, features = kernel.shape
    least = math.gcd(groups, max(LEAST_CHANNELS // inputs, groups // MOST_CHUNKS, 1))
    chunks, outputs = groups // least, features // groups
    blocks = jnp.expand_dims(kernel.reshape(*size, inputs, chunks, least, outputs), 2)
    diagonal = jnp.eye(least, dtype=bool).reshape(1, 1, least, 1, 1, least, 1)
    dense = jnp.where(diagonal, blocks, jnp.zeros((), kernel.dtype))
    dense = dense.reshape(*size, least * inputs, chunks, least * outputs)
    parts = [
        convolve(part, dense[:, :, :, number], stride, padding)
        for number, part in enumerate(jnp.split(x, chunks, axis=-1))
    ]
    return jnp.concatenate(parts, axis=-1)


LEAST_CHANNELS = 32  # of a chunk: fewer are no faster
MOST_CHUNKS = 8  # of a layer: more take longer to compile than they save


def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[N, C]` by `[C, F]`.

    The kernel's gradient is a product over N of x and the incoming gradient, and up to twice as fast with the narrower
    of the two on the left. XLA puts x there, unless what it would have to turn round for that is written down first.
    """
    inputs, features = kernel.shape
    if features < inputs:
        kernel = materialise_gradient(kernel.T).T
    return jnp.dot(x, kernel)


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
            y = multiply(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), kernel[0, 0])
            y = y.reshape(*x.shape[:-1], self.features)
        elif self.feature_group_count == 1:
            y = convolve(x, kernel, self.stride, padding)
        else:
            y = convolve_groups(x, kernel, self.stride, padding, self.feature_group_count)
        if self.use_bias:
            y = add_bias(y, self.param("bias", self.bias_init, (self.features,), dtype))
        return y
