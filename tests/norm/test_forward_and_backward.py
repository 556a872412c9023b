"""The function against autodiff of the plain definition, flax and finite differences."""

import functools

import chex
import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.test_util import check_grads

from tests.support.normalisation import arrays
from zoo.norm import (
    BatchNorm,
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
)

SHAPES = ((6, 3), (4, 5, 3), (3, 4, 5, 2), (2, 9, 3, 1))
properties = hypothesis.settings(max_examples=12, deadline=None, derandomize=True)


def definition(x, scale, bias, where=None, epsilon=1e-5):
    """The definition in two passes, differentiated by JAX: the slow obvious version."""
    axes = tuple(range(x.ndim - 1))
    mask = jnp.ones((1,) * x.ndim, bool) if where is None else where.reshape(where.shape + (1,) * (x.ndim - where.ndim))
    row = (1,) * len(axes) + (-1,)
    mean = jnp.mean(x, axes, where=mask)
    centred = x - mean.reshape(row)
    var = jnp.mean(centred**2, axes, where=mask)
    y = centred / jnp.sqrt(var + epsilon).reshape(row) * scale.reshape(row) + bias.reshape(row)
    return jnp.where(mask, y, 0.0), mean, var


def loss_of(function, dout, **options):
    """Uses all three outputs, nonlinearly."""

    def loss(x, scale, bias):
        y, mean, var = function(x, scale, bias, **options)
        return jnp.sum(jnp.sin(y) * dout) + jnp.sum(mean**3 + mean * var**2)

    return loss


@functools.partial(jax.jit, static_argnums=0, static_argnames=("epsilon", "group_size"))
def pull_back(function, primals, cotangents, **options):
    """The function's outputs, and the gradients for these cotangents of them; ones for those not given."""
    outputs, back = jax.vjp(lambda *a: function(*a, **options), *primals)
    return outputs, back((cotangents, *(jnp.ones_like(output) for output in outputs[1:])))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", SHAPES)
