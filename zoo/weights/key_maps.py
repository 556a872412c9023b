"""Key maps: which array of a file is which variable, and how its axes lie there.

One direction is written down, from our path to torch's key (`Layout`, beside each model); loading looks the keys up in
the same map, so that the two cannot drift apart. Our own paths, joined by slashes (`params/conv1/kernel`), are the
layout `"zoo"` and go through the same checks.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice, product, takewhile
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from zoo.errors import UserError
from zoo.models import registry
from zoo.models.layout import Layout, Rules
from zoo.weights.wording import escape

Variables = Mapping[str, Any]  # params and batch_stats, of arrays or of shapes
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTER = "num_batches_tracked"  # torch's; nothing here reads it: dropped on the way in, zero on the way out
AVERAGED = "n_averaged"  # torch's too, of the nets in an average
WRAPPERS = 5  # of a net, at most: attributes that stand before its own
ZOO = "zoo"  # the layout of our own paths


@dataclass(frozen=True)
class Slot:
    """Where one tensor of a file lives with us.

    Attributes:
      path: ours.
      shape: ours.
      axes: our axis i is axis `axes[i]` of the file's tensor before that one flattened anything.
      torch_shape: the file's.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    torch_shape: tuple[int, ...]

    @property
    def module(self) -> str:
        """Path of the layer, `"layer1_0/conv1"`."""
        return "/".join(self.path[1:-1])

    def read(self, array: np.ndarray) -> np.ndarray:
        """torch's `[K, C, H, W]`, `[K, C * H * W]`, `[K, C]`, `[C]` as our `[H, W, C, K]`, `[C, K]`, `[C]`."""
        unflattened = [self.shape[i] for i in np.argsort(self.axes)]
        return array.reshape(unflattened).transpose(self.axes)

    def write(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `read`; always a copy."""
        return np.array(array.transpose(np.argsort(self.axes)), order="C").reshape(self.torch_shape)


def slots(variables: Variables, layout: Layout | str) -> dict[str, Slot]:
    """`{key: slot}` for every leaf of `variables` (arrays or shapes); `layout` is a `Layout` or `"zoo"`.

    Raises:
      UserError: a collection that torch has no name for, or a layout that calls two arrays the same.
    """
    found: dict[str, Slot] = {}
    for path, leaf in flatten_dict(dict(variables)).items():
        _, *modules, name = path
        shape = tuple(leaf.shape)
        axes = (2, 3, 1, 0) if len(shape) == 4 else tuple(range(len(shape)))[::-1]
        if isinstance(layout, str):
            key, axes, stored = "/".join(path), tuple(range(len(shape))), shape
        elif name not in LEAVES:
            raise UserError(f"{'/'.join(path)} has no name in torch", "pass params and batch_stats alone")
        else:
            key = re.sub(r"_(\d+)(?=\.|$)", r".\1", ".".join(modules))
            key = f"{_rewrite(key, layout.renames)}.{LEAVES[name]}"
            stored = tuple(shape[i] for i in np.argsort(axes))
            if name == "kernel" and "/".join(modules) in layout.flattened:
                stored = (stored[0], int(np.prod(stored[1:])))
            if name == "kernel" and "/".join(modules) in layout.pointwise:
                stored = (*stored, 1, 1)
        if key in found:
            two = f"{'/'.join(found[key].path)} and {'/'.join(path)}"
            raise UserError(f"the layout has one key, {key!r}, for two arrays: {two}")
        found[key] = Slot(path, shape, axes, stored)
    return found


def is_counter(key: str) -> bool:
    """Whether torch counts something under a key, which is nothing of the net."""
    return key.rpartition(".")[2] in (COUNTER, AVERAGED)


def layouts(name: str) -> dict[str, Layout]:
    """The namings in which a model's weights are published: `{"torchvision": Layout(...), ...}`."""
    return getattr(registry.family(name), "LAYOUTS", {"torchvision": Layout()})


def find_layout(name: str, layout: str | Layout) -> Layout | str:
    """The layout of that name among the model's.

    Raises:
      UserError: there is none; the message lists them.
    """
    if isinstance(layout, Layout) or layout == ZOO:
        return layout
    if layout not in layouts(name):
        known = " or ".join(map(repr, [ZOO, *layouts(name)]))
        raise UserError(f"layout={layout!r}: the weights of {name} are written as {known}")
    return layouts(name)[layout]


def recognise_names(
    name: str, variables: Variables, keys: Iterable[str], layout: Layout | str | None = None
) -> tuple[str, Layout | str]:
    """What stands before all keys, and the layout with which most of them agree when it is taken off.

    Before the keys of a net stand the attributes of what it was wrapped in (`"module."`, `"_orig_mod."`, `"model."`,
    `"module.backbone."`), of whatever name.

    Args:
      name: the model.
      variables: its arrays or shapes.
      keys: of a state dict.
      layout: the layout, if it is known.
    """
    keys = [k for k in keys if not is_counter(k)]
    known: list[Layout | str] = [*layouts(name).values(), ZOO] if layout is None else [layout]
    words = zip(*(k.split(".")[:-1] for k in keys), strict=False)  # the first of every key, the second of every key
    common = takewhile(lambda column: len(set(column)) == 1, islice(words, WRAPPERS))
    prefixes = ["", *accumulate(f"{column[0]}." for column in common)]

    def count_matches(candidate: tuple[str, Layout | str]) -> int:
        prefix, chosen = candidate
        rules = () if isinstance(chosen, str) else chosen.old
        return len({_rewrite(k.removeprefix(prefix), rules) for k in keys} & wanted[chosen])

    wanted = {candidate: set(slots(variables, candidate)) for candidate in known}
    return max(product(prefixes, known), key=count_matches)


def modernise(arrays: Mapping[str, np.ndarray], layout: Layout | str) -> dict[str, np.ndarray]:
    """The arrays under today's keys, where older files have others (`Layout.old`).

    Raises:
      UserError: an array stands under an old and a new key.
    """
    if isinstance(layout, str):
        return dict(arrays)
    renamed: dict[str, str] = {}
    for k in arrays:
        modern = _rewrite(k, layout.old)
        if modern in renamed:
            two = f"'{escape(renamed[modern])}' and '{escape(k)}'"
            raise UserError(f"two keys of the state dict are one tensor: {two}")
        renamed[modern] = k
    return {modern: arrays[k] for modern, k in renamed.items()}


def _rewrite(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
