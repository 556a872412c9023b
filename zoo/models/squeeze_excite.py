"""Squeeze and excitation (Hu et al. 2017, arXiv:1709.01507): channels are weighted by what all of them see."""

import math

import flax.linen as nn
import jax

from zoo.layers import Conv, global_avg_pool


class SqueezeExcite(nn.Module):
    """`[N, H, W, C]` times a weight in (0, 1) for each image and channel (figure 3).

    The weights come from the means of all channels, by two layers with a sixteenth of the channels between them.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        y = global_avg_pool(x)[:, None, None]
        y = nn.relu(Conv(reduce_channels(channels), 1, use_bias=True, name="fc1")(y))
        y = nn.sigmoid(Conv(channels, 1, use_bias=True, name="fc2")(y))
        return x * y


def reduce_channels(channels: int) -> int:
    """A sixteenth of the channels, to the nearest multiple of eight and at least eight, as in timm's nets."""
    return max(math.floor(channels / (16 * 8) + 0.5), 1) * 8
