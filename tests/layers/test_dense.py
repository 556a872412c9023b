"""Dense layer: a convolution that sees everything."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers import Conv, Linear

rng = np.random.default_rng(0)


def test_dense_layer_over_maps_is_a_convolution_that_sees_everything():
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 5)), jnp.float32)
    dense = Linear(6)
    variables = dense.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (3, 4, 5, 6)
    conv = Conv(6, (3, 4), use_bias=True)
    np.testing.assert_allclose(dense.apply(variables, x), conv.apply(variables, x)[:, 0, 0], rtol=1e-4, atol=1e-5)
