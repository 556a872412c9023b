"""What the names, shapes and numbers of arrays tell about the net that they belong to."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.errors import UserError
from zoo.layers import Linear
from zoo.layers.interception import intercept_calls, path_of
from zoo.models import registry
from zoo.models.layout import Layout
from zoo.models.net import Net
from zoo.weights.key_maps import ZOO, Variables, find_layout, is_counter, modernise, recognise_names, slots
from zoo.weights.wording import escape, list_problems

Shape = tuple[int, int, int]
Arrays = dict[str, np.ndarray]


def init(model: Net, image_shape: Shape, key: jax.Array) -> dict[str, Any]:
    """The variables that `key` makes for images of that shape."""
    return dict(model.init(key, jnp.zeros((1, *image_shape)), train=False))


_jitted_init = jax.jit(init, static_argnums=(0, 1))  # which traces a net once, though a file is held to it many times


def init_shapes(model: Net, image_shape: Shape) -> dict[str, Any]:
    """The variables' shapes and types. A net that was traced before is not called again: nothing can listen to it."""
    return _jitted_init.eval_shape(model, tuple(image_shape), jax.random.key(0))


def find_image_shape(name: str, channels: int | None = None) -> Shape:
    """`(height, width, channels)` of the model's native images."""
    row = registry.variant(name)
    return row.image_size, row.image_size, row.channels if channels is None else channels


def recognise_arrays(
    name: str, variables: Variables, state_dict: Mapping[str, Any], layout: str | Layout | None = None
) -> tuple[Arrays, Layout | str]:
    """The arrays under today's keys, without wrappers and counters, and their layout, recognised where it is None.

    Raises:
      UserError: what stands under a key has no numbers, or two keys are one tensor.
    """
    counted = {k: v for k, v in state_dict.items() if not is_counter(k)}
    prefix, chosen = recognise_names(name, variables, counted, None if layout is None else find_layout(name, layout))
    return modernise({k.removeprefix(prefix): _to_numpy(k, v) for k, v in counted.items()}, chosen), chosen


def find_shapes(name: str, state_dict: Mapping[str, Any], model: Net | None = None) -> tuple[int | None, int]:
    """Numbers of classes and of input channels of the net that a state dict belongs to.

    Returns:
      `(classes, channels)`: classes is None where no head of the model's tells, channels the model's own where the
      first layer does not tell.
    """
    row, model = registry.variant(name), model or registry.create(name)
    expected = init_shapes(model, find_image_shape(name))
    arrays, layout = recognise_arrays(name, expected, state_dict)
    wanted = slots(expected, layout)
    out, into = (-1, -2) if layout == ZOO else (0, 1)  # axes
    shapes = {k: v.shape for k, v in arrays.items() if k in wanted and v.size and v.ndim == len(wanted[k].torch_shape)}
    misshapen = {k: shape for k, shape in shapes.items() if shape != wanted[k].torch_shape}
    classes = {shape[out] for k, shape in shapes.items() if wanted[k].module == row.head}
    channels = row.channels
    if any(wanted[k].module not in row.heads for k in misshapen):
        other = slots(init_shapes(model, find_image_shape(name, channels=3 if channels == 1 else 1)), layout)
        first = [k for k in misshapen if other[k].torch_shape != wanted[k].torch_shape]
        channels = next((misshapen[k][into] for k in first if len(misshapen[k]) == 4), channels)
    return (classes.pop() if len(classes) == 1 else None), channels


def find_lacking_top(name: str, state_dict: Mapping[str, Any], model: Net) -> tuple[str, ...]:
    """Paths of the dense layers that a state dict does not have, if the head is one of them and nothing else lacks."""
    row, dense = registry.variant(name), set()

    def note(module: Any, _: Any, call: Callable[[], Any]) -> Any:
        dense.add(path_of(module))
        return call()

    with intercept_calls((Linear,), note):
        expected = jax.eval_shape(partial(init, model, find_image_shape(name)), jax.random.key(0))
    arrays, layout = recognise_arrays(name, expected, state_dict)
    wanted = slots(expected, layout)
    lacking = dict.fromkeys(slot.module for k, slot in wanted.items() if k not in arrays)
    halved = any(slot.module in lacking for k, slot in wanted.items() if k in arrays)
    return tuple(lacking) if row.head in lacking and lacking.keys() <= dense and not halved else ()


def check_equal(name: str, wanted: Mapping[str, tuple[int, ...]], arrays: Arrays) -> None:
    """Raises `UserError` with all arrays that are not the wanted ones."""
    both = {k: arrays[k] for k in wanted if k in arrays}
    problems = {
        "missing": [k for k in wanted if k not in arrays],
        "unexpected": [k for k in arrays if k not in wanted],
        "misshapen": [f"{k} {v.shape}, not {wanted[k]}" for k, v in both.items() if v.shape != wanted[k]],
        "not floating": [f"{k} {v.dtype}" for k, v in both.items() if not jnp.issubdtype(v.dtype, jnp.floating)],
    }
    if lines := list_problems(problems):
        raise UserError(f"these are not the weights of {name}; nothing was loaded.\n  {lines}")


def check_variables(name: str, variables: Variables, model: Net | None = None) -> None:
    """Raises `UserError` for variables that are not those of the model, for whatever images and classes."""
    leaves = flatten_dict(dict(variables), sep="/")
    head = leaves.get(f"params/{registry.variant(name).head}/kernel")
    model = model or registry.create(name, num_classes=0 if head is None else head.shape[-1])
    expected = flatten_dict(init_shapes(model, find_image_shape(name)), sep="/")
    differing = [k for k in expected if k in leaves and not _fits(leaves[k].shape, expected[k].shape)]
    problems = {
        "missing": [k for k in expected if k not in leaves],
        "unexpected": [k for k in leaves if k not in expected],
        "misshapen": [f"{k} {leaves[k].shape}" for k in differing],
    }
    if lines := list_problems(problems):
        raise UserError(f"these are not the variables of {name}; nothing was written.\n  {lines}")


def check_numbers(state_dict: Mapping[str, Any]) -> None:
    """Raises `UserError` with all arrays of floats that no trained net holds."""
    arrays = {k: _to_numpy(k, v) for k, v in state_dict.items()}
    arrays = {k: v for k, v in arrays.items() if jnp.issubdtype(v.dtype, jnp.floating)}

    def is_variance(key: str) -> bool:
        return key.replace("/", ".").rpartition(".")[2] in ("running_var", "var")

    problems = {
        "with NaN": [k for k, v in arrays.items() if np.isnan(v).any()],
        "with infinite values": [k for k, v in arrays.items() if np.isinf(v).any()],
        "negative variances": [k for k, v in arrays.items() if is_variance(k) and (v < 0).any()],
    }
    if lines := list_problems(problems):
        raise UserError(f"these arrays hold what no trained net holds.\n  {lines}")


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a layer makes as many channels; how many it takes can depend on the images."""
    return len(shape) == len(expected) and shape[-1:] == expected[-1:]


def _to_numpy(key: str, value: Any) -> np.ndarray:
    """A numpy array of a numpy array, a JAX array, or a torch tensor on whatever device."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            if value.is_floating_point() and value.dtype.itemsize <= 2:
                value = value.float()  # numpy has no bfloat16; exact
        return np.asarray(value)
    except Exception as error:  # sparse, quantised, or without data ("meta"): torch has an error for each
        reason = escape(str(error).partition("\n")[0].rstrip("."))
        raise UserError(
            f"{escape(key)} is not a plain array ({reason})", "pass dense tensors with their data"
        ) from error
