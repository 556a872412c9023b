"""The layers against slow obvious versions in numpy; against torch's where it is installed (`parity`)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.layers import Conv, Linear, adaptive_avg_pool, avg_pool, local_response_norm, max_pool
from zoo.models.inception import Mixed, renormalised

rng = np.random.default_rng(0)


def windows(n: int, window: int, stride: int, padding: int, ceil: bool) -> list[tuple[int, int]]:
    """First and last-but-one pixel of each window along one axis, read off torch's documentation."""
    starts, start = [], -padding
    while start + window <= n + padding or (ceil and start < n and start - stride + window < n + padding):
        starts.append(start)
        start += stride
    return [(s, s + window) for s in starts]


def slow_pool(x, window, stride, padding, ceil, reduce):
    rows, columns = (windows(n, window, stride, padding, ceil) for n in x.shape[1:3])

    def value(image, a, b, c, d):
        return reduce(image[max(a, 0) : b, max(c, 0) : d], (b - a) * (d - c))

    return np.array([[[value(image, *row, *column) for column in columns] for row in rows] for image in x])


SIZES = [(7, 7), (8, 5), (14, 9), (6, 10)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 0)])
def test_max_pool_equals_the_slow_one(size, window, stride, padding, ceil):
    x = rng.normal(-5, 1, (2, *size, 3)).astype(np.float32)
    expected = slow_pool(x, window, stride, padding, ceil, lambda part, _: part.max((0, 1)))
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), window, stride, padding, ceil=ceil), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "stride", "padding", "ceil"), [(2, 2, 0, False), (3, 2, 1, True), (3, 1, 1, False)])
def test_gradient_of_max_pool_goes_to_the_first_of_the_largest_pixels(size, window, stride, padding, ceil):
    x = rng.integers(-2, 2, (2, *size, 3)).astype(np.float32)  # many are equal
    rows, columns = (windows(n, window, stride, padding, ceil) for n in size)
    dout = rng.normal(size=(2, len(rows), len(columns), 3)).astype(np.float32)
    expected = np.zeros_like(x)
    for n, i, j, c in np.ndindex(dout.shape):
        top, left = max(rows[i][0], 0), max(columns[j][0], 0)
        part = x[n, top : rows[i][1], left : columns[j][1], c]
        row, column = np.unravel_index(np.argmax(part), part.shape)
        expected[n, top + row, left + column, c] += dout[n, i, j, c]
    pull_back = jax.jit(
        lambda x, dout: jax.vjp(lambda x: max_pool(x, window, stride, padding, ceil=ceil), x)[1](dout)[0]
    )
    np.testing.assert_allclose(pull_back(x, dout), expected, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (5, 3, 0)])
def test_avg_pool_equals_the_slow_one(size, window, stride, padding, include):
    x = rng.normal(3, 1, (2, *size, 3)).astype(np.float32)

    def mean(part, pixels):
        return part.sum((0, 1)) / (pixels if include else part.shape[0] * part.shape[1])

    expected = slow_pool(x, window, stride, padding, False, mean)
    ours = avg_pool(jnp.asarray(x), window, stride, padding, count_include_pad=include)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_backward_of_a_1x1_convolution_copies_no_map():
    """Products over [N, H, W, C] do: they transpose the incoming gradient, and compute it once more on the way."""
    conv, x = Conv(16, 1), jax.ShapeDtypeStruct((4, 14, 14, 8), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(0), x)

    def gradients(variables, x, dout):
        return jax.vjp(conv.apply, variables, x)[1](dout)

    compiled = jax.jit(gradients).lower(variables, x, jax.ShapeDtypeStruct((4, 14, 14, 16), jnp.float32)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 14 * 14


@pytest.mark.parametrize("size", [(7, 7), (14, 9), (3, 5), (1, 1)])
@pytest.mark.parametrize("out", [(4, 4), (7, 7), (1, 3)])
def test_adaptive_avg_pool_is_the_mean_of_torch_s_windows(size, out):
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    (h, w), (p, q) = size, out

    def value(image, i, j):
        return image[i * h // p : -(-(i + 1) * h // p), j * w // q : -(-(j + 1) * w // q)].mean((0, 1))

    expected = np.array([[[value(image, i, j) for j in range(q)] for i in range(p)] for image in x])
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), out), expected, rtol=1e-4, atol=1e-6)


