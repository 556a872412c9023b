"""What the Inceptions share: the brick, branches side by side, the change of normalisation."""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers import Conv, Pair, he_fan_in, pair
from zoo.norm import BatchNorm


def renormalised(x: jax.Array) -> jax.Array:
    """RGB normalised by ImageNet's mean and deviation, as normalised by 0.5 and 0.5: what some Inceptions expect."""
    mean, std = jnp.array([0.485, 0.456, 0.406], x.dtype), jnp.array([0.229, 0.224, 0.225], x.dtype)
    return (x * std.reshape(1, 1, 1, 3) + mean.reshape(1, 1, 1, 3) - 0.5) / 0.5


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: the Inceptions' brick, with their epsilon."""

    features: int
    kernel_size: Pair
    stride: int = 1
    padding: Pair = 0
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
                arms = [convolve(x, *arm, name=name + letter) for arm, letter in zip(step, "ab", strict=True)]
                x = jnp.concatenate(arms, axis=-1)
            else:
                x = convolve(x, *step, name=name)
        return x

    return jnp.concatenate([run(x, branch, steps) for branch, steps in table.items()], axis=-1)


class Mixed(nn.Module):
    """`branches` as a block of its own."""

    table: Branches
    brick: Callable[..., nn.Module] = ConvBN
    first: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return branches(x, self.table, train=train, brick=self.brick, first=self.first)
