"""When a run is saved, and that the training does not wait for it."""

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import jax

from zoo.errors import UserError
from zoo.training.checkpoint import copy_to_host, is_shared
from zoo.training.checkpoints import Checkpoints, Position
from zoo.training.recipe import TrainConfig
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

    Of several processes all may call it, and the first one writes.

    Attributes:
      saved: where the run would continue, in words.
      together: whether processes have different parts of the state, so that all must save at the same step.
    """

    def __init__(self, checkpoints: Checkpoints, plan: SavingPlan, state: TrainState, position: Position) -> None:
        self.checkpoints, self.plan, self.saved = checkpoints, plan, str(position)
        self.together = any(map(is_shared, jax.tree.leaves(state)))
        self._last = time.monotonic()  # which no change of the clock turns back
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def is_due(self, step: int) -> bool:
        """Whether it is time to save; not by a clock where all processes must agree about it.

        Raises:
          OSError: what was being written could not be.
        """
        if self._writing is not None and self._writing.done():
            self.wait()
        if self.plan.steps is not None and step % self.plan.steps == 0:
            return True
        return not self.together and time.monotonic() > self._last + 60 * self.plan.minutes

    def save(self, state: TrainState, position: Position, recipe: TrainConfig) -> None:
        """Copies the state and has the copy written. There is never more than one copy: the one before is waited for.

        Raises:
          OSError: the one before could not be written.
        """
        self.wait()
        arrays = copy_to_host(state)
        if jax.process_index() == 0:
            self._writing = self._thread.submit(self.checkpoints.write, arrays, position, recipe, self.plan.keep)
        self.saved, self._last = str(position), time.monotonic()

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