def test_six_steps_back_and_the_fast_derivative_are_jax_grad_of_the_definition(shape):
    x, scale, bias, dout = arrays(shape)
    out, cache = batch_norm_forward(x, scale, bias, 1e-5)
    six = batch_norm_backward(dout, cache)
    (y, *_), automatic = pull_back(lambda *a: (definition(*a)[0],), (x, scale, bias), dout)
    chex.assert_trees_all_close((out, six), (y, automatic), atol=1e-10)
    fast = pull_back(lambda *a: (batch_norm(*a)[0],), (x, scale, bias), dout)
    chex.assert_trees_all_close(fast, ((out,), six), atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("where", [None, jnp.array([True, False, True])])
def test_derivatives_of_all_orders_and_modes_are_those_of_the_definition(where):
    x, scale, bias, dout = arrays((3, 3, 3, 2))
    ours, theirs = (loss_of(f, dout, where=where) for f in (batch_norm, definition))
    everything = (x, scale, bias)

    def all_of(loss):
        return {
            "grad": jax.grad(loss, (0, 1, 2))(*everything),
            "jvp": jax.jvp(loss, everything, (dout, bias, scale))[1],
            "linearize": jax.linearize(loss, *everything)[1](dout, bias, scale),
            "hessian": jax.hessian(loss, (0, 1))(*everything),
            "reverse over reverse": jax.jacrev(jax.grad(loss, 1))(*everything),
            "vmap": jax.vmap(jax.grad(loss), (0, None, None))(jnp.stack([x, x**2]), scale, bias),
        }

    compiled = jax.jit(all_of, static_argnums=0)
    chex.assert_trees_all_close(compiled(ours), compiled(theirs), atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_gradients_are_finite_differences():
    x, scale, bias, dout = arrays((3, 2, 2, 2))
    check_grads(jax.jit(loss_of(batch_norm, dout)), (x, scale, bias), order=2, atol=1e-4, rtol=1e-4, eps=1e-5)


def test_backward_keeps_one_array_of_the_size_of_x():
    x, scale, bias, _ = arrays((4, 6, 6, 8))
    _, back = jax.vjp(lambda *a: batch_norm(*a)[0], x, scale, bias)
    large = [leaf for leaf in jax.tree.leaves(back) if leaf.size >= x.size]
    assert len(large) == 1
    np.testing.assert_array_equal(large[0], x)


@pytest.mark.parametrize(("backward", "relu"), [(False, False), (True, False), (True, True)])
def test_compiled_needs_only_channels_of_temporary_memory_and_no_more_than_flax(backward, relu):
    shape = jax.ShapeDtypeStruct((8, 14, 14, 64), jnp.float32)
    channel = jax.ShapeDtypeStruct((64,), jnp.float32)

    def flax_norm(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}}
        variables["batch_stats"] = {"mean": jnp.zeros(64), "var": jnp.ones(64)}
        return nn.BatchNorm(use_running_average=False).apply(variables, x, mutable=["batch_stats"])[0]

    def temporary(norm):
        def step(x, scale, bias, dout):
            y, back = jax.vjp(lambda *a: nn.relu(norm(*a)) if relu else norm(*a), x, scale, bias)
            return (y, back(dout)) if backward else y

        compiled = jax.jit(step).lower(shape, channel, channel, shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    ours, in_forward = temporary(lambda *a: batch_norm(*a)[0]), 3 * 64 * 4  # mean and var twice, for the second pass
    assert ours <= temporary(flax_norm) + (0 if backward else in_forward)
    assert ours < 8 * 64 * 4


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_equals_flax_with_the_same_running_statistics_but_for_bessel(self):
        for shape in SHAPES[:3]:
            self.compare_with_flax(*arrays(shape))

    def compare_with_flax(self, x, scale, bias, dout):
        params = {"scale": scale, "bias": bias}
        stats = {"mean": bias, "var": jnp.square(scale) + 0.5}
        ours = BatchNorm(momentum=0.9, epsilon=1e-5)
        theirs = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5, use_fast_variance=False)

        def step(norm, params, x, **call):
            def loss(params, x):
                variables = {"params": params, "batch_stats": stats}
                y, updates = norm.apply(variables, x, mutable=["batch_stats"], **call)
                return jnp.sum(jnp.sin(y) * dout), (y, updates["batch_stats"])

            return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

        (_, (y, new)), grads = self.variant(lambda p, x: step(ours, p, x, train=True))(params, x)
        (_, (y_flax, new_flax)), grads_flax = self.variant(lambda p, x: step(theirs, p, x))(params, x)
        chex.assert_trees_all_close((y, grads), (y_flax, grads_flax), atol=2e-5)
        chex.assert_trees_all_close(new["mean"], new_flax["mean"], atol=1e-6)
        n = x.size // x.shape[-1]
        bessel = 0.9 * stats["var"] + (new_flax["var"] - 0.9 * stats["var"]) * n / (n - 1)
        chex.assert_trees_all_close(new["var"], bessel, atol=1e-5)
        running = ours.apply({"params": params, "batch_stats": stats}, x, train=False)
        theirs = theirs.copy(use_running_average=True)
        chex.assert_trees_all_close(running, theirs.apply({"params": params, "batch_stats": stats}, x), atol=1e-5)


shapes = st.sampled_from([(7, 3), (3, 19, 2), (4, 7, 5, 3)])
statistics_of = jax.jit(batch_norm, static_argnames="epsilon")


@jax.jit
def gradients_of(x, scale, bias, dout):
    return jax.vjp(lambda *a: batch_norm(*a, epsilon=1e-9)[0], x, scale, bias)[1](dout)


@properties
@hypothesis.given(shape=shapes, seed=st.integers(0, 99), shift=st.floats(-50, 50), factor=st.floats(0.5, 20))
def test_output_has_zero_mean_unit_variance_and_forgets_shift_and_scale(shape, seed, shift, factor):
    x = np.asarray(arrays(shape, seed)[0])
    axes = tuple(range(x.ndim - 1))
    y, mean, var = statistics_of(x, None, None, epsilon=1e-9)
    np.testing.assert_allclose(np.mean(y, axes), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(y, axes), 1, rtol=1e-4)
    np.testing.assert_allclose(mean, np.mean(x, axes), atol=1e-4)
    np.testing.assert_allclose(var, np.var(x, axes), rtol=1e-4)
    moved = statistics_of(x * np.float32(factor) + np.float32(shift), None, None, epsilon=1e-9)[0]
    np.testing.assert_allclose(moved, y, atol=2e-3)


@properties
@hypothesis.given(shape=shapes, seed=st.integers(0, 99))
def test_gradient_vanishes_along_shift_and_scale_of_each_channel(shape, seed):
    x, scale, bias, dout = (np.asarray(a) for a in arrays(shape, seed))
    axes = tuple(range(x.ndim - 1))
    dx, dscale, dbias = gradients_of(x, scale, bias, dout)
    size = np.sum(np.abs(dx) * (1 + np.abs(x)), axes) + 1e-3
    np.testing.assert_allclose(np.sum(dx, axes) / size, 0, atol=1e-5)
    np.testing.assert_allclose(np.sum(dx * x, axes) / size, 0, atol=1e-5)
    np.testing.assert_allclose(dbias, np.sum(dout, axes), atol=1e-4)
    normalised = (x - np.mean(x, axes)) / np.std(x, axes)
    np.testing.assert_allclose(dscale, np.sum(dout * normalised, axes), atol=1e-3)


@pytest.mark.parametrize(("mean", "deviation"), [(1e4, 1.0), (1000.0, 0.1), (-3e4, 2.0)])
def test_variance_survives_a_mean_that_dwarfs_the_deviation(mean, deviation):
    x, scale, bias, dout = (np.asarray(a) for a in arrays((16, 28, 28, 4), 0, jnp.float32, mean, deviation))
    y, _, var = statistics_of(x, None, None, epsilon=1e-9)
    exact = np.var(x.astype(np.float64), (0, 1, 2))
    np.testing.assert_allclose(var, exact, rtol=1e-3)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), 1, rtol=1e-3)
    _, fast = pull_back(lambda *a: (batch_norm(*a)[0],), (x, scale, bias), dout)
    _, cache = batch_norm_forward(*(jnp.asarray(a) for a in (x - mean, scale, bias)), 1e-5)
    (dx, dscale, dbias), exact = fast, batch_norm_backward(jnp.asarray(dout), cache)
    chex.assert_trees_all_close((dx, dbias), (exact[0], exact[2]), rtol=5e-3, atol=5e-3)
    # dscale = (sum(dout * x) - mean * sum(dout)) / deviation. The k-th of n additions, one after another, is off by up
    # to u * |mean| * sqrt(k), u = 2**-24, evenly: all of them by a deviation of u * |mean| * n / sqrt(6).
    rounding = 2**-24 * abs(mean) * (x.size / x.shape[-1]) / np.sqrt(6) / deviation
    np.testing.assert_allclose(dscale, exact[1], atol=rounding)


