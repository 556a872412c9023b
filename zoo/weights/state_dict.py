"""State dicts in and out: `from_torch`, and `to_torch`, its exact inverse.

Which layers an argument concerns is not written down, the net is asked: its first layers are those whose shape changes
with the channels of the image, its heads those whose shape changes with `num_classes`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.errors import UserError
from zoo.models import registry
from zoo.models.layout import Layout
from zoo.models.net import Net
from zoo.weights.key_maps import (
    COUNTER,
    ZOO,
    Slot,
    Variables,
    find_layout,
    layouts,
    modernise,
    recognise_layout,
    slots,
)

Shape = tuple[int, int, int]
Arrays = dict[str, np.ndarray]
NewModules = Sequence[str] | Literal["head"]
IMAGENET = 1000  # classes; TF-slim's heads, and Cadene's copies of them, have one more, 0, for the background


def from_torch(
    name: str,
    state_dict: Mapping[str, Any],
    *,
    model: Net | None = None,
    layout: str | Layout | None = None,
    new: NewModules = (),
    grayscale: bool = False,
    image_shape: Shape | None = None,
    key: jax.Array | None = None,
) -> dict[str, Any]:
    """Variables of a model from torch's state dict `{key: array}`; all or nothing.

    Dropped without being asked: torch's counters of batches; for a model without classes (`num_classes=0`) the
    weights of the heads; of a head with 1001 classes, where the model has 1000, class 0, the background.

    Args:
      name: the model.
      state_dict: numpy arrays or torch tensors, of any floating type.
      model: what takes the variables, where it is not `zoo.create(name)`: `zoo.create(name, num_classes=10)`.
      layout: one of `zoo.weights.layouts(name)`, `"zoo"`, or a `Layout` of your own; recognised from the keys if None.
      new: modules to initialise with `key` instead of loading them: their paths, or `"head"` for the layers that make
        the logits, those of auxiliary heads included.
      grayscale: sum the first layer's kernels over their input channels, for images `[N, H, W, 1]`.
      image_shape: `(height, width, channels)` if not the native one, where a layer's shape depends on it.
      key: for `new`.

    Raises:
      UserError: missing, unexpected, misshapen or integer arrays, all in one list; an unknown module in `new`.
      TypeError: `state_dict` is not a mapping.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"a state dict must be a mapping, got {type(state_dict).__name__}: pass net.state_dict().")
    row = registry.variant(name)
    model = registry.create(name) if model is None else model
    stored = image_shape or (row.image_size, row.image_size, row.channels)  # what the file's net sees
    seen = (*stored[:2], 1) if grayscale else stored
    expected = _init_shapes(model, seen)
    arrays = {k: _to_numpy(v) for k, v in state_dict.items() if k.rpartition(".")[2] != COUNTER}
    chosen = recognise_layout(name, expected, arrays) if layout is None else find_layout(name, layout)
    arrays = modernise(arrays, chosen)
    wanted = slots(expected, chosen)
    fresh = _find_new(name, wanted, row.heads if new == "head" else new, key)
    arrays = {k: v for k, v in arrays.items() if k not in fresh}

    if model.num_classes == 0:
        headed = slots(_init_shapes(model.clone(num_classes=1), seen), chosen)
        arrays = {k: v for k, v in arrays.items() if k in wanted or k not in headed}
    if any(v.shape[:1] == (IMAGENET + 1,) for v in arrays.values()):
        headed = slots(_init_shapes(model.clone(num_classes=IMAGENET + 1), seen), chosen)
        for k in _find_differing(headed, wanted, arrays):
            if wanted[k].torch_shape[0] == IMAGENET:
                arrays[k] = arrays[k][1:]
    if grayscale:
        coloured = slots(_init_shapes(model, stored), chosen)
        for k in _find_differing(coloured, wanted, arrays):
            kernel = coloured[k].read(arrays[k]).sum(axis=-2, keepdims=True, dtype=np.float64)
            arrays[k] = wanted[k].write(kernel)
    _refuse_unless_equal(name, {k: slot.torch_shape for k, slot in wanted.items() if k not in fresh}, arrays)

    loaded = {wanted[k].path: wanted[k].read(v) for k, v in arrays.items()}
    if fresh:
        paths = [wanted[k].path for k in fresh]
        init = jax.jit(lambda key: [flatten_dict(_init(model, seen, key))[path] for path in paths])  # no other layer
        loaded |= dict(zip(paths, init(key), strict=True))
    leaves = flatten_dict(expected)
    owned = {path: np.array(loaded[path], leaf.dtype, order="C") for path, leaf in leaves.items()}
    return unflatten_dict(jax.device_put(owned))


