"""The command `zoo`: list, show, train, resume, eval, predict.

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
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, PositionalRequiredArgs, arg

from zoo import data, fit, registry, summary
from zoo.run import Epoch, Run, TrainConfig

RunFolder = Annotated[Path, arg(metavar="RUN")]


def list_(pattern: Annotated[Positional[str], arg(metavar="GLOB")] = "*") -> None:
    """List the models with their published figures.

    Args:
        pattern: Which, as a shell pattern such as 'res*'.
    """
    names = registry.list_models(pattern)
    if not names:
        raise ValueError(f"No model matches {pattern!r}: `zoo list` has them all.")
    table = _table("model", "parameters>", "multiply-adds>", "input>", "paper")
    for name in names:
        row = registry.variant(name)
        size = f"{row.image_size}x{row.image_size}x{row.channels}"
        table.add_row(name, f"{row.params:,}", f"{row.macs:,}", size, row.paper)
    _print(table)


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
    table = _table("layer", "kind", "output>", "parameters>", "multiply-adds>")
    for layer in layers:
        kind = f"{layer.kind} (auxiliary)" if layer.auxiliary else layer.kind
        numbers = f"{layer.params:,}", f"{layer.macs:,}" if layer.macs else ""
        table.add_row(layer.path, kind, _by(layer.shape), *numbers)
    table.add_section()
    macs = sum(layer.macs for layer in layers if not layer.auxiliary)
    table.add_row("total", "", "", f"{sum(layer.params for layer in layers):,}", f"{macs:,}", style="bold")
    ends = _table("endpoint", "shape>")
    for name, shape in summary.endpoints(net, image_shape, tuple(row.endpoints)).items():
        ends.add_row(name, _by(shape))
    notes = (row.paper, row.departures and f"departs from it: {row.departures}", f"input {_by(image_shape)}")
    _print(f"{model}: " + "; ".join(note for note in notes if note), table, ends)


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
    test = data.load(trained.config.data).test
    if test.num_classes != trained.num_classes:
        raise ValueError(
            f"{trained.config.data} has {test.num_classes} classes now, and had {trained.num_classes} when {run}"
            " was trained."
        )
    test = replace(test, prepare=trained.preparation)
    chosen = get_args(fit.Statistics) if statistics == "both" else (statistics,)
    _print_results({name: fit.evaluate(trained, test, name) for name in chosen})


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
    table = _table("picture", *(f"{place}>" for place in ("1st", "2nd", "3rd", "4th", "5th")[: trained.num_classes]))
    for path, shares in zip(images, fit.probabilities(trained, pictures), strict=True):
        best = np.argsort(-shares, kind="stable")[:5]
        table.add_row(str(path), *(f"{label}  {100 * shares[label]:.1f} %" for label in best))
    _print(table)


def _picture(path: Path, channels: int, invert: bool) -> np.ndarray:
    """`[1, h, w, channels]` bytes."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(ImageOps.invert(picture) if invert else picture)
    return pixels.reshape(1, picture.height, picture.width, channels)


class _Display:
    """A progress bar on stderr, and a line above it for every finished epoch."""

    def __init__(self, epochs: int):
        self.epochs = epochs
        console = _console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"),
            TextColumn("{task.fields[speed]:,.0f} images/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # the epochs' lines are printed all the same
        )
        self.task = self.bar.add_task("compiling", total=None, loss=0.0, accuracy=0.0, speed=0.0)

    def __enter__(self) -> "_Display":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, progress: fit.Progress) -> None:
        self.bar.update(
            self.task,
            description=f"epoch {progress.epoch}/{self.epochs}",
            completed=(progress.epoch - 1) * progress.of_images + progress.images,
            total=self.epochs * progress.of_images,
            loss=progress.loss,
            accuracy=progress.accuracy,
            speed=progress.images_per_second,
        )

    def epoch(self, row: Epoch) -> None:
        self.bar.console.print(
            f"epoch {row.epoch:>{len(str(self.epochs))}}/{self.epochs}  loss {row.train_loss:.3f}"
            f"  accuracy {row.train_accuracy:6.1%}  test {row.test_accuracy_running:6.1%} running,"
            f" {row.test_accuracy_batch:6.1%} batch  {row.images_per_second:,.0f} images/s",
            highlight=False,
        )


def _trained(folder: Path, epochs: int, start: Callable[..., fit.Result]) -> None:
    """Runs `fit` or `resume` behind the progress bar, then says what came of it."""
    run = Run(folder)
    try:
        with _Display(epochs) as display:
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
        _print("no curves: matplotlib is missing, `pip install 'jax-cnn-zoo[plot]'` brings it")
    else:
        _print(f"curves: {result.picture}")
    _print(f"weights: {run.weights}")


def _print_results(results: dict[str, dict[str, float]]) -> None:
    table = _table("statistics", "test loss>", "test accuracy>")
    for name, means in results.items():
        table.add_row(name, f"{means['loss']:.4f}", f"{means['accuracy']:.2%}")
    _print(table)


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 140)  # a pipe has no width of its own


def _print(*parts: str | Table) -> None:
    console = _console()
    for part in parts:
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


def _table(*headings: str) -> Table:
    """An empty table; columns whose heading ends in > are aligned on the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold")
    return table


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


COMMANDS: dict[str, Callable] = {
    "list": list_,
    "show": show,
    "train": train,
    "resume": resume,
    "eval": eval_,
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
