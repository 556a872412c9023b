"""What the pre-activated nets, ResNet v2 and DenseNet, put before each convolution."""

import flax.linen as nn
import jax

from zoo.norm import BatchNorm


def norm_relu(x: jax.Array, name: str, *, train: bool, epsilon: float = 1e-5) -> jax.Array:
    """Batch normalisation called `name`, then ReLU."""
    return nn.relu(BatchNorm(epsilon=epsilon, name=name)(x, train=train))
