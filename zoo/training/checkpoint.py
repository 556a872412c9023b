"""The whole training state in a checkpoint: the arrays of a pytree under their paths."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.training.sharded_checkpoint import LIST, check_files, read_arrays, read_list
from zoo.weights import read
from zoo.weights.wording import escape


def copy_to_host(tree: Any) -> dict[str, np.ndarray]:
    """Copies of the arrays of any pytree under their paths (`params/conv1/kernel`); a step may take the originals."""
    return {name: np.array(array) for name, array in jax.device_get(name_arrays(tree)).items()}


def name_arrays(tree: Any) -> dict[str, Any]:
    """The arrays of any pytree under their paths; a random key is the integers it is made of."""
    return {name: _unwrap_key(leaf) for name, leaf in list_leaves(tree)}


def load_tree(path: Path, template: Any, *, parts: Container[str] | None = None) -> Any:
    """The pytree whose arrays are in a checkpoint, in the form of `template` (arrays, or shapes but for keys).

    Args:
      path: a safetensors file, or the list of a sharded checkpoint, which all processes load together.
      template: what the pytree looks like; arrays that lie on several devices say where the new ones go.
      parts: first words of the paths that are wanted, `("params",)`; by default the file has nothing else.

    Raises:
      UserError: the file is damaged (its code is "unreadable"), or its names, shapes or types are not those of the
        template.
    """
    wanted, sharded = name_arrays(template), path.suffix == LIST
    arrays = {} if sharded else read(path)
    shapes = read_list(path)["arrays"] if sharded else describe(arrays)
    expected = describe(wanted)
    found = {name: shape for name, shape in shapes.items() if parts is None or name.partition("/")[0] in parts}
    if wrong := sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)):
        first = f"{escape(wrong[0])} is {found.get(wrong[0], 'absent')}, not {expected.get(wrong[0], 'expected')}"
        raise UserError(f"{path} does not fit the net in {len(wrong)} arrays: {first}")
    if sharded:
        check_files(path)
        placed = read_arrays(path, wanted)
    else:
        placed = {name: _place(arrays[name], like=leaf) for name, leaf in wanted.items()}
    loaded = [_wrap_key(placed[name], like=leaf) for name, leaf in list_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), loaded)


def describe(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Shapes and types: `[[3, 3, 64, 64], "float32"]`."""
    return {name: [list(array.shape), array.dtype.name] for name, array in arrays.items()}


def list_nonfinite(tree: Any) -> list[str]:
    """The paths of the arrays that hold something else than finite numbers, as far as this process has them."""
    return [name for name, leaf in list_leaves(tree) if not all(np.isfinite(part).all() for part in _list_parts(leaf))]


def list_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a pytree with their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def is_shared(leaf: Any) -> bool:
    """Whether other processes have parts of an array that this one has not."""
    return isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated)


def _list_parts(leaf: Any) -> list[np.ndarray]:
    """The parts of an array that this process has."""
    return [np.asarray(part.data) for part in leaf.addressable_shards] if is_shared(leaf) else [np.asarray(leaf)]


def _place(array: np.ndarray, *, like: Any) -> jax.Array:
    """The array on the devices of another one, if they are several; on the first one else."""
    if isinstance(like, jax.Array) and len(like.sharding.device_set) > 1:
        # Each device's own copy, which a step may write over.
        return jax.make_array_from_callback(array.shape, like.sharding, lambda index: np.array(array[index]))
    return jnp.array(array)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _unwrap_key(leaf: Any) -> Any:
    """A random key as the integers it is made of; any other array as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _wrap_key(array: Any, *, like: Any) -> Any:
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array
