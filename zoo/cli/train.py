"""`zoo train`, `resume` and `recipes`: everything that makes a run."""

import shlex
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, make_dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import jax
from tyro.conf import DisallowNone, Positional, arg

from zoo import training
from zoo.cli.last_words import pass_stderr_on
from zoo.cli.progress import ProgressDisplay
from zoo.cli.runs import NO_PLOT, RunPath, write_results
from zoo.cli.terminal import describe, make_table, write
from zoo.data import SOURCES
from zoo.training import RunFolder, TrainConfig, hosts
from zoo.training.memory import keep_freed_memory
from zoo.training.preparation import PUBLISHED
from zoo.training.recipe_files import show_recipe

METAVARS = {
    "weights": "FILE|hf:ORG/NAME|published",
    "freeze": "PATTERN...",
    "freeze_statistics": "[PATTERN...]",
    "milestones": "SHARE...",
}


def _make_option(field: Field) -> tuple[str, Any, Any]:
    """A field of `TrainConfig` as an option that is None where it was not typed, so that a recipe decides."""
    hint = get_type_hints(TrainConfig)[field.name]
    default = "" if field.default in (None, ()) or field.default is False else f"(default: {field.default})"
    metavar = METAVARS.get(field.name)
    if hint is bool:
        return field.name, bool, False
    if get_origin(hint) is Literal:
        hint, metavar = str, f"{{{','.join(get_args(hint))}}}"
    if field.name == "freeze_statistics":
        hint = tuple[str, ...]
    return field.name, Annotated[hint | None, DisallowNone, arg(metavar=metavar, help_behavior_hint=default)], None


Minutes = Annotated[float, arg(metavar="MINUTES")]
Steps = Annotated[int | None, DisallowNone, arg(metavar="INT", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where a training runs."""

    devices: Annotated[int | None, DisallowNone, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """So many devices of this machine, or of each process."""
    shard_parameters: bool = False
    """Large arrays are cut up, and every device keeps a part of each: for nets that are too large for one."""
    coordinator: Annotated[str | None, DisallowNone, arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Where process 0 of many listens. SLURM, Open MPI and TPU pods say this and the next two by themselves."""
    processes: Annotated[int | None, DisallowNone, arg(metavar="INT", help_behavior_hint="")] = None
    """How many processes there are."""
    process: Annotated[int | None, DisallowNone, arg(metavar="INT", help_behavior_hint="")] = None
    """Which of them this one is, from 0."""

    def join(self) -> dict[str, Any]:
        """Makes this process one of many if it is, and returns what is left for `fit`."""
        place = self.coordinator, self.processes, self.process
        if hosts.is_one_of_many(*place):
            pass_stderr_on()  # before anything can end this process
        hosts.join_processes(*place)
        return {"devices": self.devices, "shard_parameters": self.shard_parameters}


HERE = Machines()

if TYPE_CHECKING:
    Config = TrainConfig
else:  # a subclass, because the help is that of the fields of TrainConfig
    Config = make_dataclass(
        "Config",
        [
            ("model", Annotated[str, arg(metavar="MODEL")]),
            *(_make_option(field) for field in fields(TrainConfig) if field.default is not MISSING),
        ],
        bases=(TrainConfig,),
        frozen=True,
        kw_only=True,
        namespace={"__post_init__": lambda _: None},  # `train` checks the values, whose errors are then one line
    )


def train(
    config: Config,
    machines: Machines = HERE,
    *,
    recipe: Annotated[str | None, DisallowNone, arg(metavar="NAME|FILE", help_behavior_hint="")] = None,
    out: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="(default: runs/MODEL)")] = None,
    overwrite: bool = False,
    checkpoint_minutes: Minutes = 5.0,
    checkpoint_steps: Steps = None,
    keep_checkpoints: int = 2,
) -> None:
    """Train a model into a run folder.

    Args:
        config: What is trained, on what, and how.
        machines: Where it is trained.
        recipe: Values in the place of the defaults below: a name that `zoo recipes` lists, or a TOML file.
        out: The run folder to make.
        overwrite: Replace the run that is in the folder.
        checkpoint_minutes: Write a checkpoint so long after the last one, beside those after every epoch.
        checkpoint_steps: Write one every so many steps, too.
        keep_checkpoints: So many are kept until the run is finished, and that of the best epoch.
    """
    chosen = TrainConfig(**({} if recipe is None else training.read_recipe(recipe)) | _list_typed(config))
    folder = Path("runs", chosen.model) if out is None else out
    start = partial(
        training.fit,
        chosen,
        folder,
        overwrite=overwrite,
        **machines.join(),
        checkpoint_minutes=checkpoint_minutes,
        checkpoint_steps=checkpoint_steps,
        keep_checkpoints=keep_checkpoints,
    )
    _show_training(folder, chosen.epochs, start)


