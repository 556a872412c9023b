"""An Inception block as a table that reads like its figure: `{branch: steps}`, left to right, bottom to top.

A step is a convolution (`conv`), two of them side by side (`fork`), or a pool, any function of the map.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers import Conv, Pair, he_fan_in, pair
from zoo.models.values import ValueModule
from zoo.norm import BatchNorm


class BasicConv(ValueModule):
    """Convolution, batch normalisation, ReLU: the brick of all Inceptions.

    Attributes:
      features, kernel_size, stride, padding, use_bias, kernel_init, bias_init: of the convolution.
      norm: makes the normalisation, by default with the later Inceptions' epsilon; None leaves it out.
    """

    features: int
    kernel_size: Pair
    stride: int = 1
    padding: Pair = 0
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = he_fan_in
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    norm: Callable[..., nn.Module] | None = partial(BatchNorm, epsilon=1e-3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(Conv, use_bias=self.use_bias, kernel_init=self.kernel_init, bias_init=self.bias_init)
        x = conv(self.features, self.kernel_size, self.stride, self.padding, name="conv")(x)
        if self.norm is not None:
            x = self.norm(name="bn")(x, train=train)
        return nn.relu(x)


class Convolution(NamedTuple):
    """The first fields of `BasicConv`."""

    features: int
    kernel_size: Pair
    stride: int
    padding: Pair


Brick = Callable[..., nn.Module]  # takes the fields of `Convolution`
Fork = tuple[Convolution, Convolution]
Step = Convolution | Fork | Callable[[jax.Array], jax.Array]
Branches = Mapping[str, Sequence[Step]]


def conv(features: int, kernel_size: Pair, *, stride: int = 1, padding: Pair | None = None) -> Convolution:
    """A convolution; `padding=None` keeps the size of the map, or is 0 where the convolution strides."""
    if padding is None:
        height, width = pair(kernel_size)
        padding = 0 if stride > 1 else (height // 2, width // 2)
    return Convolution(features, kernel_size, stride, padding)


def fork(features: int) -> Fork:
    """A 1x3 beside a 3x1, joined along the channels."""
    return conv(features, (1, 3)), conv(features, (3, 1))


def apply_steps(
    x: jax.Array, steps: Iterable[Step], names: Iterable[str], *, train: bool, brick: Brick = BasicConv
) -> jax.Array:
    """One step after another; `names` are the convolutions', a fork's two have `a` and `b` after theirs."""
    names = iter(names)

    def convolve(x: jax.Array, step: Convolution, name: str) -> jax.Array:
        return brick(*step, name=name)(x, train=train)

    for step in steps:
        if isinstance(step, Convolution):
            x = convolve(x, step, next(names))
        elif isinstance(step, tuple):
            name = next(names)
            x = jnp.concatenate([convolve(x, arm, name + letter) for arm, letter in zip(step, "ab", strict=True)], -1)
        else:
            x = step(x)
    return x


def apply_branches(
    x: jax.Array, table: Branches, *, train: bool, brick: Brick = BasicConv, first: int = 0
) -> jax.Array:
    """Branches side by side, joined along the channels in the order of the table.

    A branch's only convolution or fork is called as the branch; several are called branch_0, branch_1, and so on.

    Args:
      x: `[N, H, W, C]`.
      table: `{branch: steps}`.
      train: for the bricks.
      brick: makes the convolutions.
      first: where their numbers start.
    """

    def run(branch: str, steps: Sequence[Step]) -> jax.Array:
        alone = sum(isinstance(step, tuple) for step in steps) == 1
        names = [branch] if alone else (f"{branch}_{number}" for number in count(first))
        return apply_steps(x, steps, names, train=train, brick=brick)

    return jnp.concatenate([run(branch, steps) for branch, steps in table.items()], axis=-1)


class Mixed(ValueModule):
    """`apply_branches` as a block of its own."""

    table: Branches
    brick: Brick = BasicConv
    first: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return apply_branches(x, self.table, train=train, brick=self.brick, first=self.first)
