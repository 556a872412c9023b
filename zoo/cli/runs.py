"""`zoo train`, `resume`, `eval` and `stats`: all that has to do with a run folder."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import arg

from zoo import data
from zoo.cli.terminal import Display, new_table, write
from zoo.data import Dataset
from zoo.norm import compare_statistics, format_statistics
from zoo.plots import plot_statistics
from zoo.training import loop as fit
from zoo.training.run_folder import Run, TrainConfig
from zoo.weights.files import write_whole

NO_PICTURE = "no picture: matplotlib is missing, `pip install 'jax-cnn-zoo[plot]'` brings it"
RunFolder = Annotated[Path, arg(metavar="RUN")]


def train(
    recipe: TrainConfig,
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
    folder = Path("runs", recipe.model) if out is None else out
    _trained(folder, recipe.epochs, partial(fit.fit, recipe, folder, overwrite=overwrite))


def resume(run: RunFolder) -> None:
    """Go on with an interrupted run, to the same numbers as if it had not been interrupted.

    Args:
        run: The run folder.
    """
    config, _, _ = Run(run).read()
    _trained(run, config.epochs, partial(fit.resume, run))


def eval_(run: RunFolder, *, statistics: Literal["running", "batch", "both"] = "both") -> None:
    """Test a finished run: with the running statistics, with those of each test batch, or with both.

    Args:
        run: The run folder.
        statistics: What the normalisations of the net use.
    """
    trained = fit.restore(run)
    test = _test_images(trained)
    chosen = get_args(fit.Statistics) if statistics == "both" else (statistics,)
    _print_results({name: fit.evaluate(trained, test, name) for name in chosen})


def stats(run: RunFolder) -> None:
    """Compare a test batch's statistics with a finished run's running ones, normalisation by normalisation.

    Args:
        run: The run folder.
    """
    trained = fit.restore(run)
    batch = next(data.batches(_test_images(trained), trained.config.batch_size, seed=0, epoch=0))
    rows = compare_statistics(trained.state.model, trained.state.variables, batch)
    write(f"{batch['mask'].sum()} test images against the running statistics:", format_statistics(rows))
    try:
        figure = plot_statistics(rows)
    except ModuleNotFoundError:
        write(NO_PICTURE)
    else:
        picture = Run(run).statistics
        write_whole(picture, lambda part: figure.savefig(part, format="png", dpi=150))
        write(f"picture: {picture}")


def _test_images(trained: fit.Trained) -> Dataset:
    """The test split of the run's data, given to the net as in its training."""
    test = data.load(trained.config.data).test
    if test.num_classes != trained.num_classes:
        raise ValueError(
            f"{trained.config.data} has {test.num_classes} classes now, and had {trained.num_classes} when the net"
            " was trained."
        )
    return replace(test, prepare=trained.preparation)


def _trained(folder: Path, epochs: int, start: Callable[..., fit.Result]) -> None:
    """Runs `fit` or `resume` behind the progress bar, then says what came of it."""
    run = Run(folder)
    try:
        with Display(epochs) as display:
            result = start(on_step=display.step, on_epoch=display.epoch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"`zoo resume {folder}` goes on with the run" if run.config.exists() else "") from None
    last = result.history[-1]
    _print_results(
        {
            "running": {"loss": last.test_loss_running, "accuracy": last.test_accuracy_running},
            "batch": {"loss": last.test_loss_batch, "accuracy": last.test_accuracy_batch},
        }
    )
    if result.picture is None:
        write(NO_PICTURE)
    else:
        write(f"curves: {result.picture}")
    write(f"weights: {run.weights}")


def _print_results(results: dict[str, dict[str, float]]) -> None:
    table = new_table("statistics", "test loss>", "test accuracy>")
    for name, means in results.items():
        table.add_row(name, f"{means['loss']:.4f}", f"{means['accuracy']:.2%}")
    write(table)
