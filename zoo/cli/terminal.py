"""What the command prints: tables to stdout, the progress of a training to stderr."""

import sys

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from zoo.training import Epoch
from zoo.training import Progress as EpochProgress


class ProgressDisplay:
    """A progress bar on stderr, and a line above it for every finished epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        console = make_console(stderr=True)
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

    def __enter__(self) -> "ProgressDisplay":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show_step(self, progress: EpochProgress) -> None:
        self.bar.update(
            self.task,
            description=f"epoch {progress.epoch}/{self.epochs}",
            completed=(progress.epoch - 1) * progress.of_images + progress.images,
            total=self.epochs * progress.of_images,
            loss=progress.loss,
            accuracy=progress.accuracy,
            speed=progress.images_per_second,
        )

    def show_epoch(self, row: Epoch) -> None:
        self.bar.console.print(
            f"epoch {row.epoch:>{len(str(self.epochs))}}/{self.epochs}  loss {row.train_loss:.3f}"
            f"  accuracy {row.train_accuracy:6.1%}  test {row.test_accuracy_running:6.1%} running,"
            f" {row.test_accuracy_batch:6.1%} batch  {row.images_per_second:,.0f} images/s",
            highlight=False,
        )


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; a pipe has no edge, and nothing is folded there."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 1000)


def write(*parts: str | Table) -> None:
    """Prints lines and tables to stdout."""
    console = make_console()
    for part in parts:
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


def make_table(*headings: str) -> Table:
    """An empty table; columns whose heading ends in > are aligned on the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold")
    return table


def format_shape(shape: tuple[int, ...]) -> str:
    """`32x32x3`."""
    return "x".join(map(str, shape))
