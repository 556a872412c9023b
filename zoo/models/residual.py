"""What ResNet and ResNet v2 share: the shortcut without parameters, pools of others, and the shapes of the stages."""

from functools import partial

import jax
import jax.numpy as jnp

from zoo.layers import max_pool, take_every
from zoo.models.variants import Endpoints

pool_stem = partial(max_pool, window=3, stride=2, padding=1)  # as torchvision
pool_as_caffe = partial(max_pool, window=3, stride=2, ceil=True)


def pool_as_keras(x: jax.Array) -> jax.Array:
    """Takes the padding for zeros, not for minus infinity."""
    return max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2)


def pool_as_tensorflow(x: jax.Array) -> jax.Array:
    """Pads as TensorFlow's "SAME": where the size is even, only after the last pixel."""
    edges = ((0, 0), *((n % 2, 1) for n in x.shape[1:3]), (0, 0))
    return max_pool(jnp.pad(x, edges, constant_values=-jnp.inf), 3, 2)


def pad_shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Option A of He et al. 2015 (section 3.3): every other pixel, and zeros for the new channels.

    The zeros follow the old channels, as in the authors' code; some ports put half of them before: another function.
    """
    return jnp.pad(take_every(x, stride), ((0, 0),) * 3 + ((0, features - x.shape[-1]),))


def stage_endpoints(stem: tuple[int, int], channels: int, stages: int = 4) -> Endpoints:
    """From stage to stage stride and channels double.

    Args:
      stem: stride and channels of the map that enters the first stage.
      channels: what the first stage returns.
      stages: their number.
    """
    maps = {f"layer{i + 1}": (stem[0] * 2**i, channels * 2**i) for i in range(stages)}
    return {"stem": stem, **maps, "features": (0, channels * 2 ** (stages - 1))}
