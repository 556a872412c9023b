"""Inception v4 (Szegedy et al. 2016, arXiv:1602.07261) as the authors' code and timm have it.

Average pools leave the padding out of the mean. No auxiliary head: timm's net and its weights have none.
"""

from dataclasses import replace
from functools import partial
from itertools import count
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.data.preprocessing import PRESETS
from zoo.layers import Linear, dropout, global_avg_pool
from zoo.models.branches import BasicConv, Branches, Mixed, apply_steps, conv, fork
from zoo.models.inception import TALL, V3_STEM, WIDE, average_inside, halve, reduction_a
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variants import PublishedWeights, Variant
from zoo.norm import BatchNorm

STEM: list[Branches] = [  # figure 3, after its first three convolutions, which are Inception v3's
    {"maxpool": [halve], "conv": [conv(96, 3, stride=2)]},
    {
        "branch0": [conv(64, 1), conv(96, 3, padding=0)],
        "branch1": [conv(64, 1), conv(64, WIDE), conv(64, TALL), conv(96, 3, padding=0)],
    },
    {"conv": [conv(192, 3, stride=2)], "maxpool": [halve]},
]
INCEPTION_A: Branches = {  # figure 4
    "branch0": [conv(96, 1)],
    "branch1": [conv(64, 1), conv(96, 3)],
    "branch2": [conv(64, 1), conv(96, 3), conv(96, 3)],
    "branch3": [average_inside, conv(96, 1)],
}
INCEPTION_B: Branches = {  # figure 5
    "branch0": [conv(384, 1)],
    "branch1": [conv(192, 1), conv(224, WIDE), conv(256, TALL)],
    "branch2": [conv(192, 1), conv(192, TALL), conv(224, WIDE), conv(224, TALL), conv(256, WIDE)],
    "branch3": [average_inside, conv(128, 1)],
}
REDUCTION_B: Branches = {  # figure 8
    "branch0": [conv(192, 1), conv(192, 3, stride=2)],
    "branch1": [conv(256, 1), conv(256, WIDE), conv(320, TALL), conv(320, 3, stride=2)],
    "branch2": [halve],
}
INCEPTION_C: Branches = {  # figure 6
    "branch0": [conv(256, 1)],
    "branch1": [conv(384, 1), fork(256)],
    "branch2": [conv(384, 1), conv(448, (3, 1)), conv(512, (1, 3)), fork(256)],
    "branch3": [average_inside, conv(256, 1)],
}
STAGES = {
    "stem": STEM,
    "inception_a": [INCEPTION_A] * 4,
    "inception_b": [reduction_a(192, 224, 256, 384), *[INCEPTION_B] * 7],
    "inception_c": [REDUCTION_B, *[INCEPTION_C] * 3],
}


class InceptionV4(Net):
    """Figure 9.

    Attributes:
      dropout: of the pooled features.
      use_scale: the normalisations have a scale.
    """

    dropout: float = 0.2
    use_scale: bool = True

    min_size: ClassVar[int] = 75

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        names = (f"features_{i}" for i in count())
        brick = partial(BasicConv, norm=partial(BatchNorm, epsilon=1e-3, use_scale=self.use_scale))
        x = apply_steps(x, V3_STEM[:3], names, train=train, brick=brick)
        for stage, blocks in STAGES.items():
            for table in blocks:
                x = Mixed(table, brick, name=next(names))(x, train=train)
            ends[stage] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, name="last_linear")(x)
        return x, ends


A_AND_B = {"inception_a": (8, 384), "inception_b": (16, 1024)}
ENDPOINTS = {"stem": (8, 384), **A_AND_B, "inception_c": (32, 1536), "features": (0, 1536)}

VARIANTS = {
    "inception_v4": Variant(
        InceptionV4,
        42_679_816,
        12_253_974_624,
        image_size=299,
        paper="Szegedy et al. 2016, arXiv:1602.07261",
        reference="timm",
        endpoints=ENDPOINTS,
        head="last_linear",
        weights=PublishedWeights(
            "hf:timm/inception_v4.tf_in1k", replace(PRESETS["inception"], crop=299 / 341), 80.16, 94.97
        ),
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
