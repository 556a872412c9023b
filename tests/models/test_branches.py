"""Inception blocks as tables: names, order, padding, and what the brick is made of."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import max_pool
from zoo.models.branches import BasicConv, Mixed, conv, fork

rng = np.random.default_rng(0)


def test_branches_are_joined_in_the_table_s_order_and_named_by_it():
    pool = partial(max_pool, window=3, stride=1, padding=1)
    table = {"pool": [pool], "sole": [conv(2, 1)], "many": [conv(2, 1), conv(3, 5), fork(4)]}
    x = jnp.asarray(rng.normal(size=(1, 9, 7, 2)), jnp.float32)
    y, variables = jax.jit(partial(Mixed(table, first=1).init_with_output, train=False))(jax.random.key(0), x)
    params = variables["params"]
    assert {name: params[name]["conv"]["kernel"].shape for name in params} == {
        **{"sole": (1, 1, 2, 2), "many_1": (1, 1, 2, 2), "many_2": (5, 5, 2, 3)},
        **{"many_3a": (1, 3, 3, 4), "many_3b": (3, 1, 3, 4)},
    }
    assert y.shape == (1, 9, 7, 2 + 2 + 4 + 4)
    np.testing.assert_array_equal(y[..., :2], max_pool(x, 3, 1, 1))
    sole = jnp.einsum("nhwc,cd->nhwd", x, params["sole"]["conv"]["kernel"][0, 0])
    np.testing.assert_allclose(y[..., 2:4], jnp.maximum(sole, 0) / np.sqrt(1 + 1e-3), rtol=1e-5)


@pytest.mark.parametrize(
    ("step", "size"),
    [
        (conv(1, 3), (9, 7)),
        (conv(1, (7, 1)), (9, 7)),
        (conv(1, 3, stride=2), (4, 3)),
        (conv(1, 3, stride=2, padding=1), (5, 4)),
        (conv(1, 3, padding=0), (7, 5)),
    ],
)
def test_a_convolution_pads_where_it_does_not_stride_or_as_it_is_told(step, size):
    init = partial(Mixed({"branch": [step]}).init_with_output, train=False)
    assert jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 9, 7, 2)))[0].shape == (1, *size, 1)


def test_a_brick_without_normalisation_is_a_convolution_with_bias_and_a_relu():
    brick = BasicConv(3, 1, use_bias=True, bias_init=jax.nn.initializers.constant(0.2), norm=None)
    x = jnp.asarray(rng.normal(size=(2, 4, 4, 5)), jnp.float32)
    y, variables = jax.jit(partial(brick.init_with_output, train=True))(jax.random.key(0), x)
    assert set(variables) == {"params"}
    kernel = variables["params"]["conv"]["kernel"][0, 0]
    np.testing.assert_allclose(y, jnp.maximum(jnp.einsum("nhwc,cd->nhwd", x, kernel) + 0.2, 0), rtol=1e-5, atol=1e-6)
