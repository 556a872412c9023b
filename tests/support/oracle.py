"""The reference figures in `tests/fixtures` and the rule that makes their weights.

Every tensor is a function of its torch name and shape and, for running statistics, of one recorded integer, so that
no weights are stored. The figures come from float64 runs of torchvision, timm, pytorchcv and Cadene's collection.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parents[1] / "fixtures"


def tensor(name: str, shape, scale: int = 0) -> np.ndarray:
    """The value of the tensor called `name` (a state dict's key, or "input") of torch's `shape`, float32."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))  # frozen stream (NEP 19)
    shape, leaf = tuple(shape), name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        value = rng.uniform(0.5, 1.5, shape) * 4.0**scale
    elif leaf == "running_mean":
        value = rng.standard_normal(shape) * (0.1 * 2.0**scale)
    elif name == "input":
        value = rng.standard_normal(shape)
    elif leaf == "weight" and len(shape) > 1:  # filters sum to zero, so that padding mistakes stay visible
        fan_in = int(np.prod(shape[1:]))
        value = rng.standard_normal((shape[0], fan_in))
        if fan_in > 1:
            value -= value.mean(axis=1, keepdims=True)
        value *= np.sqrt(3.0 / fan_in)  # in place: VGG's is 0.8 GB
        value = value.reshape(shape)
    elif leaf == "weight":
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) * 0.1
    return value.astype(np.float32)


@dataclass(frozen=True)
class Record:
    """One network's figures and its state dict's keys."""

    figures: dict
    keys: list

    def state_dict(self) -> dict[str, np.ndarray]:
        scales = self.figures["bn_scale"]
        return {key: tensor(key, shape, scales.get(key.rpartition(".")[0], 0)) for key, shape in self.keys}

    def images(self, part: str) -> np.ndarray:
        """The input `[N, H, W, C]` of `part`: "eval", "eval_small" or "train"."""
        return tensor("input", self.figures[part]["input"]).transpose(0, 2, 3, 1)


def record(source: str) -> Record:
    """The record called `"torchvision/resnet18"`."""
    path = FIXTURES / f"{source}.json"
    figures = json.loads(path.read_text())
    keys = json.loads(gzip.decompress((path.parent / figures["state_dict"]).read_bytes()))
    return Record(figures, keys)
