"""Names of classes: ImageNet's, and those of a file."""

import json
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from zoo.errors import UserError


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1k in the order of their labels, short and in English (`LICENSE.imagenet_classes`).

    >>> names = imagenet_class_names()
    >>> len(names), names[0], names[285]
    (1000, 'tench', 'Egyptian cat')
    """
    return tuple((resources.files("zoo.data") / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


def read_class_names(path: str | Path, count: int) -> list[str]:
    """The names of `count` classes: JSON, or text with one name per line.

    JSON is a list, or an object with the numbers of the classes, `{"0": "tench"}`; in the place of a name may stand
    a pair of an identifier and the name, `["n01440764", "tench"]`, as in Keras' imagenet_class_index.json. Lines end
    with a newline and with nothing else; blank ones at the end do not count. Bytes are read as UTF-8, or as their
    byte order mark says; what is not UTF-8 as Latin-1 with the additions of Windows.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: not a list of names, or not as many as there are classes.
    """
    path = Path(path).expanduser()
    text = _decode(path.read_bytes())
    try:
        names = _parse(text) if path.suffix.lower() == ".json" else re.split(r"\r\n|\r|\n", text.rstrip())
    except (ValueError, KeyError, RecursionError) as error:
        raise UserError(f"{path} is not a list of class names: {error!r}") from error
    if not isinstance(names, list) or len(names) != count:
        found = f"and holds {len(names)}" if isinstance(names, list) else f"and holds {type(names).__name__}"
        raise UserError(f"{path} must hold {count} names, one for each class, {found}")
    wrong = [i for i, name in enumerate(names) if not (isinstance(name, str) and name.strip())]
    if wrong:
        raise UserError(f"{path} is not a list of class names: class {wrong[0]} is called {names[wrong[0]]!r}")
    return names


def _decode(content: bytes) -> str:
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _parse(text: str) -> Any:
    """The names in a JSON list or object."""
    names = json.loads(text)
    if isinstance(names, dict):
        names = [names[str(i)] for i in range(len(names))]
    if isinstance(names, list):
        return [entry[1] if isinstance(entry, list) and len(entry) == 2 else entry for entry in names]
    return names
