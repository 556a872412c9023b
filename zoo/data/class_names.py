"""Names of classes, from a file."""

import json
from pathlib import Path

from zoo.errors import UserError


def read_class_names(path: str | Path, count: int) -> list[str]:
    """The names of `count` classes: a JSON list or object `{"0": name}`, or text with one name per line.

    Raises:
      UserError: not a list of names, or not as many as there are classes.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        names = json.loads(text) if Path(path).suffix == ".json" else text.splitlines()
        names = [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not a list of class names: {error!r}") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)) or len(names) != count:
        raise UserError(f"{path} must hold {count} names, one for each class")
    return names
