"""Dense layer, and the dropout before it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.layers.initialisers import torch_default
from zoo.layers.parameters import stored_dtype


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
        dtype = stored_dtype(self)
        kernel = self.param("kernel", self.kernel_init, (*x.shape[1:], self.features), dtype)
        y = jnp.dot(x.reshape(x.shape[0], -1), kernel.reshape(-1, self.features).astype(x.dtype))
        if self.use_bias:
            y += self.param("bias", self.bias_init, (self.features,), dtype).astype(x.dtype).reshape(1, -1)
        return y


def dropout(x: jax.Array, rate: float, *, train: bool) -> jax.Array:
    """Zeroes a share `rate` of the units in training and scales the others up; needs `rngs={"dropout": key}`."""
    return nn.Dropout(rate, deterministic=not train)(x)
