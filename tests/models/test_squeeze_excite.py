"""Squeeze and excitation against the paper's formula in NumPy, and against timm's module (`parity`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.squeeze_excite import SqueezeExcite, reduce_channels

CHANNELS = {8: 8, 64: 8, 191: 8, 192: 16, 256: 16, 336: 24, 2048: 128}


def draw(channels):
    """Maps, and the parameters of the module."""
    random = np.random.default_rng(channels)
    x = random.normal(1, 2, (2, 3, 5, channels))
    shapes = jax.eval_shape(SqueezeExcite().init, jax.random.key(0), jnp.asarray(x, jnp.float32))
    return x, jax.tree.map(lambda leaf: random.normal(size=leaf.shape) / np.sqrt(channels), shapes)


def test_channels_are_weighted_by_two_layers_over_their_means(float64):
    x, variables = draw(24)
    (first, b1), (second, b2) = ((p["kernel"][0, 0], p["bias"]) for p in variables["params"].values())
    squeezed = x.mean((1, 2))
    weights = 1 / (1 + np.exp(-(np.maximum(squeezed @ first + b1, 0) @ second + b2)))  # equation 3 of the paper
    np.testing.assert_allclose(SqueezeExcite().apply(variables, x), x * weights[:, None, None], rtol=1e-12)


@pytest.mark.parametrize(("channels", "reduced"), CHANNELS.items())
def test_a_sixteenth_of_the_channels_is_rounded_to_a_multiple_of_eight(channels, reduced):
    assert reduce_channels(channels) == reduced


@pytest.mark.parity
@pytest.mark.parametrize("channels", CHANNELS)
def test_module_is_timm_s(channels, float64):
    import torch

    from tests.support.live import torchvision_of_cpu

    torchvision_of_cpu()  # timm imports it
    from timm.layers import SEModule

    x, variables = draw(channels)
    module = SEModule(channels).double()
    state = {}
    for layer, leaves in variables["params"].items():
        state[f"{layer}.weight"] = torch.from_numpy(leaves["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"{layer}.bias"] = torch.from_numpy(leaves["bias"])
    module.load_state_dict(state, strict=True)
    expected = module(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().permute(0, 2, 3, 1)
    np.testing.assert_allclose(SqueezeExcite().apply(variables, x), expected, rtol=1e-12)
