"""BN-Inception, or Inception v2 (Ioffe & Szegedy 2015, arXiv:1502.03167, figure 5), as its Caffe model has it.

That model, and Cadene's copy of it in torch, keep the convolutions' biases although normalisation follows, which
makes them superfluous; pools round up; average pools count the padding. TF-slim's net of the same name has other
widths and a separable first convolution: weights are not exchangeable.

The Caffe model's weights want BGR in [0, 255] minus (104, 117, 128).
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn

from zoo.layers import Conv, Linear, Pair, avg_pool, global_avg_pool, max_pool
from zoo.models.inception import Branches, Mixed
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant
from zoo.norm import BatchNorm


class Brick(nn.Module):
    """Convolution with bias, batch normalisation, ReLU."""

    features: int
    kernel_size: Pair
    stride: int = 1
    padding: Pair = 0

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = Conv(self.features, self.kernel_size, self.stride, self.padding, use_bias=True, name="conv")(x)
        return nn.relu(BatchNorm(name="bn")(x, train=train))


halve = partial(max_pool, window=3, stride=2, ceil=True)
average = partial(avg_pool, window=3, stride=1, padding=1)
largest = partial(max_pool, window=3, stride=1, padding=1)


def keep(ones: int, threes: tuple[int, int], doubles: tuple[int, int], pooled: int, pool=average) -> Branches:
    """A module that keeps the size; pairs are the widths of the 1x1 before, and of the 3x3."""
    return {
        "1x1": [(ones, 1)],
        "3x3": [(threes[0], 1), (threes[1], 3)],
        "double_3x3": [(doubles[0], 1), (doubles[1], 3), (doubles[1], 3)],
        "pool_proj": [pool, (pooled, 1)],
    }


def reduce(threes: tuple[int, int], doubles: tuple[int, int]) -> Branches:
    """A module that halves the size, with no 1x1 branch and nothing after its pool."""
    return {
        "3x3": [(threes[0], 1), (threes[1], 3, 2, 1)],
        "double_3x3": [(doubles[0], 1), (doubles[1], 3), (doubles[1], 3, 2, 1)],
        "pool": [halve],
    }


MODULES = {
    "inception_3a": keep(64, (64, 64), (64, 96), 32),
    "inception_3b": keep(64, (64, 96), (64, 96), 64),
    "inception_3c": reduce((128, 160), (64, 96)),
    "inception_4a": keep(224, (64, 96), (96, 128), 128),
    "inception_4b": keep(192, (96, 128), (96, 128), 128),
    "inception_4c": keep(160, (128, 160), (128, 160), 128),
    "inception_4d": keep(96, (128, 192), (160, 192), 128),
    "inception_4e": reduce((128, 192), (192, 256)),
    "inception_5a": keep(352, (192, 320), (160, 224), 128),
    "inception_5b": keep(352, (192, 320), (192, 224), 128, pool=largest),
}


class InceptionV2(Net):
    """Figure 5; names are Caffe's."""

    min_size: ClassVar[int] = 31

    @nn.compact
    def forward(self, x, *, train: bool):
        if any((n + 1) // 2 % 16 > 3 for n in x.shape[1:3]):
            fit = "x".join(str(max(32, (n + 12) // 32 * 32)) for n in x.shape[1:3])
            raise ValueError(
                f"InceptionV2's strided branches fit together at heights and widths of 32 k - 1 to 32 k + 6 only, "
                f"got {x.shape[1]}x{x.shape[2]}: resize to {fit}."
            )
        ends: Ends = {}
        x = halve(Brick(64, 7, 2, 3, name="conv1_7x7_s2")(x, train=train))
        x = Brick(64, 1, name="conv2_3x3_reduce")(x, train=train)
        x = ends["stem"] = halve(Brick(192, 3, padding=1, name="conv2_3x3")(x, train=train))
        for name, table in MODULES.items():
            x = ends[name] = Mixed(table, Brick, name=name)(x, train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


CADENE = Layout(
    (
        (r"3x3\.0", "3x3_reduce"),
        (r"(?<!double_)3x3\.1", "3x3"),
        (r"\.conv$", ""),
        (r"\.", "_"),
        ("^fc$", "last_linear"),
    )
)
LAYOUTS = {"cadene": CADENE}

VARIANTS = {
    "inception_v2": Variant(
        InceptionV2,
        11_295_240,
        2_032_600_064,
        paper="Ioffe & Szegedy 2015, arXiv:1502.03167",
        reference="Cadene's pretrained-models.pytorch, pytorchcv",
        departures="plain 7x7 first convolution, widths of the Caffe model, biases before normalisation",
        endpoints={
            "stem": (8, 192),
            "inception_3a": (8, 256),
            "inception_3b": (8, 320),
            "inception_3c": (16, 576),
            "inception_4a": (16, 576),
            "inception_4b": (16, 576),
            "inception_4c": (16, 608),
            "inception_4d": (16, 608),
            "inception_4e": (32, 1056),
            "inception_5a": (32, 1024),
            "inception_5b": (32, 1024),
            "features": (0, 1024),
        },
    ),
}
