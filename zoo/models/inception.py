"""What several Inceptions have: pools, stems, a reduction, and the change of normalisation."""

from functools import partial

import jax
import jax.numpy as jnp

from zoo.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from zoo.layers import avg_pool, max_pool
from zoo.models.branches import Branches, conv

halve = partial(max_pool, window=3, stride=2)
halve_up = partial(halve, ceil=True)  # odd sizes are rounded up, as in Caffe
largest = partial(max_pool, window=3, stride=1, padding=1)
average = partial(avg_pool, window=3, stride=1, padding=1)
average_inside = partial(average, count_include_pad=False)  # as in TensorFlow
WIDE, TALL = (1, 7), (7, 1)

GOOGLENET_STEM = (conv(64, 7, stride=2, padding=3), halve_up, conv(64, 1), conv(192, 3), halve_up)
V3_STEM = (  # without its end, in which Inception v3 and the Inception-ResNets differ
    *(conv(32, 3, stride=2), conv(32, 3, padding=0), conv(64, 3), halve),
    *(conv(80, 1), conv(192, 3, padding=0)),
)


def reduction_a(k: int, l: int, m: int, n: int) -> Branches:
    """Figure 7 of arXiv:1602.07261, from 35x35 to 17x17; its table 1 has the widths."""
    return {
        "branch0": [conv(n, 3, stride=2)],
        "branch1": [conv(k, 1), conv(l, 3), conv(m, 3, stride=2)],
        "branch2": [halve],
    }


def transform_input(x: jax.Array) -> jax.Array:
    """RGB normalised by ImageNet's mean and deviation, as normalised by 0.5 and 0.5: what some Inceptions expect."""
    mean, std = jnp.array(IMAGENET_MEAN, x.dtype), jnp.array(IMAGENET_STD, x.dtype)
    return (x * std.reshape(1, 1, 1, 3) + mean.reshape(1, 1, 1, 3) - 0.5) / 0.5
