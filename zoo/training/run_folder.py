"""The run folder: what a training leaves behind, each file whole or absent.

    config.json             how the run was made: its `TrainConfig`, what is done to its images, the versions
    metrics.jsonl           one line per epoch
    checkpoint.safetensors  the whole training state after the last epoch, only while there are epochs to come
    curves.png              the plot of metrics.jsonl
    weights.safetensors     params and batch_stats; only a finished run has it
    statistics.png          what `zoo stats` drew of the finished run, if it was asked

A file is written beside its place and renamed into it: whenever the process is killed, the old file or the new one is
there, never a piece of one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from zoo.data import Preprocessing
from zoo.data.preprocessing import preprocessing_of_fields
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.training.checkpoint import load_tree
from zoo.training.metrics import Epoch
from zoo.training.recipe import TrainConfig
from zoo.training.step import TrainState, create_train_state
from zoo.weights.files import write_whole


@dataclass(frozen=True)
class RunRecord:
    """What config.json holds.

    Attributes:
      config: the recipe.
      preprocessing: what is done to its images.
      num_classes: of its data.
      own: what the caller passed in the place of the recipe's: "splits", "tx".
      versions: of the libraries, and the device.
    """

    config: TrainConfig
    preprocessing: Preprocessing
    num_classes: int
    own: tuple[str, ...] = ()
    versions: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Trained:
    """A finished run: its record, the trained net, and a state that holds both for evaluation."""

    record: RunRecord
    model: Net
    state: TrainState


class RunFolder:
    """A run folder, existing or to be made."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config_path = self.folder / "config.json"
        self.metrics_path = self.folder / "metrics.jsonl"
        self.checkpoint_path = self.folder / "checkpoint.safetensors"
        self.curves_path = self.folder / "curves.png"
        self.weights_path = self.folder / "weights.safetensors"
        self.statistics_path = self.folder / "statistics.png"

    def check_free(self, *, overwrite: bool) -> None:
        """Raises `UserError` where a new run would mix with, or destroy, what is there."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file", "pass another folder", code="folder-taken")
        if self.config_path.exists() and not overwrite:
            remedy = "pass another folder, or overwrite=True to replace it"
            if self.weights_path.exists():
                raise UserError(f"{self.folder} holds a finished run", remedy, code="finished-run-exists")
            raise UserError(
                f"{self.folder} holds an interrupted run",
                f"{remedy}, or zoo.training.resume to continue it",
                code="interrupted-run-exists",
                folder=self.folder,
            )
        if not self.config_path.exists() and any(self.folder.iterdir()):
            raise UserError(
                f"{self.folder} holds other files and not a run", "pass another folder", code="folder-taken"
            )

    def start(self, record: RunRecord) -> None:
        """Makes the folder and its config.json, after removing the files of a run to be overwritten."""
        self.folder.mkdir(parents=True, exist_ok=True)
        old_paths = (self.weights_path, self.checkpoint_path, self.curves_path, self.statistics_path, self.metrics_path)
        for old in (*old_paths, self.config_path):
            old.unlink(missing_ok=True)
        text = json.dumps(asdict(record), indent=2) + "\n"
        write_whole(self.config_path, lambda path: path.write_text(text))

    def read(self) -> RunRecord:
        """What config.json holds.

        Raises:
          UserError: there is no run in the folder, or config.json is damaged.
        """
        if not self.config_path.is_file():
            raise UserError(f"no run in {str(self.folder)!r}", "zoo.fit makes one", code="no-run", folder=self.folder)
        try:
            values = json.loads(self.config_path.read_text())
            return RunRecord(
                TrainConfig(**values["config"]),
                preprocessing_of_fields(values["preprocessing"]),
                int(values["num_classes"]),
                tuple(values["own"]),
                values["versions"],
            )
        except UserError as error:
            raise UserError(f"{self.config_path}: {error.problem}", error.remedy) from error
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.config_path} is damaged ({error!r})", "train again") from error

    def write_metrics(self, history: Sequence[Epoch]) -> None:
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in history)
        write_whole(self.metrics_path, lambda path: path.write_text(lines))

    def restore(self) -> Trained:
        """The trained net of a finished run.

        Raises:
          UserError: there is no run, it is not finished, or a file of it is damaged.
        """
        record = self.read()
        if not self.weights_path.exists():
            raise UserError(
                f"{self.folder} is not finished",
                "zoo.training.resume continues it",
                code="interrupted-run",
                folder=self.folder,
            )
        model = registry.create(record.config.model, num_classes=record.num_classes)
        key, tx, image_shape = jax.random.key(0), optax.identity(), record.preprocessing.image_shape
        shapes = jax.eval_shape(lambda key: create_train_state(model, key, tx, image_shape), key)
        variables = load_tree(self.weights_path, shapes.variables)
        return Trained(record, model, shapes.replace(**variables, key=key, step=jnp.zeros((), jnp.int32)))
