"""Caffe's nets that are ours, by the names of their layers in the published prototxt files.

Their weights want blue first: the first layer's kernels are turned round, so that ours take red first, as everywhere
here. ResNet-50's first convolution has a bias before its normalisation, which is taken off the running mean instead.
"""

import re
from functools import cache, partial

import numpy as np

from zoo.data.preprocessing import PRESETS, Preprocessing
from zoo.layers import Linear
from zoo.models.residual import pool_as_caffe
from zoo.models.resnet import Bottleneck
from zoo.models.vgg import D, E
from zoo.weights.foreign import ForeignNet, Leaf, Origin, list_leaves
from zoo.weights.inspection import Arrays
from zoo.weights.key_maps import LEAVES

MEAN = (123.0, 117.0, 104.0)  # of BVLC's nets; in caffe's order 104, 117, 123


def name_alexnet(paths: list[str]) -> list[str]:
    """As here."""
    return paths


def name_vgg(paths: list[str], depths: tuple[int, ...]) -> list[str]:
    """Convolutions are numbered within a stage."""
    stages = [f"conv{stage + 1}_{i + 1}" for stage, depth in enumerate(depths) for i in range(depth)]
    return [name for _, name in zip(paths, [*stages, "fc6", "fc7", "fc8"], strict=True)]


def name_googlenet(paths: list[str]) -> list[str]:
    """As in figure 3 of the paper."""
    kinds = {"1": "1x1", "2_0": "3x3_reduce", "2_1": "3x3", "3_0": "5x5_reduce", "3_1": "5x5", "4": "pool_proj"}
    rules = (
        ("^conv1/conv$", "conv1/7x7_s2"),
        ("^conv2/conv$", "conv2/3x3_reduce"),
        ("^conv3/conv$", "conv2/3x3"),
        (r"^inception(..)/branch(\w+)/conv$", lambda m: f"inception_{m[1]}/{kinds[m[2]]}"),
        (r"^aux(\d)/conv/conv$", r"loss\1/conv"),
        (r"^aux(\d)/fc1$", r"loss\1/fc"),
        (r"^aux(\d)/fc2$", r"loss\1/classifier"),
        ("^fc$", "loss3/classifier"),
    )
    return [_rewrite(path, rules) for path in paths]


def name_resnet(paths: list[str], *, numbered: bool) -> list[str]:
    """Blocks are lettered, but in the long stages of the deeper nets `a`, `b1`, `b2` and so on."""

    def block(m: re.Match[str]) -> str:
        stage, i = int(m[1]) + 1, int(m[2])
        letter = f"b{i}" if numbered and stage in (3, 4) and i else chr(ord("a") + i)
        return f"{stage}{letter}_branch"

    rules = (
        (r"^layer(\d)_(\d+)/", block),
        (r"^(.*)downsample_0$", r"res\g<1>1"),
        (r"^(.*)downsample_1$", r"bn\g<1>1"),
        (r"^(.*_branch)conv(\d)$", lambda m: f"res{m[1]}2{'abc'[int(m[2]) - 1]}"),
        (r"^(.*_branch)bn(\d)$", lambda m: f"bn{m[1]}2{'abc'[int(m[2]) - 1]}"),
        ("^bn1$", "bn_conv1"),
        ("^fc$", "fc1000"),
    )
    return [_rewrite(path, rules) for path in paths]


def _rewrite(path: str, rules: tuple[tuple[str, object], ...]) -> str:
    for pattern, replacement in rules:
        path = re.sub(pattern, replacement, path)  # type: ignore[call-overload]
    return path


def prepare(size: int, mean: tuple[float, ...] = PRESETS["caffe"].mean) -> Preprocessing:
    """`[0, 255]` minus the mean, of the middle of 256 pixels."""
    return Preprocessing(size, size / 256, mean, (1.0, 1.0, 1.0), 255.0)


V1 = {"block": partial(Bottleneck, stride_in_1x1=True), "pool": pool_as_caffe}
DEEP = partial(name_resnet, numbered=True)
NETS = {
    "alexnet_2012": ForeignNet(name_alexnet, prepare(227, MEAN), {"alpha": 1e-4 / 5, "k": 1.0}),
    "googlenet_2014": ForeignNet(name_googlenet, prepare(224, MEAN)),
    "vgg16": ForeignNet(partial(name_vgg, depths=D), prepare(224)),
    "vgg19": ForeignNet(partial(name_vgg, depths=E), prepare(224)),
    "resnet50_v1": ForeignNet(partial(name_resnet, numbered=False), prepare(224), V1),
    "resnet101": ForeignNet(DEEP, prepare(224), V1),
    "resnet152": ForeignNet(DEEP, prepare(224), V1),
}


@cache
def caffe_leaves(name: str) -> dict[str, Leaf]:
    """`{"conv1.weight": leaf}`, in the order of the calls."""
    return {f"{leaf.layer}.{LEAVES[leaf.word]}": leaf for leaf in list_leaves(name, CAFFE.find_net(name))}


def name_as_ours(name: str, arrays: Arrays) -> Arrays:
    """Caffe's arrays `{"conv1.weight": array}` under our paths and in our shapes; unknown names stay."""
    leaves = caffe_leaves(name)
    first = next(key for key in leaves if key.endswith(".weight"))
    found: Arrays = {}
    for key, array in _drop_superfluous_bias(arrays, leaves).items():
        leaf = leaves.get(key)
        if key == first and array.ndim == 4:
            array = array[:, ::-1]
        found[leaf.path if leaf else key] = _reorder(array, leaf) if leaf else array
    return found


def _reorder(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    """`[K, C, H, W]` as `[H, W, C, K]`, and what a dense layer makes of a flattened map."""
    if leaf.kind is Linear and array.ndim == 2 and len(leaf.shape) == 4:
        height, width, channels, _ = leaf.shape
        if array.shape[1] == height * width * channels:
            array = array.reshape(-1, channels, height, width)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _drop_superfluous_bias(arrays: Arrays, leaves: dict[str, Leaf]) -> Arrays:
    """A bias before a normalisation moves its mean, and nothing else."""
    bias, mean = (arrays.get(key) for key in ("conv1.bias", "bn_conv1.running_mean"))
    if "conv1.bias" in leaves or bias is None or mean is None or bias.shape != mean.shape:
        return arrays
    kept = {key: array for key, array in arrays.items() if key != "conv1.bias"}
    return kept | {"bn_conv1.running_mean": mean - bias}


CAFFE = Origin("caffe", "Caffe", NETS, name_as_ours)
