"""The command `zoo`: its words, and what becomes of errors.

What a user got wrong is one line on stderr and exit code 2. Tables go to stdout, progress to stderr.
"""

import dis
import sys
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, PositionalRequiredArgs

from zoo.cli import models, runs, weights

COMMANDS: dict[str, Callable] = {
    "list": models.list_,
    "show": models.show,
    "train": runs.train,
    "resume": runs.resume,
    "eval": runs.eval_,
    "stats": runs.stats,
    "predict": weights.predict,
    "convert": weights.convert,
    "verify": weights.verify,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0, 2 for what cannot be done as asked, 130 for Ctrl-C."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="zoo",
            description="Classic CNNs in JAX: look at them, train them, test them, use their published weights.",
            args=argv,
            config=(PositionalRequiredArgs, OmitArgPrefixes, FlagCreatePairsOff),
        )
    except KeyboardInterrupt as interrupt:
        return _fail(f"interrupted{': ' if str(interrupt) else ''}{interrupt}", 130)
    except (OSError, ModuleNotFoundError) as error:
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
