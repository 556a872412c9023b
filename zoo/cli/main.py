"""The command `zoo`: its words, and what becomes of errors.

What a user got wrong is one line on stderr and exit code 2. Tables go to stdout, progress to stderr. A command's
libraries are loaded when the command was chosen: help, lists and misspelt words wait for none.
"""

import ast
import difflib
import io
import os
import pkgutil
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from zoo.cli import interrupts
from zoo.cli.terminal import describe, warn, write
from zoo.errors import Terminated, UserError

COMMANDS = {
    "list": "zoo.cli.models:list_",
    "show": "zoo.cli.models:show",
    "train": "zoo.cli.train:train",
    "resume": "zoo.cli.train:resume",
    "recipes": "zoo.cli.train:recipes",
    "eval": "zoo.cli.runs:eval_",
    "stats": "zoo.cli.runs:stats",
    "predict": "zoo.cli.looking:predict",
    "explain": "zoo.cli.looking:explain",
    "convert": "zoo.cli.weights:convert",
    "verify": "zoo.cli.weights:verify",
    "validate": "zoo.cli.weights:validate",
    "push": "zoo.cli.weights:push",
    "export": "zoo.cli.export:export",
    "bench": "zoo.cli.bench:bench",
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
    "all-frozen": "leave the head out of --freeze",
    "lost-process": "start all of them again, with `zoo resume RUN`",
    "own-parts": "continue it in Python, with zoo.training.resume",
    "no-published-weights": "choose a file with --weights",
    "no-preprocessing": "choose one with --preprocessing: torchvision, caffe, inception or JSON",
    "wrong-preprocessing": "choose that of its weights with --preprocessing",
    "bad-files": "remove them, or go without them: --max-bad-files {count}",
    "no-numbers": "`zoo verify` tells whether its weights are",
    "one-size-format": "leave out --any-size, or export it as .stablehlo",
    "one-size-net": "leave out --any-size",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns the exit code: 0, 2 for what cannot be done as asked, 130 for Ctrl-C, 143 for SIGTERM.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: warn(" ".join(str(message).split()))
        if argv is None:
            _prepare_streams()
        try:
            return _run(_choose(words), own=argv is None)
        except UserError as error:
            return _fail(_put_in_words_of_the_command_line(error, words), 2)
        except (OSError, ModuleNotFoundError) as error:
            return _fail(describe(error), 2)
        except MemoryError as error:
            return _fail(f"the memory is too small: {error or 'nothing more is known'}.", 2)
        except (RuntimeError, AssertionError):
            if _finds_devices():
                raise
            asked = os.environ.get("JAX_PLATFORMS", "")
            return _fail(f"JAX_PLATFORMS={asked} asks for a device that is not here: unset it to use what is.", 2)


def _prepare_streams() -> None:
    """What the caller has closed is replaced; nothing that tyro prints is an error because of its characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115, as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _choose(words: Sequence[str]) -> Callable[[], object]:
    """What the words ask for, not yet run, so that what is printed here is about the words alone."""
    if not words:
        raise UserError("no command given", "`zoo --help` shows all commands")
    name, *rest = words
    if name in ("-h", "--help"):
        return partial(write, *_help())
    if name == "--version":
        from importlib import metadata

        return partial(write, f"zoo {metadata.version('jax-cnn-zoo')}")
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, [*COMMANDS, "--help", "--version"], n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"no command is called {name!r}", f"{guess}`zoo --help` shows all commands")
    from zoo.cli.arguments import bind  # and tyro, which takes as long to load as all else here

    return bind(pkgutil.resolve_name(COMMANDS[name]), name, rest)


def _run(command: Callable[[], object], *, own: bool) -> int:
    with interrupts.answered():
        try:
            command()
        except KeyboardInterrupt as interrupt:
            interrupts.ignore()
            word, code = ("terminated", 143) if isinstance(interrupt, Terminated) else ("interrupted", 130)
            _fail(f"{word}{': ' if str(interrupt) else ''}{interrupt}", code)
            if own:  # a step may still be computed, and Python's own ending can crash over it
                os._exit(code)
            return code
    return 0


def _finds_devices() -> bool:
    """Whether JAX does: of those that are asked for and absent it says so in several ways, some without a word."""
    import jax

    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def _help() -> list[str]:
    lines = [f"  {name:<{max(map(len, COMMANDS))}}  {_summarise(place)}" for name, place in COMMANDS.items()]
    return [
        "usage: zoo COMMAND ...",
        "",
        "Classic CNNs in JAX: look at them, train them, test them, use their published weights.",
        "",
        *lines,
        "",
        "`zoo COMMAND --help` says what a command takes, `zoo --version` which version this is.",
    ]


def _summarise(place: str) -> str:
    """The first line of a command's docstring, read without loading what the command needs."""
    module, _, name = place.partition(":")
    return _read_docstrings(module)[name].partition("\n")[0]


@cache
def _read_docstrings(module: str) -> dict[str, str]:
    source = Path(__file__).with_name(f"{module.rpartition('.')[2]}.py").read_text(encoding="utf-8")
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def _put_in_words_of_the_command_line(error: UserError, words: Sequence[str]) -> str:
    text = str(error)
    if error.code in REMEDIES:
        named = {k: shlex.quote(str(v)) if isinstance(v, Path) else v for k, v in error.context.items()}
        text = f"{error.problem}: {REMEDIES[error.code].format(**named)}."
    name, verb, rest = text.partition(" is ")
    option = f"--{name.replace('_', '-')}"
    typed = any(word.partition("=")[0].replace("_", "-") == option for word in words)
    return f"{option if typed else name}{verb}{rest}"


def _fail(reason: str, code: int) -> int:
    warn(" ".join(reason.split()))
    if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
        os._exit(code)  # one of many processes: Python's own ending would wait for the others, and they for this one
    return code
