"""Half precision: what is summed is summed in float32 and rounded once. Oracles: numpy in float64, and one rounding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import (
    Conv,
    Linear,
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    local_response_norm,
    max_pool,
)

rng = np.random.default_rng(0)
HALVES = pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])


def windows_of(x, window, stride):
    views = np.lib.stride_tricks.sliding_window_view(x, (window, window), (1, 2))
    return views[:, ::stride, ::stride]


def slow_response_norm(x):
    near = [x[..., max(0, c - 2) : c + 3] for c in range(x.shape[-1])]
    return x / (1 + 1e-4 * np.stack([np.square(part).sum(-1) for part in near], -1)) ** 0.75


LAYERS = {  # a layer and what it means
    "avg_pool": (lambda x: avg_pool(x, 8, 2), lambda x: windows_of(x, 8, 2).mean((-2, -1))),
    "avg_pool, true pixels": (
        lambda x: avg_pool(x, 3, 4, 1, count_include_pad=False)[:, 1:, 1:],
        lambda x: windows_of(x[:, 3:, 3:], 3, 4).mean((-2, -1)),
    ),
    "adaptive_avg_pool": (
        lambda x: adaptive_avg_pool(x, 4),
        lambda x: x.reshape(2, 4, 4, 4, 4, 5).mean((2, 4)),
    ),
    "global_avg_pool": (global_avg_pool, lambda x: x.mean((1, 2))),
    "local_response_norm": (partial(local_response_norm, size=5, alpha=1e-4, beta=0.75, k=1.0), slow_response_norm),
}


@HALVES
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mean", [1.0, 300.0, 2000.0])
def test_a_layer_gives_the_float64_answer_rounded_once(name, dtype, mean):
    layer, meaning = LAYERS[name]
    x = jnp.asarray(mean + rng.normal(size=(2, 16, 16, 5)), dtype)
    y = layer(x)
    assert y.dtype == dtype
    exact = meaning(np.asarray(x, np.float64))
    half_a_step = np.abs(np.spacing(np.asarray(exact.astype(dtype)))).astype(np.float64) / 2
    assert np.all(np.abs(np.asarray(y, np.float64) - exact) <= 1.01 * half_a_step)


def test_the_figures_of_the_issue():
    assert avg_pool(jnp.full((1, 8, 8, 1), 2000, jnp.float16), 8, 8).item() == 2000
    y = local_response_norm(jnp.full((1, 1, 1, 5), 300, jnp.float16), size=5, alpha=1e-4, beta=0.75, k=2.0)
    np.testing.assert_allclose(y[0, 0, 0, 2], 16.71, rtol=1e-3)


@HALVES
@pytest.mark.parametrize(
    "layer",
    [
        lambda x: avg_pool(x, 3, 1),
        lambda x: avg_pool(x, 3, 1, 1, count_include_pad=False),
        lambda x: adaptive_avg_pool(x, 5),
        global_avg_pool,
        partial(local_response_norm, size=5, alpha=1e-4, beta=0.75, k=1.0),
        lambda x: max_pool(x, 5, 1),
    ],
)
def test_gradients_are_those_of_float64_rounded_once(layer, dtype):
    x = jnp.asarray(rng.normal(size=(2, 12, 12, 5)), dtype)
    y, back = jax.vjp(layer, x)  # operation by operation: compiled, what is rounded twice may be rounded once
    dout = jnp.asarray(rng.normal(size=y.shape), dtype)
    (ours,) = back(dout)
    with jax.enable_x64(True):
        pull_back = jax.jit(lambda x, dout: jax.vjp(layer, x)[1](dout)[0])
        exact = pull_back(np.asarray(x, np.float64), np.asarray(dout, np.float64))
    assert ours.dtype == dtype
    np.testing.assert_allclose(np.asarray(ours, np.float64), exact, rtol=0.51 * float(jnp.finfo(dtype).eps), atol=1e-6)


@HALVES
@pytest.mark.parametrize("layer", [Conv(1, 1, use_bias=True), Conv(1, 3, padding=1, use_bias=True), Linear(1)])
def test_the_gradients_of_a_bias_and_of_a_kernel_count_every_pixel(layer, dtype):
    """4096 ones: summed in bfloat16 they are 256, in float16 2048."""
    shape = (1, 64, 64, 1) if isinstance(layer, Conv) else (4096, 1)
    x = jnp.ones(shape, dtype)
    params = layer.init(jax.random.key(0), x)["params"]
    grads = jax.grad(lambda params: jnp.sum(layer.apply({"params": params}, x), dtype=jnp.float32))(params)
    assert grads["bias"].item() == 4096
    assert np.max(grads["kernel"]) == 4096


@HALVES
@pytest.mark.parametrize("layer", [Conv(1, 64, use_bias=True), Linear(1)])
def test_convolution_and_dense_layer_sum_wide(layer, dtype):
    x = jnp.ones((1, 64, 64, 1), dtype)
    params = jax.tree.map(jnp.ones_like, layer.init(jax.random.key(0), x)["params"])
    params["bias"] = jnp.zeros(1)
    assert layer.apply({"params": params}, x).item() == 4096
