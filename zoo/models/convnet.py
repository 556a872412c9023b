"""The pattern INPUT + {[CONV*a + RELU]*b + POOL}*c + FC*d, and the net without convolutions to hold it against.

As taught in Stanford's CS231n ("Convolutional neural networks: layer patterns") and drawn on by LeNet, AlexNet and VGG.
"""

import math
from functools import partial
from typing import Literal

import flax.linen as nn
import jax

from zoo.errors import UserError
from zoo.layers import Conv, Linear, max_pool
from zoo.models.net import Ends, Net
from zoo.models.variants import Variant
from zoo.norm import BatchNorm


class MLP(Net, kw_only=True):
    """Fully connected layers with ReLU on the flattened image: the net that does not know what a neighbour is."""

    widths: tuple[int, ...] = (512, 256)
    num_classes: int = 10

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        for i, width in enumerate(self.widths):
            x = ends[f"fc{i + 1}"] = nn.relu(Linear(width, name=f"fc{i + 1}")(x))
        ends["features"] = x
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


class ConvNet(Net, kw_only=True):
    """INPUT + {[CONV*a + RELU]*b + POOL}*c + FC*d: 3x3 convolutions, 2x2 pools, `width` doubled after each pool.

    Attributes:
      a: convolutions in a row before each ReLU.
      b: such groups before each pool.
      c: pools; each halves height and width.
      d: dense layers, the classifier included; all but the last are followed by ReLU.
      width: channels of the first stage.
      dense_width: width of the dense layers before the classifier.
      norm: where batch normalisation stands, of the group's last convolution: `"before_activation"` as in
        arXiv:1502.03167, `"after_activation"`, or None.
    """

    a: int = 1
    b: int = 2
    c: int = 2
    d: int = 2
    width: int = 32
    dense_width: int = 128
    norm: Literal["before_activation", "after_activation"] | None = None
    num_classes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.a, self.b, self.d) < 1 or self.c < 0:
            raise UserError(f"ConvNet(a={self.a}, b={self.b}, c={self.c}, d={self.d})", "a, b, d start at 1, c at 0")
        if self.norm not in (None, "before_activation", "after_activation"):
            raise UserError(f"norm={self.norm!r}", "choose None, 'before_activation' or 'after_activation'")

    @property
    def min_size(self) -> int:  # type: ignore[override]
        return 2**self.c

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        for stage in range(self.c):
            for group in range(self.b):
                x = self.apply_group(x, self.width * 2**stage, f"{stage + 1}_{group}", train=train)
            x = ends[f"stage{stage + 1}"] = max_pool(x, 2, 2)
        for i in range(self.d - 1):
            x = nn.relu(Linear(self.dense_width, name=f"fc{i + 1}")(x))
        ends["features"] = x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends

    def apply_group(self, x: jax.Array, width: int, name: str, *, train: bool) -> jax.Array:
        """[CONV*a + RELU], with the normalisation on one side of the ReLU or the other."""
        for i in range(self.a):
            x = Conv(width, 3, padding=1, use_bias=self.norm is None, name=f"conv{name}_{i}")(x)
        if self.norm == "before_activation":
            x = BatchNorm(name=f"bn{name}")(x, train=train)
        x = nn.relu(x)
        if self.norm == "after_activation":
            x = BatchNorm(name=f"bn{name}")(x, train=train)
        return x


PATTERN = partial(
    Variant,
    image_size=32,
    paper="layer pattern of CS231n",
    endpoints={"stage1": (2, 32), "stage2": (4, 64), "features": (0, 128)},
)

VARIANTS = {
    "mlp": Variant(
        MLP,
        1_707_274,
        1_706_496,
        image_size=32,
        paper="Rumelhart et al. 1986",
        endpoints={"fc1": (0, 512), "fc2": (0, 256), "features": (0, 256)},
    ),
    "convnet": PATTERN(ConvNet, 591_274, 25_003_264),
    "convnet_bn": PATTERN(partial(ConvNet, norm="before_activation"), 591_466, 25_003_264),
}