def to_torch(name: str, variables: Variables, *, layout: str | Layout | None = None) -> Arrays:
    """The state dict `{key: array}` that torch's own class loads with `strict=True`; undoes `from_torch`.

    `layout` is one of `zoo.weights.layouts(name)`, by default the first, which is torchvision's where it has the net.
    """
    leaves = flatten_dict(dict(variables))
    found = slots(variables, find_layout(name, next(iter(layouts(name))) if layout is None else layout))
    state = {k: slot.write(np.asarray(leaves[slot.path])) for k, slot in found.items()}
    counters = [k.removesuffix("running_var") + COUNTER for k in state if k.endswith(".running_var")]
    return state | {k: np.zeros((), np.int64) for k in counters}


def count_classes(name: str, state_dict: Arrays) -> int | None:
    """Number of classes that the head in a state dict makes; None where it has no head of the model's."""
    row = registry.variant(name)
    variables = _init_shapes(registry.create(name), (row.image_size, row.image_size, row.channels))
    layout = recognise_layout(name, variables, state_dict)
    arrays = modernise(state_dict, layout)
    heads = [k for k, slot in slots(variables, layout).items() if slot.module == row.head and k in arrays]
    return arrays[heads[0]].shape[-1 if layout == ZOO else 0] if heads else None


def _init(model: Net, image_shape: Shape, key: jax.Array) -> dict[str, Any]:
    return dict(model.init(key, jnp.zeros((1, *image_shape)), train=False))


def _init_shapes(model: Net, image_shape: Shape) -> dict[str, Any]:
    """The variables' shapes and types."""
    return jax.eval_shape(partial(_init, model, image_shape), jax.random.key(0))


def _to_numpy(value: Any) -> np.ndarray:
    """A numpy array of a numpy array, a JAX array, or a torch tensor on whatever device."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point() and value.dtype.itemsize == 2:
            value = value.float()  # numpy has no bfloat16; exact
    return np.asarray(value)


def _find_new(name: str, wanted: Mapping[str, Slot], new: Sequence[str], key: jax.Array | None) -> list[str]:
    """Keys of the arrays in the modules `new`."""
    if isinstance(new, str):
        raise UserError(f"new={new!r}", f'pass "head", or a tuple of paths, ({new!r},)')
    modules = {slot.module for slot in wanted.values()}
    for n in new:
        if not any(f"{module}/".startswith(f"{n}/") for module in modules):
            known = ", ".join(sorted({module.partition("/")[0] for module in modules}))
            raise UserError(f"new={tuple(new)}: {name} has no layer {n!r}; it has {known}")
    if new and key is None:
        raise UserError(f"new={tuple(new)} is initialised and not loaded", "pass key=jax.random.key(0)")
    return [k for k, slot in wanted.items() if f"{slot.module}/".startswith(tuple(f"{n}/" for n in new))]


def _find_differing(other: Mapping[str, Slot], wanted: Mapping[str, Slot], arrays: Arrays) -> list[str]:
    """Keys of the arrays that have the shape of `other` where another one is wanted."""
    return [k for k, v in arrays.items() if k in wanted and v.shape == other[k].torch_shape != wanted[k].torch_shape]


def _refuse_unless_equal(name: str, wanted: Mapping[str, tuple[int, ...]], arrays: Arrays) -> None:
    both = {k: arrays[k] for k in wanted if k in arrays}
    problems = {
        "missing": [k for k in wanted if k not in arrays],
        "unexpected": [k for k in arrays if k not in wanted],
        "misshapen": [f"{k} {v.shape}, not {wanted[k]}" for k, v in both.items() if v.shape != wanted[k]],
        "not floating": [f"{k} {v.dtype}" for k, v in both.items() if not jnp.issubdtype(v.dtype, jnp.floating)],
    }
    lines = [f"{len(keys)} {problem}: {', '.join(keys)}" for problem, keys in problems.items() if keys]
    if lines:
        raise UserError(f"these are not the weights of {name}; nothing was loaded.\n  " + "\n  ".join(lines))
