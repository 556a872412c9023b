"""Plots show the numbers they are given, hide none of them, and are written whole."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from zoo import plots
from zoo.norm import LayerStatistics


def make_rows(count):
    return [LayerStatistics(f"layer{i}/bn", 4, 0.1 * i, 0.3 * i, 1 + 0.1 * i, 0.5, 2.0 + i) for i in range(count)]


def make_history(epochs, *, normalised=True):
    """Losses that fall from 4 to 4 / epochs; without normalisation the two statistics are one."""
    return [
        {"epoch": epoch, "train_loss": 4 / epoch, "train_accuracy": 0.5}
        | {f"test_loss_{w}": 4 / epoch + (normalised and w == "running") for w in ("running", "batch")}
        | {
            f"test_accuracy_{w}": epoch / (epochs + 2) - 0.1 * (normalised and w == "running")
            for w in ("running", "batch")
        }
        for epoch in range(1, epochs + 1)
    ]


def drawn(figure):
    """The renderer of a drawn figure: the places of texts and legends are known only then."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def ticks_inside(axis):
    low, high = sorted(axis.get_view_interval())
    return [
        (v, t.get_text()) for v, t in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True) if low <= v <= high
    ]


def test_statistics_are_drawn_layer_by_layer_from_the_top():
    rows = make_rows(3)
    means, variances = plots.plot_statistics(rows, title="a batch").axes
    np.testing.assert_allclose(means.lines[0].get_xdata(), [row.distance for row in rows])
    np.testing.assert_allclose(variances.lines[0].get_xdata(), [row.variance_ratio for row in rows])
    ends = [segment[:, 0].tolist() for segment in means.collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[row.distance, row.max_distance] for row in rows])
    ends = [segment[:, 0].tolist() for segment in variances.collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[row.min_ratio, row.max_ratio] for row in rows])
    assert [label.get_text() for label in means.get_yticklabels()] == ["layer0/bn", "layer1/bn", "layer2/bn"]
    assert means.yaxis_inverted()


@pytest.mark.parametrize("count", [1, 3, 53, 200])
def test_statistics_have_a_title_and_names_that_do_not_overlap_on_one_page(count):
    figure = plots.plot_statistics(make_rows(count), title="64 test images")
    renderer = drawn(figure)
    assert figure.get_suptitle() == "64 test images"
    width, height = figure.get_size_inches()
    assert width <= 8.3
    assert height <= 11.7  # A4
    names = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    assert len(names) >= min(count, 40)
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(names))
    assert min(box.height for box in names) > 12  # pixels at 200 to the inch: 6 points


def test_curves_are_drawn_epoch_by_epoch():
    history = make_history(4)
    losses, accuracies = plots.plot_curves(history, title="a run").axes
    for axes, quantity, scale in ((losses, "loss", 1), (accuracies, "accuracy", 100)):
        fields = [f"train_{quantity}", f"test_{quantity}_batch", f"test_{quantity}_running"]
        for line, field in zip(axes.lines, fields, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_allclose(line.get_ydata(), [scale * row[field] for row in history])


def test_the_distance_of_the_statistics_is_a_curve_of_its_own_where_every_epoch_has_one():
    history = [row | {"statistics_distance": 0.5 / row["epoch"]} for row in make_history(4)]
    figure = plots.plot_curves(history, title="a run")
    (line,) = figure.axes[2].lines
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.25, 0.5 / 3, 0.125])
    assert line.get_label() in [text.get_text() for text in figure.legends[0].texts]
    box = figure.legends[0].get_window_extent(drawn(figure))
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    history[0]["statistics_distance"] = None
    assert len(plots.plot_curves(history, title="a run").axes) == 2


def test_where_the_statistics_agree_one_line_stands_for_both_and_says_so():
    figure = plots.plot_curves(make_history(4, normalised=False), title="a run")
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "training",
        "test, alike with running and with batch statistics",
    ]


def test_a_line_under_another_can_be_seen():
    """The batch's is drawn first and wider."""
    _, batch, running = plots.plot_curves(make_history(4), title="a run").axes[0].lines
    assert batch.get_linewidth() > 2 * running.get_linewidth()
    assert batch.get_zorder() <= running.get_zorder()


