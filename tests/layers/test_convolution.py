"""Convolution: the product of matrices that a 1x1 is, and chunks of groups, against the general one."""

import re
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Conv
from zoo.layers.convolution import convolve, convolve_groups

rng = np.random.default_rng(0)


def test_backward_of_a_1x1_convolution_copies_no_map():
    """Products over [N, H, W, C] do: they transpose the incoming gradient, and compute it once more on the way."""
    conv, x = Conv(16, 1), jax.ShapeDtypeStruct((4, 14, 14, 8), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(0), x)

    def gradients(variables, x, dout):
        return jax.vjp(conv.apply, variables, x)[1](dout)

    dout = jax.ShapeDtypeStruct((4, 14, 14, 16), jnp.float32)
    compiled = jax.jit(gradients).lower(variables, x, dout).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 14 * 14


@pytest.mark.parametrize(("inputs", "features"), [(32, 8), (8, 32)])
def test_the_narrower_map_is_on_the_left_of_the_kernel_s_gradient(inputs, features):
    conv, x = Conv(features, 1), jax.ShapeDtypeStruct((2, 5, 3, inputs), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(0), x)

    def gradient(variables, x, dout):
        return jax.vjp(lambda variables: conv.apply(variables, x), variables)[1](dout)

    dout = jax.ShapeDtypeStruct((2, 5, 3, features), jnp.float32)
    compiled = jax.jit(gradient).lower(variables, x, dout).compile()
    (product,) = re.findall(r"= (f32\[\d+,\d+\])\S* dot\(", compiled.as_text())
    assert product == "f32[8,32]"


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


@pytest.mark.parametrize(
    ("groups", "inputs", "features", "stride"),
    [
        (32, 128, 128, 1),
        (32, 1024, 64, 2),
        (64, 256, 128, 1),
        (2, 48, 96, 1),
        (8, 512, 64, 1),
        (3, 12, 24, 2),
        (10, 40, 40, 1),
    ],
)
def test_chunks_of_groups_are_the_grouped_convolution_forward_and_backward(groups, inputs, features, stride):
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(2, 5, 4, inputs)))
        kernel = jnp.asarray(rng.normal(size=(3, 3, inputs // groups, features)))

        @partial(jax.jit, static_argnums=0)
        def value_and_gradients(function, x, kernel):
            y, back = jax.vjp(lambda *a: function(*a, stride, [(1, 1), (1, 1)], groups), x, kernel)
            return y, *back(jnp.cos(y))

        pairs = zip(*(value_and_gradients(f, x, kernel) for f in (convolve_groups, convolve)), strict=True)
        for mine, general in pairs:
            np.testing.assert_allclose(mine, general, rtol=1e-12, atol=1e-12)


def test_groups_are_chunks_on_a_cpu_alone():
    x, kernel = jnp.ones((1, 4, 4, 128)), jnp.ones((3, 3, 4, 128))

    def convolve_32(x, kernel):
        return convolve_groups(x, kernel, 1, [(1, 1), (1, 1)], 32)

    for platform, count in (("cpu", 4), ("cuda", 1), ("tpu", 1)):
        text = jax.export.export(jax.jit(convolve_32), platforms=[platform])(x, kernel).mlir_module()
        assert text.count("stablehlo.convolution") == count
