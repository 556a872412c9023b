"""Pools against slow obvious versions in numpy; against torch's where it is installed (`parity`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.layers import adaptive_avg_pool, avg_pool, max_pool

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
    ours = jax.jit(lambda x: max_pool(x, window, stride, padding, ceil=ceil))
    np.testing.assert_array_equal(ours(x), expected)


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


NAN, INF = float("nan"), float("inf")
TORCH_S_GRADIENTS = [  # of max_pool2d on a CPU (torch 2.13.0) for the cotangent 1, 2, 3, ...
    ([[1, NAN, 2], [NAN, 3, NAN], [4, 5, 6]], (2, 1, 0, False), [[0, 0, 0], [4, 0, 6], [0, 0, 0]]),
    ([[INF, NAN], [1, INF]], (2, 2, 0, False), [[0, 1], [0, 0]]),
    ([[NAN] * 3] * 3, (3, 1, 1, False), [[0, 0, 0], [0, 1, 5], [0, 11, 28]]),
    ([[NAN] * 3] * 3, (3, 2, 1, True), [[0, 0, 0], [0, 1, 2], [0, 3, 4]]),
    ([[-INF] * 3] * 3, (3, 1, 1, False), [[12, 9, 0], [15, 9, 0], [0, 0, 0]]),
    ([[-INF] * 4] * 4, (3, 2, 1, False), [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    ([[-INF] * 4] * 4, (2, 2, 0, False), [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]),
]


@pytest.mark.parametrize(("x", "pool", "expected"), TORCH_S_GRADIENTS)
def test_gradient_of_max_pool_where_nothing_is_largest_goes_where_torch_s_goes(x, pool, expected):
    window, stride, padding, ceil = pool

    @jax.jit
    def pull_back(x):
        y, back = jax.vjp(lambda x: max_pool(x, window, stride, padding, ceil=ceil), x)
        return y, *back(jnp.arange(1.0, 1 + y.size).reshape(y.shape))

    y, dx = pull_back(np.array(x, np.float32).reshape(1, *np.shape(x), 1))
    assert not np.isfinite(y).any()
    np.testing.assert_array_equal(dx[0, ..., 0], expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (5, 3, 0)])
def test_avg_pool_equals_the_slow_one(size, window, stride, padding, include):
    x = rng.normal(3, 1, (2, *size, 3)).astype(np.float32)

    def mean(part, pixels):
        return part.sum((0, 1)) / (pixels if include else part.shape[0] * part.shape[1])

    expected = slow_pool(x, window, stride, padding, False, mean)
    ours = jax.jit(lambda x: avg_pool(x, window, stride, padding, count_include_pad=include))
    np.testing.assert_allclose(ours(x), expected, rtol=1e-5)


@pytest.mark.parametrize("size", [*SIZES, (1, 3)])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 3, 1)])
def test_avg_pool_rounded_up_means_the_true_pixels(size, window, stride, padding):
    x = rng.normal(3, 1, (2, *size, 3)).astype(np.float32)
    expected = slow_pool(x, window, stride, padding, True, lambda part, _: part.mean((0, 1)))
    ours = avg_pool(jnp.asarray(x), window, stride, padding, count_include_pad=False, ceil=True)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("size", [(7, 7), (14, 9), (3, 5), (1, 1)])
@pytest.mark.parametrize("out", [(4, 4), (7, 7), (1, 3)])
def test_adaptive_avg_pool_is_the_mean_of_torch_s_windows(size, out):
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    (h, w), (p, q) = size, out

    def value(image, i, j):
        return image[i * h // p : -(-(i + 1) * h // p), j * w // q : -(-(j + 1) * w // q)].mean((0, 1))

    expected = np.array([[[value(image, i, j) for j in range(q)] for i in range(p)] for image in x])
    ours = jax.jit(lambda x: adaptive_avg_pool(x, out))
    np.testing.assert_allclose(ours(x), expected, rtol=1e-4, atol=1e-6)


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
        expected = functional.avg_pool2d(nchw, window, stride, padding, ceil, include).permute(0, 2, 3, 1)
        ours = avg_pool(jnp.asarray(x), window, stride, padding, count_include_pad=include, ceil=ceil)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    expected = functional.adaptive_avg_pool2d(nchw, (4, 3)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), (4, 3)), expected, rtol=1e-4, atol=1e-5)


POOLS = [
    lambda x: max_pool(x, 3, 2, 1, ceil=True),
    lambda x: avg_pool(x, 3, 2, 1, count_include_pad=False),
    lambda x: avg_pool(x, 2, 2, count_include_pad=False, ceil=True),
    lambda x: adaptive_avg_pool(x, (2, 3)),
]


@pytest.mark.parametrize("layer", POOLS)
@pytest.mark.parametrize("backward", [False, True])
def test_a_pool_exported_for_any_height_and_width_is_the_pool_of_each(layer, backward):
    function = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(layer(x)))) if backward else layer)
    height, width = jax.export.symbolic_shape("h, w", constraints=["h >= 3", "w >= 3"])
    exported = jax.export.export(function)(jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32))
    for size in ((7, 9), (4, 3)):
        x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
        np.testing.assert_allclose(exported.call(x), function(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", POOLS)
def test_gradients_under_jit_equal_finite_differences(layer, float64):
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 7)))
    check_grads(jax.jit(layer), (x,), order=1)
