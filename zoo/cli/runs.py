"""`zoo train`, `resume`, `eval` and `stats`: all that has to do with a run folder."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from rich.table import Table
from tyro.conf import arg

from zoo import plots, training
from zoo.cli.progress import ProgressDisplay
from zoo.cli.terminal import describe, make_table, warn, working, write
from zoo.data import SOURCES, Dataset, batches, load
from zoo.errors import UserError
from zoo.norm import LayerStatistics, Statistics, compare_statistics
from zoo.training import RunFolder, TrainConfig, Trained

NO_PLOT = "no plot: matplotlib is missing, `pip install 'jax-cnn-zoo[plot]'` brings it"
RunPath = Annotated[Path, arg(metavar="RUN")]


@dataclass(frozen=True)
class Recipe(TrainConfig):
    """`TrainConfig` in the words of its help; `train` checks the values, whose errors are then one line."""

    model: Annotated[str, arg(metavar="MODEL")]
    """Name of the net: `zoo list` has them all."""
    image_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None
    """Side of the images the net sees: by default the data's own, or the net's if that is too small."""

    def __post_init__(self) -> None:
        """Checks nothing."""


def train(
    recipe: Recipe,
    *,
    out: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="(default: runs/MODEL)")] = None,
    overwrite: bool = False,
) -> None:
    """Train a model into a run folder.

    Args:
        recipe: What is trained, on what, and how.
        out: The run folder to make.
        overwrite: Replace the run that is in the folder.
    """
    config = TrainConfig(**asdict(replace(recipe, data=_resolve_data(recipe.data))))
    folder = Path("runs", config.model) if out is None else out
    _show_training(folder, config.epochs, partial(training.fit, config, folder, overwrite=overwrite))


def resume(
    run: RunPath,
    *,
    lr: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None,
) -> None:
    """Continue an interrupted run, as if it had not been interrupted.

    It comes to the same numbers.

    Args:
        run: The run folder.
        lr: Another highest learning rate from here on: for a run whose loss was no number any more.
    """
    _show_training(run, RunFolder(run).read().config.epochs, partial(training.resume, run, lr=lr))


def restore(run: Path) -> Trained:
    """What a run has learnt; if there is more to come, it says so."""
    with working("loading"):
        trained = RunFolder(run).restore()
    if not trained.finished:
        done, epochs = len(trained.history), trained.record.config.epochs
        warn(f"{run} is not finished: this is its last checkpoint, after {done} whole epochs of {epochs}")
    return trained


def eval_(run: RunPath, *, statistics: Literal["running", "batch", "both"] = "both") -> None:
    """Test a run: with running statistics, each test batch's, or both.

    Args:
        run: The run folder.
        statistics: What the normalisations of the net use.
    """
    trained = restore(run)
    test, config = _load_test_images(trained), trained.record.config
    chosen: tuple[Statistics, ...] = ("running", "batch") if statistics == "both" else (statistics,)
    steps = {name: training.make_eval_step(training.make_loss(config), statistics=name) for name in chosen}
    with working("testing"):
        results = {
            name: training.evaluate(step, trained.state, test, config.batch_size) for name, step in steps.items()
        }
    _write_results(results)


def stats(run: RunPath) -> None:
    """Compare a test batch's statistics with a run's running ones.

    There is a line for each normalisation, and a plot in the run folder.

    Args:
        run: The run folder.
    """
    trained, path = restore(run), RunFolder(run).statistics_path
    batch = next(batches(_load_test_images(trained), trained.record.config.batch_size, seed=0, epoch=0))
    with working("comparing"):
        rows = compare_statistics(trained.model, trained.state.variables, batch)
    title = f"{batch['mask'].sum()} test images against the running statistics"
    write(f"{title}:", _tabulate(rows))
    try:
        plots.write_plot(plots.plot_statistics(rows, title=title), path)
    except ModuleNotFoundError:
        write(NO_PLOT)
    except Exception as error:  # the table is what was asked for
        warn(f"no plot: {describe(error)}")
    else:
        write(f"plot: {path}")


def _tabulate(rows: Sequence[LayerStatistics]) -> Table:
    table = make_table("layer", "mean off by>", "at most>", "variance times>", "from>", "to>", "channels>")
    for row in rows:
        numbers = (row.distance, row.max_distance, row.variance_ratio, row.min_ratio, row.max_ratio)
        table.add_row(row.layer, *(f"{number:.3f}" for number in numbers), str(row.channels))
    return table


def _resolve_data(data: str) -> str:
    """A source whose folder is found again from another working directory."""
    name, _, folder = data.partition(":")
    return f"{name}:{Path(folder).expanduser().absolute()}" if folder and f"{name}:FOLDER" in SOURCES else data


def _load_test_images(trained: Trained) -> Dataset:
    """The test split of the run's data, given to the net as in its training."""
    record = trained.record
    if "splits" in record.own:
        raise UserError("the run was trained on images that its caller passed", "test it in Python")
    test = load(record.config.data).test
    if test.num_classes != record.num_classes:
        raise UserError(
            f"{record.config.data} has {test.num_classes} classes now, and had {record.num_classes} when the net was"
            " trained"
        )
    return replace(test, preprocessing=record.preprocessing)


def _show_training(folder: Path, epochs: int, start: Callable[..., training.Result]) -> None:
    """Runs `fit` or `resume` behind the progress bar, then says what came of it."""
    run = RunFolder(folder)
    try:
        with ProgressDisplay(epochs) as display:
            result = start(on_step=display.show_step, on_epoch=display.show_epoch)
    except KeyboardInterrupt:
        resumable = run.config_path.exists() and not run.weights_path.exists()
        hint = f"`zoo resume {shlex.quote(str(folder))}` continues the run" if resumable else ""
        raise KeyboardInterrupt(hint) from None
    if display.failure:
        write(f"the progress was not shown to its end: {describe(display.failure)}")
    last = result.history[-1]
    _write_results(
        {
            "running": {"loss": last.test_loss_running, "accuracy": last.test_accuracy_running},
            "batch": {"loss": last.test_loss_batch, "accuracy": last.test_accuracy_batch},
        }
    )
    if result.curves:
        write(f"curves: {result.curves}")
    elif find_spec("matplotlib") is None:
        write(NO_PLOT)
    write(f"weights: {run.weights_path}")


def _write_results(results: Mapping[Statistics, Mapping[str, float]]) -> None:
    table = make_table("statistics", "test loss>", "test accuracy>")
    for name, means in results.items():
        table.add_row(name, f"{means['loss']:.4f}", f"{means['accuracy']:.2%}")
    write(table)
