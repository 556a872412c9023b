"""MobileNet v2 (Sandler et al. 2018, arXiv:1801.04381): residual blocks that are narrow outside and wide inside.

As torchvision, padding on both sides; Keras's, whose padding is TensorFlow's, is this net with other fields.
"""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax

from zoo.data.preprocessing import PRESETS
from zoo.layers import Conv, Linear, dropout, global_avg_pool, relu6
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.separable import Pad, convolve_3x3
from zoo.models.variants import PublishedWeights, Variant
from zoo.norm import BatchNorm


class InvertedResidual(nn.Module):
    """1x1 that expands, depthwise 3x3, 1x1 that projects and is not rectified (table 1, figure 4d)."""

    features: int
    stride: int
    expansion: int
    pad: Pad | None = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(BatchNorm, epsilon=self.epsilon)
        y, index = x, 0  # in torch's flat list of layers
        if self.expansion > 1:
            y = Conv(x.shape[-1] * self.expansion, 1, name="conv_0_0")(x)
            y = relu6(norm(name="conv_0_1")(y, train=train))
            index = 1
        width = y.shape[-1]
        y = convolve_3x3(y, width, self.stride, self.pad, groups=width, name=f"conv_{index}_0")
        y = relu6(norm(name=f"conv_{index}_1")(y, train=train))
        y = Conv(self.features, 1, name=f"conv_{index + 1}")(y)
        y = norm(name=f"conv_{index + 2}")(y, train=train)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(Net, kw_only=True):
    """3x3 stem, stages of inverted residuals, a 1x1, global average, dense layer (table 2).

    Attributes:
      stages: `(expansion, channels, blocks, stride)` of each, the paper's t, c, n and s.
      stem, last: channels of the first and the last convolution.
      dropout: of the pooled features.
      pad: pads the maps that a 3x3 halves; by default there is a pixel on all sides.
      epsilon: of the normalisations.
    """

    stages: tuple[tuple[int, int, int, int], ...]
    stem: int = 32
    last: int = 1280
    dropout: float = 0.2
    pad: Pad | None = None
    epsilon: float = 1e-5

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        norm = partial(BatchNorm, epsilon=self.epsilon)
        x = convolve_3x3(x, self.stem, 2, self.pad, name="features_0_0")
        x = ends["stem"] = relu6(norm(name="features_0_1")(x, train=train))
        index = 1  # in torch's flat list of blocks
        for stage, (expansion, channels, blocks, stride) in enumerate(self.stages, 1):
            for i in range(blocks):
                block = partial(InvertedResidual, channels, 1 if i else stride, expansion, self.pad, self.epsilon)
                x = block(name=f"features_{index}")(x, train=train)
                index += 1
            ends[f"stage{stage}"] = x
        x = Conv(self.last, 1, name=f"features_{index}_0")(x)
        x = relu6(norm(name=f"features_{index}_1")(x, train=train))
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classifier_1")(x)
        return x, ends


TABLE_2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
BLOCKS = [(stage, i) for stage, (_, _, blocks, _) in enumerate(TABLE_2) for i in range(blocks)]
EXPANDED = {r"0\.0": "conv_pw", r"0\.1": "bn1", r"1\.0": "conv_dw", r"1\.1": "bn2", "2": "conv_pwl", "3": "bn3"}
PLAIN = {r"0\.0": "conv_dw", r"0\.1": "bn1", "1": "conv_pw", "2": "bn2"}

INDICES = (r"_(\d+)\.(\d)", r".\1.\2")
ENDS = {r"0\.0": "conv_stem", r"0\.1": "bn1", r"18\.0": "conv_head", r"18\.1": "bn2"}
LAYOUTS = {
    "torchvision": Layout((INDICES,)),
    "timm": Layout(
        (
            INDICES,
            *((rf"^features\.{theirs}$", ours) for theirs, ours in ENDS.items()),
            *((rf"^features\.{i}\.", f"blocks.{s}.{b}.") for i, (s, b) in enumerate(BLOCKS, 1)),
            *((rf"^(blocks\.0\.0)\.conv\.{theirs}$", rf"\1.{ours}") for theirs, ours in PLAIN.items()),
            *((rf"^(blocks.*)\.conv\.{theirs}$", rf"\1.{ours}") for theirs, ours in EXPANDED.items()),
            (r"^classifier\.1$", "classifier"),
        )
    ),
}

ENDPOINTS = {"stem": (2, 32), "stage1": (2, 16), "stage2": (4, 24), "stage3": (8, 32), "stage4": (16, 64)}
ENDPOINTS |= {"stage5": (16, 96), "stage6": (32, 160), "stage7": (32, 320), "features": (0, 1280)}

VARIANTS = {
    "mobilenet_v2": Variant(
        partial(MobileNetV2, stages=TABLE_2),
        3_504_872,
        300_774_272,
        paper="Sandler et al. 2018, arXiv:1801.04381",
        reference="torchvision",
        endpoints=ENDPOINTS,
        head="classifier_1",
        weights=PublishedWeights(
            "hf:timm/mobilenetv2_100.ra_in1k", replace(PRESETS["torchvision"], interpolation="bicubic"), 72.98, 91.01
        ),
    ),
}
