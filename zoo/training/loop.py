"""The loop around the steps: `fit` makes a run folder, `resume` continues one that was interrupted."""

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import jax
import optax

from zoo.data import Splits, load
from zoo.errors import UserError
from zoo.models import registry
from zoo.training.epochs import Callbacks, OnEpoch, OnStep, Result, Training
from zoo.training.recipe import TrainConfig, make_optimizer
from zoo.training.run_folder import Position, RunFolder, RunRecord
from zoo.training.state import TrainState, create_train_state


def fit(
    config: TrainConfig,
    folder: str | Path,
    *,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    overwrite: bool = False,
    checkpoint_minutes: float = 5.0,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Result:
    """Train a net into a new run folder. Nothing is written before all of the request is found possible.

    Args:
      config: the recipe.
      folder: the run folder to make.
      splits: your own images (`zoo.data.make_splits`) in the place of `config.data`.
      tx: your own optimiser in the place of the recipe's.
      overwrite: replace the run that is in the folder.
      checkpoint_minutes: a checkpoint is written as often, besides those after every epoch and at Ctrl-C.
      on_step, on_epoch: called after every step with `(progress, state)` and after every epoch with `(row, state)`. The
        state is that after the step, and the next step takes its arrays: copy what you keep, `jax.tree.map(jnp.copy,
        state)`. An exception of theirs is a warning, and the training continues; KeyboardInterrupt stops it.

    Raises:
      UserError, FileNotFoundError: the recipe, its data or the folder cannot be used, and why; the losses, parameters
        or statistics stop being numbers; the device's memory is too small.
      OSError: a file cannot be written.
    """
    run = RunFolder(folder)
    run.check_unlocked()
    run.check_free(overwrite=overwrite)
    used, state = prepare(config, splits, tx)
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}
    versions["device"] = jax.devices()[0].device_kind
    own = tuple(name for name, value in (("splits", splits), ("tx", tx)) if value is not None)
    record = RunRecord(config, used.train.preprocessing, used.train.num_classes, own, versions)
    with run.lock():
        run.check_free(overwrite=overwrite)  # nobody can have started a run since
        run.start(record)
        return Training(run, record, used, state, Position(), Callbacks(on_step, on_epoch), checkpoint_minutes).finish()


def resume(
    folder: str | Path,
    *,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    lr: float | None = None,
    checkpoint_minutes: float = 5.0,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Result:
    """Continue an interrupted run after its last checkpoint: to the same bits as if it had not stopped.

    A run whose numbers stopped being numbers would come to the same end: it is continued from its last good
    checkpoint with another `lr`, or with another `tx` if it had its caller's.

    Args:
      folder: the run folder.
      splits, tx: the same as were passed to `fit`, if any were.
      lr: the recipe's highest learning rate from here on.
      checkpoint_minutes, on_step, on_epoch: as in `fit`.

    Raises:
      UserError: there is no run in the folder, it is finished, somebody is training in it, a file of it is damaged, it
        diverged and has no other learning rate, or it was made with splits or an optimiser that are not passed again;
        and as `fit`.
    """
    run = RunFolder(folder)
    run.read()  # no run is no folder to lock
    with run.lock():
        record = run.read()
        if run.weights_path.exists():
            raise UserError(f"{folder} is finished, after {record.config.epochs} epochs", "there is nothing to resume")
        for name, value in (("splits", splits), ("tx", tx)):
            if (value is not None) != (name in record.own):
                given = "its caller's own" if name in record.own else "the recipe's"
                raise UserError(
                    f"{folder} was started with {given} {name}", "resume it with the same", code="own-parts"
                )
        changed = _change_learning_rate(run, record, lr)
        used, state = prepare(changed.config, splits, tx)
        state, position = run.load_checkpoint(state)
        if len(position.history) > changed.config.epochs:
            done = len(position.history)
            raise UserError(f"{folder} has had {done} epochs, its config.json wants {changed.config.epochs}")
        if changed != record:
            run.write_record(changed)
        return Training(run, changed, used, state, position, Callbacks(on_step, on_epoch), checkpoint_minutes).finish()


def _change_learning_rate(run: RunFolder, record: RunRecord, lr: float | None) -> RunRecord:
    """The record of a run that is resumed with another learning rate, which one that diverged needs."""
    config, own = record.config, "tx" in record.own
    if lr is not None and own:
        raise UserError(f"{run.folder} was started with its caller's own tx", "the learning rate is part of it")
    if record.diverged and not own and lr in (None, config.lr):
        remedy = f"resume it with another lr than {config.lr}"
        context = {"folder": run.folder, "lr": config.lr}
        problem = f"{run.folder} stopped because {record.diverged}, and would again"
        raise UserError(problem, remedy, code="diverged", **context)
    return replace(record, config=config if lr is None else replace(config, lr=lr), diverged=None)


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
