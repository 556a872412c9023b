"""What the pre-activated nets, ResNet v2 and DenseNet, put before each convolution."""

import flax.linen as nn
import jax

from zoo.norm import BatchNorm


def norm_relu(x: jax.Array, name: str, *, train: bool) -> jax.Array:
    """Batch normalisation called `name`, then ReLU."""
    return nn.relu(BatchNorm(name=name)(x, train=train))
