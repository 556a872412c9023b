"""A run under way: its epochs, from wherever it stands to its end.

What is optional comes after what is not: a callback or a plot that fails is a warning, once the numbers are safe.
"""

import contextlib
import itertools
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import jax

from zoo import plots
from zoo.data import Splits, batches
from zoo.data.preprocessing import format_preprocessing
from zoo.errors import UserError
from zoo.norm import Statistics
from zoo.training.checkpoint import list_nonfinite
from zoo.training.metrics import Epoch, EpochSums, Progress, evaluate
from zoo.training.recipe import make_loss, make_schedule
from zoo.training.run_folder import Position, RunFolder, RunRecord
from zoo.training.state import TrainState
from zoo.training.step import EvalStep, TrainStep, make_eval_step, make_train_step
from zoo.weights import save
from zoo.weights.prediction import PREPROCESSING

OnStep = Callable[[Progress, TrainState], Any]
OnEpoch = Callable[[Epoch, TrainState], Any]


@dataclass(frozen=True)
class Result:
    """A finished run: the last state, one `Epoch` per epoch, the plot of them if it could be drawn."""

    state: TrainState
    history: list[Epoch]
    curves: Path | None


@dataclass(frozen=True)
class Callbacks:
    """The caller's functions, as in `fit`."""

    on_step: OnStep | None
    on_epoch: OnEpoch | None


