"""The picture of a run: loss and accuracy by epoch, with the running against the batch's statistics."""

import io
from collections.abc import Sequence
from typing import Any

from zoo.norm import LayerStatistics
from zoo.training.run_folder import Epoch

TRAIN, RUNNING, BATCH = "#8a8f98", "#c2410c", "#1d4ed8"
INK, FAINT = "#1f2937", "#e5e7eb"


def draw(history: Sequence[Epoch], *, title: str) -> bytes | None:
    """A PNG of the learning curves; None where matplotlib is not installed (the extra `plot` has it)."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullLocator
    except ImportError:
        return None
    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    epochs = [row.epoch for row in history]
    for axes, quantity, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        lines = (
            (f"train_{quantity}", "training", TRAIN, "--"),
            (f"test_{quantity}_batch", "test, batch statistics", BATCH, "-"),
            (f"test_{quantity}_running", "test, running statistics", RUNNING, "-"),
        )
        for field, label, colour, style in lines:
            values = [scale * getattr(row, field) for row in history]
            axes.plot(epochs, values, style, color=colour, label=label, linewidth=1.8, marker="o", markersize=3)
        axes.set_xlabel("epoch", color=INK)
        axes.set_title(quantity if scale == 1 else f"{quantity}, %", loc="left", fontsize=10, color=INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(FAINT)
        axes.tick_params(length=0, colors=INK, labelsize=9)
    figure.axes[1].legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    losses = figure.axes[0]
    losses.set_yscale("log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_locator(NullLocator())
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def plot_statistics(rows: Sequence[LayerStatistics]) -> Any:
    """A matplotlib `Figure`: both distances and the range of the variance ratio, layer by layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.25 * len(rows) + 2), 6), layout="constrained")
    means, variances = figure.subplots(2, 1, sharex=True)
    layers = range(len(rows))
    means.plot(layers, [row.distance for row in rows], "o-", label="root mean square over channels")
    means.plot(layers, [row.max_distance for row in rows], ".:", label="largest channel")
    means.set_ylabel("batch mean − running mean\n[running deviations]")
    means.legend()
    variances.fill_between(
        layers, [r.min_ratio for r in rows], [r.max_ratio for r in rows], alpha=0.3, label="all channels"
    )
    variances.plot(layers, [row.variance_ratio for row in rows], "o-", label="geometric mean")
    variances.axhline(1, color="black", linewidth=0.8)
    variances.set_yscale("log")
    variances.set_ylabel("batch variance / running variance")
    variances.set_xticks(layers, [row.layer for row in rows], rotation=90, fontsize="small")
    variances.legend()
    return figure
