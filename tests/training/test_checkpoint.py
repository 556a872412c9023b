"""The whole training state as a file."""

import jax
import numpy as np

from zoo.training.checkpoint import load_tree, save_tree


def test_a_saved_state_comes_back_bit_for_bit(normalised, tmp_path):
    state = normalised[1].state
    path = tmp_path / "state.safetensors"
    save_tree(path, state, {"note": "kept"})
    back = load_tree(path, state)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    plain = [jax.tree.leaves(tree.replace(key=jax.random.key_data(tree.key))) for tree in (state, back)]
    for one, other in zip(*plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(jax.random.normal(back.key), jax.random.normal(state.key))
