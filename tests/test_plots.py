"""Plots show the numbers they are given, and are written whole."""

import numpy as np
import pytest

from zoo import plots
from zoo.norm import LayerStatistics

ROWS = [LayerStatistics(f"bn{i}", 4, 0.1 * i, 0.3 * i, 1 + 0.1 * i, 0.5, 2.0) for i in range(3)]
HISTORY = [
    {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.5}
    | {f"test_{metric}_{which}": 0.1 * epoch for metric in ("loss", "accuracy") for which in ("running", "batch")}
    for epoch in (1, 2)
]


def test_statistics_are_drawn_layer_by_layer():
    upper, lower = plots.plot_statistics(ROWS, title="a batch").axes
    np.testing.assert_allclose(upper.lines[0].get_ydata(), [row.distance for row in ROWS])
    np.testing.assert_allclose(lower.lines[0].get_ydata(), [row.variance_ratio for row in ROWS])
    assert [label.get_text() for label in lower.get_xticklabels()] == ["bn0", "bn1", "bn2"]


def test_curves_are_drawn_epoch_by_epoch():
    losses, accuracies = plots.plot_curves(HISTORY, title="a run").axes
    np.testing.assert_allclose(losses.lines[0].get_ydata(), [1, 0.5])
    np.testing.assert_allclose(accuracies.lines[1].get_ydata(), [10, 20])


def test_a_plot_is_a_png_or_nothing(tmp_path):
    plots.write_plot(plots.plot_curves(HISTORY, title="a run"), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")

    class Broken:
        def savefig(self, path, format):
            path.write_bytes(b"half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        plots.write_plot(Broken(), tmp_path / "other.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
