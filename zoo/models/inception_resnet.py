"""Inception-ResNet v1 and v2 (Szegedy et al. 2016, arXiv:1602.07261) as the authors' code has them.

The code differs from the figures: the stem is Inception v3's; v2 has 10, 20 and 10 blocks in place of 5, 10
and 5; the last block of both has neither a scale nor a ReLU.
"""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.data.preprocessing import PRESETS
from zoo.layers import Conv, Linear, add_relu, dropout, global_avg_pool, he_fan_in
from zoo.models.branches import BasicConv, Branches, Brick, Mixed, apply_branches, apply_steps, conv
from zoo.models.inception import TALL, V3_STEM, WIDE, average_inside, halve, reduction_a
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.values import ValueModule
from zoo.models.variants import Endpoints, PublishedWeights, Variant
from zoo.norm import BatchNorm

STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")


class Residual(ValueModule):
    """relu(x + scale * convolution(branches)); that convolution has a bias, no normalisation (section 3.2)."""

    table: Branches
    scale: float = 1.0
    activate: bool = True
    brick: Brick = BasicConv

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = apply_branches(x, self.table, train=train, brick=self.brick)
        y = Conv(x.shape[-1], 1, use_bias=True, kernel_init=he_fan_in, name="conv2d")(y)
        return add_relu(x, self.scale * y) if self.activate else x + self.scale * y


