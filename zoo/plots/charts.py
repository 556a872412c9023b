"""Numbers as lines, points and bars: curves of a training, statistics of its layers, speeds of a benchmark."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zoo.norm import LayerStatistics
from zoo.plots.style import (
    BATCH,
    GREY,
    INK,
    NAMED,
    RUNNING,
    TALLEST,
    make_figure,
    place_legend,
    scale_log,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PEERS = "#1e3a8a", "#3b82f6", "#93c5fd", "#6b7280", "#d1d5db"  # bars beside zoo's
MARKED = 15  # epochs whose points are marked


def plot_curves(history: Sequence[Mapping[str, float]], *, title: str) -> "Figure":
    """Loss and accuracy by epoch, with the running against the batch's statistics, of the rows of metrics.jsonl.

    Beside them is how far the two statistics are apart, where the net has any. Where they give the same figures, as
    without normalisation, one line stands for both and says so.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.ticker import MaxNLocator

    def values(field: str) -> list[float]:
        return [row[field] for row in history]

    alike = all(
        math.isclose(running, batch, rel_tol=1e-6)
        for quantity in ("loss", "accuracy")
        for running, batch in zip(values(f"test_{quantity}_running"), values(f"test_{quantity}_batch"), strict=True)
    )
    lines = [("train_{}", "training", GREY, "--", 1.3)]
    if alike:
        lines += [("test_{}_running", "test, alike with running and with batch statistics", RUNNING, "-", 1.6)]
    else:  # the wider line can be seen under the other
        lines += [("test_{}_batch", "test, batch statistics", BATCH, "-", 2.8)]
        lines += [("test_{}_running", "test, running statistics", RUNNING, "-", 1.3)]
    distances = [row["statistics_distance"] for row in history if row.get("statistics_distance") is not None]
    figure = make_figure(title, height=3.7)
    panels = 3 if len(distances) == len(history) else 2  # runs of an older version have no distances
    losses, accuracies, *apart = figure.subplots(1, panels)
    for axes, quantity, scale in ((losses, "loss", 1), (accuracies, "accuracy", 100)):
        for field, label, colour, style, width in lines:
            scaled = [scale * value for value in values(field.format(quantity))]
            (line,) = axes.plot(values("epoch"), scaled, style, color=colour, label=label, linewidth=width)
            line.set(marker="o" if len(history) <= MARKED else "", markersize=width + 2)
        style_axes(axes, quantity if scale == 1 else f"{quantity}, %", grid="y")
    for axes in apart:
        (line,) = axes.plot(values("epoch"), distances, "-", color=INK, linewidth=1.3, label="batch from running means")
        line.set(marker="o" if len(history) <= MARKED else "", markersize=3.3)
        style_axes(axes, "distance, in running deviations", grid="y")
        axes.set_ylim(0, 1.1 * max(distances) or 1)
    for axes in figure.axes:
        axes.set_xlim(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch", fontsize=9, color=INK)
    scale_log(losses.yaxis, [value for field, *_ in lines for value in values(field.format("loss"))])
    low, high = accuracies.get_ylim()
    accuracies.set_ylim(min(low, high - 5), max(high, low + 5))  # tenths of a per cent are no news
    place_legend(figure, losses, *apart)
    return figure


def plot_statistics(rows: Sequence[LayerStatistics], *, title: str) -> "Figure":
    """Distances of the means and range of the variance ratio, layer by layer (`zoo.compare_statistics`).

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    figure = make_figure(title, height=min(TALLEST, 2.0 + 0.16 * len(rows)))
    means, variances = figure.subplots(1, 2, sharey=True)
    layers, every = range(len(rows)), math.ceil(len(rows) / NAMED)
    size = 5 if every == 1 else 3
    distances, largest = [row.distance for row in rows], [row.max_distance for row in rows]
    ratios, lowest, highest = zip(*((row.variance_ratio, row.min_ratio, row.max_ratio) for row in rows), strict=True)
    for axes, colour, points, label, low, high, extent in (
        (means, BATCH, distances, "root mean square", distances, largest, "up to the largest channel"),
        (variances, RUNNING, ratios, "geometric mean", lowest, highest, "smallest to largest channel"),
    ):
        axes.plot(points, layers, "o", color=colour, markersize=size, label=label, clip_on=False)
        axes.hlines(layers, low, high, color=colour, alpha=0.4, linewidth=1.2, label=extent)
    style_axes(means, "batch mean - running mean, in running deviations", grid="x")
    means.set_xlim(left=0)
    means.set_yticks(layers[::every], [row.layer for row in rows[::every]], fontsize=7, parse_math=False)
    means.set_ylim(len(rows) - 0.5, -0.5)  # the first layer on top
    style_axes(variances, "batch variance / running variance", grid="x")
    variances.axvline(1, color=INK, linewidth=0.8, zorder=1)
    scale_log(variances.xaxis, [*lowest, *highest])
    place_legend(figure, means, variances)
    return figure


def plot_benchmark(speeds: Mapping[str, Mapping[str, float]], *, title: str) -> "Figure":
    """Bars of the images a second by net and contestant, as multiples of those of `"zoo"`, or of the fastest without.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    contestants = list(dict.fromkeys(name for row in speeds.values() for name in row))
    bars = [(model, name) for model, row in speeds.items() for name in contestants if name in row]
    figure = make_figure(title, height=min(TALLEST, 1.2 + 0.2 * len(bars) + 0.1 * len(speeds)))
    axes = figure.subplots()
    heights = {(model, name): i + 0.6 * list(speeds).index(model) for i, (model, name) in enumerate(bars)}
    for number, contestant in enumerate(contestants):
        colour = RUNNING if contestant == "zoo" else PEERS[number % len(PEERS)]
        own = [bar for bar in bars if bar[1] == contestant]
        widths = [speeds[model][contestant] / speeds[model].get("zoo", max(speeds[model].values())) for model, _ in own]
        drawn = axes.barh([heights[bar] for bar in own], widths, height=0.8, color=colour, label=contestant)
        labels = [f"{speeds[model][contestant]:,.3g}" for model, _ in own]
        axes.bar_label(drawn, labels, padding=3, fontsize=7, color=INK)
    middles = {m: statistics.mean(heights[bar] for bar in bars if bar[0] == m) for m, row in speeds.items() if row}
    axes.set_yticks(list(middles.values()), list(middles), parse_math=False)
    axes.invert_yaxis()  # the first net on top
    axes.axvline(1, color=INK, linewidth=0.8, zorder=0.9)  # behind the bars
    axes.margins(x=0.1, y=0.02)
    style_axes(axes, "speed as a multiple of zoo's, with images/s", grid="x")
    place_legend(figure, axes)
    return figure
