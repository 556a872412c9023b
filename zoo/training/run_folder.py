"""The run folder: what a training leaves behind, each file whole or absent.

    config.json             how the run was made: its `TrainConfig`, what is done to its images, the versions
    metrics.jsonl           one line per epoch, and per so many steps if the recipe says so
    checkpoint_*            the whole training state, only while there are steps to come: see `zoo.training.checkpoints`
    tensorboard             the metrics for TensorBoard, if the recipe says so
    curves.png              the plot of metrics.jsonl
    weights.safetensors     params and batch_stats; only a finished run has it
    statistics.png          what `zoo stats` drew of the run, if it was asked
    confusion.png           what `zoo eval` drew, and mistakes.png
    lock                    who is training in it, only while somebody is

A file is written beside its place and renamed into it: whenever the process is killed, the old file or the new one is
there, never a piece of one. All but the plots carry a digest that is checked when they are read.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from zoo.data import Preprocessing
from zoo.data.preprocessing import preprocessing_of_fields
from zoo.errors import UserError
from zoo.models.net import Net
from zoo.training import lock
from zoo.training.checkpoint import load_tree
from zoo.training.checkpoints import NAME, Checkpoints, Position
from zoo.training.metrics import Epoch, Step
from zoo.training.recipe import TrainConfig, make_model
from zoo.training.signed_json import sign, verify
from zoo.training.state import TrainState, create_train_state
from zoo.weights.whole_files import write_whole


@dataclass(frozen=True)
class RunRecord:
    """What config.json holds.

    Attributes:
      config: the recipe.
      preprocessing: what is done to its images.
      num_classes: of its data.
      own: what the caller passed in the place of the recipe's: "splits", "tx".
      versions: of the libraries, and the device.
      class_names: of its data, if they have names.
      new: paths of the modules that its trained weights did not bring, and that started at random.
      diverged: where its numbers stopped being numbers, if they did: the same recipe would do the same again.
    """

    config: TrainConfig
    preprocessing: Preprocessing
    num_classes: int
    own: tuple[str, ...] = ()
    versions: Mapping[str, str] | None = None
    diverged: str | None = None
    class_names: tuple[str, ...] | None = None
    new: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A run that can be evaluated.

    Attributes:
      record: how it was made.
      model: the trained net.
      state: a state that holds the net and its variables.
      history: one `Epoch` per epoch done.
      finished: False where the variables are those of a checkpoint, because epochs are to come.
    """

    record: RunRecord
    model: Net
    state: TrainState
    history: list[Epoch]
    finished: bool


