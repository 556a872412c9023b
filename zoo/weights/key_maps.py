"""Weights in and out of the torch world, by strict key maps: `from_torch`, and `to_torch`, its exact inverse.

One direction is written down, from our path to torch's key (`Layout`, beside each model); loading looks the keys
up in the same map, so that the two cannot drift apart. Our own paths, joined by slashes (`params/conv1/kernel`),
are the layout `"zoo"` and go through the same checks.

Which layers an option concerns is not written down either, the net is asked: its first layers are those whose
shape changes with the channels of the image, its heads those whose shape changes with `num_classes`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.models import registry
from zoo.models.layout import Layout, Rules

Path = tuple[str, ...]
Shape = tuple[int, int, int]
Tree = dict[str, Any]
Arrays = dict[str, np.ndarray]
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTER = "num_batches_tracked"  # torch's; nothing here reads it: dropped on the way in, zero on the way out
ZOO = "zoo"  # the layout of our own paths
IMAGENET = 1000  # classes; TF-slim's heads, and Cadene's copies of them, have one more, 0, for the background


@dataclass(frozen=True)
class Slot:
    """Where one tensor of a file lives with us.

    Attributes:
      path: ours.
      shape: ours.
      axes: our axis i is axis `axes[i]` of the file's tensor before that one flattened anything.
      torch_shape: the file's.
    """

    path: Path
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    torch_shape: tuple[int, ...]

    @property
    def module(self) -> str:
        """Of the layer, e.g. `"layer1_0/conv1"`."""
        return "/".join(self.path[1:-1])

    def read(self, array: np.ndarray) -> np.ndarray:
        """torch's `[K, C, H, W]`, `[K, C * H * W]`, `[K, C]`, `[C]` as our `[H, W, C, K]`, `[C, K]`, `[C]`."""
        unflattened = [self.shape[i] for i in np.argsort(self.axes)]
        return array.reshape(unflattened).transpose(self.axes)

    def write(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `read`; always a copy."""
        return np.array(array.transpose(np.argsort(self.axes)), order="C").reshape(self.torch_shape)


def slots(variables: Mapping[str, Any], layout: Layout | str) -> dict[str, Slot]:
    """`{key: slot}` for every leaf of `variables` (arrays or shapes); `layout` is a `Layout` or `"zoo"`."""
    found: dict[str, Slot] = {}
    for path, leaf in flatten_dict(dict(variables)).items():
        _, *modules, kind = path
        shape = tuple(leaf.shape)
        axes = (2, 3, 1, 0) if len(shape) == 4 else tuple(range(len(shape)))[::-1]
        if isinstance(layout, str):
            key, axes, stored = "/".join(path), tuple(range(len(shape))), shape
        elif kind not in LEAVES:
            raise ValueError(f"{'/'.join(path)} has no name in torch: pass params and batch_stats alone.")
        else:
            key = re.sub(r"_(\d+)(?=\.|$)", r".\1", ".".join(modules))
            key = f"{_rewritten(key, layout.renames)}.{LEAVES[kind]}"
            stored = tuple(shape[i] for i in np.argsort(axes))
            if kind == "kernel" and "/".join(modules) in layout.flattened:
                stored = (stored[0], int(np.prod(stored[1:])))
            if kind == "kernel" and "/".join(modules) in layout.pointwise:
                stored = (*stored, 1, 1)
        if key in found:
            two = f"{'/'.join(found[key].path)} and {'/'.join(path)}"
            raise ValueError(f"the layout has one key, {key!r}, for two arrays: {two}.")
        found[key] = Slot(path, shape, axes, stored)
    return found


def layouts(name: str) -> dict[str, Layout]:
    """The namings in which a model's weights are published: `{"torchvision": Layout(...), ...}`."""
    return getattr(registry.family(name), "LAYOUTS", {"torchvision": Layout()})


def from_torch(
    name: str,
    state_dict: Mapping[str, Any],
    *,
    layout: str | Layout | None = None,
    new: Sequence[str] = (),
    grayscale: bool = False,
    image_shape: Shape | None = None,
    key: jax.Array | None = None,
    **fields: Any,
) -> Tree:
    """Variables of `zoo.create(name, **fields)` from torch's state dict `{key: array}`; all or nothing.

    Dropped without being asked: torch's counters of batches; with `num_classes=0` the weights of the heads; of a
    head with 1001 classes, where the net has 1000, class 0, the background.

    Args:
      name: the model.
      state_dict: numpy arrays or torch tensors, of any floating type.
      layout: one of `layouts(name)`, `"zoo"`, or a `Layout` of your own; recognised from the keys if None.
      new: modules to initialise afresh with `key` instead of loading, e.g. `("fc",)` with `num_classes=10`.
      grayscale: sum the first layer's kernels over their input channels, for images `[N, H, W, 1]`.
      image_shape: `(height, width, channels)` if not the native one, where a layer's shape depends on it.
      key: for `new`.
      **fields: of the model.

    Raises:
      ValueError: missing, unexpected, misshapen or integer arrays, all in one list; an unknown name in `new`.
      TypeError: `state_dict` is none.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"a state dict is a mapping, not a {type(state_dict).__name__}: pass net.state_dict().")
    row = registry.variant(name)
    shape = image_shape or (row.image_size, row.image_size, row.channels)
    shapes = partial(_shapes, name, (*shape[:2], 1) if grayscale else shape)
    expected = shapes(fields)
    arrays = {k: _array(v) for k, v in state_dict.items() if k.rpartition(".")[2] != COUNTER}
    chosen = _recognised(name, expected, arrays) if layout is None else _named(name, layout)
    arrays = _modernised(arrays, chosen)
    wanted = slots(expected, chosen)
    fresh = _fresh(name, wanted, new, key)
    arrays = {k: v for k, v in arrays.items() if k not in fresh}

    if registry.create(name, **fields).num_classes == 0:
        headed = slots(shapes(fields | {"num_classes": 1}), chosen)
        arrays = {k: v for k, v in arrays.items() if k in wanted or k not in headed}
    if any(v.shape[:1] == (IMAGENET + 1,) for v in arrays.values()):
        headed = slots(shapes(fields | {"num_classes": IMAGENET + 1}), chosen)
        for k in _differing(headed, wanted, arrays):
            if wanted[k].torch_shape[0] == IMAGENET:
                arrays[k] = arrays[k][1:]
    if grayscale:
        coloured = slots(_shapes(name, shape, fields), chosen)
        for k in _differing(coloured, wanted, arrays):
            kernel = coloured[k].read(arrays[k]).sum(axis=-2, keepdims=True, dtype=np.float64)
            arrays[k] = wanted[k].write(kernel)
    _refuse_unless_equal(name, {k: slot.torch_shape for k, slot in wanted.items() if k not in fresh}, arrays)

    leaves = flatten_dict(expected)
    loaded = {wanted[k].path: wanted[k].read(v) for k, v in arrays.items()}
    if fresh:
        paths = [wanted[k].path for k in fresh]
        init = partial(_init, name, (*shape[:2], 1) if grayscale else shape, fields)
        made = jax.jit(lambda key: [flatten_dict(init(key))[path] for path in paths])  # and no other layer
        loaded |= dict(zip(paths, made(key), strict=True))
    owned = {path: np.array(loaded[path], leaf.dtype, order="C") for path, leaf in leaves.items()}
    return unflatten_dict(jax.device_put(owned))


def to_torch(name: str, variables: Mapping[str, Any], *, layout: str | Layout | None = None) -> Arrays:
    """The state dict `{key: array}` that torch's own class loads with `strict=True`; undoes `from_torch`.

    `layout` is one of `layouts(name)`, by default the first, which is torchvision's where it has the net.
    """
    leaves = flatten_dict(dict(variables))
    found = slots(variables, _named(name, next(iter(layouts(name))) if layout is None else layout))
    state = {k: slot.write(np.asarray(leaves[slot.path])) for k, slot in found.items()}
    counters = [k.removesuffix("running_var") + COUNTER for k in state if k.endswith(".running_var")]
    return state | {k: np.zeros((), np.int64) for k in counters}


def _init(name: str, shape: Shape, fields: Tree, key: jax.Array) -> Tree:
    return dict(registry.create(name, **fields).init(key, jnp.zeros((1, *shape)), train=False))


def _shapes(name: str, shape: Shape, fields: Tree) -> Tree:
    """The variables' shapes and types, for images of `shape`."""
    return jax.eval_shape(partial(_init, name, shape, fields), jax.random.key(0))


def _array(value: Any) -> np.ndarray:
    """A numpy array of a numpy array, a JAX array, or a torch tensor on whatever device."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point() and value.dtype.itemsize == 2:
            value = value.float()  # numpy has no bfloat16; exact
    return np.asarray(value)


def _rewritten(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _modernised(arrays: Mapping[str, np.ndarray], layout: Layout | str) -> Arrays:
    """`arrays` under today's keys."""
    if isinstance(layout, str):
        return dict(arrays)
    renamed: dict[str, str] = {}
    for k in arrays:
        modern = _rewritten(k, layout.old)
        if modern in renamed:
            raise ValueError(f"two keys of the state dict are one tensor: {renamed[modern]!r} and {k!r}.")
        renamed[modern] = k
    return {modern: arrays[k] for modern, k in renamed.items()}


def _named(name: str, layout: str | Layout) -> Layout | str:
    if isinstance(layout, Layout) or layout == ZOO:
        return layout
    if layout not in layouts(name):
        known = " or ".join(map(repr, [ZOO, *layouts(name)]))
        raise ValueError(f"layout={layout!r}: the weights of {name} are written as {known}.")
    return layouts(name)[layout]


def _recognised(name: str, expected: Mapping[str, Any], arrays: Arrays) -> Layout | str:
    """The layout with which most keys agree."""

    known: list[Layout | str] = [*layouts(name).values(), ZOO]

    def matches(candidate: Layout | str) -> int:
        rules = () if isinstance(candidate, str) else candidate.old
        return len({_rewritten(k, rules) for k in arrays} & set(slots(expected, candidate)))

    return max(known, key=matches)


def _fresh(name: str, wanted: Mapping[str, Slot], new: Sequence[str], key: jax.Array | None) -> list[str]:
    """Keys of the layers in the modules `new`."""
    if isinstance(new, str):
        raise ValueError(f"new={new!r}: pass a tuple of names, ({new!r},).")
    modules = {slot.module for slot in wanted.values()}
    for n in new:
        if not any(f"{module}/".startswith(f"{n}/") for module in modules):
            known = ", ".join(sorted({module.partition("/")[0] for module in modules}))
            raise ValueError(f"new={tuple(new)}: {name} has no layer {n!r}; it has {known}.")
    if new and key is None:
        raise ValueError(f"new={tuple(new)} is initialised afresh: pass key=jax.random.key(0).")
    return [k for k, slot in wanted.items() if f"{slot.module}/".startswith(tuple(f"{n}/" for n in new))]


def _differing(other: Mapping[str, Slot], wanted: Mapping[str, Slot], arrays: Arrays) -> list[str]:
    """Keys of the arrays that have the shape of `other` where another one is wanted."""
    return [k for k, v in arrays.items() if k in wanted and v.shape == other[k].torch_shape != wanted[k].torch_shape]


def _refuse_unless_equal(name: str, wanted: Mapping[str, tuple], arrays: Arrays) -> None:
    both = {k: arrays[k] for k in wanted if k in arrays}
    problems = {
        "missing": [k for k in wanted if k not in arrays],
        "unexpected": [k for k in arrays if k not in wanted],
        "misshapen": [f"{k} {v.shape}, not {wanted[k]}" for k, v in both.items() if v.shape != wanted[k]],
        "not floating": [f"{k} {v.dtype}" for k, v in both.items() if not jnp.issubdtype(v.dtype, jnp.floating)],
    }
    lines = [f"{len(keys)} {kind}: {', '.join(keys)}" for kind, keys in problems.items() if keys]
    if lines:
        raise ValueError(f"these are not the weights of {name}; nothing was loaded.\n  " + "\n  ".join(lines))
