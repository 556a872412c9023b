"""Depthwise convolution by shifts against XLA's own, with its derivatives of both modes and the second order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from zoo.layers.convolution import convolve, convolve_groups
from zoo.layers.depthwise import convolve_depthwise

rng = np.random.default_rng(0)
EDGES = [(1, 1), (1, 1)]


def draw(*, channels=5, size=(7, 6), kernel=(3, 3)):
    x, kernel = rng.normal(size=(2, *size, channels)), rng.normal(size=(*kernel, 1, channels))
    return jnp.asarray(x), jnp.asarray(kernel)


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"),
    [
        (1, EDGES, (3, 3)),
        (2, EDGES, (3, 3)),
        (2, [(0, 1), (1, 0)], (3, 3)),
        (3, [(0, 0), (2, 2)], (2, 5)),
        (1, [(0, 0), (0, 0)], (1, 1)),
        (1, [(0, 2), (3, 1)], (2, 3)),  # more than the kernel reaches: part of dy is of zeros alone
    ],
)
def test_depthwise_is_the_grouped_convolution_with_both_gradients(stride, padding, kernel):
    with jax.enable_x64(True):
        x, kernel = draw(kernel=kernel)

        def value_and_gradients(function):
            def call(x, kernel):
                y, back = jax.vjp(function, x, kernel)
                return y, *back(jnp.cos(y))

            return jax.jit(call)(x, kernel)

        found = value_and_gradients(lambda x, kernel: convolve_depthwise(x, kernel, stride, padding))
        general = value_and_gradients(lambda x, kernel: convolve(x, kernel, stride, padding, 5))
        for mine, theirs in zip(found, general, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_derivatives_are_those_of_finite_differences_in_both_modes_and_again():
    from jax.test_util import check_grads

    with jax.enable_x64(True):
        arguments = draw(channels=2, size=(4, 3), kernel=(2, 2))
        check_grads(jax.jit(lambda *a: jnp.sin(convolve_depthwise(*a, 2, [(0, 1), (1, 0)]))), arguments, order=2)


def test_a_batch_of_kernels_and_maps_is_each_of_them():
    with jax.enable_x64(True):
        pairs = [draw() for _ in range(3)]
        xs, kernels = (jnp.stack(part) for part in zip(*pairs, strict=True))
        many = jax.vmap(lambda x, kernel: convolve_depthwise(x, kernel, 1, EDGES))(xs, kernels)
        for y, (x, kernel) in zip(many, pairs, strict=True):
            np.testing.assert_allclose(y, convolve(x, kernel, 1, EDGES, 5), rtol=1e-12, atol=1e-12)


def test_half_precision_is_summed_in_float32_and_rounded_once():
    x, kernel = (array.astype(jnp.bfloat16) for array in draw())
    wide = convolve_depthwise(x.astype(jnp.float32), kernel.astype(jnp.float32), 1, EDGES)
    found = convolve_depthwise(x, kernel, 1, EDGES)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))


def test_no_neighbour_hears_of_what_is_not_finite():
    x, kernel = draw()
    y = convolve_groups(x.at[..., 0].set(jnp.nan), kernel, 1, EDGES, 5)
    assert np.isfinite(y[..., 1:]).all()


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("cuda", 1), ("tpu", 1)])
def test_maps_are_shifted_on_a_cpu_alone_and_sizes_may_be_unknown(platform, convolutions):
    n, h, w = jax.export.symbolic_shape("n, 2*h, 2*w")
    x = jax.ShapeDtypeStruct((n, h, w, 8), jnp.float32)
    call = jax.jit(lambda x: convolve_groups(x, jnp.ones((3, 3, 1, 8)), 2, EDGES, 8))
    text = jax.export.export(call, platforms=[platform])(x).mlir_module()
    assert text.count("stablehlo.convolution") == convolutions


def test_devices_add_up_the_kernel_s_gradient():
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,))
    x, kernel = draw()

    def loss(kernel, x):
        return jnp.sum(jnp.sin(convolve_groups(x, kernel, 1, EDGES, 5)))

    spec = PartitionSpec("batch")
    each = jax.shard_map(
        lambda kernel, x: jax.lax.psum(loss(kernel, x), "batch"),
        mesh=mesh,
        in_specs=(PartitionSpec(), spec),
        out_specs=PartitionSpec(),
    )
    found = jax.grad(lambda kernel: each(kernel, x))(kernel)
    np.testing.assert_allclose(found, jax.grad(loss)(kernel, x), rtol=1e-5)
