"""Names out of files, in messages: a stranger wrote them, and a terminal obeys what it is shown."""

from collections.abc import Collection, Mapping

SHOWN, LONGEST = 10, 200  # names of a list, characters of a text


def escape(text: object) -> str:
    r"""Text without control characters and of bounded length.

    >>> escape("fc\x1b[31m.weight")
    'fc\\x1b[31m.weight'
    """
    text = str(text)
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:LONGEST])
    return shown if len(text) <= LONGEST else f"{shown}..."


def list_names(names: Collection[object]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(escape(name) for name in list(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def list_problems(problems: Mapping[str, Collection[object]]) -> str:
    """A line for each kind of problem that has names: `"2 missing: fc.weight, fc.bias"`."""
    return "\n  ".join(f"{len(names)} {problem}: {list_names(names)}" for problem, names in problems.items() if names)
