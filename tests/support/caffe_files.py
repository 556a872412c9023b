"""Writes .caffemodel files by Google's protobuf, with the messages of caffe.proto that nets with weights have."""

from functools import cache
from pathlib import Path

import numpy as np

NUMBERS = {"float": 2, "double": 1, "int64": 3, "int32": 5, "string": 9, "enum": 5}  # of descriptor.proto
MESSAGES = {  # {message: {field: (number, type, repeated, packed)}}
    "BlobShape": {"dim": (1, "int64", True, True)},
    "BlobProto": {
        **{name: (i + 1, "int32", False, False) for i, name in enumerate(("num", "channels", "height", "width"))},
        "data": (5, "float", True, True),
        "shape": (7, "BlobShape", False, False),
        "double_data": (8, "double", True, True),
    },
    "LayerParameter": {
        **{"name": (1, "string", False, False), "type": (2, "string", False, False)},
        **{"bottom": (3, "string", True, False), "top": (4, "string", True, False)},
        "blobs": (7, "BlobProto", True, False),
        "phase": (10, "int32", False, False),
    },
    "V1LayerParameter": {
        **{"bottom": (2, "string", True, False), "top": (3, "string", True, False)},
        **{"name": (4, "string", False, False), "type": (5, "enum", False, False)},
        "blobs": (6, "BlobProto", True, False),
    },
    "NetParameter": {
        "name": (1, "string", False, False),
        "layers": (2, "V1LayerParameter", True, False),
        "input": (3, "string", True, False),
        "layer": (100, "LayerParameter", True, False),
    },
}
V1_NUMBERS = {"Convolution": 4, "Data": 5, "InnerProduct": 14, "ReLU": 18}


@cache
def net_parameter():
    """The class of the outermost message."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, repeated, packed) in fields.items():
            field = described.field.add(name=name, number=number, label=3 if repeated else 1)
            if kind in MESSAGES:
                field.type, field.type_name = 11, f".caffe.{kind}"
            else:
                field.type = NUMBERS[kind]
            if packed:
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def write(path: Path, layers: list[tuple[str, str, list[np.ndarray]]], *, old: bool = False) -> Path:
    """A net of `(name, type, blobs)`, in today's messages or in those of before 2015."""
    net = net_parameter()(name="net", input=["data"])
    for name, kind, blobs in layers:
        layer = net.layers.add(type=V1_NUMBERS[kind]) if old else net.layer.add(type=kind, phase=1)
        layer.name = name
        layer.bottom.append("below")
        layer.top.append(name)
        for array in blobs:
            blob = layer.blobs.add()
            (blob.double_data if array.dtype == np.float64 else blob.data).extend(array.ravel().tolist())
            if old:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
    path.write_bytes(net.SerializeToString())
    return path
