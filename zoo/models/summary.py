"""What a net consists of, layer by layer, without computing anything: shapes, parameters, multiply-adds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.interception import intercept_calls, path_of
from zoo.models.net import Net


@dataclass(frozen=True)
class Layer:
    """A module that owns parameters.

    Attributes:
      path: its name in the tree of parameters, `layer1_0/conv1`.
      type: its class, `Conv`.
      shape: of its output for one image, without the batch.
      params: number of its parameters.
      macs: multiply-adds for one image, of convolutions and dense layers.
      auxiliary: only training's auxiliary heads need it.
    """

    path: str
    type: str
    shape: tuple[int, ...]
    params: int
    macs: int
    auxiliary: bool = False


def layers(model: Net, image_shape: tuple[int, int, int]) -> list[Layer]:
    """All layers in the order in which they are called.

    >>> import zoo
    >>> [layer.path for layer in layers(zoo.create("lenet5"), (32, 32, 1))]
    ['c1', 's2', 'c3', 's4', 'c5', 'f6', 'fc']
    """
    return summarise(model, image_shape)[0]


def summarise(
    model: Net, image_shape: tuple[int, int, int], endpoints: Sequence[str] = ()
) -> tuple[list[Layer], dict[str, tuple[int, ...]]]:
    """All layers, and the shapes of the named endpoints for one image, without the batch."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = partial(model.init_with_output, train=False, endpoints=tuple(endpoints))
    (answer, variables), called = _trace(init, jax.random.key(0), images)
    if model.aux_weights:
        _, needed = _trace(partial(model.apply, train=False), variables, images)
        called = {path: replace(layer, auxiliary=path not in needed) for path, layer in called.items()}
    return list(called.values()), {name: answer[1][name].shape[1:] for name in endpoints}


def endpoints(model: Net, image_shape: tuple[int, int, int], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the named endpoints for one image, without the batch."""
    return summarise(model, image_shape, names)[1]


def _trace(function: Callable[..., Any], *arguments: Any) -> tuple[Any, dict[str, Layer]]:
    """The shapes that `function` returns, and by path the layers that it calls on the way."""
    found: dict[str, Layer] = {}

    def record(module: nn.Module, _: jax.Array, call: Callable[[], jax.Array]) -> jax.Array:
        output = call()
        own = {name: leaf for name, leaf in module.variables.get("params", {}).items() if hasattr(leaf, "shape")}
        if own:
            # Every weight of a kernel is used once for each pixel of the output; a dense layer's has one.
            macs = own["kernel"].size * math.prod(output.shape[:-1]) if "kernel" in own else 0
            params = sum(leaf.size for leaf in own.values())
            path = path_of(module)
            found[path] = Layer(path, type(module).__name__, output.shape[1:], params, macs)
        return output

    with intercept_calls(nn.Module, record):
        shapes = jax.eval_shape(function, *arguments)
    return shapes, found
