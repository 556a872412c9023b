"""BN-Inception, or Inception v2 (Ioffe & Szegedy 2015, arXiv:1502.03167, figure 5), as its Caffe model has it.

That model, and Cadene's copy of it in torch, keep the convolutions' biases although normalisation follows, which
makes them superfluous; pools round up; average pools count the padding. TF-slim's net of the same name has other
widths and a separable first convolution: weights are not exchangeable.

The Caffe model's weights want BGR in [0, 255] minus (104, 117, 128).
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.errors import UserError
from zoo.layers import Linear, global_avg_pool, he_fan_out
from zoo.models.branches import BasicConv, Branches, Mixed, apply_steps, conv
from zoo.models.inception import GOOGLENET_STEM, average, halve_up, largest
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variants import Variant
from zoo.norm import BatchNorm

brick = partial(BasicConv, use_bias=True, kernel_init=he_fan_out, norm=BatchNorm)


def keep(ones: int, threes: tuple[int, int], doubles: tuple[int, int], pooled: int) -> Branches:
    """A module that keeps the size; pairs are the widths of the 1x1 before, and of the 3x3."""
    return {
        "1x1": [conv(ones, 1)],
        "3x3": [conv(threes[0], 1), conv(threes[1], 3)],
        "double_3x3": [conv(doubles[0], 1), conv(doubles[1], 3), conv(doubles[1], 3)],
        "pool_proj": [average, conv(pooled, 1)],
    }


def reduce(threes: tuple[int, int], doubles: tuple[int, int]) -> Branches:
    """A module that halves the size, with no 1x1 branch and nothing after its pool."""
    return {
        "3x3": [conv(threes[0], 1), conv(threes[1], 3, stride=2, padding=1)],
        "double_3x3": [conv(doubles[0], 1), conv(doubles[1], 3), conv(doubles[1], 3, stride=2, padding=1)],
        "pool": [halve_up],
    }


MODULES: dict[str, Branches] = {
    "inception_3a": keep(64, (64, 64), (64, 96), 32),
    "inception_3b": keep(64, (64, 96), (64, 96), 64),
    "inception_3c": reduce((128, 160), (64, 96)),
    "inception_4a": keep(224, (64, 96), (96, 128), 128),
    "inception_4b": keep(192, (96, 128), (96, 128), 128),
    "inception_4c": keep(160, (128, 160), (128, 160), 128),
    "inception_4d": keep(96, (128, 192), (160, 192), 128),
    "inception_4e": reduce((128, 192), (192, 256)),
    "inception_5a": keep(352, (192, 320), (160, 224), 128),
    "inception_5b": {**keep(352, (192, 320), (192, 224), 128), "pool_proj": [largest, conv(128, 1)]},
}


class InceptionV2(Net):
    """Figure 5; names are Caffe's."""

    min_size: ClassVar[int] = 31

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        if any((n + 1) // 2 % 16 > 3 for n in x.shape[1:3]):
            fit = "x".join(str(max(32, (n + 12) // 32 * 32)) for n in x.shape[1:3])
            raise UserError(
                f"InceptionV2's strided branches fit together at heights and widths of 32 k - 1 to 32 k + 6 only, "
                f"got {x.shape[1]}x{x.shape[2]}",
                f"resize to {fit}",
            )
        ends: Ends = {}
        stem = ("conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3")
        x = ends["stem"] = apply_steps(x, GOOGLENET_STEM, stem, train=train, brick=brick)
        for name, table in MODULES.items():
            x = ends[name] = Mixed(table, brick, name=name)(x, train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


NAMES = ((r"3x3\.0", "3x3_reduce"), (r"(?<!double_)3x3\.1", "3x3"), (r"\.conv$", ""), (r"\.", "_"))
LAYOUTS = {"cadene": Layout((*NAMES, ("^fc$", "last_linear")))}

VARIANTS = {
    "inception_v2": Variant(
        InceptionV2,
        11_295_240,
        2_032_600_064,
        paper="Ioffe & Szegedy 2015, arXiv:1502.03167",
        reference="Cadene's pretrained-models.pytorch, pytorchcv",
        departures="plain 7x7 first convolution, widths of the Caffe model, biases before normalisation",
        endpoints={
            **{"stem": (8, 192), "inception_3a": (8, 256), "inception_3b": (8, 320), "inception_3c": (16, 576)},
            **{"inception_4a": (16, 576), "inception_4b": (16, 576), "inception_4c": (16, 608)},
            **{"inception_4d": (16, 608), "inception_4e": (32, 1056)},
            **{"inception_5a": (32, 1024), "inception_5b": (32, 1024), "features": (0, 1024)},
        },
    ),
}
