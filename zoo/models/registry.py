"""All families' tables in one: `create`, `list_models`, `variant`, `family`."""

import difflib
import fnmatch
import re
from types import ModuleType

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
    resnet,
    resnet_cifar,
    resnet_v2,
    vgg,
)
from zoo.models.net import Net
from zoo.models.variant import Variant

FAMILIES = (
    lenet,
    convnet,
    alexnet,
    vgg,
    googlenet,
    inception_v2,
    resnet_cifar,
    resnet,
    resnet_v2,
    densenet,
    inception_v3,
    inception_v4,
    inception_resnet,
)

_ROWS: dict[str, tuple[ModuleType, Variant]] = {
    name: (module, row) for module in FAMILIES for name, row in module.VARIANTS.items()
}


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in natural order.

    >>> list_models("resnet?[02]")
    ['resnet20', 'resnet32', 'resnet50']
    """

    def natural(name: str) -> list:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

    return sorted(fnmatch.filter(_ROWS, pattern), key=natural)


def variant(name: str) -> Variant:
    """The row of the table: parameters, multiply-adds, input size, paper, endpoints, weights.

    Raises:
      ValueError: no such model; the message has the nearest name.
    """
    return _row(name)[1]


def family(name: str) -> ModuleType:
    """The module of `zoo.models` that defines the variant."""
    return _row(name)[0]


def create(name: str, **fields) -> Net:
    """An unbound module of the named variant, with `fields` (`num_classes`, `dtype`, ...) replaced.

    Raises:
      ValueError: no such model, or no such field.
    """
    make = variant(name).make
    known = [f for f in make().__dataclass_fields__ if f not in ("parent", "name")]
    if unknown := set(fields) - set(known):
        raise ValueError(f"{name} has no field {sorted(unknown)[0]!r}: it has {', '.join(known)}.")
    return make(**fields)


def _row(name: str) -> tuple[ModuleType, Variant]:
    if name not in _ROWS:
        near = difflib.get_close_matches(name, _ROWS, 1, 0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no model is called {name!r}: {hint}zoo.list_models() has all names.")
    return _ROWS[name]
