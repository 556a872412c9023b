"""The checkpoints in a run folder: which there are, which of them is believed, and which are kept.

    checkpoint_0007.safetensors        after epoch 7
    checkpoint_0007_00120.safetensors  after step 120 of the epoch after it
    checkpoint_0007_00120.json         the same, where several processes have a part of the arrays each, which lie in
    checkpoint_0007_00120              this folder (`zoo.training.sharded_checkpoint`)

Each holds everything: the arrays of the training state, and as metadata how far the run is and its recipe.
"""

import json
import re
import shutil
import warnings
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo.training.checkpoint import load_tree
from zoo.training.metrics import Epoch, EpochSums, Step, find_best
from zoo.training.recipe import TrainConfig
from zoo.training.sharded_checkpoint import LIST, folder_of, read_list, write_list
from zoo.weights import read_metadata
from zoo.weights.files import UNREADABLE, write_arrays

NAME = re.compile(r"checkpoint_(\d+)(?:_(\d+))?(?:\.safetensors|\.json)")
FOLDER = re.compile(r"checkpoint_\d+(?:_\d+)?(?:\.orbax.*)?")


@dataclass(frozen=True)
class Position:
    """How far a run is: its whole epochs, the sums of the one after them, and the steps that were noted."""

    history: list[Epoch] = field(default_factory=list)
    sums: EpochSums = field(default_factory=lambda: EpochSums(1))
    steps: list[Step] = field(default_factory=list)

    def __str__(self) -> str:
        if self.sums.steps:
            return f"after step {self.sums.steps} of epoch {self.sums.epoch}"
        return f"after epoch {len(self.history)}" if self.history else "from its start"


class Checkpoints:
    """Those of the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_all(self) -> list[Path]:
        """Their paths, the one that came farthest last."""
        return sorted((path for path in self.folder.glob("checkpoint_*") if NAME.fullmatch(path.name)), key=_order)

    def find_unfinished(self) -> list[Path]:
        """Folders of arrays whose list was never written."""
        folders = (path for path in self.folder.glob("checkpoint_*") if FOLDER.fullmatch(path.name) and path.is_dir())
        return sorted(path for path in folders if not path.with_suffix(LIST).exists())

    def path_after(self, epoch: int, step: int = 0, suffix: str = ".safetensors") -> Path:
        """Where that after a whole epoch lies, or that after a step of the next epoch."""
        return self.folder / f"checkpoint_{epoch:04}{f'_{step:05}' if step else ''}{suffix}"

    def write(self, arrays: Mapping[str, np.ndarray], position: Position, recipe: TrainConfig, keep: int) -> None:
        """Writes one, and then removes all but the last `keep` and that of the best epoch.

        What is farther than this one goes too: the run did not go on from there, because it could not be read.

        Raises:
          OSError: it cannot be written; all that were there are there.
        """
        path = self.path_after(len(position.history), position.sums.steps)
        metadata = {"position": asdict(position), "recipe": asdict(recipe)}
        write_arrays(path, arrays, {name: json.dumps(values, allow_nan=False) for name, values in metadata.items()})
        self._remove_old(position, keep)

    def write_shards(
        self, path: Path, shapes: Mapping[str, Any], position: Position, recipe: TrainConfig, keep: int
    ) -> None:
        """Believes in a folder whose arrays are all written, and then removes others as `write`.

        Raises:
          OSError: its list cannot be written.
        """
        write_list(path, {"position": asdict(position), "recipe": asdict(recipe), "arrays": shapes})
        self._remove_old(position, keep)

    def _remove_old(self, position: Position, keep: int) -> None:
        present, last = self.find_all(), (len(position.history), position.sums.steps)
        kept = [order for order in map(_order, present) if order <= last][-keep:]
        if position.history:
            kept.append((find_best(position.history).epoch, 0))
        for one in present:
            if _order(one) not in kept:
                _remove(one)

    def load(self, template: Any, *, parts: Container[str] | None = None) -> tuple[Any, Position]:
        """The state, as `load_tree` gives it, and the position of the last checkpoint that can be read.

        What was passed over is a warning.

        Raises:
          UserError: none can be read; or the last readable one does not fit, or is of another version.
          FileNotFoundError: there is none.
        """
        unreadable: list[UserError] = []
        for path in reversed(self.find_all()):
            try:
                tree, position = load_tree(path, template, parts=parts), _read_position(path)
            except FileNotFoundError:  # the training under way has removed it since
                return self.load(template, parts=parts)
            except UserError as error:
                if error.code != UNREADABLE:
                    raise
                unreadable.append(error)
                continue
            for one in unreadable:
                warnings.warn(f"{one.problem}: {path.name} is used instead, {position}", stacklevel=2)
            return tree, position
        if not unreadable:
            raise FileNotFoundError(f"{self.folder} has no checkpoint.")
        remedy = "no other checkpoint can be read either; remove them all, and the run is resumed from its start"
        raise UserError(unreadable[0].problem, remedy) from unreadable[0]

    def load_epoch(self, epoch: int, template: Any, *, parts: Container[str]) -> Any:
        """Parts of the state after a whole epoch.

        Raises:
          UserError, FileNotFoundError: it cannot be read, or is not there.
        """
        for path in self.find_all():
            if _order(path) == (epoch, 0):
                return load_tree(path, template, parts=parts)
        raise FileNotFoundError(f"{self.folder} has no checkpoint of epoch {epoch}.")

    def remove(self) -> None:
        for path in self.find_all():
            _remove(path)
        self.remove_unfinished()

    def remove_unfinished(self) -> None:
        for folder in self.find_unfinished():
            shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    """The list of a sharded one first: what is left if we are killed in between is an unfinished folder."""
    path.unlink(missing_ok=True)
    if path.suffix == LIST:
        shutil.rmtree(folder_of(path), ignore_errors=True)


def _order(path: Path) -> tuple[int, int]:
    """The whole epochs of a checkpoint, and the steps after them."""
    epoch, _, step = path.stem.removeprefix("checkpoint_").partition("_")
    return int(epoch), int(step or 0)


def _read_position(path: Path) -> Position:
    try:
        values = read_list(path)["position"] if path.suffix == LIST else json.loads(read_metadata(path)["position"])
        history, steps = [Epoch(**row) for row in values["history"]], [Step(**row) for row in values.get("steps", ())]
        return Position(history, EpochSums(**values["sums"]), steps)
    except (TypeError, KeyError) as error:
        problem = f"{path} is not a checkpoint of this version of zoo ({error!r})"
        raise UserError(problem, "continue it with the version that wrote it, or train again") from error
