"""The installed Keras: each application computes what our model does, and each kind of its files is read (`parity`)."""

from functools import partial

import jax
import numpy as np
import pytest

import zoo
from tests.support.keras_nets import compare, make_application
from zoo.weights.keras import from_keras
from zoo.weights.keras_applications import APPLICATIONS

SMALL = "densenet121"
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
]


@pytest.fixture(autouse=True)
def numpy_s_broadcasting():
    """Keras adds biases to matrices, which the tests of our own code refuse."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_net_is_keras_s_in_evaluation_and_in_training(name):
    compare(name)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_every_kind_of_file_that_keras_writes_is_read_and_converted(suffix, tmp_path):
    net, images = make_application(SMALL, (64, 64), "float32")
    path, out = tmp_path / f"net{suffix}", tmp_path / "out.safetensors"
    (net.save_weights if suffix == ".weights.h5" else net.save)(path)
    _, variables = from_keras(SMALL, path)
    for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(from_keras(SMALL, net)[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    zoo.weights.convert(SMALL, path, out)
    assert zoo.weights.find_preprocessing(SMALL, out) == APPLICATIONS[SMALL].preprocessing
    expected = jax.jit(lambda x: net(x, training=False))(images)
    for source in (path, out):
        model, variables = zoo.pretrained(SMALL, source)
        assert model.epsilon == APPLICATIONS[SMALL].fields["epsilon"]
        logits = jax.jit(partial(model.apply, train=False))(variables, images)
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
