"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition").

`lenet5` keeps of section II.B: 6 and 16 maps on 32x32 images, trainable subsampling (mean of 2x2, a learnt
coefficient and bias per map, then the squashing), the partial connections of C3 (table I), 1.7159 tanh(2/3 x)
(appendix A), C5 with 120 and F6 with 84 units. Departs from it in the output: a dense layer, not distances to fixed
bitmaps (RBF). `lenet5_relu` is the net of today's courses: ReLU, max pools, full connections.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zoo.layers import Conv, Linear, add_bias, avg_pool, max_pool, stored_dtype, widen
from zoo.models.net import Ends, Net
from zoo.models.variants import Variant

# Table I: which of the 6 maps of S2 each of the 16 maps of C3 sees: all runs of 3 and of 4, three pairs of pairs, all.
C3_CONNECTIONS = (
    *[{i, (i + 1) % 6, (i + 2) % 6} for i in range(6)],
    *[{i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6} for i in range(6)],
    *[{i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6} for i in range(3)],
    set(range(6)),
)
lecun = nn.initializers.lecun_uniform()  # appendix A: uniform with deviation 1 / sqrt(fan in)


def scaled_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2/3 x): close to the identity at +-1 (appendix A)."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


class PartialConv(nn.Module):
    """5x5 convolution from 6 maps to 16 with the 60 connections of table I, each with a 5x5 kernel of its own."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        ins, outs = np.array([(i, j) for j, seen in enumerate(C3_CONNECTIONS) for i in sorted(seen)]).T
        kernel = self.param("kernel", lecun, (5, 5, len(ins)), stored_dtype(self)).astype(x.dtype)
        full = jnp.zeros((5, 5, 6, 16), x.dtype).at[:, :, ins, outs].set(kernel)
        y = lax.conv_general_dilated(x, full, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return add_bias(y, self.param("bias", nn.initializers.zeros, (16,), stored_dtype(self)))


class Subsample(nn.Module):
    """Mean of each 2x2 window times a learnt coefficient plus a learnt bias per map (layers S2 and S4)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, dtype, mean = (x.shape[-1],), stored_dtype(self), widen(avg_pool(x, 2, 2))
        coefficient = self.param("scale", nn.initializers.ones, shape, dtype).astype(mean.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        return add_bias(mean * coefficient.reshape(1, 1, 1, -1), bias).astype(x.dtype)


class LeNet5(Net):
    """The net of figure 2: C1, S2, C3, S4, C5, F6 and a dense output."""

    num_classes: int = 10
    min_size: ClassVar[int] = 16

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        x = scaled_tanh(Conv(6, 5, use_bias=True, kernel_init=lecun, name="c1")(x))
        x = ends["s2"] = scaled_tanh(Subsample(name="s2")(x))
        x = scaled_tanh(PartialConv(name="c3")(x))
        x = ends["s4"] = scaled_tanh(Subsample(name="s4")(x))
        x = scaled_tanh(Linear(120, kernel_init=lecun, name="c5")(x))
        x = ends["features"] = scaled_tanh(Linear(84, kernel_init=lecun, name="f6")(x))
        if self.num_classes:
            x = Linear(self.num_classes, kernel_init=lecun, name="fc")(x)
        return x, ends


class LeNet5ReLU(Net):
    """The same widths with ReLU, max pools and full connections."""

    num_classes: int = 10
    min_size: ClassVar[int] = 16

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        x = nn.relu(Conv(6, 5, use_bias=True, name="c1")(x))
        x = ends["s2"] = max_pool(x, 2, 2)
        x = nn.relu(Conv(16, 5, use_bias=True, name="c3")(x))
        x = ends["s4"] = max_pool(x, 2, 2)
        x = nn.relu(Linear(120, name="c5")(x))
        x = ends["features"] = nn.relu(Linear(84, name="f6")(x))
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


ROW = partial(
    Variant,
    image_size=32,
    channels=1,
    paper="LeCun et al. 1998",
    endpoints={"s2": (2, 6), "s4": (4, 16), "features": (0, 84)},
)

VARIANTS = {
    "lenet5": ROW(LeNet5, 60_850, 326_520, departures="dense output in place of the RBF units"),
    "lenet5_relu": ROW(LeNet5ReLU, 61_706, 416_520, departures="ReLU, max pools, full C3, dense output"),
}
