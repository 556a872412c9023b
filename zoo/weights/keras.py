"""The applications of Keras that are nets of ours: their weights in and out.

Keras stores kernels as we do; what differs are the names of the layers and, in most nets, details of the net, which
are fields of ours (`zoo.weights.keras_applications`). Layers without a name are numbered in the order in which Keras
makes them, and that is the order in which our net calls them.

Running statistics go over as they are. Trained further here they follow the rule of `zoo.BatchNorm`; Keras keeps 0.99
of the old ones in a step, and takes the biased variance.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.errors import UserError
from zoo.layers import Conv, Linear
from zoo.layers.interception import intercept_calls, path_of
from zoo.models import registry
from zoo.models.net import Net
from zoo.norm import BatchNorm
from zoo.weights.files import read
from zoo.weights.hdf5 import KERAS_SUFFIXES
from zoo.weights.inspection import Arrays, check_variables, find_image_shape, init
from zoo.weights.keras_applications import APPLICATIONS, find_application, make_model
from zoo.weights.key_maps import Variables
from zoo.weights.state_dict import fit_net, from_torch

KERAS = "keras"  # what a converted file notes of its net
LEAVES = {"kernel": "kernel", "bias": "bias"}
NORM_LEAVES = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
NUMBERED = {Conv: "conv2d", BatchNorm: "batch_normalization"}


class Slot(NamedTuple):
    """Our place of an array of Keras's.

    Attributes:
      path, shape: ours.
      form: of the layer there. A dense kernel is `[H * W * C, K]`; a pointwise one, of our dense layer,
        `[1, 1, C, K]`; a depthwise one `[h, w, C, 1]`, ours `[h, w, 1, C]`.
    """

    path: str
    shape: tuple[int, ...]
    form: Literal["same", "dense", "pointwise", "depthwise"] = "same"

    def read(self, array: np.ndarray) -> np.ndarray:
        """Keras's array in our shape, with its own last axis; what cannot have it stays as it is."""
        if self.form == "depthwise":
            return array.swapaxes(2, 3) if array.ndim == len(self.shape) else array
        shape = (*self.shape[:-1], *array.shape[-1:])
        return array.reshape(shape) if self.form != "same" and array.size == np.prod(shape) else array

    def write(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `read`."""
        if self.form == "same" or array.ndim < 2:
            return array
        if self.form == "dense":
            return array.reshape(-1, array.shape[-1])
        return array.swapaxes(2, 3) if self.form == "depthwise" else array[None, None]


@cache
def keras_slots(name: str) -> dict[str, Slot]:
    """`{"conv1_conv/kernel": slot}` in the order in which the application makes its layers, and `get_weights` gives."""
    application = find_application(name)
    model = registry.create(name, num_classes=1, **application.fields)
    calls: dict[str, type] = {}

    def note(module: Any, _: Any, call: Callable[[], Any]) -> Any:
        calls[path_of(module)] = type(module)
        return call()

    with intercept_calls((Conv, Linear, BatchNorm), note):
        shapes = jax.eval_shape(partial(init, model, find_image_shape(name)), jax.random.key(0))
    leaves = flatten_dict(shapes, sep="/")
    slots: dict[str, Slot] = {}
    counts = dict.fromkeys(NUMBERED, 0)
    for path, kind in calls.items():
        layer = application.rename(path)
        if layer is None:
            layer = _number(NUMBERED[kind], counts[kind])
            counts[kind] += 1
        layer, _, only = layer.partition("/")
        names = NORM_LEAVES if kind is BatchNorm else LEAVES
        for leaf, theirs in names.items():
            ours = f"{'batch_stats' if leaf in ('mean', 'var') else 'params'}/{path}/{leaf}"
            if ours in leaves:
                shape = leaves[ours].shape
                form = _find_form(kind, shape, pointwise=path in application.pointwise)
                slots[f"{layer}/{only or theirs}"] = Slot(ours, shape, form)
    return slots


def _find_form(
    kind: type, shape: tuple[int, ...], *, pointwise: bool
) -> Literal["same", "dense", "pointwise", "depthwise"]:
    if kind is Linear:
        return "pointwise" if pointwise else "dense"
    return "depthwise" if kind is Conv and shape[2:3] == (1,) else "same"


def name_as_ours(name: str, arrays: Arrays, *, bgr: bool | None = None) -> Arrays:
    """Keras's arrays `{"conv1_conv/kernel": array}` under our paths and in our shapes; unknown names stay.

    `bgr` turns the first layer's kernels round, for images with red first; by default as `preprocess_input` has it.
    """
    slots, found = keras_slots(name), {}
    first = next(iter(slots))
    for key, array in _number_from_zero(arrays).items():
        if slot := slots.get(key) or slots.get(key.replace("/depthwise_kernel", "/kernel")):  # Keras 2 says it of all
            array = slot.read(array)
            if key == first and (APPLICATIONS[name].bgr if bgr is None else bgr):
                array = array[..., ::-1, :]
        found[slot.path if slot else key] = array
    return found


def from_keras(
    name: str,
    source: Any,
    *,
    num_classes: int | None = None,
    key: jax.Array | None = None,
    bgr: bool | None = None,
) -> tuple[Net, dict[str, Any]]:
    """A model and its variables from weights of the application of Keras that it is.

    The model has the fields that make it Keras's net: `("resnet50_v1", ...)` gives convolutions with biases.

    Args:
      name: the model; `zoo.weights.keras_applications.APPLICATIONS` has those that Keras has.
      source: a file that Keras wrote, `.h5`, `.weights.h5` or `.keras` (h5py reads it, Keras is not needed), or a
        model of Keras's.
      num_classes: of the model, by default that of the weights; 0 gives one that returns features.
      key: initialises a new head, for another number of classes.
      bgr: the weights want images with blue first: the first layer's kernels are turned round, so that ours take them
        with red first, as everywhere here. By default that is so where `preprocess_input` gives blue first: VGG and
        ResNet (v1), trained in Caffe. Pass False for weights trained on images with red first.

    Returns:
      `(model, variables)`, for `model.apply(variables, images, train=False)`: logits, where Keras's nets end in a
      softmax by default.

    Raises:
      UserError: Keras has no such net, or missing, unexpected or misshapen arrays, by our names, all in one list.
      FileNotFoundError: there is no such file.
      ModuleNotFoundError: h5py is needed and not installed.
    """
    arrays = _read(source) if isinstance(source, str | Path) else collect_arrays(source)
    arrays = name_as_ours(name, arrays, bgr=bgr)
    model, new, channels = fit_net(name, arrays, make_model(name), num_classes)
    shape = find_image_shape(name, channels)
    return model, from_torch(name, arrays, model=model, new=new, image_shape=shape, key=key)


def to_keras(name: str, variables: Variables, *, bgr: bool | None = None) -> dict[str, list[np.ndarray]]:
    """`{layer: arrays}` for Keras's application, the inverse of `from_keras`.

    Each list is what the layer's `set_weights` takes: `for layer, arrays in zoo.to_keras(name, variables).items():
    net.get_layer(layer).set_weights(arrays)`. Layers that Keras numbers have these names in a net that was made after
    `keras.utils.clear_session()`.

    Args:
      name: the model.
      variables: those of the model with Keras's fields, as `from_keras` and `make_model` give it.
      bgr: as in `from_keras`.

    Raises:
      UserError: Keras has no such net, or the variables are not those of its net.
    """
    leaves = flatten_dict(dict(variables), sep="/")
    slots = keras_slots(name)
    head = leaves.get(f"params/{registry.variant(name).head}/kernel")
    classes = 0 if head is None else head.shape[-1]
    check_variables(name, variables, make_model(name).clone(num_classes=classes))
    turned = APPLICATIONS[name].bgr if bgr is None else bgr
    layers: dict[str, list[np.ndarray]] = {}
    for key, slot in slots.items():
        if slot.path in leaves:
            array = np.asarray(leaves[slot.path])
            if not layers and turned:
                array = array[..., ::-1, :]
            layers.setdefault(key.rpartition("/")[0], []).append(np.array(slot.write(array), order="C"))
    return layers


def _read(source: str | Path) -> Arrays:
    path = Path(source).expanduser()
    if path.suffix not in KERAS_SUFFIXES:
        raise UserError(f"{path}: Keras's files end in {', '.join(KERAS_SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}.")
    return read(path)


def collect_arrays(net: Any) -> Arrays:
    """`{"conv1_conv/kernel": array}` of a model of Keras's, and of the models in it."""
    if not hasattr(net, "layers"):
        raise TypeError(f"from_keras takes a file or a model of Keras's, got {type(net).__name__}.")
    found: Arrays = {}
    for layer in net.layers:
        if hasattr(layer, "layers"):
            found |= collect_arrays(layer)
        else:
            for weight in layer.weights:
                leaf = weight.name.rpartition("/")[2].partition(":")[0]
                array = np.asarray(weight.numpy() if hasattr(weight, "numpy") else weight)
                if jnp.issubdtype(array.dtype, jnp.floating):
                    found[f"{layer.name}/{leaf}"] = array
    return found


def _number(kind: str, count: int) -> str:
    return f"{kind}_{count}" if count else kind


def _number_from_zero(arrays: Arrays) -> Arrays:
    """Numbered layers as in a new session: `conv2d_94` of a net that was not the first is `conv2d`."""
    numbered = re.compile(rf"({'|'.join(NUMBERED.values())})(?:_(\d+))?")
    layers = {key.rpartition("/")[0] for key in arrays}
    renamed: dict[str, str] = {}
    for kind in NUMBERED.values():
        found = sorted((int(m[2] or 0), m[0]) for m in map(numbered.fullmatch, layers) if m and m[1] == kind)
        renamed |= {layer: _number(kind, count) for count, (_, layer) in enumerate(found)}

    def rename(key: str) -> str:
        layer, _, leaf = key.rpartition("/")
        return f"{renamed.get(layer, layer)}/{leaf}"

    return {rename(key): array for key, array in arrays.items()}
