"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) as torchvision has it, with its auxiliary head.

The stem is that of the authors' code: a 1x1, a 3x3 and a pool where table 1 has three 3x3. The average pools count
the zero padding; TensorFlow's, where torchvision's weights come from, do not.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn

from zoo.layers import Linear, avg_pool, dropout, global_avg_pool, max_pool
from zoo.models.inception import Branches, ConvBN, Mixed, renormalised
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant, Weights

normal = nn.initializers.truncated_normal  # with the deviations of the authors' code
Brick = partial(ConvBN, kernel_init=normal(0.1))
Block = partial(Mixed, brick=Brick, first=1)

average = partial(avg_pool, window=3, stride=1, padding=1)
halve = partial(max_pool, window=3, stride=2)
WIDE, TALL = (1, 7), (7, 1)


def figure_5(pooled: int) -> Branches:
    """35x35: the 5x5 of the first Inception beside two 3x3."""
    return {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
        "branch_pool": [average, (pooled, 1)],
    }


def figure_6(width: int) -> Branches:
    """17x17: 7x7 as 1x7 and 7x1."""
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, WIDE), (192, TALL)],
        "branch7x7dbl": [(width, 1), (width, TALL), (width, WIDE), (width, TALL), (192, WIDE)],
        "branch_pool": [average, (192, 1)],
    }


FORK = ((384, (1, 3)), (384, (3, 1)))
FIGURE_7: Branches = {
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), FORK],
    "branch3x3dbl": [(448, 1), (384, 3), FORK],
    "branch_pool": [average, (192, 1)],
}
TO_17: Branches = {
    "branch3x3": [(384, 3, 2)],
    "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)],
    "branch_pool": [halve],
}
TO_8: Branches = {
    "branch3x3": [(192, 1), (320, 3, 2)],
    "branch7x7x3": [(192, 1), (192, WIDE), (192, TALL), (192, 3, 2)],
    "branch_pool": [halve],
}
BLOCKS = {
    **{"Mixed_5b": figure_5(32), "Mixed_5c": figure_5(64), "Mixed_5d": figure_5(64)},
    **{"Mixed_6a": TO_17, "Mixed_6b": figure_6(128), "Mixed_6c": figure_6(160), "Mixed_6d": figure_6(160)},
    **{"Mixed_6e": figure_6(192), "Mixed_7a": TO_8, "Mixed_7b": FIGURE_7, "Mixed_7c": FIGURE_7},
}


class Aux(nn.Module):
    """The auxiliary head on the last 17x17 map."""

    num_classes: int

    @nn.compact
    def __call__(self, x, *, train: bool):
        if min(x.shape[1:3]) < 17 and not self.is_initializing():
            raise ValueError(f"the auxiliary head takes images of 299x299 or more: {x.shape[1:3]} is left of this one.")
        x = avg_pool(x, 5, 3)
        x = Brick(128, 1, name="conv0")(x, train=train)
        x = ConvBN(768, 5, kernel_init=normal(0.01), name="conv1")(x, train=train)
        return Linear(self.num_classes, kernel_init=normal(0.001), name="fc")(global_avg_pool(x))


class InceptionV3(Net):
    """Table 1, with batch normalisation everywhere.

    Attributes:
      transform_input: takes images normalised by ImageNet's mean and deviation though its weights were
        trained with 0.5 and 0.5, as torchvision's published ones.
      dropout: of the pooled features.
    """

    transform_input: bool = False
    dropout: float = 0.5

    min_size: ClassVar[int] = 75

    @nn.compact
    def forward(self, x, *, train: bool):
        ends: Ends = {}
        if self.transform_input:
            x = renormalised(x)
        x = Brick(32, 3, 2, name="Conv2d_1a_3x3")(x, train=train)
        x = Brick(32, 3, name="Conv2d_2a_3x3")(x, train=train)
        x = Brick(64, 3, padding=1, name="Conv2d_2b_3x3")(x, train=train)
        x = halve(x)
        x = Brick(80, 1, name="Conv2d_3b_1x1")(x, train=train)
        x = Brick(192, 3, name="Conv2d_4a_3x3")(x, train=train)
        x = ends["stem"] = halve(x)
        for name, table in BLOCKS.items():
            x = ends[name] = Block(table, name=name)(x, train=train)
        if self.num_classes:
            ends["aux"] = partial(Aux(self.num_classes, name="AuxLogits"), ends["Mixed_6e"], train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, kernel_init=normal(0.1), name="fc")(x)
        return x, ends


STAGES = {"stem": (8, 192), "Mixed_5d": (8, 288), "Mixed_6e": (16, 768), "Mixed_7c": (32, 2048)}
PUBLISHED = Weights(  # what torchvision prepares and re-normalises comes to a mean and deviation of 0.5
    "hf:timm/inception_v3.tv_in1k", 299, 299 / 342, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), top1=77.29, top5=93.45
)

VARIANTS = {
    "inception_v3": Variant(
        InceptionV3,
        27_161_264,
        5_713_216_096,
        image_size=299,
        paper="Szegedy et al. 2015, arXiv:1512.00567",
        reference="torchvision",
        departures="stem of the authors' code; average pools count the padding",
        endpoints={**STAGES, "features": (0, 2048)},
        aux_weights={"aux": 0.4},
        weights=PUBLISHED,
    ),
}

LAYOUTS = {"torchvision": Layout(renames=((r"(branch\w+)\.(\d)", r"\1_\2"),))}
