"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) as torchvision has it, with its auxiliary head.

The stem is that of the authors' code: a 1x1, a 3x3 and a pool where table 1 has three 3x3. The average pools count
the zero padding; TensorFlow's, where torchvision's weights come from, do not. `inception_v3_fid` is the net in which
the Fréchet inception distance is measured, as pytorch-fid has it: TensorFlow's pools, and a max pool in the last block.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

import flax.linen as nn
import jax
from flax.linen.initializers import truncated_normal

from zoo.data.preprocessing import PRESETS
from zoo.errors import UserError
from zoo.layers import Linear, avg_pool, dropout, global_avg_pool
from zoo.models.branches import BasicConv, Branches, Mixed, apply_steps, conv, fork
from zoo.models.inception import TALL, V3_STEM, WIDE, average, average_inside, halve, largest, transform_input
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variants import PublishedWeights, Variant
from zoo.norm import BatchNorm

brick = partial(BasicConv, kernel_init=truncated_normal(0.1))  # this and the other deviations: the authors' code
Pool = Callable[[jax.Array], jax.Array]
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")


def figure_5(pooled: int, average: Pool) -> Branches:
    """35x35: the 5x5 of the first Inception beside two 3x3."""
    return {
        "branch1x1": [conv(64, 1)],
        "branch5x5": [conv(48, 1), conv(64, 5)],
        "branch3x3dbl": [conv(64, 1), conv(96, 3), conv(96, 3)],
        "branch_pool": [average, conv(pooled, 1)],
    }


def figure_6(width: int, average: Pool) -> Branches:
    """17x17: 7x7 as 1x7 and 7x1."""
    return {
        "branch1x1": [conv(192, 1)],
        "branch7x7": [conv(width, 1), conv(width, WIDE), conv(192, TALL)],
        "branch7x7dbl": [conv(width, 1), conv(width, TALL), conv(width, WIDE), conv(width, TALL), conv(192, WIDE)],
        "branch_pool": [average, conv(192, 1)],
    }


def figure_7(pool: Pool) -> Branches:
    """8x8: the last 3x3 of each branch as a 1x3 beside a 3x1."""
    return {
        "branch1x1": [conv(320, 1)],
        "branch3x3": [conv(384, 1), fork(384)],
        "branch3x3dbl": [conv(448, 1), conv(384, 3), fork(384)],
        "branch_pool": [pool, conv(192, 1)],
    }


TO_17: Branches = {
    "branch3x3": [conv(384, 3, stride=2)],
    "branch3x3dbl": [conv(64, 1), conv(96, 3), conv(96, 3, stride=2)],
    "branch_pool": [halve],
}
TO_8: Branches = {
    "branch3x3": [conv(192, 1), conv(320, 3, stride=2)],
    "branch7x7x3": [conv(192, 1), conv(192, WIDE), conv(192, TALL), conv(192, 3, stride=2)],
    "branch_pool": [halve],
}


def blocks(average: Pool, last: Pool) -> dict[str, Branches]:
    """All of them by name, with one pool for the means and another for the last block."""
    pooled = {"Mixed_5b": 32, "Mixed_5c": 64, "Mixed_5d": 64}
    widths = {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}
    return {
        **{name: figure_5(width, average) for name, width in pooled.items()},
        "Mixed_6a": TO_17,
        **{name: figure_6(width, average) for name, width in widths.items()},
        "Mixed_7a": TO_8,
        "Mixed_7b": figure_7(average),
        "Mixed_7c": figure_7(last),
    }


class Aux(nn.Module):
    """The auxiliary head on the last 17x17 map."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        known = [n for n in x.shape[1:3] if isinstance(n, int)]  # an export may leave them open
        if min(known, default=17) < 17 and not self.is_initializing():
            raise UserError(
                f"the auxiliary head takes images of 299x299 or more, of these {x.shape[1]}x{x.shape[2]} is left",
                "resize them, or train without it by aux_weights={} of zoo.make_train_step",
            )
        x = avg_pool(x, 5, 3)
        x = brick(128, 1, name="conv0")(x, train=train)
        x = brick(768, 5, kernel_init=truncated_normal(0.01), name="conv1")(x, train=train)
        return Linear(self.num_classes, kernel_init=truncated_normal(0.001), name="fc")(global_avg_pool(x))


class InceptionV3(Net):
    """Table 1, with batch normalisation everywhere.

    Attributes:
      transform_input: takes images normalised by ImageNet's mean and deviation though its weights were
        trained with 0.5 and 0.5, as torchvision's published ones.
      count_include_pad: the average pools count the padding; TensorFlow's do not.
      last_pool: the largest of `Mixed_7c`'s pool takes the place of the mean, if "max", as where FID is measured.
      auxiliary: there is an auxiliary head.
      use_scale: the normalisations have a scale.
      dropout: of the pooled features.
    """

    transform_input: bool = False
    dropout: float = 0.5
    count_include_pad: bool = True
    last_pool: Literal["average", "max"] = "average"
    auxiliary: bool = True
    use_scale: bool = True

    min_size: ClassVar[int] = 75

    @property
    def aux_weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {"aux": 0.4} if self.auxiliary else {}

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        if self.transform_input:
            x = transform_input(x)
        norm = partial(BatchNorm, epsilon=1e-3, use_scale=self.use_scale)
        step = partial(brick, norm=norm)
        mean = average if self.count_include_pad else average_inside
        x = ends["stem"] = halve(apply_steps(x, V3_STEM, STEM, train=train, brick=step))
        for name, table in blocks(mean, largest if self.last_pool == "max" else mean).items():
            x = ends[name] = Mixed(table, step, first=1, name=name)(x, train=train)
            if self.auxiliary and self.num_classes and name == "Mixed_6e":
                ends["aux"] = partial(Aux(self.num_classes, name="AuxLogits"), x, train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, kernel_init=truncated_normal(0.1), name="fc")(x)
        return x, ends


STAGES = {"stem": (8, 192), "Mixed_5d": (8, 288), "Mixed_6e": (16, 768), "Mixed_7c": (32, 2048)}
# What torchvision prepares and re-normalises comes to a mean and deviation of 0.5.
PREPROCESSING = replace(PRESETS["inception"], crop=299 / 342, interpolation="bilinear")

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
        aux_heads={"aux": "AuxLogits/fc"},
        weights=PublishedWeights("hf:timm/inception_v3.tv_in1k", PREPROCESSING, 77.29, 93.45),
    ),
    "inception_v3_fid": Variant(
        partial(InceptionV3, num_classes=1008, count_include_pad=False, last_pool="max", auxiliary=False),
        23_850_960,
        5_713_232_480,
        image_size=299,
        paper="Szegedy et al. 2015, arXiv:1512.00567",
        reference="pytorch-fid",
        departures="stem of the authors' code; a max pool in the last block, 1008 classes: the net of the FID",
        endpoints={**STAGES, "features": (0, 2048)},
    ),
}

LAYOUTS = {"torchvision": Layout(renames=((r"(branch\w+)\.(\d)", r"\1_\2"),))}