@pytest.mark.parametrize("epochs", [1, 2, 20, 300])
def test_epochs_are_whole_numbers_on_the_axis(epochs):
    figure = plots.plot_curves(make_history(epochs), title="a run")
    drawn(figure)
    for axes in figure.axes:
        shown = ticks_inside(axes.xaxis)
        assert 1 <= len(shown) <= 10
        assert all(value == int(value) and label == str(int(value)) for value, label in shown)
        low, high = axes.get_xlim()
        assert low <= 1 - 0.5
        assert high >= epochs + 0.5
    low, high = figure.axes[1].get_ylim()
    assert high - low >= 5


@pytest.mark.parametrize("numbers", [(2.30, 2.31), (0.5, 4.0), (1e-4, 2.0), (1e-7, 1e7), (0.0, 1.0), (np.nan, np.inf)])
def test_any_loss_has_readable_ticks(numbers):
    history = make_history(2)
    for row, number in zip(history, numbers, strict=True):
        row.update(train_loss=number, test_loss_running=number, test_loss_batch=number)
    figure = plots.plot_curves(history, title="a run")
    drawn(figure)
    shown = ticks_inside(figure.axes[0].yaxis)
    assert 2 <= len(shown) <= 16
    assert not any("$" in label for _, label in shown)


@pytest.mark.parametrize("epochs", [1, 20])
@pytest.mark.parametrize("normalised", [True, False])
def test_no_legend_lies_on_a_plot(epochs, normalised):
    figures = [plots.plot_curves(make_history(epochs, normalised=normalised), title="a run")]
    figures.append(plots.plot_statistics(make_rows(epochs), title="a batch"))
    for figure in figures:
        renderer = drawn(figure)
        (legend,) = figure.legends
        box = legend.get_window_extent(renderer)
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert not any(axes.get_tightbbox(renderer).overlaps(box) for axes in figure.axes)


def test_titles_and_names_are_text_and_not_formulas():
    title = r"runs/$\frac$ on idx:/data_1"
    drawn(plots.plot_curves(make_history(2), title=title))
    figure = plots.plot_curves(make_history(2), title="a long title " * 20)
    renderer = drawn(figure)
    assert figure._suptitle.get_window_extent(renderer).x1 <= figure.bbox.x1
    drawn(plots.plot_statistics([LayerStatistics(r"$\x$", 4, 0.1, 0.2, 1.0, 0.5, 2.0)], title=title))


