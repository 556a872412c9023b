"""`zoo train`, `resume`, `eval` and `stats`: all that has to do with a run folder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import arg

from zoo import plots, training
from zoo.cli.terminal import ProgressDisplay, make_table, write
from zoo.data import Dataset, batches, load
from zoo.errors import UserError
from zoo.norm import Statistics, compare_statistics, format_statistics
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
    config = TrainConfig(**asdict(recipe))
    folder = Path("runs", config.model) if out is None else out
    _show_training(folder, config.epochs, partial(training.fit, config, folder, overwrite=overwrite))


def resume(run: RunPath) -> None:
    """Continue an interrupted run, to the same numbers as if it had not been interrupted.

    Args:
        run: The run folder.
    """
    _show_training(run, RunFolder(run).read().config.epochs, partial(training.resume, run))


def eval_(run: RunPath, *, statistics: Literal["running", "batch", "both"] = "both") -> None:
    """Test a finished run: with the running statistics, with those of each test batch, or with both.

    Args:
        run: The run folder.
        statistics: What the normalisations of the net use.
    """
    trained = RunFolder(run).restore()
    test, config = _load_test_images(trained), trained.record.config
    chosen = get_args(Statistics) if statistics == "both" else (statistics,)
    steps = {name: training.make_eval_step(training.make_loss(config), statistics=name) for name in chosen}
    _write_results(
        {name: training.evaluate(step, trained.state, test, config.batch_size) for name, step in steps.items()}
    )


def stats(run: RunPath) -> None:
    """Compare a test batch's statistics with a finished run's running ones, normalisation by normalisation.

    Args:
        run: The run folder.
    """
    folder = RunFolder(run)
    trained = folder.restore()
    batch = next(batches(_load_test_images(trained), trained.record.config.batch_size, seed=0, epoch=0))
    rows = compare_statistics(trained.model, trained.state.variables, batch)
    title = f"{batch['mask'].sum()} test images against the running statistics"
    write(f"{title}:", format_statistics(rows))
    try:
        plots.write_plot(plots.plot_statistics(rows, title=title), folder.statistics_path)
    except ModuleNotFoundError:
        write(NO_PLOT)
    else:
        write(f"plot: {folder.statistics_path}")


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
        hint = f"`zoo resume {folder}` continues the run" if run.config_path.exists() else ""
        raise KeyboardInterrupt(hint) from None
    last = result.history[-1]
    _write_results(
        {
            "running": {"loss": last.test_loss_running, "accuracy": last.test_accuracy_running},
            "batch": {"loss": last.test_loss_batch, "accuracy": last.test_accuracy_batch},
        }
    )
    write(NO_PLOT if result.curves is None else f"curves: {result.curves}")
    write(f"weights: {run.weights_path}")


def _write_results(results: dict[str, dict[str, float]]) -> None:
    table = make_table("statistics", "test loss>", "test accuracy>")
    for name, means in results.items():
        table.add_row(name, f"{means['loss']:.4f}", f"{means['accuracy']:.2%}")
    write(table)
