"""Every plot that zoo draws, by matplotlib (the extra `plot`), in one style."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.norm import LayerStatistics
from zoo.weights.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY, RUNNING, BATCH = "#8a8f98", "#c2410c", "#1d4ed8"
INK, FAINT = "#1f2937", "#e5e7eb"


def plot_curves(history: Sequence[Mapping[str, float]], *, title: str) -> "Figure":
    """Loss and accuracy by epoch, with the running against the batch's statistics, of the rows of metrics.jsonl.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure = _make_figure(title, width=10.0, height=4.2)
    epochs = [row["epoch"] for row in history]
    for axes, quantity, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        lines = (
            (f"train_{quantity}", "training", GREY, "--"),
            (f"test_{quantity}_batch", "test, batch statistics", BATCH, "-"),
            (f"test_{quantity}_running", "test, running statistics", RUNNING, "-"),
        )
        for field, label, colour, style in lines:
            values = [scale * row[field] for row in history]
            axes.plot(epochs, values, style, color=colour, label=label, linewidth=1.8, marker="o", markersize=3)
        axes.set_xlabel("epoch", color=INK)
        axes.set_title(quantity if scale == 1 else f"{quantity}, %", loc="left", fontsize=10, color=INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _style_axes(axes)
    losses, accuracies = figure.axes
    accuracies.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    losses.set_yscale("log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_locator(NullLocator())
    return figure


def plot_statistics(rows: Sequence[LayerStatistics], *, title: str) -> "Figure":
    """Distances of the means and range of the variance ratio, layer by layer (`zoo.compare_statistics`).

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    figure = _make_figure(title, width=max(6.0, 0.25 * len(rows) + 2), height=6.0)
    means, variances = figure.subplots(2, 1, sharex=True)
    layers = range(len(rows))
    distances, largest = [row.distance for row in rows], [row.max_distance for row in rows]
    means.plot(layers, distances, "o-", color=BATCH, markersize=4, label="root mean square over channels")
    means.plot(layers, largest, ".:", color=GREY, label="largest channel")
    means.set_title("batch mean - running mean, in running deviations", loc="left", fontsize=10, color=INK)
    lowest, highest = [row.min_ratio for row in rows], [row.max_ratio for row in rows]
    variances.fill_between(layers, lowest, highest, color=RUNNING, alpha=0.2, linewidth=0, label="all channels")
    ratios = [row.variance_ratio for row in rows]
    variances.plot(layers, ratios, "o-", color=RUNNING, markersize=4, label="geometric mean")
    variances.axhline(1, color=INK, linewidth=0.8)
    variances.set_yscale("log")
    variances.set_title("batch variance / running variance", loc="left", fontsize=10, color=INK)
    variances.set_xticks(layers, [row.layer for row in rows], rotation=90)
    for axes in (means, variances):
        _style_axes(axes)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def write_plot(figure: "Figure", path: Path) -> None:
    """The figure as a PNG, whole or not at all."""
    write_whole(path, lambda part: figure.savefig(part, format="png"))


def _make_figure(title: str, *, width: float, height: float) -> "Figure":
    """An empty figure; its size is in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def _style_axes(axes: "Axes") -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(length=0, colors=INK, labelsize=9)
