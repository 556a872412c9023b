"""Operations in ONNX's words: onnxruntime computes what JAX does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import layers
from zoo.errors import UserError
from zoo.weights.onnx_model import build_onnx

MAPS = np.random.RandomState(0).standard_normal((2, 9, 12, 6)).astype(np.float32)
MATRIX = np.random.RandomState(1).standard_normal((6, 5)).astype(np.float32)
FUNCTIONS = {
    "max pool of negative maps": lambda x: layers.max_pool(x - 10, 3, 2, 1),
    "max pool, rounded up": lambda x: layers.max_pool(x, 3, 2, ceil=True),
    "max pool of a large window": lambda x: layers.max_pool(x, 5, 3, 2, ceil=True),
    "mean with padding": lambda x: layers.avg_pool(x, 3, 1, 1),
    "mean without padding": lambda x: layers.avg_pool(x, 3, 2, 1, count_include_pad=False),
    "mean, rounded up": lambda x: layers.avg_pool(x, 2, 2, count_include_pad=False, ceil=True),
    "mean to a smaller size": lambda x: layers.adaptive_avg_pool(x, (4, 5)),
    "mean to a larger size": lambda x: layers.adaptive_avg_pool(x, (13, 13)),
    "mean of everything": layers.global_avg_pool,
    "response norm": lambda x: layers.local_response_norm(x, size=5, alpha=0.1, beta=0.75, k=2),
    "response norm of an even size": lambda x: layers.local_response_norm(x, size=4, alpha=0.1, beta=0.5, k=1),
    "rectified up to six": lambda x: layers.relu6(4 * x),
    "every third pixel": lambda x: layers.take_every(x, 3),
    "padding of channels": lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 2), (3, 4)), constant_values=7),
    "concatenation of channels": lambda x: jnp.concatenate([x, 2 * x, x - 1], axis=3),
    "concatenation of rows": lambda x: jnp.concatenate([x, x], axis=1),
    "a part of the channels": lambda x: jax.lax.slice_in_dim(x, 2, 5, axis=3),
    "flattening": lambda x: x.reshape(x.shape[0], 9 * 12 * 6),
    "another shape": lambda x: x.reshape(x.shape[0], 12, 9, 6),
    "height and width swapped": lambda x: x.transpose(0, 2, 1, 3),
    "sum of channels": lambda x: x.sum(axis=3),
    "a product of matrices": lambda x: x.mean(axis=(1, 2)) @ MATRIX,
    "a product of channels": lambda x: jnp.einsum("nhwc,cf->nhwf", x, MATRIX),
    "a product of rows": lambda x: jnp.einsum("nhwc,hf->nwcf", x, MATRIX[:1].repeat(9, 0)),
    "weights of channels": lambda x: x * x.mean(axis=(1, 2))[:, None, None],
    "curves": lambda x: (
        jnp.tanh(x) + jnp.exp(-x * x) / jnp.sqrt(x**2 + 1) - jax.nn.sigmoid(x) * jax.lax.rsqrt(x**4 + 2)
    ),
    "sums with constants on either side": lambda x: 1 - x + layers.add_relu(x, MAPS[:1]),
}


def build(function):
    (n,) = jax.export.symbolic_shape("N")
    images = jax.ShapeDtypeStruct((n, *MAPS.shape[1:]), jnp.float32)
    return build_onnx(lambda _, x: function(x), {}, images, {})


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_onnxruntime_computes_what_jax_does(function):
    import onnxruntime

    (found,) = onnxruntime.InferenceSession(build(function).SerializeToString()).run(None, {"images": MAPS})
    expected = np.asarray(function(MAPS))
    if found.ndim == 4:
        found = found.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_has_no_translation_is_refused_by_name():
    with pytest.raises(UserError, match=r"the operation 'sort' is not written as ONNX here: export it as \.stablehlo"):
        build(lambda x: jnp.sort(x, axis=1))
    with pytest.raises(UserError, match="'concatenate'"):
        build(lambda x: jnp.concatenate([x, jnp.ones_like(x)], axis=3))
