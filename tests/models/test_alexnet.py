"""AlexNet: the paper's table, its first weights, and its layers composed of torch's where no library has the net."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


def test_layers_are_those_of_the_paper():
    """Section 3.5 counts the kernels and what each sees; figure 2 the maps."""
    expected = {
        "conv1": ((55, 55, 96), 11 * 11 * 3),
        "conv2": ((27, 27, 256), 5 * 5 * 48),
        "conv3": ((13, 13, 384), 3 * 3 * 256),
        "conv4": ((13, 13, 384), 3 * 3 * 192),
        "conv5": ((13, 13, 256), 3 * 3 * 192),
        "fc6": ((4096,), 6 * 6 * 256),
        "fc7": ((4096,), 4096),
        "fc8": ((1000,), 4096),
    }
    layers = summary.layers(zoo.create("alexnet_2012"), (227, 227, 3))
    assert {layer.path: (layer.shape, layer.params // layer.shape[-1] - 1) for layer in layers} == expected


def test_first_weights_are_those_of_the_paper():
    """Section 5: deviation 0.01; biases of one in the second, fourth, fifth and the hidden dense layers."""
    model = zoo.create("alexnet_2012", **TEN)

    @jax.jit
    def measured(key):
        params = model.init(key, jnp.zeros((1, 67, 67, 3)), train=False)["params"]
        small = [name for name in params if name not in ("fc6", "fc7")]  # the others take seconds to draw
        return {name: p["bias"] for name, p in params.items()}, [jnp.std(params[name]["kernel"]) for name in small]

    biases, deviations = measured(jax.random.key(0))
    assert {name for name, bias in biases.items() if np.all(bias == 1)} == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert {name for name, bias in biases.items() if np.all(bias == 0)} == {"conv1", "conv3", "fc8"}
    np.testing.assert_allclose(deviations, 0.01, rtol=0.02)


@pytest.mark.parity
def test_the_paper_s_net_equals_torch_s_layers_put_together_at_other_sizes():
    from tests.support.composed import alexnet_2012

    compare(partial(alexnet_2012, 10), "alexnet_2012", (2, 131, 90, 3), fields=TEN)


@pytest.mark.parity
def test_other_sizes_equal_torchvision():
    compare(reference("torchvision/alexnet", **TEN), "alexnet", (2, 131, 90, 3), fields=TEN)