def test_augmented_images_are_drawn_side_by_side_under_their_names():
    strips = {"a $name$": np.random.default_rng(0).random((12, 24, 24, 3)), "grey": np.full((12, 24, 24, 1), 0.5)}
    figure = plots.plot_augmentations(strips, title="twelve of each")
    renderer = drawn(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(strips)
    for axes, images in zip(figure.axes, strips.values(), strict=True):
        shown = axes.images[0].get_array()
        places = [shown[:, start : start + 24] for start in range(0, shown.shape[1], 25)]
        np.testing.assert_array_equal(places, np.broadcast_to(images, (12, 24, 24, 3)))
        assert (shown[:, 24] == 1).all()
    upper, lower = (axes.get_tightbbox(renderer) for axes in figure.axes)
    assert lower.y1 <= upper.y0


def test_a_plot_is_a_png_or_nothing(tmp_path):
    plots.write_plot(plots.plot_curves(make_history(2), title="a run"), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == pytest.approx(8.3 * 200, abs=1)

    class Broken:
        def savefig(self, path, format):
            path.write_bytes(b"half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        plots.write_plot(Broken(), tmp_path / "other.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


SPEEDS = {  # images a second
    "resnet50": {"zoo": 4.0, "flax": 2.0, "torch": 5.0},
    "vgg16_bn": {"zoo": 0.5, "torch": 0.25},
}


def test_a_benchmark_is_drawn_as_multiples_of_zoo_with_the_speeds_beside_the_bars():
    (axes,) = plots.plot_benchmark(SPEEDS, title="training step").axes
    drawn = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert drawn == {"zoo": [1, 1], "flax": [0.5], "torch": [1.25, 0.5]}
    assert {text.get_text() for text in axes.texts} == {"4", "2", "5", "0.5", "0.25"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["resnet50", "vgg16_bn"]
    middles = [bar.get_y() + bar.get_height() / 2 for bars in axes.containers for bar in bars]
    assert len(set(middles)) == 5
    assert axes.yaxis_inverted()


@pytest.mark.parametrize("count", [1, 12])
def test_a_benchmark_fits_a_page_and_its_labels_its_axes(count):
    speeds = {f"a_net_with_a_long_name_{i}": {"zoo": 123.4, "torch-compile": 1234.5} for i in range(count)}
    figure = plots.plot_benchmark(speeds, title="training step")
    renderer = drawn(figure)
    assert figure.get_size_inches()[1] <= 11.7  # A4
    page = figure.bbox
    (axes,) = figure.axes
    for text in (*axes.texts, *axes.get_yticklabels()):
        box = text.get_window_extent(renderer)
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
    ends = [text.get_window_extent(renderer) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(ends, 2))


def test_without_zoo_the_fastest_is_the_measure():
    (axes,) = plots.plot_benchmark({"resnet50": {"flax": 2.0, "torch": 4.0}}, title="training step").axes
    assert {bars.get_label(): bars[0].get_width() for bars in axes.containers} == {"flax": 0.5, "torch": 1}


@pytest.mark.parametrize("count", [2, 10, 37, 300])
def test_a_confusion_matrix_shows_shares_of_each_class_and_its_counts_where_there_is_room(count):
    counts = np.random.default_rng(0).integers(0, 30, (count, count))
    counts[1] = 0  # a class without images
    names = [r"a name of $\x$ that is much longer than it should be"] + [f"class {i}" for i in range(1, count)]
    figure = plots.plot_confusion(counts, names, title="a run")
    renderer = drawn(figure)
    (axes,) = figure.axes
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    written = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    if count <= 20:
        assert written == {place: str(n) for place, n in np.ndenumerate(counts) if n}
    else:
        assert not written
    width, height = figure.get_size_inches()
    assert (width, height) == (pytest.approx(8.3), pytest.approx(min(height, 11.7)))
    labels = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in itertools.pairwise(labels))
    assert axes.get_tightbbox(renderer).x0 >= 0


@pytest.mark.parametrize("shape", [(8, 8, 1), (60, 40, 3)])
@pytest.mark.parametrize("count", [1, 24])
def test_mistakes_are_thumbnails_above_their_captions_on_one_page(count, shape):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    captions = [f"{i} % sure: an animal with a long name\nis $a$" for i in range(count)]
    figure = plots.plot_mistakes(images, captions, title="a run")
    renderer = drawn(figure)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == count
    for axes, image, caption in zip(shown, images, captions, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), np.broadcast_to(image, (*shape[:2], 3)))
        (text,) = axes.texts
        assert text.get_text().split("\n")[1] == caption.split("\n")[1]
    assert figure.get_size_inches()[1] <= 11.7
    places = [text.get_window_extent(renderer) for axes in shown for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(places, 2))
    assert not any(axes.bbox.overlaps(place) for axes in shown for place in places)


def test_an_explanation_lays_each_map_over_the_photograph_and_shows_the_filters_below():
    random = np.random.default_rng(0)
    image, filters = random.integers(0, 256, (30, 20, 3), np.uint8), random.normal(size=(20, 3, 3, 3))
    maps = {"cat, 90 %": random.random((3, 2)), "dog, 5 %": np.zeros((3, 2))}
    figure = plots.plot_explanation(image, maps, filters, title="a photograph")
    drawn(figure)
    plain, cat, dog, *rest = figure.axes
    np.testing.assert_array_equal(plain.images[0].get_array(), image)
    assert [axes.get_title(loc="left") for axes in (cat, dog)] == list(maps)
    np.testing.assert_allclose(cat.images[1].get_array(), maps["cat, 90 %"] / maps["cat, 90 %"].max())
    assert cat.images[1].get_extent() == list(cat.images[0].get_extent())
    np.testing.assert_array_equal(dog.images[1].get_array(), 0)
    assert cat.images[1].cmap(0.0)[3] == 0, "where nothing is seen the photograph is clear"
    shown = [axes.images[0].get_array() for axes in rest if axes.images]
    assert len(shown) == 20
    np.testing.assert_allclose(shown[7], 0.5 + filters[7] / (2 * np.abs(filters[7]).max()))
    for few in (None, random.normal(size=(500, 8, 8, 1))):
        assert plots.plot_explanation(image, maps, few, title="a photograph").get_size_inches()[1] <= 11.7
