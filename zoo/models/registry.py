"""All families' tables in one: `create`, `list_models`, `variant`, `family`."""

import difflib
import fnmatch
import re
from functools import partial
from types import ModuleType
from typing import Any

from zoo.errors import UserError
from zoo.models import (
    alexnet,
    convnet,
    densenet,
    googlenet,
    inception_resnet,
    inception_v2,
    inception_v3,
    inception_v4,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    resnet_v2,
    squeezenet,
    vgg,
    xception,
)
from zoo.models.net import Net
from zoo.models.variants import Variant

FAMILIES = (
    lenet,
    convnet,
    alexnet,
    vgg,
    googlenet,
    inception_v2,
    resnet,
    resnet_v2,
    densenet,
    inception_v3,
    inception_v4,
    inception_resnet,
    squeezenet,
    mobilenet_v1,
    mobilenet_v2,
    xception,
)

_ROWS: dict[str, tuple[ModuleType, Variant]] = {
    name: (module, row) for module in FAMILIES for name, row in module.VARIANTS.items()
}


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names that match a shell pattern, in natural order; of those with published weights alone if `pretrained`.

    >>> list_models("resnet?[02]")
    ['resnet20', 'resnet32', 'resnet50']
    >>> list_models("resnet?[02]", pretrained=True)
    ['resnet50']
    """

    def split_digits(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

    names = (name for name in fnmatch.filter(_ROWS, pattern) if not pretrained or _ROWS[name][1].weights)
    return sorted(names, key=split_digits)


def variant(name: str) -> Variant:
    """The row of the table: parameters, multiply-adds, input size, paper, endpoints, weights.

    Raises:
      UserError: no such model; the message has the nearest name.
    """
    return _find_row(name)[1]


def family(name: str) -> ModuleType:
    """The module of `zoo.models` that defines the variant."""
    return _find_row(name)[0]


def create(name: str, **fields: Any) -> Net:
    """An unbound module of the named variant, with `fields` (`num_classes`, `dtype`, ...) replaced.

    Raises:
      UserError: no such model, or no such field.
    """
    make = variant(name).make
    known = [f for f in make().__dataclass_fields__ if f not in ("parent", "name")]
    if unknown := set(fields) - set(known):
        raise UserError(f"{name} has no field {min(unknown)!r}", f"it has {', '.join(known)}")
    return make(**fields)


def _find_row(name: str) -> tuple[ModuleType, Variant]:
    if name not in _ROWS:
        near = min(list_models(), key=partial(_distance, name.lower()))
        remedy = f"did you mean {near!r}? zoo.list_models() has all names"
        raise UserError(f"no model is called {name!r}", remedy, code="unknown-model", near=near)
    return _ROWS[name]


def _distance(wrong: str, name: str) -> tuple[bool, float, list[int]]:
    """How far a name is from what was meant: by its start, then its letters, and among equals by its numbers."""
    numbers = (map(int, re.findall(r"\d+", text)) for text in (wrong, name))
    apart = [abs(a - b) for a, b in zip(*numbers, strict=False)]
    return not name.startswith(wrong), -difflib.SequenceMatcher(None, wrong, name).ratio(), apart
