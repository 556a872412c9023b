"""What the command prints: tables to stdout; progress, warnings and errors to stderr.

Everything goes through a `PlainConsole`. What a name or a file smuggles in, and what the terminal has no character
for, is printed escaped; a stream that is gone falls silent, because printing is never worth a training.
"""

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.status import Status  # loaded when it is first shown: `zoo --help` and `zoo list` do without

ENDLESS = 100_000  # columns of a pipe: nothing is folded or left out there
GAP, LEGIBLE = 2, 16  # columns between two columns of a table, and what can be read of a text that is cut


class _Stream:
    """stdout or stderr: after its first failure it writes nowhere and remembers why."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.failure: Exception | None = None
        self.encoding = file.encoding or "utf-8"

    def write(self, text: str) -> int:
        self._try(self.file.write, text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        self._try(self.file.flush)

    def isatty(self) -> bool:
        return not self.file.closed and self.file.isatty()

    def fileno(self) -> int:
        return self.file.fileno()

    def _try(self, action: Callable[..., object], *arguments: str) -> None:
        if self.failure is not None:
            return
        try:
            action(*arguments)
        except (OSError, ValueError) as failure:  # a ValueError says that the file is closed
            self.failure = failure
            # What waits in the buffer would fail once more when Python ends.
            with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), self.file.fileno())


class PlainConsole(Console):
    """As wide as the terminal; text is taken as it is, without markup."""

    def __init__(self, file: TextIO) -> None:
        self.stream = _Stream(file)
        width = None if self.stream.isatty() else ENDLESS
        super().__init__(file=cast("TextIO", self.stream), width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string that is printed, or stands in a table, comes through here."""
        return super().render_str(escape(text, self.encoding), **options)

    def write_line(self, text: str) -> None:
        """Broken at spaces alone, so that numbers and paths stay whole; a pipe gets one line."""
        shown = escape(text, self.encoding)
        for line in textwrap.wrap(shown, self.width, break_long_words=False, break_on_hyphens=False) or [""]:
            self.print(line, soft_wrap=True)


def escape(text: str, encoding: str) -> str:
    r"""What is not a visible character, or not one of the encoding, as Python writes it in a string.

    >>> print(escape("\x1b[31mcafé\n", "ascii"))
    \x1b[31mcaf\xe9\n
    """
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return visible.encode(encoding, "backslashreplace").decode(encoding)


def write(*parts: str | Table) -> None:
    """Prints lines and tables to stdout. A reader that has seen enough (`| head`) is no failure.

    Raises:
      OSError: stdout takes nothing, as on a full disk.
    """
    for part in parts:
        console = PlainConsole(sys.stdout)
        if isinstance(part, str):
            console.write_line(part)
        else:
            _write_table(console, part)
        _check(console.stream)


def write_exactly(text: str) -> None:
    """Prints what another program reads to stdout, as it is.

    Raises:
      OSError: as `write`.
    """
    stream = _Stream(sys.stdout)
    stream.write(text)
    stream.flush()
    _check(stream)


def _check(stream: _Stream) -> None:
    if stream.failure is not None and not isinstance(stream.failure, BrokenPipeError):
        raise OSError(f"stdout cannot be written: {describe(stream.failure)}")


def write_error(*lines: str) -> None:
    """Prints lines to stderr, as far as there is one."""
    console = PlainConsole(sys.stderr)
    for line in lines:
        console.write_line(line)


def warn(text: str) -> None:
    """One line on stderr about something that was not needed."""
    write_error(f"zoo: {text}")


def describe(error: BaseException) -> str:
    """The error as one line, without Python's numbers."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def working(text: str) -> "Status":
    """For `with`: says on the terminal what takes long, and is gone afterwards."""
    return PlainConsole(sys.stderr).status(Text(text), spinner="line")


def make_table(*headings: str) -> Table:
    """An empty table; columns whose heading ends in > are aligned on the right. The least needed stands last."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", no_wrap=True)
    return table


def format_shape(shape: Sequence[int]) -> str:
    """`32x32x3`."""
    return "x".join(map(str, shape))


def _write_table(console: PlainConsole, table: Table) -> None:
    """As many columns as fit. A text in the last of them may be cut, a number never."""
    endless, left_out = console.options.update(width=ENDLESS), []

    def measure() -> int:
        return console.measure(table, options=endless).maximum

    while measure() > console.width and len(table.columns) > 2:
        last = table.columns.pop()
        room = console.width - measure() - GAP
        if last.justify == "left" and room >= LEGIBLE:
            last.max_width, last.overflow = room, "ellipsis"
            table.columns.append(last)
        else:
            left_out.append(str(last.header))
    console.width = max(console.width, measure())
    console.print(table)
    if left_out:
        console.write_line(f"(in a wider terminal also: {', '.join(reversed(left_out))})")
