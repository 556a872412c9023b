"""The command `zoo`: its words, and what becomes of errors.

What a user got wrong is one line on stderr and exit code 2. Tables go to stdout, progress to stderr.
"""

import sys
from collections.abc import Callable, Sequence

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, PositionalRequiredArgs

from zoo.cli import models, runs, weights
from zoo.errors import UserError

COMMANDS: dict[str, Callable[..., None]] = {
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
# What the library says in terms of arguments, in terms of the command line, by the code of the error.
REMEDIES = {
    "unknown-model": "did you mean {near!r}? `zoo list` shows all models",
    "finished-run-exists": "choose another --out, or replace it with --overwrite",
    "interrupted-run-exists": "choose another --out, replace it with --overwrite, or continue it: zoo resume {folder}",
    "folder-taken": "choose another --out",
    "no-run": "`zoo train MODEL --out {folder}` makes one",
    "interrupted-run": "`zoo resume {folder}` continues it",
    "own-parts": "continue it in Python, with zoo.training.resume",
    "no-published-weights": "choose a file with --weights",
    "no-preprocessing": "choose one with --preprocessing: torchvision, caffe, inception or JSON",
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
    except UserError as error:
        return _fail(_put_in_words_of_the_command_line(error), 2)
    except (OSError, ModuleNotFoundError) as error:
        return _fail(error, 2)
    return 0


def _put_in_words_of_the_command_line(error: UserError) -> str:
    if error.code not in REMEDIES:
        return str(error)
    return f"{error.problem}: {REMEDIES[error.code].format(**error.context)}."


def _fail(reason: object, code: int) -> int:
    print("zoo:", " ".join(str(reason).split()), file=sys.stderr)
    return code
