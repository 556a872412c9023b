"""Inception v4 (Szegedy et al. 2016, arXiv:1602.07261) as the authors' code and timm have it.

Average pools leave the padding out of the mean. No auxiliary head: timm's net and its weights have none.
"""

from functools import partial
from itertools import count
from typing import ClassVar

import flax.linen as nn

from zoo.layers import Linear, avg_pool, dropout, global_avg_pool, max_pool
from zoo.models.inception import Branches, ConvBN, Mixed
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant, Weights

average = partial(avg_pool, window=3, stride=1, padding=1, count_include_pad=False)
halve = partial(max_pool, window=3, stride=2)
WIDE, TALL = (1, 7), (7, 1)
FORK = ((256, (1, 3)), (256, (3, 1)))

STEM: list[Branches] = [  # figure 3, after its first three convolutions
    {"maxpool": [halve], "conv": [(96, 3, 2)]},
    {"branch0": [(64, 1), (96, 3, 1, 0)], "branch1": [(64, 1), (64, WIDE), (64, TALL), (96, 3, 1, 0)]},
    {"conv": [(192, 3, 2)], "maxpool": [halve]},
]
INCEPTION_A: Branches = {  # figure 4
    "branch0": [(96, 1)],
    "branch1": [(64, 1), (96, 3)],
    "branch2": [(64, 1), (96, 3), (96, 3)],
    "branch3": [average, (96, 1)],
}
REDUCTION_A: Branches = {  # figure 7
    "branch0": [(384, 3, 2)],
    "branch1": [(192, 1), (224, 3), (256, 3, 2)],
    "branch2": [halve],
}
INCEPTION_B: Branches = {  # figure 5
    "branch0": [(384, 1)],
    "branch1": [(192, 1), (224, WIDE), (256, TALL)],
    "branch2": [(192, 1), (192, TALL), (224, WIDE), (224, TALL), (256, WIDE)],
    "branch3": [average, (128, 1)],
}
REDUCTION_B: Branches = {  # figure 8
    "branch0": [(192, 1), (192, 3, 2)],
    "branch1": [(256, 1), (256, WIDE), (320, TALL), (320, 3, 2)],
    "branch2": [halve],
}
INCEPTION_C: Branches = {  # figure 6
    "branch0": [(256, 1)],
    "branch1": [(384, 1), FORK],
    "branch2": [(384, 1), (448, (3, 1)), (512, (1, 3)), FORK],
    "branch3": [average, (256, 1)],
}
STAGES = {
    "stem": STEM,
    "inception_a": [INCEPTION_A] * 4,
    "inception_b": [REDUCTION_A, *[INCEPTION_B] * 7],
    "inception_c": [REDUCTION_B, *[INCEPTION_C] * 3],
}


class InceptionV4(Net):
    """Figure 9; `dropout` is of the pooled features."""

    dropout: float = 0.2

    min_size: ClassVar[int] = 75

    @nn.compact
    def forward(self, x, *, train: bool):
        ends: Ends = {}
        names = (f"features_{i}" for i in count())
        x = ConvBN(32, 3, 2, name=next(names))(x, train=train)
        x = ConvBN(32, 3, name=next(names))(x, train=train)
        x = ConvBN(64, 3, padding=1, name=next(names))(x, train=train)
        for stage, blocks in STAGES.items():
            for table in blocks:
                x = Mixed(table, name=next(names))(x, train=train)
            ends[stage] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, name="last_linear")(x)
        return x, ends


A_AND_B = {"inception_a": (8, 384), "inception_b": (16, 1024)}
ENDPOINTS = {"stem": (8, 384), **A_AND_B, "inception_c": (32, 1536), "features": (0, 1536)}
HALF = (0.5, 0.5, 0.5)
PUBLISHED = Weights("hf:timm/inception_v4.tf_in1k", 299, 0.875, HALF, HALF, 1.0, "bicubic", 80.14, 94.98)

VARIANTS = {
    "inception_v4": Variant(
        InceptionV4,
        42_679_816,
        12_253_974_624,
        image_size=299,
        paper="Szegedy et al. 2016, arXiv:1602.07261",
        reference="timm",
        endpoints=ENDPOINTS,
        weights=PUBLISHED,
    ),
}

LAYOUTS = {
    "timm": Layout(
        renames=(
            (r"\.branch3\.", ".branch3.1."),  # the pool before it is number 0
            (r"(features\.(?:19|20|21)\.branch[12])\.(\d)", r"\1_\2"),
        )
    )
}
