"""State dicts in and out: `from_torch`, and `to_torch`, its exact inverse.

Which layers an argument concerns is not written down, the net is asked: its first layers are those whose shape changes
with the channels of the image, its heads those whose shape changes with `num_classes`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.errors import UserError
from zoo.models import registry
from zoo.models.layout import Layout
from zoo.models.net import Net
from zoo.weights.inspection import (
    Arrays,
    Shape,
    check_equal,
    find_image_shape,
    find_lacking_top,
    find_shapes,
    init,
    init_shapes,
    recognise_arrays,
)
from zoo.weights.key_maps import COUNTER, ZOO, Slot, Variables, find_layout, layouts, slots
from zoo.weights.wording import list_names

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

    Dropped without being asked: torch's counters of batches and of averaged nets; what all keys begin with, of whatever
    the net was wrapped in (`module.`, `_orig_mod.`, `model.backbone.`); for a model without classes (`num_classes=0`)
    the weights of the heads; of a head with 1001 classes, where the model has 1000, class 0, the background.

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
      UserError: missing, unexpected, misshapen or integer arrays, all in one list; numbers beyond the range of the
        model's type; an unknown module in `new`.
      TypeError: `state_dict` is not a mapping.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"a state dict must be a mapping, got {type(state_dict).__name__}: pass net.state_dict().")
    row = registry.variant(name)
    model = registry.create(name) if model is None else model
    stored = image_shape or find_image_shape(name)  # what the file's net sees
    seen = (*stored[:2], 1) if grayscale else stored
    expected = init_shapes(model, seen)
    arrays, chosen = recognise_arrays(name, expected, state_dict, layout)
    wanted = slots(expected, chosen)
    heads = [head for head in row.heads if any(slot.module == head for slot in wanted.values())]
    fresh = _find_new(name, wanted, heads if new == "head" else new, key)
    arrays = {k: v for k, v in arrays.items() if k not in fresh}

    if model.num_classes == 0:
        headed = slots(init_shapes(model.clone(num_classes=1), seen), chosen)
        arrays = {k: v for k, v in arrays.items() if k in wanted or k not in headed}
    if any(v.shape[:1] == (IMAGENET + 1,) for v in arrays.values()):
        headed = slots(init_shapes(model.clone(num_classes=IMAGENET + 1), seen), chosen)
        axis = -1 if chosen == ZOO else 0
        for k in _find_differing(headed, wanted, arrays):
            if wanted[k].torch_shape[axis] == IMAGENET:
                arrays[k] = np.delete(arrays[k], 0, axis)
    if grayscale:
        coloured = slots(init_shapes(model, stored), chosen)
        for k in _find_differing(coloured, wanted, arrays):
            kernel = coloured[k].read(arrays[k]).sum(axis=-2, keepdims=True, dtype=np.float64)
            arrays[k] = wanted[k].write(kernel)
    check_equal(name, {k: slot.torch_shape for k, slot in wanted.items() if k not in fresh}, arrays)

    loaded = {wanted[k].path: wanted[k].read(v) for k, v in arrays.items()}
    if fresh:
        paths = [wanted[k].path for k in fresh]
        draw = jax.jit(lambda key: [flatten_dict(init(model, seen, key))[path] for path in paths])  # no other layer
        loaded |= dict(zip(paths, draw(key), strict=True))
    leaves = flatten_dict(expected)
    with np.errstate(over="ignore"):
        owned = {path: np.array(loaded[path], leaf.dtype, order="C") for path, leaf in leaves.items()}
    if lost := [k for k, v in arrays.items() if _overflows(wanted[k].read(v), owned[wanted[k].path])]:
        raise UserError(
            f"these arrays are beyond the range of the model's type; nothing was loaded: {list_names(lost)}"
        )
    return unflatten_dict(jax.device_put(owned))


def fit_net(name: str, arrays: Arrays, model: Net, num_classes: int | None = None) -> tuple[Net, NewModules, int]:
    """The model with `num_classes`, by default those of the arrays.

    Returns:
      `(model, new, channels)`: what of the model the arrays do not have, `"head"`, its dense layers or nothing; the
      images' channels.

    Raises:
      UserError: the arrays are those of a net without its dense layers, and `num_classes` is None.
    """
    classes, channels = find_shapes(name, arrays, model)
    if classes is None and (lacking := find_lacking_top(name, arrays, model)):
        return (*_fit_top(name, model, num_classes, lacking), channels)

    def fits(wanted: int | None) -> bool:
        return classes in (None, wanted) or (classes, wanted) == (IMAGENET + 1, IMAGENET)

    if num_classes is None:
        num_classes = model.num_classes if fits(model.num_classes) else classes
    new: NewModules = () if num_classes == 0 or fits(num_classes) else "head"
    return model.clone(num_classes=num_classes), new, channels


def _fit_top(name: str, model: Net, num_classes: int | None, lacking: tuple[str, ...]) -> tuple[Net, NewModules]:
    if num_classes is None:
        raise UserError(
            f"these are weights of {name} without its dense layers ({', '.join(lacking)})",
            "pass num_classes=K and key=jax.random.key(0) for new ones, or num_classes=0 for features",
        )
    heads = registry.variant(name).heads
    return model.clone(num_classes=num_classes), tuple(n for n in lacking if num_classes or n not in heads)


def to_torch(name: str, variables: Variables, *, layout: str | Layout | None = None) -> Arrays:
    """The state dict `{key: array}` that torch's own class loads with `strict=True`; undoes `from_torch`.

    What is stored in a type that NumPy and `torch.from_numpy` have not, bfloat16, comes as float32, which holds it
    exactly. `layout` is one of `zoo.weights.layouts(name)`, by default the first, which is torchvision's where it has
    the net.
    """
    arrays = arrange(name, variables, next(iter(layouts(name))) if layout is None else layout)
    return {k: v if v.dtype.isbuiltin == 1 else v.astype(np.float32) for k, v in arrays.items()}


def arrange(name: str, variables: Variables, layout: str | Layout) -> Arrays:
    """The arrays under the keys of a layout, in their own types, with torch's counters where it is one of torch's."""
    leaves = flatten_dict(dict(variables))
    state = {
        k: slot.write(np.asarray(leaves[slot.path])) for k, slot in slots(variables, find_layout(name, layout)).items()
    }
    counters = [k.removesuffix("running_var") + COUNTER for k in state if k.endswith(".running_var")]
    return state | {k: np.zeros((), np.int64) for k in counters}


def _overflows(array: np.ndarray, cast: np.ndarray) -> bool:
    return array.dtype != cast.dtype and bool((np.isinf(cast) & np.isfinite(array)).any())


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
