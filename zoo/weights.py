"""Weights in and out of the torch world, by strict key maps: `from_torch` and `to_torch`, exact inverses of each other.

One direction is written down, from our path to torch's key (`zoo.models.layout.Layout`, beside each model); loading
looks the keys up in the same map, so that the two cannot drift apart.
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

from zoo import registry
from zoo.models.layout import Layout

Path = tuple[str, ...]
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTER = "num_batches_tracked"  # torch's; nothing here reads it: dropped on the way in, zero on the way out
LISTED = 8  # keys of one kind that an error names


@dataclass(frozen=True)
class Slot:
    """Where one torch tensor lives with us, and its shape there and here."""

    path: Path
    shape: tuple[int, ...]
    torch_shape: tuple[int, ...]

    def read(self, array: np.ndarray) -> np.ndarray:
        """torch's `[K, C, H, W]`, `[K, C * H * W]`, `[K, C]` or `[C]` as our `[H, W, C, K]`, `[C, K]` or `[C]`."""
        if len(self.shape) != 4:
            return array.T
        h, w, c, k = self.shape
        return array.reshape(k, c, h, w).transpose(2, 3, 1, 0)

    def write(self, array: np.ndarray) -> np.ndarray:
        turned = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        return np.ascontiguousarray(turned).reshape(self.torch_shape)


def slots(variables: Mapping[str, Any], layout: Layout) -> dict[str, Slot]:
    """`{torch key: slot}` for every leaf of `variables` (arrays or their shapes)."""
    found = {}
    for path, leaf in flatten_dict(dict(variables)).items():
        _, *modules, kind = path
        key = re.sub(r"_(\d+)(?=\.|$)", r".\1", ".".join(modules))
        for pattern, replacement in layout.renames:
            key = re.sub(pattern, replacement, key)
        shape = tuple(leaf.shape)
        torch_shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        if kind == "kernel" and "/".join(modules) in layout.flattened:
            torch_shape = (shape[3], int(np.prod(shape[:3])))
        found[f"{key}.{LEAVES[kind]}"] = Slot(path, shape, torch_shape)
    return found


def layouts(name: str) -> dict[str, Layout]:
    """The namings of state dicts in which a model's weights are published: `{"torchvision": Layout(...), ...}`."""
    return getattr(registry.family(name), "LAYOUTS", {"torchvision": Layout()})


def from_torch(
    name: str,
    state_dict: Mapping[str, Any],
    *,
    layout: str | Layout | None = None,
    new: Sequence[str] = (),
    grayscale: bool = False,
    key: jax.Array | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Variables of `zoo.create(name, **fields)` from a torch state dict `{key: array}`; nothing is loaded in part.

    Args:
      name: the model.
      state_dict: numpy arrays, or anything `numpy.asarray` takes (torch tensors on the CPU).
      layout: one of `layouts(name)`, or a `Layout` of your own; recognised from the keys if None.
      new: modules to initialise afresh with `key` instead of loading them, e.g. `("fc",)` with `num_classes=10`.
      grayscale: sum the first layer's kernels over its input channels, for images `[N, H, W, 1]`.
      key: for `new`.
      **fields: of the model.

    Raises:
      ValueError: missing, unexpected or misshapen keys, all in one list; or an unknown name in `new`.
    """
    model = registry.create(name, **fields)
    row = registry.variant(name)
    shape = (1, row.image_size, row.image_size, 1 if grayscale else row.channels)
    init = partial(model.init, train=False)
    expected = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    arrays = {k: np.asarray(v) for k, v in state_dict.items() if not k.endswith(COUNTER)}
    chosen = layout if isinstance(layout, Layout) else _recognised(name, layout, expected, arrays)
    for pattern, replacement in chosen.old:
        arrays = {re.sub(pattern, replacement, k): v for k, v in arrays.items()}
    wanted = slots(expected, chosen)

    modules = {"/".join(slot.path[1:-1]) for slot in wanted.values()}
    if unknown := [n for n in new if n not in modules]:
        raise ValueError(f"new={tuple(new)}: {name} has no layer {unknown[0]!r}; its last is {max(modules)!r}.")
    fresh = {k for k, slot in wanted.items() if "/".join(slot.path[1:-1]) in new}
    if fresh and key is None:
        raise ValueError(f"new={tuple(new)} is initialised afresh: pass key=jax.random.key(0).")
    arrays = {k: v for k, v in arrays.items() if k not in fresh}
    if grayscale:
        first = next(k for k, slot in wanted.items() if len(slot.shape) == 4)
        if first in arrays:
            arrays[first] = arrays[first].sum(axis=1, keepdims=True)
    _refuse_unless_equal(name, {k: slot.torch_shape for k, slot in wanted.items() if k not in fresh}, arrays)

    leaves = flatten_dict(expected)
    loaded = {wanted[k].path: jnp.asarray(wanted[k].read(v), leaves[wanted[k].path].dtype) for k, v in arrays.items()}
    if fresh:
        made = flatten_dict(jax.jit(init)(key, jnp.zeros(shape)))
        loaded |= {wanted[k].path: made[wanted[k].path] for k in fresh}
    return unflatten_dict({path: loaded[path] for path in leaves})


def to_torch(name: str, variables: Mapping[str, Any], *, layout: str | Layout = "torchvision") -> dict[str, np.ndarray]:
    """The state dict `{key: array}` that torch's own class loads with `strict=True`; the inverse of `from_torch`."""
    chosen = layout if isinstance(layout, Layout) else _named(name, layout)
    leaves = flatten_dict(dict(variables))
    state = {k: slot.write(np.asarray(leaves[slot.path])) for k, slot in slots(variables, chosen).items()}
    counters = [k.removesuffix("running_var") + COUNTER for k in state if k.endswith("running_var")]
    return state | {k: np.zeros((), np.int64) for k in counters}


def _named(name: str, layout: str) -> Layout:
    known = layouts(name)
    if layout not in known:
        raise ValueError(f"layout={layout!r}: the weights of {name} are written as {' or '.join(map(repr, known))}.")
    return known[layout]


def _recognised(name: str, layout: str | None, expected: Mapping[str, Any], arrays: Mapping[str, Any]) -> Layout:
    if layout is not None:
        return _named(name, layout)

    def matches(candidate: Layout) -> int:
        rewritten = set(arrays)
        for pattern, replacement in candidate.old:
            rewritten = {re.sub(pattern, replacement, k) for k in rewritten}
        return len(rewritten & set(slots(expected, candidate)))

    return max(layouts(name).values(), key=matches)


def _refuse_unless_equal(name: str, wanted: Mapping[str, tuple], arrays: Mapping[str, np.ndarray]) -> None:
    both = [k for k in wanted if k in arrays]
    problems = {
        "missing": [k for k in wanted if k not in arrays],
        "unexpected": [k for k in arrays if k not in wanted],
        "misshapen": [f"{k} {arrays[k].shape}, not {wanted[k]}" for k in both if arrays[k].shape != wanted[k]],
    }
    lines = [
        f"{len(keys)} {kind}: {', '.join(keys[:LISTED])}{', ...' if len(keys) > LISTED else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if lines:
        raise ValueError(f"these are not the weights of {name}; nothing was loaded.\n  " + "\n  ".join(lines))
