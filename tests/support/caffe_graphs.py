"""Nets as they were published for Caffe: the `onnx` wheel carries their graphs without weights, onnxruntime runs them.

`inception_v1` and `inception_v2` are the Caffe model zoo's, `resnet50` is Caffe2's, with the stride in the 3x3.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from zoo.models.layout import Layout

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LEAVES = (
    (r"/bn\.weight$", "/bn/sc_w_0"),  # Caffe's normalisation has no weights, the Scale after it has
    (r"/bn\.bias$", "/bn/sc_b_0"),
    (r"/bn\.running_(mean|var)$", r"/bn_\1_0"),
    (r"_bn\.weight$", "_bn_s_0"),
    (r"\.running_mean$", "_rm_0"),
    (r"\.running_var$", "_riv_0"),
    (r"\.weight$", "_w_0"),
    (r"\.bias$", "_b_0"),
)
INCEPTION_V1 = Layout(
    (
        (r"\.conv$", ""),
        (r"^conv1$", "conv1/7x7_s2"),
        (r"^conv2$", "conv2/3x3_reduce"),
        (r"^conv3$", "conv2/3x3"),
        (r"^inception(\d\w)\.", r"inception_\1/"),
        (r"/branch1$", "/1x1"),
        (r"/branch2\.0$", "/3x3_reduce"),
        (r"/branch2\.1$", "/3x3"),
        (r"/branch3\.0$", "/5x5_reduce"),
        (r"/branch3\.1$", "/5x5"),
        (r"/branch4$", "/pool_proj"),
        (r"^fc$", "loss3/classifier"),
    )
)
INCEPTION_V2 = Layout(
    (
        (r"\.conv$", ""),
        (r"\.bn$", "/bn"),
        (r"^(conv\d)_", r"\1/"),
        (r"^(inception_\d\w)\.", r"\1/"),
        (r"3x3\.0", "3x3_reduce"),
        (r"/3x3\.1", "/3x3"),
        (r"/double_3x3\.1", "/double3x3a"),
        (r"/double_3x3\.2", "/double3x3b"),
        (r"/double_", "/double"),
        (r"^fc$", "loss3/classifier"),
    )
)
RESNET50 = Layout(
    (
        (r"^conv1$", "gpu_0/conv1"),
        (r"^bn1$", "gpu_0/res_conv1_bn"),
        (r"^fc$", "gpu_0/pred"),
        (r"\.downsample\.0$", "_branch1"),
        (r"\.downsample\.1$", "_branch1_bn"),
        *((rf"\.conv{i}$", f"_branch2{letter}") for i, letter in enumerate("abc", 1)),
        *((rf"\.bn{i}$", f"_branch2{letter}_bn") for i, letter in enumerate("abc", 1)),
        *((rf"^layer{i}\.", f"gpu_0/res{i + 1}_") for i in range(1, 5)),
    )
)
GRAPHS = {
    "inception_v1": ("googlenet_2014", INCEPTION_V1),
    "inception_v2": ("inception_v2", INCEPTION_V2),
    "resnet50": ("resnet50", RESNET50),
}


def run(graph: str, state: Mapping[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """Logits `[1, K]` of the graph.

    Args:
      graph: `"inception_v1"`, ...
      state: all its weights, and no others, as a state dict in the layout beside the graph's name.
      image: `[1, 224, 224, 3]`.
    """
    model = onnx.load(FOLDER / f"light_{graph}.onnx")
    _restore_pools(model.graph)
    arrays = {_rename(key): array for key, array in state.items()}
    arrays |= {k.replace("/bn/sc_w_", "/bn_scale_"): np.ones_like(v) for k, v in arrays.items() if "/sc_w_" in k}
    arrays |= {k.replace("/bn/sc_b_", "/bn_bias_"): np.zeros_like(v) for k, v in arrays.items() if "/sc_b_" in k}
    _set_weights(model, arrays)
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    model.graph.output[0].name = softmax.input[0]
    model.graph.node.remove(softmax)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (data,) = session.get_inputs()
    (logits,) = session.run(None, {data.name: np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
    return logits


def _rename(key: str) -> str:
    for pattern, replacement in LEAVES:
        key = re.sub(pattern, replacement, key)
    return key


def _set_weights(model, arrays: Mapping[str, np.ndarray]) -> None:
    """In the place of the shapes that the file has for them; small ones it keeps."""
    graph = model.graph
    fills = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    reads = {name for node in graph.node if node not in fills for name in node.input}
    kept = {t.name: t for t in graph.initializer if t.name in reads}
    shapes = {n: t for n, t in kept.items() if t.data_type == onnx.TensorProto.INT64}
    names = {node.output[0] for node in fills} | (kept.keys() - shapes.keys())
    assert names == arrays.keys(), sorted(names ^ arrays.keys())
    for node in fills:
        graph.node.remove(node)
    del graph.initializer[:]
    graph.initializer.extend(shapes.values())
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    inputs = [value for value in graph.input if value.name.endswith("data_0")]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = 4  # from which on weights need not be inputs too


def _restore_pools(graph) -> None:
    """What the exporters lost of Caffe's pools: they round up, and averages count the padding.

    At even sizes rounding up is a column of padding, as it is written in `inception_v2`; in `inception_v1` there is
    none, and the last pool is padded to make up for it.
    """
    for node in graph.node:
        attributes = {a.name: a for a in node.attribute}
        if node.op_type == "MaxPool" and list(attributes["strides"].ints) == [2, 2]:
            if not any(attributes["pads"].ints):
                attributes["pads"].ints[:] = [0, 0, 1, 1]
        elif node.op_type == "AveragePool" and list(attributes["kernel_shape"].ints) == [3, 3]:
            node.attribute.append(onnx.helper.make_attribute("count_include_pad", 1))
        elif node.op_type == "AveragePool" and "pads" in attributes:
            attributes["pads"].ints[:] = [0, 0, 0, 0]
