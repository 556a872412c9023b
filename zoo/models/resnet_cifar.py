"""The CIFAR ResNets (He et al. 2015, arXiv:1512.03385, section 4.2): 6n + 2 layers on 32x32 images.

Shortcuts are option A of the paper, free of parameters: every other pixel, and zeros for the new channels, appended
after the old ones as in the authors' code (some ports put half of them before, which is another function).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.batch_norm import BatchNorm
from zoo.layers import Conv, Linear, global_avg_pool
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant


def shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:
    """x, subsampled and padded with zero channels where the block changes the shape."""
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0),) * 3 + ((0, features - x.shape[-1]),))


class Block(nn.Module):
    """Two 3x3 convolutions (figure 2)."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, *, train: bool):
        y = Conv(self.width, 3, self.stride, padding=1, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(self.width, 3, padding=1, name="conv2")(y)
        y = BatchNorm(name="bn2")(y, train=train)
        return nn.relu(y + shortcut(x, self.width, self.stride))


class CifarResNet(Net, kw_only=True):
    """3x3 stem, three stages of `n` blocks with 16, 32 and 64 channels, global average, one dense layer."""

    n: int
    num_classes: int = 10

    @nn.compact
    def forward(self, x, *, train: bool):
        ends: Ends = {}
        x = Conv(16, 3, padding=1, name="conv1")(x)
        x = ends["stem"] = nn.relu(BatchNorm(name="bn1")(x, train=train))
        for stage, width in enumerate((16, 32, 64)):
            for i in range(self.n):
                stride = 2 if stage and not i else 1
                x = Block(width, stride, name=f"layer{stage + 1}_{i}")(x, train=train)
            ends[f"layer{stage + 1}"] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


ENDPOINTS = {"stem": (1, 16), "layer1": (1, 16), "layer2": (2, 32), "layer3": (4, 64), "features": (0, 64)}
ROW = partial(Variant, image_size=32, paper="He et al. 2015, arXiv:1512.03385", endpoints=ENDPOINTS)

VARIANTS = {
    "resnet20": ROW(partial(CifarResNet, n=3), 269_722, 40_551_040),
    "resnet32": ROW(partial(CifarResNet, n=5), 464_154, 68_862_592),
    "resnet44": ROW(partial(CifarResNet, n=7), 658_586, 97_174_144),
    "resnet56": ROW(partial(CifarResNet, n=9), 853_018, 125_485_696),
    "resnet110": ROW(partial(CifarResNet, n=18), 1_727_962, 252_887_680),
}
