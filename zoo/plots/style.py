"""What all plots have in common: colours, sizes, axes, and how they are written."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo.weights.whole_files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

GREY, RUNNING, BATCH = "#6b7280", "#c2410c", "#3b82f6"
INK, FAINT = "#1f2937", "#e5e7eb"
WIDTH, TALLEST = 8.3, 11.0  # inches
NAMED = 60  # layers or classes whose names fit below each other


def write_plot(figure: "Figure", path: Path) -> None:
    """The figure as a PNG, whole or not at all."""
    write_whole(path, lambda part: figure.savefig(part, format="png"))


def make_figure(title: str, *, height: float) -> "Figure":
    """An empty figure; its height is in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=200, layout="constrained")
    lines = textwrap.fill(title, 90)
    figure.suptitle(lines, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    return figure


def style_axes(axes: "Axes", title: str, *, grid: Literal["x", "y"]) -> None:
    """A title, a faint grid across `grid`, and no frame."""
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(length=0, colors=INK, labelsize=8)


def place_legend(figure: "Figure", *axes: "Axes") -> None:
    """Below the plots, where no line runs."""
    entries = [entry for one in axes for entry in zip(*one.get_legend_handles_labels(), strict=True)]
    handles, labels = zip(*entries, strict=True)
    style = {"frameon": False, "fontsize": 8, "labelcolor": INK, "borderpad": 0.0}
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), **style)


def scale_log(axis: "Axis", values: Sequence[float]) -> None:
    """A logarithmic scale with a few plain numbers on it, whatever it spans, if `values` have logarithms."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0:
        return
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    span = max(finite) / min(finite)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 200 else (1,)) if span > 8 else MaxNLocator(6))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
