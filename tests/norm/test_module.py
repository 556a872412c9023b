"""The module: its statistics, its modes, its errors; against torch where it is installed (`parity`)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.normalisation import arrays
from zoo.norm import BatchNorm, batch_norm_options, from_torch_momentum


def module_and_variables(x, **fields):
    norm = BatchNorm(**fields)
    return norm, norm.init(jax.random.key(0), x, train=True)


def test_init_creates_mean_zero_and_variance_one_and_does_not_move_them():
    for train in (True, False):
        variables = BatchNorm().init(jax.random.key(0), arrays((4, 3))[0], train=train)
        chex.assert_trees_all_equal(variables["batch_stats"], {"mean": jnp.zeros(3), "var": jnp.ones(3)})
    assert set(BatchNorm(use_scale=False, use_bias=False).init(jax.random.key(0), jnp.ones((2, 3)), train=False)) == {
        "batch_stats"
    }


def test_train_with_immutable_statistics_names_the_fix():
    norm, variables = module_and_variables(jnp.ones((4, 3)))
    with pytest.raises(ValueError, match=r'mutable=\["batch_stats"\]'):
        norm.apply(variables, jnp.ones((4, 3)), train=True)
    with pytest.raises(TypeError, match="train"):
        norm.apply(variables, jnp.ones((4, 3)))


def test_train_false_reads_the_running_statistics_even_when_they_are_mutable():
    norm, variables = module_and_variables(jnp.ones((4, 3)))
    y, updates = norm.apply(variables, 5 * jnp.ones((4, 3)), train=False, mutable=["batch_stats"])
    chex.assert_trees_all_equal(updates["batch_stats"], variables["batch_stats"])
    np.testing.assert_allclose(y, 5, rtol=1e-4)


def test_statistics_option_normalises_with_the_batch_and_writes_nothing():
    x = arrays((4, 3))[0]
    norm, variables = module_and_variables(x)
    trained, _ = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    with batch_norm_options(statistics="batch"):
        evaluated = norm.apply(variables, x, train=False)
        _, updates = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    np.testing.assert_array_equal(evaluated, trained)
    chex.assert_trees_all_equal(updates["batch_stats"], variables["batch_stats"])
    frozen = norm.apply(variables, x, train=True, statistics="running")
    np.testing.assert_array_equal(frozen, norm.apply(variables, x, train=False))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_running_variance_is_unbiased_and_left_alone_by_fewer_than_two_elements(count):
    x = jnp.array([[1.0], [4.0], [9.0]])
    norm, variables = module_and_variables(x, momentum=0.5)
    where = jnp.arange(3) < count
    _, updates = norm.apply(variables, x, train=True, where=where, mutable=["batch_stats"])
    expected = {0: (0.0, 1.0), 1: (0.5, 1.0), 2: (1.25, 0.5 + 0.5 * 4.5)}[count]
    np.testing.assert_allclose([updates["batch_stats"][k][0] for k in ("mean", "var")], expected, rtol=1e-6)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("options", [{}, {"statistics": "running"}, {"group_size": 3}], ids=str)
def test_masked_rows_change_nothing_whatever_they_hold(garbage, options):
    """Output, running statistics, and the gradients of x and of the parameters: those of other garbage."""
    x, scale, bias, dout = arrays((6, 3, 2))
    norm, variables = module_and_variables(x)
    variables["params"] = {"scale": scale, "bias": bias}
    where = jnp.array([True, False, True, True, True, False])

    def step(garbage):
        filled, pulled = (a.at[1].set(garbage).at[5].set(garbage) for a in (x, dout))

        def apply(params, x):
            call = {"train": True, "mutable": ["batch_stats"], "where": where, **options}
            return norm.apply({**variables, "params": params}, x, **call)

        y, back, updates = jax.vjp(apply, variables["params"], filled, has_aux=True)
        return y, back(pulled), updates

    y, (_, dx), _ = outcome = step(garbage)
    chex.assert_trees_all_equal(outcome, step(0.0))
    chex.assert_tree_all_finite(outcome)
    np.testing.assert_array_equal(y[~where], 0)
    np.testing.assert_array_equal(dx[~where], 0)


def test_running_statistics_pass_on_no_gradient():
    x = arrays((4, 3))[0]
    norm, variables = module_and_variables(x)

    def moved(x):
        updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])[1]
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(updates))

    np.testing.assert_array_equal(jax.grad(moved)(x), 0)


@pytest.mark.parametrize(
    ("fields", "x", "error", "message"),
    [
        ({"momentum": 1.5}, jnp.ones((2, 3)), ValueError, "momentum=1.5"),
        ({"epsilon": -1.0}, jnp.ones((2, 3)), ValueError, "epsilon=-1.0"),
        ({}, jnp.ones(3), ValueError, "rank 2"),
        ({}, jnp.ones((2, 3), jnp.uint8), TypeError, "uint8"),
        ({}, jnp.ones((2, 4)), ValueError, "made for 3 channels"),
    ],
)
def test_wrong_use_of_the_module_is_named(fields, x, error, message):
    variables = module_and_variables(jnp.ones((2, 3)))[1]
    with pytest.raises(error, match=message):
        BatchNorm(**fields).apply(variables, x, train=False)


def test_unknown_statistics_are_named():
    norm, variables = module_and_variables(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="'moving'"):
        norm.apply(variables, jnp.ones((2, 3)), train=False, statistics="moving")


def test_from_torch_momentum():
    assert from_torch_momentum(0.1) == 0.9
    for wrong in (None, -0.1, 1.1):
        with pytest.raises(ValueError, match="torch momentum"):
            from_torch_momentum(wrong)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(6, 3), (5, 4, 3), (4, 5, 6, 3)])
def test_equals_torch_with_running_statistics_and_all_gradients(shape):
    import torch

    x, scale, bias, dout = arrays(shape)
    stats = {"mean": bias, "var": jnp.square(scale) + 0.5}

    def apply(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
        return BatchNorm(momentum=from_torch_momentum(0.1)).apply(variables, x, train=True, mutable=["batch_stats"])

    y, back, updates = jax.vjp(apply, x, scale, bias, has_aux=True)
    move = (0, x.ndim - 1, *range(1, x.ndim - 1))
    x_t, scale_t, bias_t = (
        torch.tensor(np.asarray(a), requires_grad=True) for a in (np.transpose(x, move), scale, bias)
    )
    mean_t, var_t = (torch.tensor(np.asarray(stats[k])) for k in ("mean", "var"))
    y_t = torch.nn.functional.batch_norm(x_t, mean_t, var_t, scale_t, bias_t, training=True, momentum=0.1, eps=1e-5)
    y_t.backward(torch.tensor(np.transpose(dout, move)))
    dx, dscale, dbias = back(dout)
    np.testing.assert_allclose(np.transpose(y, move), y_t.detach(), atol=1e-5)
    np.testing.assert_allclose(np.transpose(dx, move), x_t.grad, atol=1e-5)
    np.testing.assert_allclose(dscale, scale_t.grad, atol=1e-4)
    np.testing.assert_allclose(dbias, bias_t.grad, atol=1e-4)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], mean_t, atol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["var"], var_t, atol=1e-5)
