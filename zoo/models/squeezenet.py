"""SqueezeNet (Iandola et al. 2016, arXiv:1602.07360): AlexNet's accuracy with a fiftieth of its parameters.

As torchvision, which has the authors' released nets: the first convolution of 1.0 is not padded, pools round up, and
the classifier, a 1x1 convolution, is rectified before its mean is taken, so that no logit is negative.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers import Conv, dropout, global_avg_pool, max_pool
from zoo.models.net import Ends, Net
from zoo.models.variants import Variant

he_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")
conv = partial(Conv, use_bias=True, kernel_init=he_uniform)


class Fire(nn.Module):
    """Squeezed by a 1x1, expanded by a 1x1 beside a 3x3 of as many maps (figure 1)."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(conv(self.squeeze, 1, name="squeeze")(x))
        one = nn.relu(conv(self.expand, 1, name="expand1x1")(x))
        three = nn.relu(conv(self.expand, 3, padding=1, name="expand3x3")(x))
        return jnp.concatenate([one, three], axis=-1)


class SqueezeNet(Net, kw_only=True):
    """A convolution, fire modules with pools between them, and a 1x1 convolution for the classes (figure 2, left).

    Attributes:
      stem: maps of the first convolution, and the size of its kernels.
      fires: `(squeeze, expand)` of the modules, of which each group follows a pool.
      dropout: before the last convolution.
    """

    stem: tuple[int, int]
    fires: tuple[tuple[tuple[int, int], ...], ...]
    dropout: float = 0.5

    @property
    def min_size(self) -> int:  # type: ignore[override]
        return self.stem[1] + 14

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        width, size = self.stem
        x = ends["stem"] = nn.relu(conv(width, size, 2, name="features_0")(x))
        index = 2  # in torch's flat list of layers
        for stage, modules in enumerate(self.fires, 1):
            x = max_pool(x, 3, 2, ceil=True)
            for number, fire in enumerate(modules, index + 1):
                x = Fire(*fire, name=f"features_{number}")(x)
            index += 1 + len(modules)
            ends[f"fires{stage}"] = x
        ends["features"] = global_avg_pool(x)
        if not self.num_classes:
            return global_avg_pool(x), ends
        x = dropout(x, self.dropout, train=train)
        x = nn.relu(conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), name="classifier_1")(x))
        return global_avg_pool(x), ends


def net(*fires: tuple[tuple[int, int], ...], stem: tuple[int, int]) -> Callable[..., SqueezeNet]:
    return partial(SqueezeNet, stem=stem, fires=fires)


def endpoints(stem: int, *widths: int) -> dict[str, tuple[int, int]]:
    fires = {f"fires{stage}": (2 * 2**stage, width) for stage, width in enumerate(widths, 1)}
    return {"stem": (2, stem), **fires, "features": (0, 512)}


A, B, C, D = (16, 64), (32, 128), (48, 192), (64, 256)
ROW = partial(Variant, paper="Iandola et al. 2016, arXiv:1602.07360", reference="torchvision", head="classifier_1")

VARIANTS = {
    "squeezenet1_0": ROW(
        net((A, A, B), (B, C, C, D), (D,), stem=(96, 7)), 1_248_424, 818_924_576, endpoints=endpoints(96, 256, 512, 512)
    ),
    "squeezenet1_1": ROW(
        net((A, A), (B, B), (C, C, D, D), stem=(64, 3)), 1_235_496, 349_151_936, endpoints=endpoints(64, 128, 256, 512)
    ),
}