class InceptionResNet(Net):
    """Figure 15.

    Attributes:
      depths: scaled blocks in the three stages.
      block35, block17, block8: the branches of those blocks (named after their maps at 299x299).
      mixed_6a, mixed_7a: the reductions between the stages.
      mixed_5b: the end of the stem; None makes it a 3x3 convolution with stride 2.
      last: width of a 1x1 convolution before the pooling; None leaves it out.
      bottleneck: width of a normalised dense layer before the classes, the face model's embedding (which the
        net returns with `num_classes=0`); None leaves it out.
      dropout: of the pooled features.
      use_scale: the convolutions' normalisations have a scale.
    """

    depths: tuple[int, int, int]
    block35: Branches
    mixed_6a: Branches
    block17: Branches
    mixed_7a: Branches
    block8: Branches
    mixed_5b: Branches | None = None
    last: int | None = None
    bottleneck: int | None = None
    dropout: float = 0.2
    use_scale: bool = True

    min_size: ClassVar[int] = 75

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        brick = partial(BasicConv, norm=partial(BatchNorm, epsilon=1e-3, use_scale=self.use_scale))
        mixed, residual = partial(Mixed, brick=brick), partial(Residual, brick=brick)
        x = apply_steps(x, V3_STEM, STEM, train=train, brick=brick)
        if self.mixed_5b is None:
            x = brick(256, 3, stride=2, name="conv2d_4b")(x, train=train)
        else:
            x = mixed(self.mixed_5b, name="mixed_5b")(halve(x), train=train)
        ends["stem"] = x

        first, second, third = self.depths
        for i in range(first):
            x = ends["block35"] = residual(self.block35, 0.17, name=f"repeat_{i}")(x, train=train)
        x = mixed(self.mixed_6a, name="mixed_6a")(x, train=train)
        for i in range(second):
            x = ends["block17"] = residual(self.block17, 0.10, name=f"repeat_1_{i}")(x, train=train)
        x = mixed(self.mixed_7a, name="mixed_7a")(x, train=train)
        for i in range(third):
            x = residual(self.block8, 0.20, name=f"repeat_2_{i}")(x, train=train)
        x = ends["block8"] = residual(self.block8, activate=False, name="block8")(x, train=train)

        if self.last:
            x = ends["conv2d_7b"] = brick(self.last, 1, name="conv2d_7b")(x, train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes or self.bottleneck:
            x = dropout(x, self.dropout, train=train)
        if self.bottleneck:
            x = Linear(self.bottleneck, use_bias=False, name="bottleneck")(x)
            x = ends["embedding"] = BatchNorm(epsilon=1e-3, name="bottleneck_bn")(x, train=train)
        if self.num_classes:
            x = Linear(self.num_classes, name="classif")(x)
        return x, ends


def block35(middle: int, last: int) -> Branches:
    """Figures 10 and 16; widths of the last branch's 3x3."""
    return {
        "branch0": [conv(32, 1)],
        "branch1": [conv(32, 1), conv(32, 3)],
        "branch2": [conv(32, 1), conv(middle, 3), conv(last, 3)],
    }


def block17(ones: int, wide: int, tall: int) -> Branches:
    """Figures 11 and 17."""
    return {"branch0": [conv(ones, 1)], "branch1": [conv(128, 1), conv(wide, WIDE), conv(tall, TALL)]}


def reduction_b(single: int, middle: int, last: int) -> Branches:
    """Figures 12 and 18; widths of the second branch's 3x3 and of the third's two."""
    return {
        "branch0": [conv(256, 1), conv(384, 3, stride=2)],
        "branch1": [conv(256, 1), conv(single, 3, stride=2)],
        "branch2": [conv(256, 1), conv(middle, 3), conv(last, 3, stride=2)],
        "branch3": [halve],
    }


def block8(wide: int, tall: int) -> Branches:
    """Figures 13 and 19."""
    return {"branch0": [conv(192, 1)], "branch1": [conv(192, 1), conv(wide, (1, 3)), conv(tall, (3, 1))]}


V1 = partial(
    InceptionResNet,
    depths=(5, 10, 5),
    block35=block35(32, 32),
    mixed_6a=reduction_a(192, 192, 256, 384),
    block17=block17(128, 128, 128),
    mixed_7a=reduction_b(256, 256, 256),
    block8=block8(192, 192),
)
V2 = partial(
    InceptionResNet,
    depths=(10, 20, 9),
    mixed_5b={
        "branch0": [conv(96, 1)],
        "branch1": [conv(48, 1), conv(64, 5)],
        "branch2": [conv(64, 1), conv(96, 3), conv(96, 3)],
        "branch3": [average_inside, conv(64, 1)],
    },
    block35=block35(48, 64),
    mixed_6a=reduction_a(256, 256, 384, 384),
    block17=block17(192, 160, 192),
    mixed_7a=reduction_b(288, 288, 320),
    block8=block8(224, 256),
    last=1536,
)


def endpoints(first: int, second: int, third: int) -> Endpoints:
    stages = {"stem": (8, first), "block35": (8, first), "block17": (16, second), "block8": (32, third)}
    return {**stages, "features": (0, third)}


ROW = partial(Variant, image_size=299, paper="Szegedy et al. 2016, arXiv:1602.07261", head="classif")
LAST_BLOCK = "Inception v3's stem; a last block8 without scale and ReLU"
PREPROCESSING = replace(PRESETS["inception"], crop=0.8975)

VARIANTS = {
    "inception_resnet_v1": ROW(
        V1,
        24_357_096,
        6_308_597_856,
        reference="pytorchcv",
        departures=f"{LAST_BLOCK} more; the reference has a bottleneck of 512 and 23,995,624 parameters",
        endpoints=endpoints(256, 896, 1792),
    ),
    "inception_resnet_v2": ROW(
        V2,
        55_843_464,
        13_155_794_016,
        reference="timm",
        departures=f"{LAST_BLOCK}; 10, 20 and 10 blocks in place of 5, 10 and 5",
        endpoints={**endpoints(320, 1088, 2080), "conv2d_7b": (32, 1536), "features": (0, 1536)},
        weights=PublishedWeights("hf:timm/inception_resnet_v2.tf_in1k", PREPROCESSING, 80.46, 95.31),
    ),
}

LAYOUTS = {
    "timm": Layout(
        renames=((r"^mixed_5b\.branch3\.", "mixed_5b.branch3.1."),),  # the pool before it is number 0
        old=((r"^last_linear\.", "classif."),),  # in Cadene's collection
    )
}
