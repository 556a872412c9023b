"""The command `zoo`: its words, and what becomes of errors.

What a user got wrong is one line on stderr and exit code 2. Tables go to stdout, progress to stderr.
"""

import difflib
import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import fields
from functools import partial, wraps
from importlib import metadata
from pathlib import Path

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, PositionalRequiredArgs
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from zoo.cli import interrupts, models, runs, weights
from zoo.cli.terminal import describe, warn, write, write_error
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
    "not-writable": "choose a folder in which you may write, on a disk that has room",
    "run-in-use": "wait until it is finished, or stop it; a new run takes another --out",
    "no-run": "`zoo train MODEL --out {folder}` makes one",
    "interrupted-run": "`zoo resume {folder}` continues it",
    "diverged": "`zoo resume {folder} --lr LR` continues it, with a smaller LR than {lr}",
    "out-of-memory": "choose a smaller --batch-size or --image-size",
    "own-parts": "continue it in Python, with zoo.training.resume",
    "no-published-weights": "choose a file with --weights",
    "no-preprocessing": "choose one with --preprocessing: torchvision, caffe, inception or JSON",
    "wrong-preprocessing": "choose that of its weights with --preprocessing",
    "no-numbers": "`zoo verify` tells whether its weights are",
}
# The recipe's words with an underscore, which only options have.
OPTIONS = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(runs.Recipe) if "_" in field.name}
NUMBERS = {int: "a whole number", float: "a number"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0, 2 for what cannot be done as asked, 130 for Ctrl-C."""
    with interrupts.answered(own=argv is None), warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: warn(" ".join(str(message).split()))
        if argv is None:
            _prepare_streams()
        try:
            _parse(sys.argv[1:] if argv is None else argv)()
        except KeyboardInterrupt as interrupt:
            interrupts.ignore()
            code = _fail(f"interrupted{': ' if str(interrupt) else ''}{interrupt}", 130)
            if argv is None:  # a step may still be computed, and Python's own ending can crash over it
                os._exit(code)
            return code
        except UserError as error:
            return _fail(_put_in_words_of_the_command_line(error), 2)
        except (OSError, ModuleNotFoundError) as error:
            return _fail(describe(error), 2)
        return 0


def _prepare_streams() -> None:
    """What the caller has closed is replaced; nothing that tyro prints is an error because of its characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115, as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _parse(words: Sequence[str]) -> Callable[[], None]:
    """The command with its arguments, not yet run, so that what is printed here is about the words alone."""
    name = next(iter(words), "-")
    if name == "--version":
        return partial(write, f"zoo {metadata.version('jax-cnn-zoo')}")
    if not name.startswith("-") and name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"no command is called {name!r}", f"{guess}`zoo --help` shows all commands")
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            command: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                {name: _defer(command) for name, command in COMMANDS.items()},
                prog="zoo",
                description="Classic CNNs in JAX: look at them, train them, test them, use their published weights.\n\n"
                "`zoo COMMAND --help` says what a command takes, `zoo --version` which version this is.",
                args=words,
                config=(PositionalRequiredArgs, OmitArgPrefixes, FlagCreatePairsOff),
                registry=_read_numbers(),
            )
    except SystemExit:
        write_error(*complaint.getvalue().splitlines())
        raise
    return command


def _defer(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    @wraps(command)
    def bind(*arguments: object, **options: object) -> Callable[[], None]:
        return partial(command, *arguments, **options)

    return bind


def _read_numbers() -> ConstructorRegistry:
    """Numbers as tyro reads them, but for what is said of those that are none."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def read_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        type_ = info.type
        if type_ not in NUMBERS:
            return None

        def parse(words: list[str]) -> float:
            try:
                return type_(words[0])
            except ValueError:
                raise ValueError(f"{words[0]!r} is not {NUMBERS[type_]}") from None

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=type_.__name__.upper(),
            instance_from_str=parse,
            is_instance=lambda value: isinstance(value, type_),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _put_in_words_of_the_command_line(error: UserError) -> str:
    text = str(error)
    if error.code in REMEDIES:
        named = {k: shlex.quote(str(v)) if isinstance(v, Path) else v for k, v in error.context.items()}
        text = f"{error.problem}: {REMEDIES[error.code].format(**named)}."
    name, verb, rest = text.partition(" is ")
    return f"{OPTIONS.get(name, name)}{verb}{rest}"


def _fail(reason: str, code: int) -> int:
    warn(" ".join(reason.split()))
    return code
