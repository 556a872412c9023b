"""The command `zoo`: list, show, train, resume, eval, stats, predict.

What a user got wrong is one line on stderr and exit code 2. Tables go to stdout, progress to stderr.
"""

import dis
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, get_args

import numpy as np
import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, PositionalRequiredArgs, arg

from zoo import data, fit, registry, summary
from zoo.data import Dataset
from zoo.display import Display, by, new_table, write
from zoo.files import write_whole
from zoo.run import Run, TrainConfig
from zoo.statistics import compare_statistics, format_statistics, plot_statistics

NO_PICTURE = "no picture: matplotlib is missing, `pip install 'jax-cnn-zoo[plot]'` brings it"
RunFolder = Annotated[Path, arg(metavar="RUN")]


def list_(pattern: Annotated[Positional[str], arg(metavar="GLOB")] = "*") -> None:
    """List the models with their published figures.

    Args:
        pattern: Which, as a shell pattern such as 'res*'.
    """
    names = registry.list_models(pattern)
    if not names:
        raise ValueError(f"No model matches {pattern!r}: `zoo list` has them all.")
    table = new_table("model", "parameters>", "multiply-adds>", "input>", "paper")
    for name in names:
        row = registry.variant(name)
        size = f"{row.image_size}x{row.image_size}x{row.channels}"
        table.add_row(name, f"{row.params:,}", f"{row.macs:,}", size, row.paper)
    write(table)


def show(
    model: Annotated[str, arg(metavar="MODEL")],
    *,
    image_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
) -> None:
    """Show a model: its layers with shapes, parameters and multiply-adds, and its endpoints.

    Args:
        model: Name of the net.
        image_size: Side of the images; the net's native size if not given.
    """
    row = registry.variant(model)
    size = row.image_size if image_size is None else image_size
    if size < 1:
        raise ValueError(f"image_size is {size}: it must be at least 1.")
    net, image_shape = registry.create(model), (size, size, row.channels)
    layers = summary.layers(net, image_shape)
    table = new_table("layer", "kind", "output>", "parameters>", "multiply-adds>")
    for layer in layers:
        kind = f"{layer.kind} (auxiliary)" if layer.auxiliary else layer.kind
        numbers = f"{layer.params:,}", f"{layer.macs:,}" if layer.macs else ""
        table.add_row(layer.path, kind, by(layer.shape), *numbers)
    table.add_section()
    macs = sum(layer.macs for layer in layers if not layer.auxiliary)
    table.add_row("total", "", "", f"{sum(layer.params for layer in layers):,}", f"{macs:,}", style="bold")
    ends = new_table("endpoint", "shape>")
    for name, shape in summary.endpoints(net, image_shape, tuple(row.endpoints)).items():
        ends.add_row(name, by(shape))
    notes = (row.paper, row.departures and f"departs from it: {row.departures}", f"input {by(image_shape)}")
    write(f"{model}: " + "; ".join(note for note in notes if note), table, ends)


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


def predict(
    run: RunFolder, images: Annotated[tuple[Path, ...], arg(metavar="IMAGE...")], *, invert: bool = False
) -> None:
    """Name the most probable classes of pictures, each made grey or RGB and resized like the run's images.

    Args:
        run: The run folder.
        images: Picture files.
        invert: Swap dark and light: digits are light on dark, ink on paper is the other way round.
    """
    if not images:
        raise ValueError("No picture given: zoo predict RUN IMAGE...")
    trained = fit.restore(run)
    channels = trained.preparation.image_shape[2]
    pictures = np.concatenate([trained.preparation(_picture(path, channels, invert)) for path in images])
    table = new_table("picture", *(f"{place}>" for place in ("1st", "2nd", "3rd", "4th", "5th")[: trained.num_classes]))
    for path, shares in zip(images, fit.probabilities(trained, pictures), strict=True):
        best = np.argsort(-shares, kind="stable")[:5]
        table.add_row(str(path), *(f"{label}  {100 * shares[label]:.1f} %" for label in best))
    write(table)


def _picture(path: Path, channels: int, invert: bool) -> np.ndarray:
    """`[1, h, w, channels]` bytes."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(ImageOps.invert(picture) if invert else picture)
    return pixels.reshape(1, picture.height, picture.width, channels)


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


COMMANDS: dict[str, Callable] = {
    "list": list_,
    "show": show,
    "train": train,
    "resume": resume,
    "eval": eval_,
    "stats": stats,
    "predict": predict,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0, 2 for what cannot be done as asked, 130 for Ctrl-C."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="zoo",
            description="Classic CNNs in JAX: look at them, train them, test them.",
            args=argv,
            config=(PositionalRequiredArgs, OmitArgPrefixes, FlagCreatePairsOff),
        )
    except KeyboardInterrupt as interrupt:
        return _fail(f"interrupted{': ' if str(interrupt) else ''}{interrupt}", 130)
    except OSError as error:
        return _fail(error, 2)
    except ValueError as error:
        if not _raised_by_zoo(error):
            raise
        return _fail(error, 2)
    return 0


def _fail(reason: object, code: int) -> int:
    print("zoo:", " ".join(str(reason).split()), file=sys.stderr)
    return code


def _raised_by_zoo(error: Exception) -> bool:
    """Whether a `raise` in zoo's own code made the error: an answer to the user. Any other one is a bug.

    The frame alone would not tell: errors from C code, and those whose JAX frames JAX has taken out of the
    traceback, seem to come from the line of zoo that made the call.
    """
    *_, last = _frames(error)
    raised = last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and last.tb_frame.f_globals["__name__"].partition(".")[0] == "zoo"


def _frames(error: Exception) -> Iterator[TracebackType]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next
