"""DenseNet (Huang et al. 2016, arXiv:1608.06993): every layer sees all the maps before it.

As torchvision: kernels start from He's fan-in normal, the classifier's bias from zero.
"""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers import Conv, Linear, avg_pool, dropout, global_avg_pool, he_fan_in, max_pool
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.preactivation import norm_relu
from zoo.models.variants import Endpoints, Variant
from zoo.models.variants import torchvision_weights as tv

conv = partial(Conv, kernel_init=he_fan_in)


class DenseLayer(nn.Module):
    """`growth` new maps, by a 3x3 behind a 1x1 bottleneck of four times as many (section 3)."""

    growth: int
    bottleneck: bool
    dropout: float
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        activate = partial(norm_relu, train=train, epsilon=self.epsilon)
        y = activate(x, "norm1")
        if self.bottleneck:
            y = conv(4 * self.growth, 1, name="conv1")(y)
            y = activate(y, "norm2")
        y = conv(self.growth, 3, padding=1, name="conv2" if self.bottleneck else "conv1")(y)
        return jnp.concatenate([x, dropout(y, self.dropout, train=train)], axis=-1)


class Transition(nn.Module):
    """Between blocks: 1x1 to a share of the maps, then half the height and width."""

    compression: float
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = norm_relu(x, "norm", train=train, epsilon=self.epsilon)
        x = conv(int(x.shape[-1] * self.compression), 1, name="conv")(x)
        return avg_pool(x, 2, 2)


class DenseNet(Net, kw_only=True):
    """7x7 stem, blocks of dense layers with transitions between them, global average, dense layer (table 1).

    Attributes:
      growth: maps a layer adds, the paper's k.
      depths: layers of each block.
      stem: channels of the first convolution.
      bottleneck, compression: the paper's B and C; together they are DenseNet-BC.
      dropout: rate after each dense layer's last convolution; the paper's 0.2 is for training without augmentation.
      epsilon: of the normalisations.
    """

    growth: int
    depths: tuple[int, ...]
    stem: int
    bottleneck: bool = True
    compression: float = 0.5
    dropout: float = 0.0
    epsilon: float = 1e-5

    min_size: ClassVar[int] = 29

    def apply_stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = conv(self.stem, 7, 2, padding=3, name="conv0")(x)
        return max_pool(norm_relu(x, "norm0", train=train, epsilon=self.epsilon), 3, 2, padding=1)

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        x = ends["stem"] = self.apply_stem(x, train=train)
        for block, depth in enumerate(self.depths, 1):
            for i in range(depth):
                layer = partial(DenseLayer, self.growth, self.bottleneck, self.dropout, self.epsilon)
                x = layer(name=f"denseblock{block}_denselayer{i + 1}")(x, train=train)
            ends[f"denseblock{block}"] = x
            if block < len(self.depths):
                x = Transition(self.compression, self.epsilon, name=f"transition{block}")(x, train=train)
        x = ends["features"] = global_avg_pool(norm_relu(x, "norm5", train=train, epsilon=self.epsilon))
        if self.num_classes:
            x = Linear(self.num_classes, name="classifier")(x)
        return x, ends


class CifarDenseNet(DenseNet, kw_only=True):
    """3x3 stem without norm and pool, for 32x32 (section 4.1); three blocks of equal depth."""

    num_classes: int = 10

    min_size: ClassVar[int] = 4

    def apply_stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return conv(self.stem, 3, padding=1, name="conv0")(x)


OLD = (r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.")  # files of 2017
LAYOUTS = {"torchvision": Layout(((r"_denselayer", ".denselayer"), (r"^(?!classifier)", "features.")), old=(OLD,))}


def endpoints(stride: int, stem: int, growth: int, depths: tuple[int, ...], compression: float) -> Endpoints:
    """A block adds its maps, a transition keeps a share of them."""
    ends, channels = {"stem": (stride, stem)}, stem
    for block, depth in enumerate(depths):
        channels += depth * growth
        ends |= {f"denseblock{block + 1}": (stride * 2**block, channels), "features": (0, channels)}
        channels = int(channels * compression)
    return ends


def imagenet(growth: int, depths: tuple[int, ...], params: int, macs: int, **row: Any) -> Variant:
    make = partial(DenseNet, growth=growth, depths=depths, stem=2 * growth)
    return ROW(make, params, macs, endpoints=endpoints(4, 2 * growth, growth, depths, 0.5), **row)


def cifar(depth: int, growth: int, params: int, macs: int, **row: Any) -> Variant:
    """DenseNet-BC whose `depth` counts all convolutions and the classifier."""
    depths = ((depth - 4) // 6,) * 3
    make = partial(CifarDenseNet, growth=growth, depths=depths, stem=2 * growth)
    ends = endpoints(1, 2 * growth, growth, depths, 0.5)
    return ROW(make, params, macs, image_size=32, endpoints=ends, reference="pytorchcv", **row)


def plain(depth: int, growth: int, params: int, macs: int, **row: Any) -> Variant:
    """The first net of the paper, without bottlenecks and compression, with 16 maps from the stem."""
    depths = ((depth - 4) // 3,) * 3
    make = partial(CifarDenseNet, growth=growth, depths=depths, stem=16, bottleneck=False, compression=1.0)
    ends = endpoints(1, 16, growth, depths, 1.0)
    return ROW(make, params, macs, image_size=32, endpoints=ends, reference="the paper", **row)


ROW = partial(Variant, paper="Huang et al. 2016, arXiv:1608.06993", reference="torchvision", head="classifier")

VARIANTS = {
    "densenet121": imagenet(32, (6, 12, 24, 16), 7_978_856, 2_834_161_664, weights=tv("densenet121", 74.43, 91.97)),
    "densenet161": imagenet(48, (6, 12, 36, 24), 28_681_000, 7_727_907_072, weights=tv("densenet161", 77.14, 93.56)),
    "densenet169": imagenet(32, (6, 12, 32, 32), 14_149_480, 3_359_843_328, weights=tv("densenet169", 75.60, 92.81)),
    "densenet201": imagenet(32, (6, 12, 48, 32), 20_013_928, 4_291_365_888, weights=tv("densenet201", 76.90, 93.37)),
    "densenet264": imagenet(32, (6, 12, 64, 48), 33_337_704, 5_751_653_376),
    "densenet40_k12": plain(40, 12, 1_019_722, 264_812_928),
    "densenet100_k12_bc": cifar(100, 12, 769_162, 287_929_692),
    "densenet250_k24_bc": cifar(250, 24, 15_324_406, 5_418_785_724),
    "densenet190_k40_bc": cifar(190, 40, 25_624_430, 9_301_945_740),
}
