"""Images on paper: augmentations, a confusion matrix, mistakes, and what a net looks at."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from zoo.plots.style import BATCH, FAINT, INK, NAMED, TALLEST, WIDTH, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK, RED, YELLOW = "#1e3a8a", (0.76, 0.25, 0.05), (1.0, 0.85, 0.2)
WRITTEN = 20  # classes whose counts fit into the cells of a matrix
COLUMNS, FILTERS = 6, 16  # pictures and filters beside each other
ENLARGED = 64  # pixels: smaller images show theirs as squares


def plot_augmentations(examples: Mapping[str, ArrayLike], *, title: str) -> "Figure":
    """A strip of images `[n, H, W, C]` from 0 to 1 for each name (`zoo.data.augmentation.show_augmentations`).

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    count, height, width, _ = np.shape(next(iter(examples.values())))
    figure = make_figure(title, height=min(TALLEST, 0.4 + len(examples) * (0.2 + WIDTH / count * height / width)))
    strips = figure.subplots(len(examples), 1, squeeze=False)[:, 0]
    gap = max(1, width // 24)
    for axes, (name, images) in zip(strips, examples.items(), strict=True):
        framed = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=1)  # white between them
        strip = np.concatenate(framed, axis=1)[:, :-gap]
        axes.imshow(np.broadcast_to(strip, (*strip.shape[:2], 3)), interpolation="antialiased")
        axes.set_title(name, loc="left", fontsize=8, color=INK, pad=2)
        axes.set_axis_off()
    return figure


def plot_confusion(counts: ArrayLike, names: Sequence[str], *, title: str) -> "Figure":
    """How many images of each class (row) were taken for each (column), `[K, K]`, shaded by shares of the row.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.colors import LinearSegmentedColormap

    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = make_figure(title, height=min(WIDTH, 1.6 + 0.36 * len(names)) + 0.3)
    axes = figure.subplots()
    shades = LinearSegmentedColormap.from_list("shades", ["white", BATCH, DARK])
    axes.imshow(shares, cmap=shades, vmin=0, vmax=1, interpolation="nearest")
    if len(names) <= WRITTEN:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.4 else INK
            if count:
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=colour)
    every = math.ceil(len(names) / NAMED)
    shown = [textwrap.shorten(name, 24, placeholder="...") for name in names][::every]
    places = range(0, len(names), every)
    size = 8 if len(names) <= WRITTEN else 5
    axes.set_yticks(places, shown, fontsize=size, parse_math=False)
    turn = 90 if max(map(len, shown)) > 2 else 0
    axes.set_xticks(places, shown, fontsize=size, rotation=turn, parse_math=False)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_color(FAINT)
    axes.set_anchor("W")  # below the title, where it is narrower than the page
    axes.set_xlabel("taken for", fontsize=9, color=INK)
    axes.set_ylabel("class", fontsize=9, color=INK)
    return figure


def plot_mistakes(images: Sequence[ArrayLike], captions: Sequence[str], *, title: str) -> "Figure":
    """A contact sheet of images `[H, W, C]` of bytes, each above its caption of two lines.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    height, width, _ = np.shape(images[0])
    lines = math.ceil(len(images) / COLUMNS)
    figure = make_figure(title, height=min(TALLEST, 0.5 + lines * (0.35 + WIDTH / COLUMNS * height / width)))
    for axes in (grid := figure.subplots(lines, COLUMNS, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        _show_image(axes, image)
        shortened = "\n".join(textwrap.shorten(line, 26, placeholder="...") for line in caption.split("\n"))
        axes.text(0, -0.04, shortened, transform=axes.transAxes, va="top", fontsize=7, color=INK, parse_math=False)
    return figure


def plot_explanation(
    image: ArrayLike, maps: Mapping[str, ArrayLike], filters: ArrayLike | None, *, title: str
) -> "Figure":
    """A photograph, beside it where each class is seen in it, below the filters of the first layer.

    Args:
      image: `[H, W, C]` bytes.
      maps: `{class: [h, w]}`, 0 or more, each shaded by its own highest value.
      filters: `[k, h, w, C]`, C 1 or 3, each shown by its own largest weight; None for a net without.
      title: above all.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.colors import LinearSegmentedColormap

    height, width, _ = np.shape(image)
    drawn = np.zeros((0, 1, 1, 1)) if filters is None else np.asarray(filters)[: 4 * FILTERS]
    columns = len(maps) + 1
    photographs = 0.3 + WIDTH / columns * height / width
    rows = math.ceil(len(drawn) / FILTERS)
    below = rows * WIDTH / FILTERS + 0.4 if rows else 0.01
    figure = make_figure(title, height=min(TALLEST, 0.5 + photographs + below))
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(photographs, below))
    plain, *overlaid = upper.subplots(1, columns, squeeze=False)[0]
    plain.set_title("what the net sees", loc="left", fontsize=9, color=INK)
    _show_image(plain, image)
    # Clear where nothing is seen, so that the photograph itself is there.
    heat = LinearSegmentedColormap.from_list("heat", [(*RED, 0.0), (*RED, 0.45), (*YELLOW, 0.75)])
    for axes, (name, map_) in zip(overlaid, maps.items(), strict=True):
        axes.set_title(
            textwrap.shorten(name, 30, placeholder="..."), loc="left", fontsize=9, color=INK, parse_math=False
        )
        _show_image(axes, np.asarray(image).mean(-1, keepdims=True))
        scaled = np.asarray(map_) / max(float(np.max(map_)), 1e-30)
        axes.imshow(
            scaled, cmap=heat, vmin=0, vmax=1, interpolation="bilinear", extent=(-0.5, width - 0.5, height - 0.5, -0.5)
        )
    if rows:
        lower.suptitle("filters of the first layer", x=0.01, ha="left", fontsize=9, color=INK)
        for axes in (grid := lower.subplots(rows, FILTERS, squeeze=False)).flat:
            axes.set_axis_off()
        for axes, filter_ in zip(grid.flat, drawn, strict=False):
            shown = 0.5 + filter_ / (2 * max(np.abs(filter_).max(), 1e-30))
            axes.imshow(np.broadcast_to(shown, (*shown.shape[:2], 3)), interpolation="nearest")
    return figure


def _show_image(axes: "Axes", image: ArrayLike) -> None:
    """`[H, W, C]` bytes, grey or in colours."""
    height, width, _ = np.shape(image)
    colours = np.broadcast_to(np.asarray(image, np.uint8), (height, width, 3))
    axes.imshow(colours, interpolation="nearest" if max(height, width) < ENLARGED else "antialiased")
    axes.set_axis_off()
