"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842), twice, each with two auxiliary heads.

`googlenet` is torchvision's: batch normalisation instead of biases and response normalisation, a 3x3 where the
paper has its 5x5, a last pool of 2x2, auxiliary heads that average to 4x4 maps whatever the size of the image.

`googlenet_2014` is the paper's. What the paper leaves open is as in its authors' later Caffe model: pools round
up, response normalisation stands where figure 3 has it with Caffe's constants, weights are drawn as Caffe's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.layers import Linear, adaptive_avg_pool, avg_pool, dropout, global_avg_pool, local_response_norm, max_pool
from zoo.models.branches import BasicConv, Branches, Brick, Mixed, Step, apply_steps, conv
from zoo.models.inception import GOOGLENET_STEM, halve_up, largest, transform_input
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.values import ValueModule
from zoo.models.variants import Variant

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


def figure_2b(ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pooled: int, *, five: int) -> Branches:
    """The Inception module; `five` is the kernel size of its "5x5" branch."""
    return {
        "branch1": [conv(ones, 1)],
        "branch2": [conv(reduce3, 1), conv(threes, 3)],
        "branch3": [conv(reduce5, 1), conv(fives, five)],
        "branch4": [largest, conv(pooled, 1)],
    }


class Aux(ValueModule):
    """An auxiliary head, from 4x4 maps on; maps of other sizes are averaged to that."""

    num_classes: int
    dropout: float
    brick: Brick
    dense: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.brick(128, 1, name="conv")(adaptive_avg_pool(x, 4), train=train)
        x = dropout(nn.relu(self.dense(1024, name="fc1")(x)), self.dropout, train=train)
        return self.dense(self.num_classes, name="fc2")(x)


AUX = {"4a": "aux1", "4d": "aux2"}  # which module each head sees


class Body(Net):
    """What both nets share: the nine modules and the three classifiers.

    Attributes:
      dropout, aux_dropout: before the last layer of the net, of the auxiliary heads.
    """

    dropout: float = 0.2
    aux_dropout: float = 0.7

    aux_weights: ClassVar[Mapping[str, float]] = {"aux1": 0.3, "aux2": 0.3}

    def forward_with(
        self,
        x: jax.Array,
        *,
        stem: Sequence[Step],
        brick: Brick,
        dense: Callable[..., nn.Module],
        five: int,
        last_pool: int,
        before_aux: Callable[[jax.Array], jax.Array] = lambda x: x,
        train: bool,
    ) -> tuple[jax.Array, Ends]:
        """`forward` with the parts in which the two nets differ; `five` is the kernel size of the "5x5" branches."""
        ends: Ends = {}
        x = ends["stem"] = apply_steps(x, stem, ("conv1", "conv2", "conv3"), train=train, brick=brick)
        for name, widths in TABLE_1.items():
            if name in ("4a", "5a"):
                x = max_pool(x, 3 if name == "4a" else last_pool, 2, ceil=True)
            block = Mixed(figure_2b(*widths, five=five), brick, name=f"inception{name}")
            x = ends[f"inception{name}"] = block(x, train=train)
            if self.num_classes and name in AUX:
                head = Aux(self.num_classes, self.aux_dropout, brick, dense, name=AUX[name])
                ends[AUX[name]] = partial(head, before_aux(x), train=train)
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = dense(self.num_classes, name="fc")(dropout(x, self.dropout, train=train))
        return x, ends


class GoogLeNet(Body):
    """torchvision's.

    Attributes:
      transform_input: takes images normalised by ImageNet's mean and deviation though its weights were
        trained with 0.5 and 0.5, as torchvision's published ones.
    """

    transform_input: bool = False

    min_size: ClassVar[int] = 15

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        if self.transform_input:
            x = transform_input(x)
        init = nn.initializers.normal(0.01)  # torchvision's, whose truncation at 200 deviations cuts nothing
        brick, dense = partial(BasicConv, kernel_init=init), partial(Linear, kernel_init=init)
        return self.forward_with(x, stem=GOOGLENET_STEM, brick=brick, dense=dense, five=3, last_pool=2, train=train)


respond = partial(local_response_norm, size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)
FIGURE_3 = (conv(64, 7, stride=2, padding=3), halve_up, respond, conv(64, 1), conv(192, 3), respond, halve_up)


class GoogLeNet2014(Body):
    """Table 1 and figure 3."""

    dropout: float = 0.4

    min_size: ClassVar[int] = 79

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        xavier = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # what Caffe calls so
        bias_init = nn.initializers.constant(0.2)
        brick = partial(BasicConv, use_bias=True, kernel_init=xavier, bias_init=bias_init, norm=None)
        dense, pool = partial(Linear, kernel_init=xavier), partial(avg_pool, window=5, stride=3)
        return self.forward_with(
            x, stem=FIGURE_3, brick=brick, dense=dense, five=5, last_pool=3, before_aux=pool, train=train
        )


STRIDES = {"3": 8, "4": 16, "5": 32}
BLOCKS = {f"inception{name}": (STRIDES[name[0]], w[0] + w[2] + w[4] + w[5]) for name, w in TABLE_1.items()}
ROW = partial(
    Variant,
    paper="Szegedy et al. 2014, arXiv:1409.4842",
    endpoints={"stem": (8, 192), **BLOCKS, "features": (0, 1024)},
    aux_heads={"aux1": "aux1/fc2", "aux2": "aux2/fc2"},
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
