"""A run under way: its epochs, from wherever it stands to its end.

What is optional comes after what is not: a callback or a plot that fails is a warning, once the numbers are safe.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import jax
from jax.stages import Compiled

from zoo import plots
from zoo.data import Splits, batches, make_augment
from zoo.data.preprocessing import format_preprocessing
from zoo.errors import UserError
from zoo.norm import Statistics, batch_norm_options
from zoo.training.checkpoint import list_nonfinite
from zoo.training.checkpoints import Position
from zoo.training.compilation import EvalStep, TrainStep
from zoo.training.devices import find_mesh, replicate, share_batch
from zoo.training.hosts import agree
from zoo.training.interrupts import answer_termination, hold_interrupts
from zoo.training.metrics import Epoch, EpochSums, Progress, Step, evaluate, find_best, measure_distance
from zoo.training.optimiser import make_schedule
from zoo.training.preparation import explain_lack_of_memory
from zoo.training.recipe import find_aux_weights, make_loss
from zoo.training.run_folder import RunFolder, RunRecord
from zoo.training.saving import Saver, SavingPlan
from zoo.training.state import TrainState
from zoo.training.step import make_eval_step, make_train_step
from zoo.training.tensorboard import TensorBoard
from zoo.weights import save
from zoo.weights.files import PREPROCESSING

OnStart = Callable[[RunRecord], Any]
OnStep = Callable[[Progress, TrainState], Any]
OnEpoch = Callable[[Epoch, TrainState], Any]


@dataclass(frozen=True)
class Result:
    """A finished run: the last state, one `Epoch` per epoch, the one whose weights were kept, the plot if there is one.

    Weights are kept of the last epoch, or with patience of the best.
    """

    state: TrainState
    history: list[Epoch]
    kept: Epoch
    curves: Path | None


@dataclass(frozen=True)
class Callbacks:
    """The caller's functions, as in `fit`."""

    on_start: OnStart | None
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
        plan: SavingPlan,
    ) -> None:
        self.run, self.record, self.config, self.splits = run, record, record.config, splits
        self.state, self.position, self.callbacks = state, position, callbacks
        self.saver = Saver(run.checkpoints, plan, state, position)
        self.mesh, self.writes = find_mesh(state), jax.process_index() == 0  # of many processes the first one
        self.agreed = False  # whether all processes are being interrupted
        self.schedule = None if "tx" in record.own else make_schedule(record.config, len(splits.train))
        with_board = record.config.tensorboard and self.writes
        self.board = TensorBoard(run.tensorboard_path, int(state.step)) if with_board else None

    @property
    def variables(self) -> dict[str, Any]:
        """Those that are tested and kept: the averages where the recipe wants them."""
        return self.state.variables if self.state.ema_decay is None else self.state.ema_variables

    @answer_termination()
    def finish(self) -> Result:
        """All epochs that are to come: the folder can be resumed after each, and is finished after the last."""
        _call("on_start", self.callbacks.on_start, self.record)
        with explain_lack_of_memory(self.config, self.splits.train.preprocessing):
            try:
                self._train()
            except KeyboardInterrupt:
                # A second Ctrl-C does not wait for the end of the step; what is in many processes, one cannot save.
                if not self.state.step.is_deleted() and (self.agreed or not self.saver.together):
                    self._save_checkpoint()
                raise
            finally:
                if self.board:
                    self.board.close()
                self.saver.close()
        self._write_metrics()  # a kill between checkpoint and metrics left them an epoch behind
        kept, variables = self._choose_kept(replicate(self.variables))
        if not self.writes:
            return Result(self.state, self.position.history, kept, None)
        metadata = {PREPROCESSING: format_preprocessing(self.record.preprocessing)}
        save(self.run.weights_path, variables, name=self.config.model, metadata=metadata)
        self.run.checkpoints.remove()
        self._call_on_epoch()
        return Result(self.state, self.position.history, kept, self._draw_curves())

    def _train(self) -> None:
        config, loss, train_step = self.config, make_loss(self.config), None
        eval_steps = {name: make_eval_step(loss, statistics=name) for name in get_args(Statistics)}
        while not self._is_over():
            if train_step is None:
                train_step = self._compile(
                    make_train_step(
                        loss,
                        statistics=config.statistics,
                        aux_weights=find_aux_weights(config),
                        augment=make_augment(config.augmentation, self.splits.train),
                    )
                )
            self._train_epoch(train_step)
            row = self._test(eval_steps)
            self.position = replace(self.position, history=[*self.position.history, row], sums=EpochSums(row.epoch + 1))
            self._save_checkpoint()
            self._write_metrics()
            if self.board:
                self.board.write(row, int(self.state.step))
            if not self._is_over():  # after the last one, the weights come first
                self._call_on_epoch()

    def _is_over(self) -> bool:
        """Whether all epochs are done, or so many without a better one that no more are wanted."""
        history, patience = self.position.history, self.config.patience
        if history and patience and len(history) - find_best(history).epoch >= patience:
            return True
        return len(history) >= self.config.epochs

    def _choose_kept(self, variables: dict[str, Any]) -> tuple[Epoch, dict[str, Any]]:
        """The epoch whose variables are the result, and these: the last one's, or with patience the best one's."""
        last, best = self.position.history[-1], find_best(self.position.history)
        if self.config.patience and best is not last:
            prefix = "" if self.state.ema_decay is None else "ema_"
            template = {f"{prefix}{name}": tree for name, tree in jax.eval_shape(lambda: self.variables).items()}
            try:
                loaded = self.run.checkpoints.load_epoch(best.epoch, template, parts=template)
            except (UserError, FileNotFoundError) as error:
                _warn(f"the weights of epoch {best.epoch}, the best, are lost: those of the last are kept", error)
            else:
                return best, {name.removeprefix(prefix): tree for name, tree in loaded.items()}
        return last, variables

    def _write_metrics(self) -> None:
        if self.writes:
            self.run.write_metrics(self.position.history, self.position.steps)

    def _compile(self, step: TrainStep) -> Compiled:
        """The step for batches of the one shape they all have, so that no step's time has compilation in it."""
        with batch_norm_options(group_size=self.config.group_size):
            return step.lower(self.state, next(self._draw_batches())).compile()

    def _draw_batches(self, start: int = 0) -> Iterator[dict[str, Any]]:
        config = self.config
        drawn = batches(
            self.splits.train,
            config.batch_size,
            seed=config.seed,
            epoch=self.position.sums.epoch,
            start=start,
            augmentation=config.augmentation,
        )
        return (share_batch(batch, self.mesh) for batch in drawn)

    def _train_epoch(self, step: Compiled) -> None:
        """What is to come of one pass over the training images."""
        drawn = self._draw_batches(self.position.sums.steps)
        batch = next(drawn, None)
        with hold_interrupts() as held:
            while batch is not None:
                start = time.perf_counter()
                state, metrics = step(self.state, batch)
                batch = next(drawn, None)  # prepared while the step runs
                ready = time.perf_counter()
                loss = float(metrics["loss"])
                end = time.perf_counter()
                sums = self.position.sums.add(metrics, end - start, end - ready)
                self.state, self.position = state, replace(self.position, sums=sums)
                if not math.isfinite(loss):
                    raise self._diverge(f"the loss is {loss} in epoch {sums.epoch}, step {sums.steps}")
                if self.config.log_every and int(state.step) % self.config.log_every == 0:
                    self._log(metrics, end - start)
                _call("on_step", self.callbacks.on_step, sums.to_progress(len(self.splits.train)), state)
                number, due = agree(held.number, due=self.saver.is_due(int(state.step)))
                self.agreed = number != 0
                held.answer(number)
                if due:
                    self._save_checkpoint()

    def _log(self, metrics: Mapping[str, jax.Array], seconds: float) -> None:
        """Notes the step that was made."""
        loss, accuracy, count = (float(metrics[name]) for name in ("loss", "accuracy", "count"))
        step, epoch = int(self.state.step), self.position.sums.epoch
        row = Step(step, epoch, self._find_learning_rate(), loss, accuracy, count / max(seconds, 1e-9))
        self.position = replace(self.position, steps=[*self.position.steps, row])
        self._write_metrics()
        if self.board:
            self.board.write(row, step)

    def _find_learning_rate(self) -> float | None:
        """That of the last step."""
        update = (int(self.state.step) - 1) // self.config.accumulate
        return None if self.schedule is None else float(self.schedule(update))

    def _test(self, eval_steps: dict[Statistics, EvalStep]) -> Epoch:
        """The row of the epoch whose training is done."""
        start, sums = time.perf_counter(), self.position.sums
        progress = sums.to_progress(len(self.splits.train))
        state = self.state.replace(**replicate(self.variables))
        tested = {
            f"test_{metric}_{name}": value
            for name, step in eval_steps.items()
            for metric, value in evaluate(step, state, self.splits.test, self.config.batch_size).items()
        }
        self._check_state()
        for name, value in tested.items():
            if not math.isfinite(value):
                raise self._diverge(f"{name} is {value} after epoch {sums.epoch}")
        return Epoch(
            epoch=sums.epoch,
            learning_rate=self._find_learning_rate(),
            train_loss=progress.loss,
            train_accuracy=progress.accuracy,
            images_per_second=progress.images_per_second,
            statistics_distance=measure_distance(state, self.splits.test, self.config.batch_size),
            seconds=sums.seconds + time.perf_counter() - start,
            **tested,
        )

    def _save_checkpoint(self) -> None:
        self._check_state()
        self.saver.save(self.state, self.position, self.config)

    def _check_state(self) -> None:
        """Raises `UserError` where the state holds something else than numbers: it must not replace a good one."""
        if wrong := list_nonfinite(self.state.variables):
            sums = self.position.sums
            where = f"in epoch {sums.epoch}, step {sums.steps}"
            raise self._diverge(f"{len(wrong)} arrays are not finite {where}, {wrong[0]} the first")

    def _diverge(self, problem: str) -> UserError:
        """Notes in the folder why the run stopped, because the same recipe would end there again."""
        if self.writes:
            self.run.write_record(replace(self.record, diverged=problem))
        if "tx" in self.record.own:
            remedy = "choose another tx, zoo.training.resume(folder, tx=...)"
        else:
            remedy = f"choose a smaller lr than {self.config.lr}, zoo.training.resume(folder, lr=...)"
        remedy += f" continues {self.saver.saved}"
        context = {"folder": self.run.folder, "lr": self.config.lr, "saved": self.saver.saved}
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
