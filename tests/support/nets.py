"""Nets that are as deep as a claim needs, and variables that are drawn: initialising takes longer than most tests."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.models import Net

SHALLOW = {name: (2, 1, 1, 1) for name in ("resnet18", "resnet50_v1", "resnetv2_18", "resnetv2_50", "densenet121")}
SHALLOW |= {name: (2, 1, 1) for name in ("resnet20", "resnext29_8x64d", "preresnet20", "preresnet164")}
SHALLOW |= {name: (2, 1, 1) for name in ("densenet40_k12", "inception_resnet_v1", "inception_resnet_v2")}


def create_shallow(name: str, **fields: Any) -> Net:
    """The net with the depths at which it still has a block of each kind: more of the same are only slower."""
    return zoo.create(name, **({"depths": SHALLOW[name]} if name in SHALLOW else {}), **fields)


def draw_variables(model: nn.Module, image_shape: tuple[int, int, int], seed: int = 0) -> dict[str, Any]:
    """Variances and scales around one, everything else around zero, kernels so that maps keep their size: by NumPy."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("var", "scale"):
            value = random.uniform(0.5, 2, leaf.shape)
        else:
            fan_in = math.prod(leaf.shape[:-1]) if name == "kernel" else 1
            value = random.normal(size=leaf.shape) / math.sqrt(fan_in)
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
