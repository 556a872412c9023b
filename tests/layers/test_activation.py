"""Activations and their corners."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers import relu6


def test_relu6_is_torch_s_with_no_slope_at_its_corners():
    """`torch.nn.ReLU6` of the same numbers, and the gradient of its sum."""
    x = jnp.asarray([-1.0, 0.0, 0.5, 5.5, 6.0, 7.0])
    np.testing.assert_array_equal(relu6(x), [0, 0, 0.5, 5.5, 6, 6])
    np.testing.assert_array_equal(jax.grad(lambda x: relu6(x).sum())(x), [0, 0, 1, 1, 0, 0])
    assert np.isnan(relu6(jnp.asarray(jnp.nan)))