def test_local_response_norm_is_the_paper_s_formula():
    x = rng.normal(size=(2, 3, 3, 7)).astype(np.float32)
    expected = np.empty_like(x)
    for c in range(7):  # section 3.3: sum over max(0, i - n/2) to min(N - 1, i + n/2)
        near = x[..., max(0, c - 2) : min(6, c + 2) + 1]
        expected[..., c] = x[..., c] / (2 + 1e-1 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(
        local_response_norm(jnp.asarray(x), size=5, alpha=1e-1, beta=0.75, k=2.0), expected, rtol=1e-5
    )


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


def test_dense_layer_over_maps_is_a_convolution_that_sees_everything():
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 5)), jnp.float32)
    dense = Linear(6)
    variables = dense.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (3, 4, 5, 6)
    conv = Conv(6, (3, 4), use_bias=True)
    np.testing.assert_allclose(dense.apply(variables, x), conv.apply(variables, x)[:, 0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("size", [(7, 7), (8, 5), (14, 9), (112, 57), (4, 4)])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 1), (3, 3, 1)])
def test_pools_equal_torch_s(size, window, stride, padding, ceil):
    import torch
    from torch.nn import functional

    x = rng.normal(-5, 1, (2, *size, 3)).astype(np.float32)
    nchw = torch.tensor(x).permute(0, 3, 1, 2)
    expected = functional.max_pool2d(nchw, window, stride, padding, ceil_mode=ceil).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), window, stride, padding, ceil=ceil), expected)
    for include in (True, False):
        expected = functional.avg_pool2d(nchw, window, stride, padding, count_include_pad=include).permute(0, 2, 3, 1)
        ours = avg_pool(jnp.asarray(x), window, stride, padding, count_include_pad=include)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    expected = functional.adaptive_avg_pool2d(nchw, (4, 3)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), (4, 3)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: max_pool(x, 3, 2, 1, ceil=True),
        lambda x: avg_pool(x, 3, 2, 1, count_include_pad=False),
        lambda x: adaptive_avg_pool(x, (2, 3)),
        lambda x: local_response_norm(x, size=5, alpha=1e-1, beta=0.75, k=2.0),
    ],
)
def test_gradients_under_jit_equal_finite_differences(layer, float64):
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 7)))
    check_grads(jax.jit(layer), (x,), order=1)


def test_renormalised_images_are_the_pixels_scaled_to_one_around_zero():
    pixels, mean, std = rng.random((2, 3, 4, 3)), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalised = (pixels - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(renormalised(jnp.asarray(normalised, jnp.float32)), 2 * pixels - 1, atol=1e-6)


def test_branches_are_joined_in_the_table_s_order_and_named_by_it():
    fork = ((4, (1, 3)), (5, (3, 1)))
    pool = partial(max_pool, window=3, stride=1, padding=1)
    table = {"pool": [pool], "sole": [(2, 1)], "many": [(2, 1), (3, 5), fork]}
    x = jnp.asarray(rng.normal(size=(1, 9, 7, 2)), jnp.float32)
    y, variables = jax.jit(partial(Mixed(table, first=1).init_with_output, train=False))(jax.random.key(0), x)
    params = variables["params"]
    assert {name: params[name]["conv"]["kernel"].shape for name in params} == {
        **{"sole": (1, 1, 2, 2), "many_1": (1, 1, 2, 2), "many_2": (5, 5, 2, 3)},
        **{"many_3a": (1, 3, 3, 4), "many_3b": (3, 1, 3, 5)},
    }
    assert y.shape == (1, 9, 7, 2 + 2 + 4 + 5)
    np.testing.assert_array_equal(y[..., :2], max_pool(x, 3, 1, 1))
    sole = jnp.einsum("nhwc,cd->nhwd", x, params["sole"]["conv"]["kernel"][0, 0])
    np.testing.assert_allclose(y[..., 2:4], jnp.maximum(sole, 0) / np.sqrt(1 + 1e-3), rtol=1e-5)


def test_a_branch_pads_where_it_does_not_stride_or_as_it_is_told():
    x = jnp.zeros((1, 9, 7, 2))

    def size(step):
        block = Mixed({"branch": [step]})
        return jax.eval_shape(partial(block.init_with_output, train=False), jax.random.key(0), x)[0].shape[1:3]

    assert [size(step) for step in [(1, 3), (1, (7, 1)), (1, 3, 2), (1, 3, 2, 1), (1, 3, 1, 0)]] == [
        *[(9, 7), (9, 7), (4, 3), (5, 4), (7, 5)],
    ]
