"""What a training shows of itself on stderr: a bar and a line an epoch, or lines alone."""

import sys
import time
from datetime import timedelta

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.cli import interrupts
from zoo.cli.terminal import PlainConsole
from zoo.training import Epoch, RunRecord
from zoo.training import Progress as EpochProgress

SILENCE = 30.0  # seconds without a line, within an epoch, where there is no bar to look at


class ProgressDisplay:
    """A progress bar on stderr, and a line above it for every finished epoch; without a terminal, lines alone."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.console = PlainConsole(sys.stderr)
        columns = (  # each from the width at which there is room for it
            (0, TextColumn("{task.description}")),
            (60, BarColumn()),
            (0, TextColumn("{task.fields[means]}")),
            (80, TextColumn("{task.fields[speed]}")),
            (60, TimeRemainingColumn()),
        )
        self.bar = Progress(
            *(column for least, column in columns if self.console.width >= least),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("compiling", total=None, means="", speed="")
        self.last_line = time.monotonic()

    @property
    def failure(self) -> Exception | None:
        """Why nothing is shown any more."""
        return self.console.stream.failure

    def __enter__(self) -> "ProgressDisplay":
        self.bar.start()
        return self

    def __exit__(self, type_: type[BaseException] | None, *_: object) -> None:
        if type_ is KeyboardInterrupt:
            interrupts.ignore()
        self.bar.stop()

    def show_start(self, record: RunRecord) -> None:
        if record.new:
            heads = f"{', '.join(record.new)} {'is' if len(record.new) == 1 else 'are'} new"
            self._write_line(f"{heads}, for {record.num_classes} classes: the weights were trained for others")

    def show_step(self, progress: EpochProgress, _state: object = None) -> None:
        epoch, means, speed = f"{progress.epoch}/{self.epochs}", _format_means(progress), _format_limit(progress)
        self.bar.update(
            self.task,
            description=f"{'epoch' if progress.images < progress.of_images else 'testing'} {epoch}",
            completed=(progress.epoch - 1) * progress.of_images + progress.images,
            total=self.epochs * progress.of_images,
            means=means,
            speed=speed,
        )
        if not self.console.is_terminal and time.monotonic() - self.last_line >= SILENCE:
            seen = f"{progress.images:,} of {progress.of_images:,} images"
            self._write_line(
                "  ".join(filter(None, (f"epoch {epoch}  {seen}", means, speed, self._time_left(progress))))
            )

    def show_epoch(self, row: Epoch, _state: object = None) -> None:
        tested = f"test {row.test_accuracy_running:6.1%} running, {row.test_accuracy_batch:6.1%} batch"
        line = (
            f"epoch {row.epoch:>{len(str(self.epochs))}}/{self.epochs}  loss {row.train_loss:.3f}"
            f"  accuracy {row.train_accuracy:6.1%}  {tested}"
        )
        full = f"{line}  {_format_speed(row)}"
        self._write_line(full if len(full) <= self.console.width else line)

    def _time_left(self, progress: EpochProgress) -> str:
        """At the speed of this epoch's steps."""
        if not progress.images_per_second:
            return ""
        images = (self.epochs - progress.epoch + 1) * progress.of_images - progress.images
        return f"{timedelta(seconds=round(images / progress.images_per_second))} left"

    def _write_line(self, line: str) -> None:
        self.last_line = time.monotonic()
        self.console.write_line(line)


def _format_means(progress: EpochProgress) -> str:
    return f"loss {progress.loss:.3f}  accuracy {progress.accuracy:.1%}"


def _format_limit(progress: EpochProgress) -> str:
    """The speed, and what it depends on where that is not the net."""
    speed = _format_speed(progress)
    return f"{speed}, limited by input" if speed and progress.limit == "input" else speed


def _format_speed(row: EpochProgress | Epoch) -> str:
    return f"{row.images_per_second:,.0f} images/s" if row.images_per_second else ""
