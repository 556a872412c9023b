"""Dense layer, and the dropout before it."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers.initialisers import torch_default
from zoo.layers.parameters import add_bias, stored_dtype


class Linear(nn.Module):
    """Dense layer over all axes but the first: `[N, ...] -> [N, features]`.

    The kernel of maps `[N, H, W, C]` is `[H, W, C, features]`, not flattened: the same layer as a convolution that
    sees everything, so that no order of flattening has to be agreed with other frameworks.
    """

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = torch_default
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype, inputs = stored_dtype(self), math.prod(x.shape[1:])  # not -1, which a batch of no rows leaves open
        kernel = self.param("kernel", self.kernel_init, (*x.shape[1:], self.features), dtype)
        y = jnp.dot(x.reshape(x.shape[0], inputs), kernel.reshape(inputs, self.features).astype(x.dtype))
        return add_bias(y, self.param("bias", self.bias_init, (self.features,), dtype)) if self.use_bias else y


def dropout(x: jax.Array, rate: float, *, train: bool) -> jax.Array:
    """Zeroes a share `rate` of the units in training and scales the others up; needs `rngs={"dropout": key}`."""
    return nn.Dropout(float(rate), deterministic=not train)(x)
