"""Local response normalisation: the paper's formula."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from zoo.layers import local_response_norm

rng = np.random.default_rng(0)


def test_local_response_norm_is_the_paper_s_formula():
    x = rng.normal(size=(2, 3, 3, 7)).astype(np.float32)
    expected = np.empty_like(x)
    for c in range(7):  # section 3.3: sum over max(0, i - n/2) to min(N - 1, i + n/2)
        near = x[..., max(0, c - 2) : min(6, c + 2) + 1]
        expected[..., c] = x[..., c] / (2 + 1e-1 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(
        local_response_norm(jnp.asarray(x), size=5, alpha=1e-1, beta=0.75, k=2.0), expected, rtol=1e-5
    )


def test_gradient_under_jit_equals_finite_differences(float64):
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 7)))
    check_grads(jax.jit(partial(local_response_norm, size=5, alpha=1e-1, beta=0.75, k=2.0)), (x,), order=1)
