"""AlexNet, twice.

`alexnet_2012` is the net of Krizhevsky, Sutskever & Hinton 2012 ("ImageNet classification with deep
convolutional neural networks", section 3.5): what lived on two GPUs is in two groups. Its input is 227, not
the printed 224, from which the first layer would not make the printed 55x55 maps.

`alexnet` is the single column of Krizhevsky 2014 ("One weird trick", arXiv:1404.5997) as in torchvision:
other widths, no groups, no response normalisation, dropout before the dense layers instead of after them.

Both average images of other sizes to 6x6 maps before the dense layers; at the native size that changes
nothing.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.layers import Conv, Linear, adaptive_avg_pool, dropout, local_response_norm, max_pool, torch_default
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.variants import Endpoints, Variant


class AlexNet(Net):
    """Five convolutions with biases, three overlapping pools, three dense layers; names are torchvision's."""

    dropout: float = 0.5

    min_size: ClassVar[int] = 63

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        conv = partial(Conv, use_bias=True, kernel_init=torch_default)
        x = nn.relu(conv(64, 11, 4, padding=2, name="features_0")(x))
        x = ends["pool1"] = max_pool(x, 3, 2)
        x = nn.relu(conv(192, 5, padding=2, name="features_3")(x))
        x = ends["pool2"] = max_pool(x, 3, 2)
        x = nn.relu(conv(384, 3, padding=1, name="features_6")(x))
        x = nn.relu(conv(256, 3, padding=1, name="features_8")(x))
        x = nn.relu(conv(256, 3, padding=1, name="features_10")(x))
        x = ends["pool5"] = max_pool(x, 3, 2)
        x = dropout(adaptive_avg_pool(x, 6), self.dropout, train=train)
        x = dropout(nn.relu(Linear(4096, name="classifier_1")(x)), self.dropout, train=train)
        x = ends["features"] = nn.relu(Linear(4096, name="classifier_4")(x))
        if self.num_classes:
            x = Linear(self.num_classes, name="classifier_6")(x)
        return x, ends


gaussian = nn.initializers.normal(
    0.01
)  # section 5 of the paper, as the biases of one, which give ReLUs positive inputs


class AlexNet2012(Net):
    """Figure 2: response normalisation after the first two ReLUs and before their pools.

    Attributes:
      dropout: before the last two dense layers.
      alpha, k: of the response normalisation, by default section 3.3's; Caffe's are 2e-5 and 1.
    """

    dropout: float = 0.5
    alpha: float = 1e-4
    k: float = 2.0

    min_size: ClassVar[int] = 67

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        conv = partial(Conv, use_bias=True, kernel_init=gaussian)
        halves = partial(conv, feature_group_count=2, bias_init=nn.initializers.ones)
        dense = partial(Linear, kernel_init=gaussian)
        hidden = partial(dense, 4096, bias_init=nn.initializers.ones)
        respond = partial(local_response_norm, size=5, alpha=self.alpha, beta=0.75, k=self.k)
        x = nn.relu(conv(96, 11, 4, name="conv1")(x))
        x = ends["pool1"] = max_pool(respond(x), 3, 2)
        x = nn.relu(halves(256, 5, padding=2, name="conv2")(x))
        x = ends["pool2"] = max_pool(respond(x), 3, 2)
        x = nn.relu(conv(384, 3, padding=1, name="conv3")(x))
        x = nn.relu(halves(384, 3, padding=1, name="conv4")(x))
        x = nn.relu(halves(256, 3, padding=1, name="conv5")(x))
        x = ends["pool5"] = max_pool(x, 3, 2)
        x = nn.relu(hidden(name="fc6")(adaptive_avg_pool(x, 6)))
        x = nn.relu(hidden(name="fc7")(dropout(x, self.dropout, train=train)))
        x = ends["features"] = dropout(x, self.dropout, train=train)
        if self.num_classes:
            x = dense(self.num_classes, name="fc8")(x)
        return x, ends


def endpoints(first: int, second: int) -> Endpoints:
    return {"pool1": (8, first), "pool2": (16, second), "pool5": (32, 256), "features": (0, 4096)}


LAYOUTS = {"torchvision": Layout(flattened=("classifier_1", "fc6"))}

VARIANTS = {
    "alexnet": Variant(
        AlexNet,
        61_100_840,
        714_188_480,
        paper="Krizhevsky 2014, arXiv:1404.5997",
        reference="torchvision",
        departures="256 maps in the fourth layer, as torchvision",
        endpoints=endpoints(64, 192),
        head="classifier_6",
    ),
    "alexnet_2012": Variant(
        AlexNet2012,
        60_965_224,
        724_406_816,
        image_size=227,
        paper="Krizhevsky et al. 2012",
        reference="the paper's table and torch's layers",
        departures="227 input, not the printed 224",
        endpoints=endpoints(96, 256),
        head="fc8",
    ),
}
