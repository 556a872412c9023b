"""Many devices equal one: shard_map, pmap and a sharded batch under jit, forward and backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from zoo.norm import BatchNorm, batch_norm, batch_norm_options

BATCH, WHOLE = PartitionSpec("batch"), PartitionSpec()


@pytest.fixture
def mesh():
    return jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))


def example():
    """x, scale, bias, mask with 0, 1 or 2 valid rows on a device, cotangent."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = 3 * jax.random.normal(keys[0], (16, 3, 3, 2)) + 10
    mask = jnp.ones(16, bool).at[jnp.array([2, 3, 5, 8])].set(False)
    scale, bias = jax.random.normal(keys[1], (2,)), jax.random.normal(keys[2], (2,))
    return x, scale, bias, mask, jax.random.normal(keys[3], x.shape)


def local_loss(x, scale, bias, mask, dout, axis_name=None):
    y, mean, var = batch_norm(x, scale, bias, where=mask, axis_name=axis_name)
    return jnp.sum(jnp.sin(y) * dout), mean, var


def one_device(statistics_too=True):
    x, scale, bias, mask, dout = example()

    def loss(x, scale, bias):
        out, mean, var = local_loss(x, scale, bias, mask, dout)
        return out + (jnp.sum(mean * var) if statistics_too else 0.0)

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, scale, bias)


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_with_unequal_valid_counts_equals_one_device(mesh, check_vma):
    x, scale, bias, mask, dout = example()

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(BATCH, WHOLE, WHOLE, BATCH, BATCH), out_specs=WHOLE, check_vma=check_vma
    )
    def loss(x, scale, bias, mask, dout):
        out, mean, var = local_loss(x, scale, bias, mask, dout, "batch")
        return jax.lax.psum(out, "batch") + jnp.sum(mean * var)

    joined = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, scale, bias, mask, dout)
    chex.assert_trees_all_close(joined, one_device(), rtol=1e-4, atol=1e-4)


def test_gradient_taken_inside_shard_map_is_the_sum_over_devices_for_shared_parameters(mesh):
    """With the default check_vma, JAX adds the parameters' gradients up; the gradient of x is each device's own."""
    x, scale, bias, mask, dout = example()

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(BATCH, WHOLE, WHOLE, BATCH, BATCH), out_specs=(BATCH, WHOLE, WHOLE)
    )
    def grads(x, scale, bias, mask, dout):
        return jax.grad(lambda *a: local_loss(*a, mask, dout, "batch")[0], (0, 1, 2))(x, scale, bias)

    joined = jax.jit(grads)(x, scale, bias, mask, dout)
    chex.assert_trees_all_close(joined, one_device(statistics_too=False)[1], rtol=1e-4, atol=1e-4)


def test_pmap_equals_one_device():
    x, scale, bias, mask, dout = example()

    def grads(x, scale, bias, mask, dout):
        return jax.grad(lambda *a: local_loss(*a, mask, dout, "batch")[0], (0, 1, 2))(x, scale, bias)

    x, mask, dout = (np.asarray(a).reshape(8, 2, *a.shape[1:]) for a in (x, mask, dout))
    dx, dscale, dbias = jax.pmap(grads, "batch", in_axes=(0, None, None, 0, 0))(x, scale, bias, mask, dout)
    joined = (np.asarray(dx).reshape(16, 3, 3, 2), np.asarray(dscale).sum(0), np.asarray(dbias).sum(0))
    chex.assert_trees_all_close(joined, one_device(statistics_too=False)[1], rtol=1e-4, atol=1e-4)


def test_statistics_are_joined_around_one_shift(mesh):
    """Devices that see different means far from zero: joining means of squares would lose all digits."""
    x = jax.random.normal(jax.random.key(0), (16, 5, 5, 1)) + 1e4 + jnp.arange(16.0).reshape(16, 1, 1, 1)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=BATCH, out_specs=WHOLE)
    def variance(x):
        return batch_norm(x, None, None, axis_name="batch")[2]

    np.testing.assert_allclose(jax.jit(variance)(x), np.var(np.asarray(x, np.float64)), rtol=1e-3)


def test_running_variance_counts_the_valid_elements_of_all_devices(mesh):
    x, _, _, mask, _ = example()
    norm = BatchNorm(momentum=0.0)
    variables = norm.init(jax.random.key(0), x, train=False)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(BATCH, BATCH), out_specs=WHOLE)
    def updates(x, mask):
        with batch_norm_options(where=mask, axis_name="batch"):
            return norm.apply(variables, x, train=True, mutable=["batch_stats"])[1]["batch_stats"]

    new = jax.jit(updates)(x, mask)
    valid = np.asarray(x)[np.asarray(mask)]
    np.testing.assert_allclose(new["mean"], valid.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(new["var"], valid.var((0, 1, 2), ddof=1), rtol=1e-4)
    single = jax.jit(updates)(x[:, :1, :1], jnp.arange(16) == 9)
    np.testing.assert_allclose(single["mean"], x[9, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(single["var"], variables["batch_stats"]["var"])


def test_ghost_groups_stay_on_their_device_and_join_only_the_returned_statistics(mesh):
    x, scale, bias, mask, _ = example()

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(BATCH, BATCH), out_specs=(BATCH, WHOLE, WHOLE))
    def ghost(x, mask):
        return batch_norm(x, scale, bias, where=mask, axis_name="batch", group_size=2)

    one = batch_norm(x, scale, bias, where=mask, group_size=2)
    chex.assert_trees_all_close(jax.jit(ghost)(x, mask), one, rtol=1e-4, atol=1e-4)


def test_jit_with_a_sharded_batch_equals_one_device_and_sends_only_channel_sums(mesh):
    x, scale, bias, mask, dout = example()

    def loss(x, scale, bias, mask, dout):
        out, mean, var = local_loss(x, scale, bias, mask, dout)
        return out + jnp.sum(mean * var)

    x, mask, dout = (jax.device_put(a, NamedSharding(mesh, BATCH)) for a in (x, mask, dout))
    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(x, scale, bias, mask, dout).compile()
    joined = step(x, scale, bias, mask, dout)
    chex.assert_trees_all_close(joined, one_device(), rtol=1e-4, atol=1e-4)
    assert not any(name in step.as_text() for name in ("all-gather", "all-to-all", "collective-permute"))
