"""`zoo eval` and `stats`: a run folder looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from rich.table import Table
from tyro.conf import arg

from zoo import plots, training
from zoo.cli.terminal import describe, make_table, warn, working, write
from zoo.data import Split, batches
from zoo.errors import UserError
from zoo.norm import LayerStatistics, Statistics, compare_statistics
from zoo.training import RunFolder, Trained

NO_PLOT = "no plot: matplotlib is missing, `pip install 'jax-cnn-zoo[plot]'` brings it"
RunPath = Annotated[Path, arg(metavar="RUN")]


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
    write_results(results)


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


def _load_test_images(trained: Trained) -> Split:
    """The test split of the run's data, given to the net as in its training."""
    record = trained.record
    if "splits" in record.own:
        raise UserError("the run was trained on images that its caller passed", "test it in Python")
    test = training.load_splits(record.config).test
    if test.num_classes != record.num_classes:
        raise UserError(
            f"{record.config.data} has {test.num_classes} classes now, and had {record.num_classes} when the net was"
            " trained"
        )
    return replace(test, preprocessing=record.preprocessing)


def write_results(results: Mapping[Statistics, Mapping[str, float]]) -> None:
    """A line for the figures of each kind of statistics."""
    table = make_table("statistics", "test loss>", "test accuracy>")
    for name, means in results.items():
        table.add_row(name, f"{means['loss']:.4f}", f"{means['accuracy']:.2%}")
    write(table)
