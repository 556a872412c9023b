"""Options for all normalisations of a model: who takes precedence, and what compiled functions make of them."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from zoo.norm import BatchNorm, batch_norm_options


class Two(nn.Module):
    """Two normalisations, one of them in a block."""

    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(name="last")(jnp.tanh(BatchNorm(name="block_0")(x, train=train)), train=train)


@pytest.fixture
def example():
    x = 2 * jax.random.normal(jax.random.key(1), (8, 3)) + 1
    variables = Two().init(jax.random.key(0), x, train=False)
    return variables, x


def test_options_reach_every_normalisation_and_the_innermost_wins():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            y = BatchNorm(name="a")(nn.Dense(3, name="dense")(x), train=train)
            return BatchNorm(name="b")(jnp.tanh(y.reshape(-1, 1, 1, 3)), train=train)

    x = jax.random.normal(jax.random.key(1), (5, 4)).at[3:].set(jnp.nan)
    net = Net()
    variables = net.init(jax.random.key(0), x[:3], train=False)
    mask = jnp.arange(5) < 3
    with batch_norm_options(where=jnp.ones(5, bool)), batch_norm_options(where=mask):
        y, updates = net.apply(variables, x, train=True, mutable=["batch_stats"])
    y_kept, updates_kept = net.apply(variables, x[:3], train=True, mutable=["batch_stats"])
    chex.assert_trees_all_close((y[:3], updates), (y_kept, updates_kept), atol=1e-6)


OPTIONS = {
    "statistics": {"statistics": "batch"},
    "a layer's statistics": {"statistics": {"block_*": "batch"}},
    "where": {"where": jnp.arange(8) < 5, "statistics": "batch"},
    "group_size": {"group_size": 4, "statistics": "batch"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_compiled_function_sees_the_options_around_its_call_and_keeps_none(example, options):
    variables, x = example

    def normalise(variables, x):
        return Two().apply(variables, x, train=False)

    compiled = jax.jit(normalise)
    free = compiled(variables, x)
    for _ in range(2):
        with batch_norm_options(**options):
            inside, expected = compiled(variables, x), normalise(variables, x)
        np.testing.assert_allclose(inside, expected, rtol=1e-5, atol=1e-6)
        assert np.abs(inside - free).max() > 1e-2
        np.testing.assert_array_equal(compiled(variables, x), free)


def test_a_function_compiled_inside_the_options_does_not_keep_them(example):
    variables, x = example
    compiled = jax.jit(lambda variables, x: Two().apply(variables, x, train=False))
    with batch_norm_options(statistics="batch"):
        inside = compiled(variables, x)
    np.testing.assert_allclose(compiled(variables, x), Two().apply(variables, x, train=False), rtol=1e-6)
    assert np.abs(compiled(variables, x) - inside).max() > 1e-2


def test_another_mask_is_another_result(example):
    variables, x = example
    compiled = jax.jit(lambda variables, x: Two().apply(variables, x, train=False))
    for valid in (5, 6):
        with batch_norm_options(statistics="batch", where=jnp.arange(8) < valid):
            masked = compiled(variables, x)
        with batch_norm_options(statistics="batch"):
            expected = Two().apply(variables, x[:valid], train=False)
        np.testing.assert_allclose(masked[:valid], expected, rtol=1e-4, atol=1e-5)


def test_an_axis_name_joins_the_devices_of_a_compiled_function(example):
    variables, x = example
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    rows, whole = PartitionSpec("batch"), PartitionSpec()

    def normalise(variables, x):
        with batch_norm_options(statistics="batch"):
            return Two().apply(variables, x, train=False)

    compiled = jax.jit(jax.shard_map(normalise, mesh=mesh, in_specs=(whole, rows), out_specs=rows))
    apart = compiled(variables, x)
    with batch_norm_options(axis_name="batch"):
        joined = compiled(variables, x)
    np.testing.assert_allclose(joined, normalise(variables, x), rtol=1e-4, atol=1e-5)
    assert np.abs(joined - apart).max() > 1e-2


def test_equal_options_are_compiled_once(example):
    variables, x = example
    compiled = jax.jit(lambda variables, x: Two().apply(variables, x, train=False))
    for statistics in ("batch", "running", "batch", {"*": "batch"}):
        with batch_norm_options(statistics=statistics):
            compiled(variables, x)
    assert compiled._cache_size() == 2


def test_the_first_fitting_pattern_decides_and_inner_ones_come_first(example):
    variables, x = example
    stats = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    variables = {**variables, "batch_stats": stats}

    def run(*options):
        if options:
            with batch_norm_options(statistics=options[0]):
                return run(*options[1:])
        return Two().apply(variables, x, train=False)

    first = run({"block_0": "batch"})
    np.testing.assert_array_equal(run({"block_0": "batch", "*": "running"}), first)
    np.testing.assert_array_equal(run("batch", {"last": "running"}), first)
    assert np.abs(run("batch") - first).max() > 1e-2


def test_unknown_statistics_are_refused_at_once():
    for wrong in ("moving", {"*": "moving"}):
        with pytest.raises(ValueError, match="statistics='moving' is unknown"), batch_norm_options(statistics=wrong):
            pass


def test_a_mask_of_a_trace_does_not_outlive_it(example):
    variables, x = example

    @jax.jit
    def step(variables, x, mask):
        with batch_norm_options(statistics="batch", where=mask):
            return Two().apply(variables, x, train=False)

    with jax.checking_leaks():
        step(variables, x, jnp.arange(8) < 5)
