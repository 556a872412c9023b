"""The loop around the steps: `fit` makes a run folder, `resume` continues one that was interrupted."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import get_args

import jax
import optax

from zoo import plots
from zoo.data import Dataset, Splits, batches, load
from zoo.errors import UserError
from zoo.models import registry
from zoo.norm import Statistics
from zoo.training.checkpoint import load_tree, save_tree
from zoo.training.metrics import Epoch, EpochMeans, Progress, evaluate
from zoo.training.recipe import TrainConfig, make_loss, make_optimizer, make_schedule
from zoo.training.run_folder import RunFolder, RunRecord
from zoo.training.step import TrainState, TrainStep, create_train_state, make_eval_step, make_train_step
from zoo.weights import read_metadata, save

OnStep = Callable[[Progress], None]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Result:
    """A finished run: the last state, one `Epoch` per epoch, the plot of them if matplotlib is installed."""

    state: TrainState
    history: list[Epoch]
    curves: Path | None


def fit(
    config: TrainConfig,
    folder: str | Path,
    *,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    overwrite: bool = False,
    on_step: OnStep = lambda progress: None,
    on_epoch: OnEpoch = lambda epoch: None,
) -> Result:
    """Train a net into a new run folder. Nothing is written before all of the request is found possible.

    Args:
      config: the recipe.
      folder: the run folder to make.
      splits: your own images (`zoo.data.make_splits`) in the place of `config.data`.
      tx: your own optimiser in the place of the recipe's.
      overwrite: replace the run that is in the folder.
      on_step, on_epoch: called after every step and every epoch.

    Raises:
      UserError, FileNotFoundError: the recipe, its data or the folder cannot be used, and why.
    """
    run = RunFolder(folder)
    run.check_free(overwrite=overwrite)
    used, state = prepare(config, splits, tx)
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}
    versions["device"] = jax.devices()[0].device_kind
    own = tuple(name for name, value in (("splits", splits), ("tx", tx)) if value is not None)
    record = RunRecord(config, used.train.preprocessing, used.train.num_classes, own, versions)
    run.start(record)
    return _train(run, record, used, state, [], on_step, on_epoch)


def resume(
    folder: str | Path,
    *,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    on_step: OnStep = lambda progress: None,
    on_epoch: OnEpoch = lambda epoch: None,
) -> Result:
    """Continue an interrupted run after its last whole epoch: to the same bits as if it had not stopped.

    Args:
      folder: the run folder.
      splits, tx: the same as were passed to `fit`, if any were.
      on_step, on_epoch: called after every step and every epoch.

    Raises:
      UserError: there is no run in the folder, it is finished, a file of it is damaged, or it was made with splits or
        an optimiser that are not passed again.
    """
    run = RunFolder(folder)
    record = run.read()
    config = record.config
    if run.weights_path.exists():
        raise UserError(f"{folder} is finished, after {config.epochs} epochs", "there is nothing to resume")
    for name, value in (("splits", splits), ("tx", tx)):
        if (value is not None) != (name in record.own):
            given = "its caller's own" if name in record.own else "the recipe's"
            raise UserError(f"{folder} was started with {given} {name}", "resume it with the same", code="own-parts")
    used, state = prepare(config, splits, tx)
    history: list[Epoch] = []
    if run.checkpoint_path.exists():
        state = load_tree(run.checkpoint_path, state)
        history = [Epoch(**row) for row in json.loads(read_metadata(run.checkpoint_path)["history"])]
    if len(history) > config.epochs:
        raise UserError(f"{folder} has had {len(history)} epochs, its config.json wants {config.epochs}")
    return _train(run, record, used, state, history, on_step, on_epoch)


def prepare(
    config: TrainConfig, splits: Splits | None = None, tx: optax.GradientTransformation | None = None
) -> tuple[Splits, TrainState]:
    """The images in the size the net will see, and the first state.

    Unless `config.image_size` says otherwise, images keep their own size if the net takes it, and are resized to the
    net's native one if it does not.
    """
    splits = load(config.data) if splits is None else splits
    model = registry.create(config.model, num_classes=splits.train.num_classes)
    size = config.image_size
    if size is None and min(splits.train.preprocessing.image_shape[:2]) < model.min_size:
        size = registry.variant(config.model).image_size
    if size is not None:
        splits = Splits(*(split.resize(size) for split in splits))
    tx = make_optimizer(config, len(splits.train)) if tx is None else tx
    shape = splits.train.preprocessing.image_shape
    return splits, create_train_state(model, jax.random.key(config.seed), tx, shape)


def _train(
    run: RunFolder,
    record: RunRecord,
    splits: Splits,
    state: TrainState,
    history: list[Epoch],
    on_step: OnStep,
    on_epoch: OnEpoch,
) -> Result:
    """The epochs that `history` lacks: the folder can be resumed after each and is finished after the last."""
    config, loss = record.config, make_loss(record.config)
    train_step = make_train_step(loss)
    eval_steps = {name: make_eval_step(loss, statistics=name) for name in get_args(Statistics)}
    schedule = None if "tx" in record.own else make_schedule(config, len(splits.train))
    for epoch in range(len(history) + 1, config.epochs + 1):
        start = time.perf_counter()
        state, trained = _train_epoch(train_step, state, splits.train, config, epoch, on_step)
        if not math.isfinite(trained.loss):
            raise UserError(f"the loss is {trained.loss} in epoch {epoch}", f"choose a smaller lr than {config.lr}")
        tested = {
            f"test_{metric}_{name}": value
            for name, step in eval_steps.items()
            for metric, value in evaluate(step, state, splits.test, config.batch_size).items()
        }
        row = Epoch(
            epoch=epoch,
            learning_rate=None if schedule is None else float(schedule(state.step - 1)),
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            images_per_second=trained.images_per_second,
            seconds=time.perf_counter() - start,
            **tested,
        )
        history = [*history, row]
        save_tree(run.checkpoint_path, state, {"history": json.dumps([asdict(row) for row in history])})
        run.write_metrics(history)
        on_epoch(row)
    save(run.weights_path, state.variables, name=config.model)
    run.checkpoint_path.unlink()
    return Result(state, history, _draw_curves(run, record, history))


def _train_epoch(
    step: TrainStep, state: TrainState, train: Dataset, config: TrainConfig, epoch: int, on_step: OnStep
) -> tuple[TrainState, Progress]:
    """One pass over the training images."""
    means = EpochMeans(epoch, len(train))
    drawn = batches(train, config.batch_size, seed=config.seed, epoch=epoch, max_shift=config.max_shift)
    state, metrics = step(state, next(drawn))
    for batch in drawn:
        waiting = metrics
        state, metrics = step(state, batch)
        on_step(means.add(waiting))  # read a step's metrics while the next one is running
    progress = means.add(metrics)
    on_step(progress)
    return state, progress


def _draw_curves(run: RunFolder, record: RunRecord, history: list[Epoch]) -> Path | None:
    """curves.png, where matplotlib is installed; a finished run is safe by then."""
    data = "own data" if "splits" in record.own else record.config.data
    title = f"{record.config.model} on {data}, seed {record.config.seed}"
    try:
        plots.write_plot(plots.plot_curves([asdict(row) for row in history], title=title), run.curves_path)
    except ModuleNotFoundError:
        return None
    return run.curves_path
