"""Caffe's `.caffemodel` files, without Caffe: a `NetParameter`, whose layers have blobs.

Layers are named as torch would: `conv1.weight`, `[K, C, H, W]` or `[K, C]`, and `conv1.bias`. Of a normalisation, which
in Caffe is a `BatchNorm` without and a `Scale` with parameters after it, both go by the first one's name,
`bn_conv1.running_mean`, `bn_conv1.weight`. The numbers of the fields are those of caffe.proto; before 2015 layers had
another message (`V1LayerParameter`), with numbers for types, and all blobs four axes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.weights.wire import Field, collect_fields, read_bytes, read_floats, read_integers, read_text

CAFFE_SUFFIX = ".caffemodel"
V1_TYPES = {4: "Convolution", 14: "InnerProduct"}
WEIGHTED = ("Convolution", "InnerProduct", "Scale")


class Layer(NamedTuple):
    """A layer with numbers: its name, its type, what it takes and gives, and its blobs."""

    name: str
    kind: str
    blobs: list[np.ndarray]


def read_caffemodel(path: Path) -> dict[str, np.ndarray]:
    """`{"conv1.weight": array}` of all layers.

    Raises:
      ValueError: it is no such file, or damaged.
    """
    arrays: dict[str, np.ndarray] = {}
    before = None
    for layer in _read_layers(memoryview(path.read_bytes())):
        name = layer.name
        if layer.kind == "Scale" and before and before.kind == "BatchNorm":
            name = before.name
        for key, array in _name_blobs(layer).items():
            if f"{name}.{key}" in arrays:
                raise ValueError(f"two arrays in it are {name}.{key}")
            arrays[f"{name}.{key}"] = array
        before = layer
    if not arrays:
        raise ValueError("it has no layers with weights, or is not a file of Caffe's")
    return arrays


def _read_layers(content: memoryview) -> Iterator[Layer]:
    """The layers that have blobs; a net of training carries one for each phase, of which one has them."""
    net = collect_fields(content)
    for old, values in ((True, net.get(2, [])), (False, net.get(100, []))):
        for value in values:
            fields = collect_fields(read_bytes(value))
            name, kind, blobs = (fields.get(n, []) for n in ((4, 5, 6) if old else (1, 2, 7)))
            if blobs and name:
                what = V1_TYPES.get(kind[0], str(kind[0])) if old and kind else read_text(kind[0]) if kind else ""
                yield Layer(read_text(name[0]), what, [_read_blob(blob) for blob in blobs])


def _read_blob(value: Field) -> np.ndarray:
    fields = collect_fields(read_bytes(value))
    array = read_floats(fields[5]) if 5 in fields else read_floats(fields.get(8, []), "<f8")
    if 7 in fields:
        shape = read_integers(collect_fields(read_bytes(fields[7][0])).get(1, []))
    else:
        shape = [int(fields.get(number, [1])[0]) for number in (1, 2, 3, 4)]
    if np.prod(shape, dtype=object) != array.size:
        raise ValueError(f"an array in it has {array.size} numbers, not the {'x'.join(map(str, shape))} that it says")
    return array.reshape(shape)


def _name_blobs(layer: Layer) -> dict[str, np.ndarray]:
    """By torch's words; blobs of unknown layers by their numbers."""
    if layer.kind == "BatchNorm" and len(layer.blobs) == 3 and layer.blobs[2].size == 1:
        mean, var, factor = (blob.ravel() for blob in layer.blobs)  # sums, and of how many
        scale = 0 if factor[0] == 0 else 1 / factor[0]
        return {"running_mean": mean * scale, "running_var": var * scale}
    if layer.kind in WEIGHTED and len(layer.blobs) <= 2:
        weight, *biases = layer.blobs
        if layer.kind == "InnerProduct":
            weight = weight.reshape(weight.shape[-2:])
        elif layer.kind == "Scale":
            weight = weight.ravel()
        return {"weight": weight, "bias": biases[0].ravel()} if biases else {"weight": weight}
    return {f"blobs.{number}": blob for number, blob in enumerate(layer.blobs)}
