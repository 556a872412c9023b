"""CIFAR ResNets (He et al. 2015, arXiv:1512.03385, section 4.2) and ResNeXts (arXiv:1611.05431, section 5.2).

The ResNets' shortcuts are option A of the paper, free of parameters: every other pixel, and zeros for the new
channels, appended after the old ones as in the authors' code (some ports put half of them before: another function).
The ResNeXts rectify after the sum, as the released code; the paper's text says pre-activation.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers import Conv, Linear, global_avg_pool
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant
from zoo.norm import BatchNorm


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


class ResNeXtBlock(nn.Module):
    """1x1, grouped 3x3, 1x1 (arXiv:1611.05431, figure 3c), and a 1x1 projection where the shape changes."""

    width: int
    stride: int = 1
    groups: int = 8

    @nn.compact
    def __call__(self, x, *, train: bool):
        inner, outer = self.groups * self.width, 4 * self.width
        y = Conv(inner, 1, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(inner, 3, self.stride, padding=1, feature_group_count=self.groups, name="conv2")(y)
        y = nn.relu(BatchNorm(name="bn2")(y, train=train))
        y = Conv(outer, 1, name="conv3")(y)
        y = BatchNorm(name="bn3")(y, train=train)
        if x.shape[-1] != outer or self.stride != 1:
            x = Conv(outer, 1, self.stride, name="downsample_0")(x)
            x = BatchNorm(name="downsample_1")(x, train=train)
        return nn.relu(y + x)


class CifarResNet(Net, kw_only=True):
    """3x3 stem, three stages of `n` blocks that double the width, global average, one dense layer."""

    n: int
    block: Callable[..., nn.Module] = Block
    width: int = 16
    num_classes: int = 10

    @nn.compact
    def forward(self, x, *, train: bool):
        ends: Ends = {}
        x = Conv(self.width, 3, padding=1, name="conv1")(x)
        x = ends["stem"] = nn.relu(BatchNorm(name="bn1")(x, train=train))
        for stage in range(3):
            for i in range(self.n):
                stride = 2 if stage and not i else 1
                x = self.block(self.width * 2**stage, stride, name=f"layer{stage + 1}_{i}")(x, train=train)
            ends[f"layer{stage + 1}"] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


def endpoints(stem: int, first: int) -> dict[str, tuple[int, int]]:
    stages = {f"layer{i + 1}": (2**i, first * 2**i) for i in range(3)}
    return {"stem": (1, stem), **stages, "features": (0, 4 * first)}


def resnext(groups: int) -> Callable[..., CifarResNet]:
    return partial(CifarResNet, n=3, block=partial(ResNeXtBlock, groups=groups), width=64)


ROW = partial(Variant, image_size=32, paper="He et al. 2015, arXiv:1512.03385", endpoints=endpoints(16, 16))
RESNEXT = partial(ROW, paper="Xie et al. 2016, arXiv:1611.05431", reference="pytorchcv", endpoints=endpoints(64, 256))

VARIANTS = {
    "resnet20": ROW(partial(CifarResNet, n=3), 269_722, 40_551_040),
    "resnet32": ROW(partial(CifarResNet, n=5), 464_154, 68_862_592),
    "resnet44": ROW(partial(CifarResNet, n=7), 658_586, 97_174_144),
    "resnet56": ROW(partial(CifarResNet, n=9), 853_018, 125_485_696),
    "resnet110": ROW(partial(CifarResNet, n=18), 1_727_962, 252_887_680),
    "resnext29_8x64d": RESNEXT(resnext(8), 34_426_698, 5_387_266_048),
    "resnext29_16x64d": RESNEXT(resnext(16), 68_155_210, 10_688_866_304),
}