def resume(
    run: RunPath,
    machines: Machines = HERE,
    *,
    lr: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None,
    checkpoint_minutes: Minutes = 5.0,
    checkpoint_steps: Steps = None,
    keep_checkpoints: int = 2,
) -> None:
    """Continue an interrupted run, as if it had not been interrupted.

    It comes to the same numbers.

    Args:
        run: The run folder.
        machines: Where it is trained.
        lr: Another highest learning rate from here on: for a run whose loss was no number any more.
        checkpoint_minutes: As in `zoo train`.
        checkpoint_steps: As in `zoo train`.
        keep_checkpoints: As in `zoo train`.
    """
    start = partial(
        training.resume,
        run,
        lr=lr,
        **machines.join(),
        checkpoint_minutes=checkpoint_minutes,
        checkpoint_steps=checkpoint_steps,
        keep_checkpoints=keep_checkpoints,
    )
    _show_training(run, RunFolder(run).read().config.epochs, start)


def recipes(name: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None) -> None:
    """List the recipes for `zoo train --recipe`, or print one of them.

    Args:
        name: The recipe to print, in the form of a file of one's own.
    """
    if name is not None:
        write(*show_recipe(name).splitlines())
        return
    table = make_table("recipe", "for")
    for row in training.list_recipes().items():
        table.add_row(*row)
    write(table)


def _list_typed(config: TrainConfig) -> dict[str, Any]:
    """What was typed, with folders and files that are found again from another working directory."""
    typed = {name: value for name, value in vars(config).items() if value is not None and value is not False}
    if typed.get("freeze_statistics") == ():  # without a pattern
        typed["freeze_statistics"] = True
    kind, _, folder = typed.get("data", "").partition(":")
    if folder and kind in {source.partition(":")[0] for source in SOURCES}:
        typed["data"] = f"{kind}:{Path(folder).expanduser().absolute()}"
    weights = typed.get("weights", PUBLISHED)
    if weights != PUBLISHED and not weights.startswith("hf:"):
        typed["weights"] = str(Path(weights).expanduser().absolute())
    return typed


def _show_training(folder: Path, epochs: int, start: Callable[..., training.Result]) -> None:
    """Runs `fit` or `resume` behind the progress bar, then says what came of it."""
    keep_freed_memory()
    run = RunFolder(folder)
    try:
        with hosts.explain_lost_process():
            if jax.process_index():  # the first of many processes speaks for all
                start()
                return
            with ProgressDisplay(epochs) as display:
                result = start(on_start=display.show_start, on_step=display.show_step, on_epoch=display.show_epoch)
    except KeyboardInterrupt as interrupt:
        resumable = run.config_path.exists() and not run.weights_path.exists()
        hint = f"`zoo resume {shlex.quote(str(folder))}` continues the run" if resumable else ""
        raise type(interrupt)(hint) from None
    if display.failure:
        write(f"the progress was not shown to its end: {describe(display.failure)}")
    kept = result.kept
    if kept is not result.history[-1]:
        write(f"epoch {kept.epoch} was the best, its weights are kept")
    write_results(
        {
            "running": {"loss": kept.test_loss_running, "accuracy": kept.test_accuracy_running},
            "batch": {"loss": kept.test_loss_batch, "accuracy": kept.test_accuracy_batch},
        }
    )
    if result.curves:
        write(f"curves: {result.curves}")
    elif find_spec("matplotlib") is None:
        write(NO_PLOT)
    write(f"weights: {run.weights_path}")
