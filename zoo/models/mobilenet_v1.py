"""MobileNet (Howard et al. 2017, arXiv:1704.04861): 3x3 in each channel alone, 1x1 between channels, no shortcuts.

As timm's mobilenetv1_100, padding on both sides; Keras's, which pads otherwise, is this net with other fields. Both
rectify up to six, where the paper says ReLU.
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


class Separable(nn.Module):
    """Depthwise 3x3, then 1x1 (figure 3, right)."""

    features: int
    stride: int
    pad: Pad | None = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(BatchNorm, epsilon=self.epsilon)
        x = convolve_3x3(x, x.shape[-1], self.stride, self.pad, groups=x.shape[-1], name="conv_dw")
        x = relu6(norm(name="bn1")(x, train=train))
        x = Conv(self.features, 1, name="conv_pw")(x)
        return relu6(norm(name="bn2")(x, train=train))


class MobileNet(Net, kw_only=True):
    """3x3 stem, stages of separable convolutions that double the width, global average, dense layer (table 1).

    Attributes:
      depths: blocks of each stage; every stage but the first starts by halving the map.
      width: of the first stage, twice the stem's.
      dropout: of the pooled features.
      stem_pad, pad: pad the maps that a 3x3 halves; by default there is a pixel on all sides.
      epsilon: of the normalisations.
    """

    depths: tuple[int, ...]
    width: int = 64
    dropout: float = 0.0
    stem_pad: Pad | None = None
    pad: Pad | None = None
    epsilon: float = 1e-5

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        x = convolve_3x3(x, self.width // 2, 2, self.stem_pad, name="conv_stem")
        x = ends["stem"] = relu6(BatchNorm(epsilon=self.epsilon, name="bn1")(x, train=train))
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                block = Separable(self.width * 2**stage, stride, self.pad, self.epsilon, name=f"blocks_{stage}_{i}")
                x = block(x, train=train)
            ends[f"stage{stage + 1}"] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, name="classifier")(x)
        return x, ends


LAYOUTS = {"timm": Layout(((r"^blocks_", "blocks."),))}

VARIANTS = {
    "mobilenet_v1": Variant(
        partial(MobileNet, depths=(1, 2, 2, 6, 2)),
        4_231_976,
        568_740_352,
        paper="Howard et al. 2017, arXiv:1704.04861",
        reference="timm",
        departures="ReLU6",
        endpoints={
            "stem": (2, 32),
            **{f"stage{i + 1}": (2 * 2**i, 64 * 2**i) for i in range(5)},
            "features": (0, 1024),
        },
        head="classifier",
        weights=PublishedWeights(
            "hf:timm/mobilenetv1_100.ra4_e3600_r224_in1k",
            replace(PRESETS["inception"], size=256, crop=0.95),
            76.09,
            93.01,
        ),
    ),
}
