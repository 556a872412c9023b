"""A command's arguments: the words after its name, read by tyro, whose complaints become one line each."""

import difflib
import inspect
import io
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, fields, is_dataclass
from functools import partial, wraps
from itertools import dropwhile, takewhile

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, PositionalRequiredArgs
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from zoo.errors import UserError

NUMBERS = {
    int: (int, "a whole number"),
    int | None: (int, "a whole number"),
    float: (float, "a number"),
    float | None: (float, "a number"),
}
# tyro's complaints in our words; what another tyro says otherwise stays as it is.
WORDING = (
    (r"^Missing from [^:]+: (.+)$", r"no \1 given"),
    (r"^Missing value for argument '([^']+)'.*", r"\1 has no value"),
    (r"^Error parsing (--[\w-]+): ", r"\1 "),
    (r"^(--[\w-]+) no type matching .* could be instantiated from \[(.*)\]$", r"\1 does not take \2"),
    (r"^invalid choice (.+) for argument '([^']+)'. Expected one of \((.+)\)$", r"\2 takes \3, not \1"),
)
EXPLANATION = " " * 8  # the indentation of what it says about an argument


def bind(command: Callable[..., None], name: str, words: Sequence[str]) -> Callable[[], None]:
    """The command with its arguments, to be called without any.

    Raises:
      UserError: the words are not what it takes.
    """

    @wraps(command)
    def defer(*arguments: object, **options: object) -> Callable[[], None]:
        return partial(command, *arguments, **options)

    help_ = f"`zoo {name} --help` shows what it takes"
    _check_options(command, name, words, help_)
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            bound, superfluous = tyro.cli(
                defer,
                prog=f"zoo {name}",
                args=words,
                return_unknown_args=True,
                config=(PositionalRequiredArgs, OmitArgPrefixes, FlagCreatePairsOff),
                registry=_read_numbers(),
            )
    except SystemExit as exit_:
        if not exit_.code:  # help was asked for, and printed
            raise
        raise UserError(_shorten(complaint.getvalue()), help_) from None
    if superfluous:
        raise UserError(f"{name} does not take {superfluous[0]!r}", help_)
    return bound


def _check_options(command: Callable[..., None], name: str, words: Sequence[str], help_: str) -> None:
    """Refuses unknown options, after which tyro would complain of anything but them."""
    taken = _name_parameters(command)
    options = [option for option, is_option in taken.items() if is_option]
    for word in takewhile(lambda word: word != "--", words):
        typed = re.match("--?[A-Za-z][^=]*", word)
        if not typed or (option := typed[0].replace("_", "-")) in (*options, "-h", "--help"):
            continue
        near = difflib.get_close_matches(option, options, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        remedy = "leave it out, its value stands alone" if option in taken else guess + help_
        raise UserError(f"{name} has no option {option!r}", remedy)


def _name_parameters(command: Callable[..., None]) -> dict[str, bool]:
    """What a command takes: `{"--epochs": True}` is an option, of `{"--model": False}` the value stands alone."""
    found: dict[str, bool] = {}
    for parameter in inspect.signature(command).parameters.values():
        if is_dataclass(parameter.annotation):
            found |= {field.name: field.default is not MISSING for field in fields(parameter.annotation)}
        else:
            found[parameter.name] = parameter.kind is parameter.KEYWORD_ONLY
    return {f"--{name.replace('_', '-')}": is_option for name, is_option in found.items()}


def _shorten(complaint: str) -> str:
    """What tyro complains of, without the box around it, the explanation of the argument and the way to more help."""
    rows = (line.strip("│|") for line in complaint.splitlines()[1:])
    said = takewhile(_is_text, dropwhile(lambda row: not _is_text(row), rows))
    text = " ".join(row.strip() for row in said if not row.startswith(EXPLANATION)).rstrip(".")
    for theirs, ours in WORDING:
        text = re.sub(theirs, ours, text)
    return text


def _is_text(row: str) -> bool:
    return bool(row.strip("─- "))


def _read_numbers() -> ConstructorRegistry:
    """Numbers as tyro reads them, but for what is said of those that are none."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def read_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type not in NUMBERS:
            return None
        type_, wanted = NUMBERS[info.type]

        def parse(words: list[str]) -> float:
            try:
                return type_(words[0])
            except ValueError:
                raise ValueError(f"takes {wanted}, not {words[0]!r}") from None

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=type_.__name__.upper(),
            instance_from_str=parse,
            is_instance=lambda value: value is None or isinstance(value, type_),
            str_from_instance=lambda value: [str(value)],
        )

    return registry
