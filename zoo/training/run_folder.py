"""The run folder: what a training leaves behind, each file whole or absent.

    config.json             how the run was made: its `TrainConfig`, what is done to its images, the versions
    metrics.jsonl           one line an epoch
    checkpoint.safetensors  the whole training state after the last epoch, only while there are epochs to come
    curves.png              the picture of metrics.jsonl
    weights.safetensors     params and batch_stats; it comes last, so that only a finished run has it
    statistics.png          what `zoo stats` drew of the finished run, if it was asked

A file is written beside its place and renamed into it: whenever the process is killed, the old file or the
new one is there, never a piece of one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from tyro.conf import arg

from zoo.data import Preparation
from zoo.weights import files
from zoo.weights.files import write_whole


@dataclass(frozen=True)
class TrainConfig:
    """The recipe of a run: the same recipe gives the same losses and accuracies."""

    model: Annotated[str, arg(metavar="MODEL")]
    """Name of the net: `zoo list` has them all."""
    data: str = "digits"
    """Images to learn from: digits (shipped), or idx:FOLDER, a folder of the four files of MNIST's format."""
    epochs: int = 20
    """Times that every training image is seen."""
    batch_size: int = 64
    """Images in a step."""
    seed: int = 0
    """Decides the first weights, the order of the images and what dropout drops."""
    lr: float = 0.1
    """Highest learning rate: reached after a tenth of the steps, then falling to 0 along a cosine."""
    momentum: float = 0.9
    """Nesterov momentum of the gradient descent."""
    weight_decay: float = 5e-4
    """Pull of the kernels towards 0; biases and normalisations are left alone."""
    label_smoothing: float = 0.1
    """Share of each label spread evenly over all classes, in the losses of training and of test."""
    max_shift: int = 1
    """Training images are moved by up to so many of their pixels, at random."""
    image_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None
    """Side of the images the net sees: by default the data's own, or the net's if that is too small."""

    def check(self) -> None:
        """Raises a `ValueError` for a number that makes no sense, before anything is done with it."""
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "seed": (0 <= self.seed < 2**32, "from 0 to 2^32 - 1"),
            "lr": (0 < self.lr < math.inf, "positive"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "max_shift": (self.max_shift >= 0, "0 or more"),
            "image_size": (self.image_size is None or self.image_size >= 1, "at least 1"),
        }
        for name, (holds, range_) in rules.items():
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be {range_}.")


@dataclass(frozen=True)
class Epoch:
    """A line of metrics.jsonl. Losses are means over the images, with label smoothing; accuracies are shares.

    The training's are those of the steps, each before its update. The test's are taken after the epoch, once
    with the running statistics and once with those of the test batches. The speed is that of the training,
    compilation included.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    test_loss_running: float
    test_accuracy_running: float
    test_loss_batch: float
    test_accuracy_batch: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """A run folder, existing or to be made."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def picture(self) -> Path:
        return self.folder / "curves.png"

    @property
    def statistics(self) -> Path:
        return self.folder / "statistics.png"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    def check_free(self, *, overwrite: bool) -> None:
        """Raises `ValueError` where a new run would mix with, or destroy, what is there."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file: choose another --out.")
        if self.config.exists() and not overwrite:
            raise ValueError(
                f"{self.folder} holds a run already: choose another --out, replace it with --overwrite"
                + ("." if self.weights.exists() else f", or go on with it by `zoo resume {self.folder}`.")
            )
        if not self.config.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} holds other files and no run: choose another --out.")

    def start(self, config: TrainConfig, preparation: Preparation, num_classes: int, versions: Mapping) -> None:
        """Makes the folder and its config.json, after removing the files of a run to be overwritten."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in (self.weights, self.checkpoint, self.picture, self.statistics, self.metrics, self.config):
            old.unlink(missing_ok=True)
        record = {
            "config": asdict(config),
            "preparation": asdict(preparation),
            "num_classes": num_classes,
            "versions": dict(versions),
        }
        write_whole(self.config, lambda path: path.write_text(json.dumps(record, indent=2) + "\n"))

    def read(self) -> tuple[TrainConfig, Preparation, int]:
        """The config, the preparation and the number of classes in config.json.

        Raises:
          FileNotFoundError: there is no run in the folder.
          ValueError: config.json is damaged.
        """
        if not self.config.is_file():
            raise FileNotFoundError(f"No run in {str(self.folder)!r}: `zoo train MODEL --out {self.folder}` makes one.")
        try:
            record = json.loads(self.config.read_text())
            height, width, *scale = (record["preparation"][field.name] for field in fields(Preparation))
            preparation = Preparation(height, width, *map(tuple, scale))
            return TrainConfig(**record["config"]), preparation, int(record["num_classes"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self.config} is damaged ({error!r}): train again.") from error

    def write_metrics(self, history: list[Epoch]) -> None:
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in history)
        write_whole(self.metrics, lambda path: path.write_text(lines))


def save_tree(path: Path, tree: Any, metadata: Mapping[str, str]) -> None:
    """Writes the arrays of any pytree under their paths (`params/conv1/kernel`) as a safetensors file."""
    arrays = {name: np.asarray(_plain(leaf)) for name, leaf in _named(tree)}
    content = safetensors.numpy.save(arrays, dict(metadata))
    write_whole(path, lambda part: part.write_bytes(content))


def load_tree(path: Path, template: Any) -> Any:
    """The pytree whose arrays are in a safetensors file, in the form of `template` (arrays, or shapes but for keys).

    Raises:
      ValueError: the file is damaged, or its names, shapes or types are not those of the template.
    """
    arrays = files.read(path)
    wanted = {name: _plain(leaf) for name, leaf in _named(template)}
    kind = {name: (leaf.shape, leaf.dtype.name) for name, leaf in wanted.items()}
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if wrong := sorted(name for name in kind.keys() | found.keys() if kind.get(name) != found.get(name)):
        first = f"{wrong[0]} is {found.get(wrong[0], 'absent')}, not {kind.get(wrong[0], 'expected')}"
        raise ValueError(f"{path} does not fit the net in {len(wrong)} arrays: {first}.")
    leaves = [_keyed(jnp.asarray(arrays[name]), like=leaf) for name, leaf in _named(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _named(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """A random key as the integers it is made of; any other array as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _keyed(array: Any, *, like: Any) -> Any:
    return jax.random.wrap_key_data(array) if _is_key(like) else array
