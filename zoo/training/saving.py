"""When a run is saved, and that the training does not wait for it."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import jax

from zoo.errors import UserError
from zoo.training.checkpoint import copy_to_host, describe, is_shared, name_arrays
from zoo.training.checkpoints import Checkpoints, Position
from zoo.training.recipe import TrainConfig
from zoo.training.sharded_checkpoint import LIST, ShardWriter
from zoo.training.state import TrainState


@dataclass(frozen=True)
class SavingPlan:
    """When checkpoints are written, besides after every epoch and at an interruption, and how many are kept.

    Attributes:
      minutes: since the last one.
      steps: the step's number is a multiple of them; None: only the time counts.
      keep: the last so many stay, and that of the best epoch.

    Raises:
      UserError: a number makes no sense.
    """

    minutes: float = 5.0
    steps: int | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        if not self.minutes >= 0:
            raise UserError(f"checkpoint_minutes is {self.minutes}", "it must be 0 or more")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"checkpoint_steps is {self.steps}", "it must be at least 1")
        if self.keep < 1:
            raise UserError(f"keep_checkpoints is {self.keep}", "it must be at least 1")


class Saver:
    """Writes the checkpoints of a run in a thread of its own, one after another.

    Of several processes all call it at the same steps. The first one writes; where each has a part of the arrays alone,
    each writes its own.

    Attributes:
      saved: where the run would continue, in words.
      together: whether each process has a part of the state alone, so that none can save without the others.
    """

    def __init__(self, checkpoints: Checkpoints, plan: SavingPlan, state: TrainState, position: Position) -> None:
        self.checkpoints, self.plan, self.saved = checkpoints, plan, str(position)
        self.together = any(map(is_shared, jax.tree.leaves(state)))
        self._shards = ShardWriter() if self.together else None
        self._last = time.monotonic()  # which no change of the clock turns back
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def is_due(self, step: int) -> bool:
        """Whether it is time to save, by the steps and by the clock of this process.

        Raises:
          OSError: what was being written could not be.
        """
        if self._writing is not None and self._writing.done():
            self.wait()
        if self.plan.steps is not None and step % self.plan.steps == 0:
            return True
        return time.monotonic() > self._last + 60 * self.plan.minutes

    def save(self, state: TrainState, position: Position, recipe: TrainConfig) -> None:
        """Copies the state and has the copy written. There is never more than one copy: the one before is waited for.

        Raises:
          OSError: the one before could not be written.
        """
        self.wait()
        if (write := self._copy(state, position, recipe)) is not None:
            self._writing = self._thread.submit(write)
        self.saved, self._last = str(position), time.monotonic()

    def _copy(self, state: TrainState, position: Position, recipe: TrainConfig) -> Callable[[], None] | None:
        """What is left to write once the arrays are copied; None if that is another process's."""
        keep, writes = self.plan.keep, jax.process_index() == 0
        if self._shards is None:
            return partial(self.checkpoints.write, copy_to_host(state), position, recipe, keep) if writes else None
        path = self.checkpoints.path_after(len(position.history), position.sums.steps, LIST)
        arrays = name_arrays(state)
        shapes, finish = describe(arrays), self._shards.begin(path, arrays)

        def write() -> None:
            finish()
            if writes:
                self.checkpoints.write_shards(path, shapes, position, recipe, keep)

        return write

    def wait(self) -> None:
        """Returns when all is on the disk.

        Raises:
          OSError: it could not be written.
        """
        if self._writing is not None:
            wait([self._writing])  # an interrupt in here leaves it to be waited for again
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """`wait`, and the end of the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            if self._shards is not None:
                self._shards.close()
