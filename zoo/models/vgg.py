"""VGG (Simonyan & Zisserman 2014, arXiv:1409.1556): A, B, D and E of table 1, plain and batch-normalised.

Images of other sizes are averaged to 7x7 maps before the dense layers, as in torchvision; at 224 that changes
nothing.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.layers import Conv, Linear, adaptive_avg_pool, dropout, max_pool
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variants import Variant
from zoo.models.variants import torchvision_weights as tv
from zoo.norm import BatchNorm

WIDTHS = (64, 128, 256, 512, 512)
dense = partial(Linear, kernel_init=nn.initializers.normal(0.01))  # section 3.1


class VGG(Net):
    """Five stages of 3x3 convolutions, each ended by a pool, and three dense layers (table 1).

    Attributes:
      depths: convolutions in each stage.
      batch_norm: normalise after every convolution, which keeps its bias.
      dropout: after the first two dense layers.
    """

    depths: tuple[int, ...]
    batch_norm: bool = False
    dropout: float = 0.5

    min_size: ClassVar[int] = 32

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        index = 0  # in torch's flat list of layers
        for stage, (depth, width) in enumerate(zip(self.depths, WIDTHS, strict=True)):
            for _ in range(depth):
                x = Conv(width, 3, padding=1, use_bias=True, name=f"features_{index}")(x)
                if self.batch_norm:
                    x = BatchNorm(name=f"features_{index + 1}")(x, train=train)
                x = nn.relu(x)
                index += 3 if self.batch_norm else 2
            x = ends[f"pool{stage + 1}"] = max_pool(x, 2, 2)
            index += 1
        x = nn.relu(dense(4096, name="classifier_0")(adaptive_avg_pool(x, 7)))
        x = nn.relu(dense(4096, name="classifier_3")(dropout(x, self.dropout, train=train)))
        x = ends["features"] = dropout(x, self.dropout, train=train)
        if self.num_classes:
            x = dense(self.num_classes, name="classifier_6")(x)
        return x, ends


A, B, D, E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
PAPER = "Simonyan & Zisserman 2014, arXiv:1409.1556"
POOLS = {f"pool{stage + 1}": (2 ** (stage + 1), width) for stage, width in enumerate(WIDTHS)}
ENDPOINTS = POOLS | {"features": (0, 4096)}
ROW = partial(Variant, paper=PAPER, reference="torchvision", endpoints=ENDPOINTS, head="classifier_6")
VGG_BN = partial(VGG, batch_norm=True)
BN = partial(ROW, departures="batch normalisation, which the paper predates")

TIMM_HEAD = ((r"classifier\.0", "pre_logits.fc1"), (r"classifier\.3", "pre_logits.fc2"), (r"classifier\.6", "head.fc"))
LAYOUTS = {
    "torchvision": Layout(flattened=("classifier_0",)),
    "timm": Layout(TIMM_HEAD, pointwise=("classifier_3",)),
}

VARIANTS = {
    "vgg11": ROW(partial(VGG, depths=A), 132_863_336, 7_609_090_048, weights=tv("vgg11", 69.02, 88.63)),
    "vgg13": ROW(partial(VGG, depths=B), 133_047_848, 11_308_466_176, weights=tv("vgg13", 69.93, 89.25)),
    "vgg16": ROW(partial(VGG, depths=D), 138_357_544, 15_470_264_320, weights=tv("vgg16", 71.59, 90.38)),
    "vgg19": ROW(partial(VGG, depths=E), 143_667_240, 19_632_062_464, weights=tv("vgg19", 72.38, 90.88)),
    "vgg11_bn": BN(partial(VGG_BN, depths=A), 132_868_840, 7_609_090_048, weights=tv("vgg11_bn", 70.37, 89.81)),
    "vgg13_bn": BN(partial(VGG_BN, depths=B), 133_053_736, 11_308_466_176, weights=tv("vgg13_bn", 71.59, 90.37)),
    "vgg16_bn": BN(partial(VGG_BN, depths=D), 138_365_992, 15_470_264_320, weights=tv("vgg16_bn", 73.36, 91.52)),
    "vgg19_bn": BN(partial(VGG_BN, depths=E), 143_678_248, 19_632_062_464, weights=tv("vgg19_bn", 74.22, 91.84)),
}
