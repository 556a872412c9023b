"""Convolution: the product of matrices that a 1x1 is, against the general one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Conv

rng = np.random.default_rng(0)


def test_backward_of_a_1x1_convolution_copies_no_map():
    """Products over [N, H, W, C] do: they transpose the incoming gradient, and compute it once more on the way."""
    conv, x = Conv(16, 1), jax.ShapeDtypeStruct((4, 14, 14, 8), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(0), x)

    def gradients(variables, x, dout):
        return jax.vjp(conv.apply, variables, x)[1](dout)

    compiled = jax.jit(gradients).lower(variables, x, jax.ShapeDtypeStruct((4, 14, 14, 16), jnp.float32)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 14 * 14


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_one_by_one_convolution_equals_the_general_one(stride, padding):
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 4)), jnp.float32)
    conv = Conv(5, 1, stride, padding=padding, use_bias=True, bias_init=jax.nn.initializers.normal())
    variables = conv.init(jax.random.key(0), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    layout = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=layout
    ) + bias.reshape(1, 1, 1, -1)
    np.testing.assert_allclose(conv.apply(variables, x), expected, rtol=1e-4, atol=1e-6)
