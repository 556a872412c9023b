"""TF-slim's Inceptions and ResNets v2 by the names of their variables, which TF-hub's have too.

Kernels lie there as ours. What stands before a net's own scope (`module/`) is taken off; averages, an optimizer's
state, the number of steps and auxiliary heads are left out.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from zoo.data.preprocessing import PRESETS
from zoo.layers import Linear
from zoo.models.net import Net
from zoo.models.residual import pool_as_tensorflow
from zoo.models.resnet_v2 import Bottleneck
from zoo.norm import BatchNorm
from zoo.weights import slim_names
from zoo.weights.foreign import ForeignNet, Leaf, Origin, list_leaves
from zoo.weights.inspection import Arrays, find_image_shape
from zoo.weights.state_dict import fit_net, from_torch

WORDS = {"kernel": "weights", "bias": "biases"}
NORM_WORDS = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
VARIABLE = re.compile("/(weights|biases|gamma|beta|moving_mean|moving_variance)$")
INCEPTION, SCALELESS = PRESETS["inception"], {"use_scale": False}
V2 = {"block": partial(Bottleneck, use_bias=True), "use_bias": True, "stride_in_last": True, "pool": pool_as_tensorflow}
SCOPES = {
    **{"inception_v3": "InceptionV3", "inception_v4": "InceptionV4", "inception_resnet_v2": "InceptionResnetV2"},
    **{f"resnetv2_{depth}": f"resnet_v2_{depth}" for depth in (50, 101, 152)},
}
NETS = {
    "inception_v3": ForeignNet(
        slim_names.name_inception_v3, INCEPTION, {"auxiliary": False, "count_include_pad": False, **SCALELESS}
    ),
    "inception_v4": ForeignNet(slim_names.name_inception_v4, INCEPTION, SCALELESS),
    "inception_resnet_v2": ForeignNet(slim_names.name_inception_resnet_v2, INCEPTION, SCALELESS),
    **{f"resnetv2_{depth}": ForeignNet(slim_names.name_resnet_v2, INCEPTION, V2) for depth in (50, 101, 152)},
}


def has_slim_names(names: Iterable[str]) -> bool:
    """Whether arrays are called as TF-slim calls them."""
    return any(name.endswith("/weights") for name in names)


@cache
def slim_leaves(name: str) -> dict[str, Leaf]:
    """`{"Conv2d_1a_3x3/weights": leaf}`, without the scope of the net."""
    leaves = list_leaves(name, SLIM.find_net(name))
    return {f"{leaf.layer}/{(NORM_WORDS if leaf.kind is BatchNorm else WORDS)[leaf.word]}": leaf for leaf in leaves}


def name_as_ours(name: str, arrays: Arrays) -> Arrays:
    """TF-slim's arrays `{"InceptionV3/Conv2d_1a_3x3/weights": array}` under our paths and in our shapes.

    Unknown names of variables stay, for the message.
    """
    leaves, found, scope = slim_leaves(name), {}, f"{SCOPES[name]}/"
    for key, array in arrays.items():
        short = key.rpartition(scope)[2]
        if VARIABLE.search(key) and not short.startswith("AuxLogits/"):
            leaf = leaves.get(short)
            if leaf and leaf.kind is Linear and array.shape[:2] == (1, 1):  # a 1x1 convolution there
                array = array.reshape(*leaf.shape[:-1], array.shape[-1])
            found[leaf.path if leaf else key] = array
    return found


def from_tf_slim(
    name: str, arrays: Mapping[str, Any], *, num_classes: int | None = None, key: jax.Array | None = None
) -> tuple[Net, dict[str, Any]]:
    """A model and its variables from TF-slim's, by their names.

    Files (`model.ckpt`, `model.ckpt.index`, or .npz) are read by `zoo.pretrained`. The model has the fields that make
    it TF-slim's net. Its weights know class 0, "background", beside ImageNet's 1000; it is dropped, but for
    `num_classes=1001`.

    Args:
      name: the model; `zoo.weights.tf_slim.NETS` has those that TF-slim has.
      arrays: `{"InceptionV3/Conv2d_1a_3x3/weights": array}`, as `tf.train.load_checkpoint` gives them.
      num_classes: of the model, by default that of the weights; 0 gives one that returns features.
      key: initialises a new head, for another number of classes.

    Raises:
      UserError: TF-slim has no such net, or missing, unexpected or misshapen arrays, by our names, all in one list.
    """
    model = SLIM.make_model(name)
    ours = name_as_ours(name, {k: np.asarray(v) for k, v in arrays.items()})
    model, new, channels = fit_net(name, ours, model, num_classes)
    shape = find_image_shape(name, channels)
    return model, from_torch(name, ours, model=model, new=new, image_shape=shape, key=key)


SLIM = Origin("tf_slim", "TF-slim", NETS, name_as_ours)
