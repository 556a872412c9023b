"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842), twice, each with two auxiliary heads.

`googlenet` is torchvision's: batch normalisation instead of biases and response normalisation, a 3x3 where the
paper has its 5x5, a last pool of 2x2, auxiliary heads that average to 4x4 maps whatever the size of the image.

`googlenet_2014` is the paper's. What the paper leaves open is as in its authors' later Caffe model: pools round
up, response normalisation stands where figure 3 has it with Caffe's constants, weights are drawn as Caffe's.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import flax.linen as nn

from zoo.layers import (
    Conv,
    Linear,
    Pair,
    adaptive_avg_pool,
    avg_pool,
    dropout,
    global_avg_pool,
    local_response_norm,
    max_pool,
)
from zoo.models.inception import Branches, ConvBN, Mixed, renormalised
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant

TABLE_1 = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
halve = partial(max_pool, window=3, stride=2, ceil=True)
keep = partial(max_pool, window=3, stride=1, padding=1)


def figure_2b(ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pooled: int, *, five: int) -> Branches:
    """The Inception module; `five` is the kernel size of its "5x5" branch."""
    return {
        "branch1": [(ones, 1)],
        "branch2": [(reduce3, 1), (threes, 3)],
        "branch3": [(reduce5, 1), (fives, five)],
        "branch4": [keep, (pooled, 1)],
    }


class Aux(nn.Module):
    """An auxiliary head, from 4x4 maps on; maps of other sizes are averaged to that."""

    num_classes: int
    dropout: float
    brick: Callable[..., nn.Module]
    dense: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = self.brick(128, 1, name="conv")(adaptive_avg_pool(x, 4), train=train)
        x = dropout(nn.relu(self.dense(1024, name="fc1")(x)), self.dropout, train=train)
        return self.dense(self.num_classes, name="fc2")(x)


class Body(Net):
    """What both nets share: the nine modules and the three classifiers.

    Attributes:
      dropout, aux_dropout: before the last layer of the net, of the auxiliary heads.
    """

    dropout: float = 0.2
    aux_dropout: float = 0.7

    def body(self, x, *, brick, dense, five: int, last_pool: int, before_aux=lambda x: x, train: bool):
        """Logits and endpoints from the stem's map on."""
        ends: Ends = {"stem": x}
        for name, widths in TABLE_1.items():
            if name in ("4a", "5a"):
                x = max_pool(x, 3 if name == "4a" else last_pool, 2, ceil=True)
            block = Mixed(figure_2b(*widths, five=five), brick, name=f"inception{name}")
            x = ends[f"inception{name}"] = block(x, train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            head = partial(Aux, self.num_classes, self.aux_dropout, brick, dense)
            ends["aux1"] = partial(head(name="aux1"), before_aux(ends["inception4a"]), train=train)
            ends["aux2"] = partial(head(name="aux2"), before_aux(ends["inception4d"]), train=train)
            x = dense(self.num_classes, name="fc")(dropout(x, self.dropout, train=train))
        return x, ends


normal = nn.initializers.normal(0.01)  # torchvision's, whose truncation at 200 deviations cuts nothing


class GoogLeNet(Body):
    """torchvision's.

    Attributes:
      transform_input: takes images normalised by ImageNet's mean and deviation though its weights were
        trained with 0.5 and 0.5, as torchvision's published ones.
    """

    transform_input: bool = False

    min_size: ClassVar[int] = 15

    @nn.compact
    def forward(self, x, *, train: bool):
        brick, dense = partial(ConvBN, kernel_init=normal), partial(Linear, kernel_init=normal)
        if self.transform_input:
            x = renormalised(x)
        x = halve(brick(64, 7, 2, 3, name="conv1")(x, train=train))
        x = brick(64, 1, name="conv2")(x, train=train)
        x = halve(brick(192, 3, padding=1, name="conv3")(x, train=train))
        return self.body(x, brick=brick, dense=dense, five=3, last_pool=2, train=train)


xavier = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # what Caffe calls so
positive = nn.initializers.constant(0.2)
respond = partial(local_response_norm, size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)


class ConvReLU(nn.Module):
    """Convolution with bias, ReLU; takes `train`, and ignores it, to stand where `ConvBN` stands."""

    features: int
    kernel_size: Pair
    stride: int = 1
    padding: Pair = 0

    @nn.compact
    def __call__(self, x, *, train: bool):
        conv = partial(Conv, use_bias=True, kernel_init=xavier, bias_init=positive, name="conv")
        return nn.relu(conv(self.features, self.kernel_size, self.stride, self.padding)(x))


class GoogLeNet2014(Body):
    """Table 1 and figure 3."""

    dropout: float = 0.4

    min_size: ClassVar[int] = 79

    @nn.compact
    def forward(self, x, *, train: bool):
        brick, dense = ConvReLU, partial(Linear, kernel_init=xavier)
        x = respond(halve(brick(64, 7, 2, 3, name="conv1")(x, train=train)))
        x = brick(64, 1, name="conv2")(x, train=train)
        x = halve(respond(brick(192, 3, padding=1, name="conv3")(x, train=train)))
        pool = partial(avg_pool, window=5, stride=3)
        return self.body(x, brick=brick, dense=dense, five=5, last_pool=3, before_aux=pool, train=train)


STRIDES = {"3": 8, "4": 16, "5": 32}
BLOCKS = {f"inception{name}": (STRIDES[name[0]], w[0] + w[2] + w[4] + w[5]) for name, w in TABLE_1.items()}
ROW = partial(
    Variant,
    paper="Szegedy et al. 2014, arXiv:1409.4842",
    endpoints={"stem": (8, 192), **BLOCKS, "features": (0, 1024)},
    aux_weights={"aux1": 0.3, "aux2": 0.3},
)

LAYOUTS = {"torchvision": Layout((("branch4", "branch4.1"),), flattened=("aux1/fc1", "aux2/fc1"))}

VARIANTS = {
    "googlenet": ROW(
        GoogLeNet,
        13_004_888,
        1_498_376_192,
        reference="torchvision",
        departures="batch normalisation, 3x3 in place of the 5x5, last pool 2x2, heads average to 4x4 maps",
    ),
    "googlenet_2014": ROW(
        GoogLeNet2014,
        13_378_280,
        1_582_671_872,
        reference="the paper's table and torch's layers",
        departures="details the paper leaves open as in Caffe's model",
    ),
}
