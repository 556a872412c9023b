"""The whole training state as a file."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from zoo.errors import UserError
from zoo.training.checkpoint import copy_to_host, list_leaves, list_nonfinite, load_tree
from zoo.weights.files import write_arrays


def assert_equal_states(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    plain = [jax.tree.leaves(state.replace(key=jax.random.key_data(state.key))) for state in (one, other)]
    for left, right in zip(*plain, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(jax.random.normal(one.key), jax.random.normal(other.key))


def test_a_saved_state_comes_back_bit_for_bit(normalised, tmp_path):
    state, path = normalised[1].state, tmp_path / "state.safetensors"
    write_arrays(path, copy_to_host(state), {"note": "kept"})
    assert_equal_states(load_tree(path, state), state)


def shard(state):
    """Every array over all devices, along its first axis that can be divided; the others on all of them."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))

    def place(leaf):
        axes = ["batch" if size % 8 == 0 else None for size in leaf.shape]
        first = axes.index("batch") if "batch" in axes else len(axes)
        axes = [axis if place == first else None for place, axis in enumerate(axes)]
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*axes)))

    return jax.tree.map(place, state)


def test_a_state_on_many_devices_is_the_same_file_and_is_loaded_back_where_it_lay(normalised, tmp_path):
    state, paths = normalised[1].state, [tmp_path / f"{name}.safetensors" for name in ("one", "many")]
    sharded = shard(state)
    for path, tree in zip(paths, (state, sharded), strict=True):
        write_arrays(path, copy_to_host(tree), {})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded = load_tree(paths[0], sharded)
    assert_equal_states(loaded, state)
    places = [[leaf.sharding for _, leaf in list_leaves(tree)] for tree in (loaded, sharded)]
    assert places[0] == places[1]
    assert any(not place.is_fully_replicated for place in places[0])
    assert_equal_states(load_tree(paths[1], state), state)


def test_the_copies_stay_when_a_step_takes_the_originals():
    leaf = jax.numpy.arange(8.0)
    (copy,) = copy_to_host({"leaf": leaf}).values()
    assert copy.flags.owndata
    leaf.delete()
    np.testing.assert_array_equal(copy, np.arange(8.0))


def test_arrays_that_do_not_fit_are_another_error_than_damaged_ones(tmp_path):
    path = tmp_path / "state.safetensors"
    write_arrays(path, {"params/kernel": np.ones((3, 2), np.float32)}, {})
    with pytest.raises(UserError, match="does not fit the net in 1 arrays") as misfit:
        load_tree(path, {"params": {"kernel": np.ones((2, 2), np.float32)}})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cannot be read") as damage:
        load_tree(path, {"params": {"kernel": np.ones((3, 2), np.float32)}})
    assert (misfit.value.code, damage.value.code) == ("", "unreadable")


def test_what_is_not_finite_is_named():
    tree = {"good": np.ones(3), "bad": jax.numpy.array([1.0, np.inf]), "half": jax.numpy.array([np.nan], "bfloat16")}
    assert list_nonfinite(tree) == ["bad", "half"]
