"""`zoo eval` and `stats`: a run folder looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from rich.table import Table
from tyro.conf import arg

from zoo import plots, training
from zoo.cli.terminal import describe, make_table, warn, working, write
from zoo.data import Split, batches
from zoo.errors import UserError
from zoo.norm import LayerStatistics, Statistics, compare_statistics
from zoo.training import Answers, RunFolder, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_PLOT = "no plot: matplotlib is missing, `pip install 'jax-cnn-zoo[plot]'` brings it"
FEW, MANY = 12, 40  # classes whose confusions fit into a table, and whose accuracies do
MISTAKES = 24  # on the contact sheet
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

    Prints how many test images it gets right, of all and of each class. A picture of the confusion matrix and one of
    the most confident mistakes go into the run folder.

    Args:
        run: The run folder.
        statistics: What the normalisations of the net use.
    """
    trained, folder = restore(run), RunFolder(run)
    test, config = _load_test_images(trained), trained.record.config
    kinds: tuple[Statistics, ...] = ("running", "batch") if statistics == "both" else (statistics,)
    with working("testing") as status:
        answers = training.evaluate_classes(
            trained.model,
            trained.state.variables,
            test,
            config.batch_size,
            statistics=kinds,
            loss_fn=training.make_loss(config),
            on_batch=lambda count: status.update(f"tested {count:,} of {len(test):,}"),
        )
    write_results({kind: _summarise(one) for kind, one in answers.items()})
    names = trained.record.class_names or test.class_names or tuple(map(str, range(test.num_classes)))
    write("", *_tabulate_classes(names, answers))
    _draw_answers(folder, f"{run}, {kinds[0]} statistics", answers[kinds[0]], names, test)


def _draw_answers(folder: RunFolder, run: str, answers: Answers, names: Sequence[str], test: Split) -> None:
    """The confusion matrix and the contact sheet of mistakes, if there are any."""
    folder.mistakes_path.unlink(missing_ok=True)  # of another test, which may have had some
    if find_spec("matplotlib") is None:
        write(NO_PLOT)
        return
    right = f"{run}: {answers.top(1):.2%} of {len(test):,} test images are right"
    _draw(
        "confusion matrix", folder.confusion_path, partial(plots.plot_confusion, answers.confusion, names, title=right)
    )
    if len(rows := answers.find_mistakes(MISTAKES)):
        said = [
            f"{answers.confidence[row]:.0%} sure: {names[answers.predicted[row]]}\nis {names[answers.labels[row]]}"
            for row in rows
        ]
        wrong = f"{run}: the most confident of {np.count_nonzero(answers.rank):,} mistakes"

        def plot() -> "Figure":
            return plots.plot_mistakes([test.read_image(row) for row in rows], said, title=wrong)

        _draw("mistakes", folder.mistakes_path, plot)


def _summarise(answers: Answers) -> dict[str, float]:
    means = {"loss": float(np.mean(answers.loss)), "accuracy": answers.top(1)}
    return means | ({"top5": answers.top(5)} if answers.num_classes > 5 else {})


def _tabulate_classes(names: Sequence[str], answers: Mapping[Statistics, Answers]) -> tuple[str, Table]:
    """The accuracy of each class, or of the worst of many; of few also what their images were taken for."""
    kind, first = next(iter(answers.items()))
    confusion, few = first.confusion, len(names) <= FEW
    table = make_table("class", "images>", *(f"{kind}>" for kind in answers), *(f"{name}>" for name in names if few))
    order = range(len(names)) if len(names) <= MANY else np.argsort(first.class_accuracy, kind="stable")[:MANY]
    for number in order:
        shares = [one.class_accuracy[number] for one in answers.values()]
        taken = [f"{count:,}" if count else "" for count in confusion[number]] if few else []
        table.add_row(
            names[number],
            f"{confusion[number].sum():,}",
            *("" if np.isnan(share) else f"{share:.2%}" for share in shares),
            *taken,
        )
    if len(names) > MANY:
        return f"accuracy of the {MANY} worst classes of {len(names):,}, with {kind} statistics:", table
    return f"accuracy by class{f', and what its images were taken for with {kind} statistics' if few else ''}:", table


def _draw(what: str, path: Path, plot: Callable[[], "Figure"]) -> None:
    """A picture beside the figures that were asked for: without it, they are all there."""
    try:
        plots.write_plot(plot(), path)
    except ModuleNotFoundError:
        write(NO_PLOT)
    except Exception as error:  # whatever is wrong with a picture, the figures are there
        warn(f"{path} was not drawn: {describe(error)}")
    else:
        write(f"{what}: {path}")


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
    _draw("plot", path, lambda: plots.plot_statistics(rows, title=title))


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
    if record.class_names and test.class_names and record.class_names != test.class_names:
        changed = sorted(set(record.class_names) ^ set(test.class_names))
        problem = f"{record.config.data} has other classes now than when the net was trained: {', '.join(changed)}"
        raise UserError(problem, "give its folders their names back")
    return replace(test, preprocessing=record.preprocessing)


def write_results(results: Mapping[Statistics, Mapping[str, float]]) -> None:
    """A line for the figures of each kind of statistics: `loss`, `accuracy`, and `top5` if they have it."""
    more = ["top-5>"] if all("top5" in means for means in results.values()) else []
    table = make_table("statistics", "test loss>", "test accuracy>", *more)
    for name, means in results.items():
        shares = [means["accuracy"], *([means["top5"]] if more else [])]
        table.add_row(name, f"{means['loss']:.4f}", *(f"{share:.2%}" for share in shares))
    write(table)