class Training:
    """Everything that changes while a run goes on: the state, and the position that belongs to it."""

    def __init__(
        self,
        run: RunFolder,
        record: RunRecord,
        splits: Splits,
        state: TrainState,
        position: Position,
        callbacks: Callbacks,
        checkpoint_minutes: float,
    ) -> None:
        self.run, self.record, self.config, self.splits = run, record, record.config, splits
        self.state, self.position = state, position
        self.saved, self.saved_at = str(position), time.monotonic()  # of the last checkpoint: where, and when
        self.callbacks, self.checkpoint_seconds = callbacks, 60 * checkpoint_minutes

    def finish(self) -> Result:
        """All epochs that are to come: the folder can be resumed after each, and is finished after the last."""
        with self._explain_lack_of_memory():
            try:
                self._train()
            except KeyboardInterrupt:
                if not self.state.step.is_deleted():  # a second Ctrl-C does not wait for the end of the step
                    self._save_checkpoint()
                raise
        self.run.write_metrics(self.position.history)  # a kill between checkpoint and metrics left them an epoch behind
        metadata = {PREPROCESSING: format_preprocessing(self.record.preprocessing)}
        save(self.run.weights_path, self.state.variables, name=self.config.model, metadata=metadata)
        self.run.checkpoint_path.unlink(missing_ok=True)
        self._call_on_epoch()
        return Result(self.state, self.position.history, self._draw_curves())

    def _train(self) -> None:
        loss = make_loss(self.config)
        train_step = None
        eval_steps = {name: make_eval_step(loss, statistics=name) for name in get_args(Statistics)}
        while len(self.position.history) < self.config.epochs:
            train_step = train_step or self._compile(make_train_step(loss))
            self._train_epoch(train_step)
            row = self._test(eval_steps)
            self.position = Position([*self.position.history, row], EpochSums(row.epoch + 1))
            self._save_checkpoint()
            self.run.write_metrics(self.position.history)
            if row.epoch < self.config.epochs:  # after the last one, the weights come first
                self._call_on_epoch()

    def _compile(self, step: TrainStep) -> TrainStep:
        """The step for batches of the one shape they all have, so that no step's time has compilation in it."""
        return jax.jit(step, donate_argnums=0).lower(self.state, next(self._draw_batches())).compile()

    def _draw_batches(self) -> Iterator[dict[str, Any]]:
        config = self.config
        epoch = self.position.sums.epoch
        return batches(self.splits.train, config.batch_size, seed=config.seed, epoch=epoch, max_shift=config.max_shift)

    def _train_epoch(self, step: TrainStep) -> None:
        """What is to come of one pass over the training images."""
        drawn = itertools.islice(self._draw_batches(), self.position.sums.steps, None)
        batch = next(drawn, None)
        with _hold_interrupts() as check_interrupts:
            while batch is not None:
                start = time.perf_counter()
                state, metrics = step(self.state, batch)
                batch = next(drawn, None)  # prepared while the step runs
                loss = float(metrics["loss"])
                sums = self.position.sums.add(metrics, time.perf_counter() - start)
                self.state, self.position = state, replace(self.position, sums=sums)
                if not math.isfinite(loss):
                    raise self._diverge(f"the loss is {loss} in epoch {sums.epoch}, step {sums.steps}")
                _call("on_step", self.callbacks.on_step, sums.to_progress(len(self.splits.train)), state)
                check_interrupts()
                if time.monotonic() > self.saved_at + self.checkpoint_seconds:
                    self._save_checkpoint()

    def _test(self, eval_steps: dict[Statistics, EvalStep]) -> Epoch:
        """The row of the epoch whose training is done."""
        start, sums = time.perf_counter(), self.position.sums
        progress = sums.to_progress(len(self.splits.train))
        tested = {
            f"test_{metric}_{name}": value
            for name, step in eval_steps.items()
            for metric, value in evaluate(step, self.state, self.splits.test, self.config.batch_size).items()
        }
        self._check_state()
        for name, value in tested.items():
            if not math.isfinite(value):
                raise self._diverge(f"{name} is {value} after epoch {sums.epoch}")
        own = "tx" in self.record.own
        schedule = None if own else make_schedule(self.config, len(self.splits.train))
        return Epoch(
            epoch=sums.epoch,
            learning_rate=None if schedule is None else float(schedule(self.state.step - 1)),
            train_loss=progress.loss,
            train_accuracy=progress.accuracy,
            images_per_second=progress.images_per_second,
            seconds=sums.seconds + time.perf_counter() - start,
            **tested,
        )

    def _save_checkpoint(self) -> None:
        self._check_state()
        self.run.save_checkpoint(self.state, self.position)
        self.saved, self.saved_at = str(self.position), time.monotonic()

    def _check_state(self) -> None:
        """Raises `UserError` where the state holds something else than numbers: it must not replace a good one."""
        if wrong := list_nonfinite(self.state.variables):
            sums = self.position.sums
            where = f"in epoch {sums.epoch}, step {sums.steps}"
            raise self._diverge(f"{len(wrong)} arrays are not finite {where}, {wrong[0]} the first")

    def _diverge(self, problem: str) -> UserError:
        """Notes in the folder why the run stopped, because the same recipe would end there again."""
        self.run.write_record(replace(self.record, diverged=problem))
        if "tx" in self.record.own:
            remedy = "choose another tx, zoo.training.resume(folder, tx=...)"
        else:
            remedy = f"choose a smaller lr than {self.config.lr}, zoo.training.resume(folder, lr=...)"
        remedy += f" continues {self.saved}"
        context = {"folder": self.run.folder, "lr": self.config.lr, "saved": self.saved}
        return UserError(problem, remedy, code="diverged", **context)

    def _call_on_epoch(self) -> None:
        _call("on_epoch", self.callbacks.on_epoch, self.position.history[-1], self.state)

    def _draw_curves(self) -> Path | None:
        data = "own data" if "splits" in self.record.own else self.config.data
        title = f"{self.config.model} on {data}, seed {self.config.seed}"
        rows = [asdict(row) for row in self.position.history]
        try:
            plots.write_plot(plots.plot_curves(rows, title=title), self.run.curves_path)
        except Exception as error:  # whatever is wrong with a plot, the run is finished
            _warn(f"{self.run.curves_path} was not drawn", error)
            return None
        return self.run.curves_path

    @contextlib.contextmanager
    def _explain_lack_of_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            height, width, _ = self.splits.train.preprocessing.image_shape
            step = f"a step of {self.config.model} with batch_size={self.config.batch_size} and {height}x{width} images"
            remedy = "choose a smaller batch_size or image_size"
            raise UserError(f"the memory is too small for {step}", remedy, code="out-of-memory") from error


@contextlib.contextmanager
def _hold_interrupts() -> Iterator[Callable[[], None]]:
    """Makes Ctrl-C wait for a call of the function that is given, between two steps; a second Ctrl-C does not wait.

    A step takes the arrays of the old state: an interruption in the middle of it would leave neither state to save.
    """
    old = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(old):
        yield lambda: None
        return
    held: list[int] = []

    def hold(number: int, _: object) -> None:
        held.append(number)
        signal.signal(signal.SIGINT, old)

    def check() -> None:
        if held:
            old(held.pop(), None)

    signal.signal(signal.SIGINT, hold)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, old)


def _call(name: str, callback: Callable[..., Any] | None, *arguments: Any) -> None:
    """Calls a callback, whose failure does not stop the training."""
    try:
        if callback is not None:
            callback(*arguments)
    except Exception as error:  # it is the caller's: it may raise anything
        _warn(f"{name} failed, and the training continues", error)


def _warn(problem: str, error: Exception) -> None:
    """One line."""
    warnings.warn(f"{problem}: {type(error).__name__}: {' '.join(str(error).split())}", stacklevel=3)
