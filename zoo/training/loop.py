"""The loop around the steps: `fit` makes a run folder, `resume` continues one that was interrupted."""

import contextlib
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import jax
import optax

from zoo.data import Splits
from zoo.errors import UserError
from zoo.training.checkpoints import Position
from zoo.training.devices import check_groups, make_mesh, place_state
from zoo.training.epochs import Callbacks, OnEpoch, OnStart, OnStep, Result, Training
from zoo.training.preparation import prepare
from zoo.training.recipe import TrainConfig
from zoo.training.run_folder import RunFolder, RunRecord
from zoo.training.saving import SavingPlan
from zoo.training.tensorboard import check_installed


def fit(
    config: TrainConfig,
    folder: str | Path,
    *,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    overwrite: bool = False,
    devices: int | None = None,
    shard_parameters: bool = False,
    checkpoint_minutes: float = 5.0,
    checkpoint_steps: int | None = None,
    keep_checkpoints: int = 2,
    on_start: OnStart | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Result:
    """Train a net into a new run folder. Nothing is written before all of the request is found possible.

    Args:
      config: the recipe.
      folder: the run folder to make.
      splits: your own images (`zoo.data.make_splits`) in the place of `config.data`.
      tx: your own optimiser in the place of the recipe's; `config.freeze` holds for it as well.
      overwrite: replace the run that is in the folder.
      devices, shard_parameters: on how many devices of each process, by default all (`zoo.training.devices.make_mesh`),
        and whether each keeps only a part of the large arrays. What a run comes to does not depend on them, but for
        rounding. Of several processes (`zoo.training.hosts`) the first one writes the folder.
      checkpoint_minutes, checkpoint_steps: a checkpoint is written as often, besides those after every epoch and at
        Ctrl-C and SIGTERM. The training goes on meanwhile.
      keep_checkpoints: the last so many stay, and that of the best epoch, until the run is finished.
      on_start, on_step, on_epoch: called with the `RunRecord` before the first step, with `(progress, state)` after
        every step, with `(row, state)` after every epoch. The state is that after the step, and the next step takes its
        arrays: copy what you keep, `jax.tree.map(jnp.copy, state)`. An exception of theirs is a warning, and the
        training continues; KeyboardInterrupt stops it.

    Raises:
      UserError, FileNotFoundError: the recipe, its data or the folder cannot be used, and why; the losses, parameters
        or statistics stop being numbers; the device's memory is too small.
      OSError: a file cannot be written.
    """
    plan = SavingPlan(checkpoint_minutes, checkpoint_steps, keep_checkpoints)
    run, writes = RunFolder(folder), jax.process_index() == 0
    if writes:
        run.check_unlocked()
        run.check_free(overwrite=overwrite)
    if config.tensorboard:
        check_installed()
    mesh = make_mesh(devices)
    check_groups(config.batch_size, config.group_size, mesh)
    used, state, new = prepare(config, splits, tx)
    if mesh is not None:
        state = place_state(state, mesh, shard_parameters=shard_parameters)
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}
    versions["device"] = jax.devices()[0].device_kind
    own = tuple(name for name, value in (("splits", splits), ("tx", tx)) if value is not None)
    record = RunRecord(
        config,
        used.train.preprocessing,
        used.train.num_classes,
        own,
        versions,
        class_names=used.train.class_names,
        new=new,
    )
    callbacks = Callbacks(on_start, on_step, on_epoch)
    with run.lock() if writes else contextlib.nullcontext():
        if writes:
            run.check_free(overwrite=overwrite)  # nobody can have started a run since
            run.start(record)
        return Training(run, record, used, state, Position(), callbacks, plan).finish()


def resume(
    folder: str | Path,
    *,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    lr: float | None = None,
    devices: int | None = None,
    shard_parameters: bool = False,
    checkpoint_minutes: float = 5.0,
    checkpoint_steps: int | None = None,
    keep_checkpoints: int = 2,
    on_start: OnStart | None = None,
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
      devices, shard_parameters: as in `fit`; on another number, it comes to the same but for rounding. Of several
        processes, all read the folder.
      checkpoint_minutes, checkpoint_steps, keep_checkpoints, on_start, on_step, on_epoch: as in `fit`.

    Raises:
      UserError: there is no run in the folder, it is finished, somebody is training in it, a file of it is damaged, it
        diverged and has no other learning rate, or it was made with splits or an optimiser that are not passed again;
        and as `fit`.
    """
    plan = SavingPlan(checkpoint_minutes, checkpoint_steps, keep_checkpoints)
    run = RunFolder(folder)
    run.read()  # no run is no folder to lock
    writes = jax.process_index() == 0
    with run.lock() if writes else contextlib.nullcontext():
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
        if changed.config.tensorboard:
            check_installed()
        started = bool(run.checkpoints.find_all())  # what the trained weights brought is in it
        config = replace(changed.config, weights=None) if started else changed.config
        mesh = make_mesh(devices)
        check_groups(config.batch_size, config.group_size, mesh)
        used, state, _ = prepare(config, splits, tx, record.preprocessing)
        if mesh is not None:
            state = place_state(state, mesh, shard_parameters=shard_parameters)
        state, position = run.load_checkpoint(state)
        if len(position.history) > changed.config.epochs:
            done = len(position.history)
            raise UserError(f"{folder} has had {done} epochs, its config.json wants {changed.config.epochs}")
        if changed != record and writes:
            run.write_record(changed)
        callbacks = Callbacks(on_start, on_step, on_epoch)
        return Training(run, changed, used, state, position, callbacks, plan).finish()


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
