"""The whole training state as one file: the arrays of a pytree under their paths."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.weights import read
from zoo.weights.files import write_whole


def save_tree(path: Path, tree: Any, metadata: Mapping[str, str]) -> None:
    """Writes the arrays of any pytree under their paths (`params/conv1/kernel`) as a safetensors file."""
    import safetensors.numpy

    arrays = {name: np.asarray(_unwrap_key(leaf)) for name, leaf in _list_leaves(tree)}
    content = safetensors.numpy.save(arrays, dict(metadata))
    write_whole(path, lambda part: part.write_bytes(content))


def load_tree(path: Path, template: Any) -> Any:
    """The pytree whose arrays are in a safetensors file, in the form of `template` (arrays, or shapes but for keys).

    Raises:
      UserError: the file is damaged, or its names, shapes or types are not those of the template.
    """
    arrays = read(path)
    leaves = _list_leaves(template)
    wanted = {name: _unwrap_key(leaf) for name, leaf in leaves}
    expected = {name: (leaf.shape, leaf.dtype.name) for name, leaf in wanted.items()}
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if wrong := sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)):
        first = f"{wrong[0]} is {found.get(wrong[0], 'absent')}, not {expected.get(wrong[0], 'expected')}"
        raise UserError(f"{path} does not fit the net in {len(wrong)} arrays: {first}")
    loaded = [_wrap_key(jnp.asarray(arrays[name]), like=leaf) for name, leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(template), loaded)


def _list_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _unwrap_key(leaf: Any) -> Any:
    """A random key as the integers it is made of; any other array as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _wrap_key(array: Any, *, like: Any) -> Any:
    return jax.random.wrap_key_data(array) if _is_key(like) else array
