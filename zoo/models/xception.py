"""Xception (Chollet 2017, arXiv:1610.02357): an Inception taken to its end, of depthwise separable convolutions.

As timm's legacy_xception, whose pools pad on both sides; Keras's, which pads otherwise, is this net with other fields.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.data.preprocessing import PRESETS
from zoo.layers import Conv, Linear, dropout, global_avg_pool, max_pool
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variants import PublishedWeights, Variant
from zoo.norm import BatchNorm

Pool = Callable[[jax.Array], jax.Array]


class Separable(nn.Module):
    """Depthwise 3x3, then 1x1, with nothing between them (section 2)."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(x.shape[-1], 3, padding=1, feature_group_count=x.shape[-1], name="conv1")(x)
        return Conv(self.features, 1, name="pointwise")(x)


class Block(nn.Module):
    """Separable convolutions, each after a ReLU, and a shortcut around them; some halve the map (figure 5).

    Attributes:
      widths: maps of the convolutions.
      pool: ends a block that halves, whose shortcut is a projection; None keeps the shape.
      rectify: before the first convolution.
      epsilon: of the normalisations.
    """

    widths: tuple[int, ...]
    pool: Pool | None = None
    rectify: bool = True
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(BatchNorm, epsilon=self.epsilon)
        y, index = x, 0 if self.rectify else -1  # in torch's flat list of layers
        for number, width in enumerate(self.widths):
            y = nn.relu(y) if self.rectify or number else y
            y = Separable(width, name=f"rep_{index + 1}")(y)
            y = norm(name=f"rep_{index + 2}")(y, train=train)
            index += 3
        if self.pool is None:
            return y + x
        x = Conv(self.widths[-1], 1, 2, name="skip")(x)
        return self.pool(y) + norm(name="skipbn")(x, train=train)


class Xception(Net, kw_only=True):
    """Entry, middle and exit flow, global average, dense layer (figure 5).

    Attributes:
      middle: blocks of the middle flow.
      pool: of the blocks that halve their map.
      dropout: of the pooled features; the paper's 0.5 is for ImageNet.
      epsilon: of the normalisations.
    """

    middle: int = 8
    pool: Pool = partial(max_pool, window=3, stride=2, padding=1)
    dropout: float = 0.0
    epsilon: float = 1e-5

    min_size: ClassVar[int] = 7

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        norm = partial(BatchNorm, epsilon=self.epsilon)
        x = nn.relu(norm(name="bn1")(Conv(32, 3, 2, name="conv1")(x), train=train))
        x = ends["stem"] = nn.relu(norm(name="bn2")(Conv(64, 3, name="conv2")(x), train=train))

        halve = partial(Block, pool=self.pool, epsilon=self.epsilon)
        for number, width in enumerate((128, 256, 728), 1):
            x = halve((width, width), rectify=number > 1, name=f"block{number}")(x, train=train)
            ends[f"block{number}"] = x
        for number in range(4, 4 + self.middle):
            x = Block((728, 728, 728), epsilon=self.epsilon, name=f"block{number}")(x, train=train)
        ends["middle"] = x
        x = ends["exit"] = halve((728, 1024), name=f"block{4 + self.middle}")(x, train=train)

        x = nn.relu(norm(name="bn3")(Separable(1536, name="conv3")(x), train=train))
        x = nn.relu(norm(name="bn4")(Separable(2048, name="conv4")(x), train=train))
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dropout(x, self.dropout, train=train)
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


LAYOUTS = {"timm": Layout()}

VARIANTS = {
    "xception": Variant(
        Xception,
        22_855_952,
        8_357_403_496,
        image_size=299,
        paper="Chollet 2017, arXiv:1610.02357",
        reference="timm",
        endpoints={
            "stem": (2, 64),
            "block1": (4, 128),
            "block2": (8, 256),
            "block3": (16, 728),
            "middle": (16, 728),
            "exit": (32, 1024),
            "features": (0, 2048),
        },
        weights=PublishedWeights(
            "hf:timm/legacy_xception.tf_in1k", replace(PRESETS["inception"], crop=0.8975), 79.04, 94.38
        ),
    ),
}