@pytest.mark.parametrize("options", [{}, {"where": jnp.arange(512) % 7 > 0, "group_size": 256}], ids=["", "groups"])
@pytest.mark.parametrize(("mean", "deviation"), [(1e18, 1e17), (3e19, 3e18), (0, 8e18), (-1e20, 1e18)])
def test_sums_that_overflow_spoil_neither_output_nor_gradients(mean, deviation, options):
    """Squares of 1e18 add up to more than float32 holds, though the variance would fit; float64 knows the answer."""
    x, scale, bias, dout = (np.asarray(a) for a in arrays((512, 3), 0, jnp.float32, 0.0, 1.0))
    x = (mean + deviation * x.astype(np.float64)).astype(np.float32)
    where, group_size = options.get("where"), options.get("group_size", 512)
    ours, (dx, *grads) = pull_back(lambda *a, **o: (batch_norm(*a, **o)[0],), (x, scale, bias), dout, **options)
    _, *statistics = jax.jit(functools.partial(batch_norm, **options))(x, None, None)
    with jax.enable_x64(True):
        wide = tuple(jnp.asarray(a, jnp.float64) for a in (x, scale, bias))
        groups = np.split(np.arange(512), 512 // group_size)

        def slow(x, scale, bias):
            masks = [None if where is None else where[rows] for rows in groups]
            return (jnp.concatenate([definition(x[r], scale, bias, m)[0] for r, m in zip(groups, masks, strict=True)]),)

        exact, (exact_dx, *exact_grads) = pull_back(slow, wide, jnp.asarray(dout, jnp.float64))
        _, *exact_statistics = definition(*wide, where)
        chex.assert_trees_all_close(ours, exact, rtol=1e-3, atol=1e-3)
        chex.assert_trees_all_close(statistics, exact_statistics, rtol=1e-3)
        chex.assert_trees_all_close(grads, exact_grads, rtol=1e-2, atol=2e-2)
        np.testing.assert_allclose(dx * deviation, exact_dx * deviation, rtol=1e-2, atol=1e-3)


def test_one_outlier_where_the_shift_is_sampled_does_not_spoil_the_variance():
    x = np.array(arrays((8, 14, 14, 2), 0, jnp.float32, 1e4, 1.0)[0])
    x[0, 7, 7] = 0
    np.testing.assert_allclose(batch_norm(x, None, None)[2], np.var(x.astype(np.float64), (0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_keeps_float32_statistics_and_finite_gradients(dtype):
    x, scale, bias, dout = arrays((8, 7, 7, 3), 0, jnp.float32, 100.0, 1.0)
    x, dout = x.astype(dtype), dout.astype(dtype)
    (y, mean, var), (dx, dscale, dbias) = pull_back(batch_norm, (x, scale, bias), dout)
    assert (y.dtype, mean.dtype, var.dtype) == (dtype, jnp.float32, jnp.float32)
    wide = definition(x.astype(jnp.float32), scale, bias)
    chex.assert_trees_all_close(y.astype(jnp.float32), wide[0], rtol=0.02, atol=0.02)
    chex.assert_trees_all_close((mean, var), wide[1:], rtol=1e-3)
    assert (dx.dtype, dscale.dtype, dbias.dtype) == (dtype, jnp.float32, jnp.float32)
    chex.assert_tree_all_finite((dx, dscale, dbias))


@pytest.mark.parametrize(
    "x", [jnp.full((4, 3, 3, 2), 7.3), jnp.ones((1, 2)), jnp.ones((1, 1, 1, 5)), jnp.zeros((2, 3))]
)
def test_constant_channels_and_single_elements_are_finite_and_become_the_bias(x):
    scale, bias = jnp.full(x.shape[-1:], 2.0), jnp.full(x.shape[-1:], 0.5)
    (y, _, var), grads = pull_back(batch_norm, (x, scale, bias), jnp.ones_like(x))
    np.testing.assert_array_equal(y, 0.5 * jnp.ones_like(x))
    np.testing.assert_allclose(var, 0, atol=1e-15)  # the rounding of the mean, squared
    chex.assert_tree_all_finite(grads)


@pytest.mark.parametrize("shape", [(6, 3), (6, 5, 4, 2)])
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 3e38])
def test_padded_rows_count_for_nothing_whatever_they_hold(shape, garbage):
    """Neither they nor what comes back to them."""
    x, scale, bias, dout = arrays(shape)
    where = jnp.array([True, False, True, True, False, True])
    x, dout = (a.at[1].set(garbage).at[4].set(garbage) for a in (x, dout))
    outputs, (dx, *grads) = pull_back(batch_norm, (x, scale, bias), dout, where=where)
    kept, (dx_kept, *grads_kept) = pull_back(definition, (x[where], scale, bias), dout[where])
    chex.assert_trees_all_close((outputs[0][where], *outputs[1:]), kept, atol=1e-5)
    chex.assert_trees_all_close((dx[where], *grads), (dx_kept, *grads_kept), atol=1e-5)
    np.testing.assert_array_equal(outputs[0][~where], 0)
    np.testing.assert_array_equal(dx[~where], 0)


def test_mask_may_be_finer_than_examples():
    x, scale, bias, dout = arrays((3, 4, 5, 2))
    where = jax.random.bernoulli(jax.random.key(1), 0.5, (3, 4, 5))
    ours, theirs = (pull_back(f, (x, scale, bias), dout, where=where) for f in (batch_norm, definition))
    chex.assert_trees_all_close(ours, theirs, atol=1e-5)


def test_all_rows_masked_is_finite():
    x, scale, bias, dout = arrays((4, 3, 3, 2))
    (y, *_), grads = pull_back(batch_norm, (x, scale, bias), dout, where=jnp.zeros(4, bool))
    np.testing.assert_array_equal(y, 0)
    chex.assert_tree_all_finite(grads)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("where", [None, jnp.arange(12) % 5 < 3])
def test_ghost_batches_equal_the_loop_over_groups(where):
    x, scale, bias, dout = arrays((12, 3, 3, 2))

    def loop(x, scale, bias, where):
        """Every group by itself; the statistics are those of all of them together."""
        masks = [None] * 3 if where is None else jnp.split(where, 3)
        groups = zip(jnp.split(x, 3), masks, strict=True)
        y = jnp.concatenate([definition(part, scale, bias, mask)[0] for part, mask in groups])
        return y, *definition(x, scale, bias, where)[1:]

    ours = pull_back(batch_norm, (x, scale, bias), dout, where=where, group_size=4)
    chex.assert_trees_all_close(ours, pull_back(loop, (x, scale, bias), dout, where=where), atol=1e-10)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": jnp.ones((4, 3), jnp.int32)}, TypeError, "int32: use x.astype"),
        ({"x": jnp.ones(3)}, ValueError, "rank 2"),
        ({"scale": jnp.ones(4)}, ValueError, "scale has shape"),
        ({"epsilon": 0.0}, ValueError, "epsilon=0.0"),
        ({"where": jnp.ones(4)}, TypeError, "boolean"),
        ({"where": jnp.ones(3, bool)}, ValueError, "where of shape"),
        ({"group_size": 3}, ValueError, "group_size=3 does not divide the batch of 4"),
    ],
)
def test_wrong_input_of_the_function_is_named(change, error, message):
    call = {"x": jnp.ones((4, 3)), "scale": None, "bias": None} | change
    with pytest.raises(error, match=message):
        batch_norm(**call)
