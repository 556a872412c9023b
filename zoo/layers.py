"""What three families share: convolution, dense layer, pools, local response normalisation, initialisers.

All layers take and give NHWC, pad by explicit integers (`SAME` shifts the grid of strided windows against torch's),
compute in the type of their input, and store parameters in the model's `param_dtype` (`zoo.dtypes.stored_dtype`).
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zoo.batch_norm import BatchNorm
from zoo.dtypes import stored_dtype

Pair = int | tuple[int, int]
Padding = int | tuple[int, int]  # of height and width, the same on both sides

he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, arXiv:1502.01852, eq. 14
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # the same paper, eq. 10
torch_default = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch.nn.Linear's and Conv2d's kernels


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


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
    padding: Padding = 0
    feature_group_count: int = 1
    use_bias: bool = False
    kernel_init: Callable = he_fan_out
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, dtype = pair(self.kernel_size), stored_dtype(self)
        shape = (*size, x.shape[-1] // self.feature_group_count, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, dtype).astype(x.dtype)
        padding = [(p, p) for p in pair(self.padding)]
        if size == (1, 1) and self.feature_group_count == 1:
            if any(map(any, padding)):
                x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
            x = x[:, :: self.stride, :: self.stride]
            # Not over [N, H, W, C]: XLA's CPU backward pass would transpose the incoming gradient for the kernel's.
            y = jnp.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:-1], self.features)
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
            bias = self.param("bias", self.bias_init, (self.features,), dtype)
            y += bias.astype(x.dtype).reshape(1, 1, 1, -1)
        return y


class Linear(nn.Module):
    """Dense layer over all axes but the first: `[N, ...] -> [N, features]`.

    The kernel of maps `[N, H, W, C]` is `[H, W, C, features]`, not flattened: the same layer as a convolution that
    sees everything, so that no order of flattening has to be agreed with other frameworks.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = torch_default
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = stored_dtype(self)
        kernel = self.param("kernel", self.kernel_init, (*x.shape[1:], self.features), dtype)
        y = jnp.dot(x.reshape(x.shape[0], -1), kernel.reshape(-1, self.features).astype(x.dtype))
        if self.use_bias:
            y += self.param("bias", self.bias_init, (self.features,), dtype).astype(x.dtype).reshape(1, -1)
        return y


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0, *, ceil: bool = False) -> jax.Array:
    """Largest value of each window, padding with minus infinity.

    `ceil=True` rounds the number of windows up, as Caffe and torch's `ceil_mode`: a last window may hang over the
    right edge, but must start inside the image or its left padding.
    """
    edges = tuple((padding, padding + _overhang(n, window, stride, padding) if ceil else padding) for n in x.shape[1:3])
    return _max_pool(x, window, stride, edges)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, window, stride, edges):
    return nn.max_pool(x, (window, window), (stride, stride), edges)


@_max_pool.defjvp
def _max_pool_jvp(window, stride, edges, primals, tangents):
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


def _pixels(x, window, stride, edges, fill):
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


def _windows(n: int, m: int, dtype) -> jax.Array:
    start = [i * n // m for i in range(m)]
    stop = [-(-(i + 1) * n // m) for i in range(m)]
    weights = [[1 / (b - a) if a <= j < b else 0.0 for j in range(n)] for a, b in zip(start, stop, strict=True)]
    return jnp.asarray(weights, dtype)


def global_avg_pool(x: jax.Array) -> jax.Array:
    """`[N, H, W, C] -> [N, C]`."""
    return jnp.mean(x, axis=(1, 2))


def local_response_norm(x: jax.Array, *, size: int, alpha: float, beta: float, k: float) -> jax.Array:
    """x / (k + alpha * sum of squares over `size` neighbouring channels) ** beta (Krizhevsky et al. 2012, section 3.3).

    `alpha` multiplies the sum, as in the paper; Caffe and torch divide theirs by `size`.
    """
    before = size // 2
    window, edges = (1, 1, 1, size), [(0, 0)] * 3 + [(before, size - 1 - before)]
    squares = lax.reduce_window(x * x, np.zeros((), x.dtype), lax.add, window, (1, 1, 1, 1), edges)
    return x / (k + alpha * squares) ** beta


def renormalised(x: jax.Array) -> jax.Array:
    """RGB normalised by ImageNet's mean and deviation, as normalised by 0.5 and 0.5: what some Inceptions expect."""
    mean, std = jnp.array([0.485, 0.456, 0.406], x.dtype), jnp.array([0.229, 0.224, 0.225], x.dtype)
    return (x * std.reshape(1, 1, 1, 3) + mean.reshape(1, 1, 1, 3) - 0.5) / 0.5


def dropout(x: jax.Array, rate: float, *, train: bool) -> jax.Array:
    """Zeroes a share `rate` of the units in training and scales the others up; needs `rngs={"dropout": key}`."""
    return nn.Dropout(rate, deterministic=not train)(x)


def concatenate(branches: Sequence[jax.Array]) -> jax.Array:
    """Joins the branches of a block along the channels."""
    return jnp.concatenate(branches, axis=-1)


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: the Inceptions' brick, with their epsilon."""

    features: int
    kernel_size: Pair
    stride: int = 1
    padding: Padding = 0
    kernel_init: Callable = he_fan_in

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        size, kernel_init = self.kernel_size, self.kernel_init
        x = Conv(self.features, size, self.stride, self.padding, kernel_init=kernel_init, name="conv")(x)
        return nn.relu(BatchNorm(epsilon=1e-3, name="bn")(x, train=train))


Branches = Mapping[str, Sequence]  # {name: steps}, see `branches`


def branches(
    x: jax.Array, table: Branches, *, train: bool, brick: Callable[..., nn.Module] = ConvBN, first: int = 0
) -> jax.Array:
    """Branches side by side, joined along the channels: an Inception block's figure, written as a table.

    A step of a branch is a pool (a function of the map); a convolution `(features, kernel_size, stride, padding)`,
    whose stride is 1 if not given and whose padding then keeps the size, or is none where it strides; or a fork, a
    tuple of two convolutions. A branch's only convolution is called as the branch, several are called branch_0,
    branch_1, and so on; those of a fork branch_1a and branch_1b.

    Args:
      x: `[N, H, W, C]`.
      table: `{name: steps}`, in the order in which the branches are joined.
      train: for the bricks.
      brick: makes the convolutions.
      first: where their numbers start.
    """

    def convolve(x, features, size, stride=1, padding=None, *, name):
        if padding is None:
            padding = (0, 0) if stride > 1 else tuple(n // 2 for n in pair(size))
        return brick(features, size, stride, padding, name=name)(x, train=train)

    def run(x, branch, steps):
        alone = sum(not callable(step) for step in steps) == 1
        number = first
        for step in steps:
            if callable(step):
                x = step(x)
                continue
            name = branch if alone else f"{branch}_{number}"
            number += 1
            if isinstance(step[0], tuple):
                x = concatenate([convolve(x, *arm, name=name + letter) for arm, letter in zip(step, "ab", strict=True)])
            else:
                x = convolve(x, *step, name=name)
        return x

    return concatenate([run(x, branch, steps) for branch, steps in table.items()])


class Mixed(nn.Module):
    """`branches` as a block of its own."""

    table: Branches
    brick: Callable[..., nn.Module] = ConvBN
    first: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return branches(x, self.table, train=train, brick=self.brick, first=self.first)
