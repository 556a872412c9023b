"""The whole training state as one file: the arrays of a pytree under their paths."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.weights import read
from zoo.weights.files import write_arrays
from zoo.weights.wording import escape


def save_tree(path: Path, tree: Any, metadata: Mapping[str, str]) -> None:
    """Writes the arrays of any pytree under their paths (`params/conv1/kernel`) as a safetensors file."""
    arrays = {name: np.asarray(_unwrap_key(leaf)) for name, leaf in list_leaves(tree)}
    write_arrays(path, arrays, metadata)


def load_tree(path: Path, template: Any, *, parts: Container[str] | None = None) -> Any:
    """The pytree whose arrays are in a safetensors file, in the form of `template` (arrays, or shapes but for keys).

    Args:
      path: the file.
      template: what the pytree looks like.
      parts: first words of the paths that are wanted, `("params",)`; by default the file has nothing else.

    Raises:
      UserError: the file is damaged, or its names, shapes or types are not those of the template.
    """
    arrays = {name: a for name, a in read(path).items() if parts is None or name.partition("/")[0] in parts}
    leaves = list_leaves(template)
    wanted = {name: _unwrap_key(leaf) for name, leaf in leaves}
    expected = {name: (leaf.shape, leaf.dtype.name) for name, leaf in wanted.items()}
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if wrong := sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)):
        first = f"{escape(wrong[0])} is {found.get(wrong[0], 'absent')}, not {expected.get(wrong[0], 'expected')}"
        raise UserError(f"{path} does not fit the net in {len(wrong)} arrays: {first}")
    loaded = [_wrap_key(jnp.array(arrays[name]), like=leaf) for name, leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(template), loaded)


def list_nonfinite(tree: Any) -> list[str]:
    """The paths of the arrays that hold something else than finite numbers."""
    return [name for name, leaf in list_leaves(tree) if not np.isfinite(np.asarray(leaf)).all()]


def list_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a pytree with their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _unwrap_key(leaf: Any) -> Any:
    """A random key as the integers it is made of; any other array as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _wrap_key(array: Any, *, like: Any) -> Any:
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array