class RunFolder:
    """A run folder, existing or to be made."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config_path = self.folder / "config.json"
        self.metrics_path = self.folder / "metrics.jsonl"
        self.checkpoints = Checkpoints(self.folder)
        self.tensorboard_path = self.folder / "tensorboard"
        self.curves_path = self.folder / "curves.png"
        self.weights_path = self.folder / "weights.safetensors"
        self.statistics_path = self.folder / "statistics.png"
        self.confusion_path = self.folder / "confusion.png"
        self.mistakes_path = self.folder / "mistakes.png"
        self.lock_path = self.folder / "lock"

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
        leftovers = {
            self.lock_path,
            *self._list_parts(),
            *self.checkpoints.find_unfinished(),
        }  # of a start that was killed
        if not self.config_path.exists() and set(self.folder.iterdir()) - leftovers:
            raise UserError(
                f"{self.folder} holds other files and not a run", "pass another folder", code="folder-taken"
            )

    def check_unlocked(self) -> None:
        """Raises `UserError` where somebody is training in the folder."""
        lock.check_free(self.lock_path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder, keeps others from training in it, and clears away what a killed owner half wrote.

        Raises:
          UserError: somebody else is training in it, or it cannot be written.
        """
        with lock.hold(self.lock_path):
            for part in self._list_parts():
                part.unlink()
            self.checkpoints.remove_unfinished()
            yield

    def _list_parts(self) -> list[Path]:
        """Files of ours that were being written when their process was killed."""
        names = {path.name for path in vars(self).values() if isinstance(path, Path) and path != self.folder}
        parts = {path: path.name.rsplit(".", 2)[0] for path in self.folder.glob("*.part")}
        return [path for path, name in parts.items() if name in names or NAME.fullmatch(name)]

    def start(self, record: RunRecord) -> None:
        """Writes config.json, after removing the other files of a run to be overwritten."""
        self.checkpoints.remove()
        for old in (
            self.weights_path,
            self.curves_path,
            self.statistics_path,
            self.confusion_path,
            self.mistakes_path,
            self.metrics_path,
        ):
            old.unlink(missing_ok=True)
        shutil.rmtree(self.tensorboard_path, ignore_errors=True)
        self.write_record(record)

    def write_record(self, record: RunRecord) -> None:
        text = json.dumps(sign(asdict(record)), indent=2, allow_nan=False) + "\n"
        write_whole(self.config_path, lambda path: path.write_text(text))

    def read(self) -> RunRecord:
        """What config.json holds.

        Raises:
          UserError: there is no run in the folder, or config.json is damaged.
        """
        if not self.config_path.is_file():
            raise UserError(f"no run in {str(self.folder)!r}", "zoo.fit makes one", code="no-run", folder=self.folder)
        try:
            values = verify(self.config_path.read_text(encoding="utf-8"), indent=2, end="\n")
            if unknown := values.keys() - {field.name for field in fields(RunRecord)}:
                raise ValueError(f"unknown {', '.join(sorted(unknown))}")
            return RunRecord(
                TrainConfig(**values["config"]),
                preprocessing_of_fields(values["preprocessing"]),
                int(values["num_classes"]),
                tuple(values["own"]),
                values["versions"],
                values.get("diverged"),
                None if values.get("class_names") is None else tuple(values["class_names"]),
                tuple(values.get("new", ())),
            )
        except UserError as error:
            raise UserError(f"{self.config_path}: {error.problem}", error.remedy) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{self.config_path} is damaged ({error!r})", "train again") from error

    def write_metrics(self, history: Sequence[Epoch], steps: Sequence[Step] = ()) -> None:
        """A line a row: an epoch's after those of its steps."""
        rows: list[Epoch | Step] = sorted([*steps, *history], key=lambda row: row.epoch)
        lines = "".join(json.dumps(sign(asdict(row)), allow_nan=False) + "\n" for row in rows)
        write_whole(self.metrics_path, lambda path: path.write_text(lines))

    def read_metrics(self) -> list[Epoch]:
        """The epochs of metrics.jsonl; none before the first is done.

        Raises:
          UserError: metrics.jsonl is damaged.
        """
        if not self.metrics_path.exists():
            return []
        try:
            lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
            values = [verify(line) for line in lines[:-1]]
            rows = [Epoch(**row) for row in values if "step" not in row]
            if lines[-1] or [row.epoch for row in rows] != list(range(1, len(rows) + 1)):
                raise ValueError("a line is missing")
        except UserError as error:
            raise UserError(f"{self.metrics_path}: {error.problem}", error.remedy) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{self.metrics_path} is damaged ({error!r})", "remove it") from error
        return rows

    def load_checkpoint(self, template: TrainState) -> tuple[TrainState, Position]:
        """The last checkpoint that can be read, or the state that is given where there is none yet.

        Raises:
          UserError: none can be read, or it does not fit.
        """
        return self.checkpoints.load(template) if self.checkpoints.find_all() else (template, Position())

    def restore(self) -> Trained:
        """The trained net of a finished run, or of an unfinished one as its last checkpoint has it.

        Raises:
          UserError: there is no run, it has no checkpoint yet, or a file of it is damaged.
        """
        record, finished = self.read(), self.weights_path.exists()
        if not finished and not self.checkpoints.find_all():
            raise UserError(
                f"{self.folder} is not finished, and has no checkpoint yet",
                "zoo.training.resume continues it",
                code="interrupted-run",
                folder=self.folder,
            )
        model = make_model(record.config, record.num_classes)
        key, tx, image_shape = jax.random.key(0), optax.identity(), record.preprocessing.image_shape
        shapes = jax.eval_shape(lambda key: create_train_state(model, key, tx, image_shape), key)
        averaged = "" if finished or record.config.ema_decay is None else "ema_"
        template = {f"{averaged}{name}": shape for name, shape in shapes.variables.items()}
        if finished:
            loaded, history = load_tree(self.weights_path, template), self.read_metrics()
        else:
            loaded, position = self.checkpoints.load(template, parts=template)
            history = position.history
        variables = {name.removeprefix(averaged): tree for name, tree in loaded.items()}
        state = shapes.replace(**variables, key=key, step=jnp.zeros((), jnp.int32))
        return Trained(record, model, state, history, finished)
