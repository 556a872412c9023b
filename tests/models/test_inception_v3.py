"""Inception v3: the paper's table, Keras' kernels, the auxiliary head, and sizes that no fixture has."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoo
from tests.support import oracle
from tests.support.live import compare, reference, torchvision_of_cpu
from zoo.errors import UserError
from zoo.models import summary
from zoo.models.inception_v3 import Aux

MODEL = zoo.create("inception_v3")


def images(size: int):
    return jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)


def variables(size: int):
    return jax.eval_shape(partial(MODEL.init, train=False), jax.random.key(0), images(size))


def test_maps_are_those_of_table_1():
    table = {"Mixed_5d": (35, 35, 288), "Mixed_6e": (17, 17, 768), "Mixed_7a": (8, 8, 1280), "Mixed_7c": (8, 8, 2048)}
    assert summary.endpoints(MODEL, (299, 299, 3), tuple(table)) == table


def test_kernels_are_those_of_keras():
    keras = json.loads((oracle.FIXTURES / "keras/InceptionV3.json").read_text())
    theirs = sorted(tuple(shape) for name, shape in keras["weights"] if name.endswith("kernel"))
    ours = flatten_dict(variables(299)["params"]).items()
    assert sorted(leaf.shape for path, leaf in ours if path[-1] == "kernel" and path[0] != "AuxLogits") == theirs


def test_auxiliary_head_has_its_parameters_at_any_size_but_answers_from_the_native_one_on():
    assert jax.tree.map(jnp.shape, variables(75)) == jax.tree.map(jnp.shape, variables(299))
    answer = partial(MODEL.apply, train=False, endpoints=("aux",))
    assert jax.eval_shape(answer, variables(299), images(299))[1]["aux"].shape == (2, 1000)
    message = r"auxiliary head takes images of 299x299 or more.*aux_weights=\{\} of zoo.make_train_step"
    with pytest.raises(UserError, match=message):
        jax.eval_shape(answer, variables(299), images(298))


def test_auxiliary_head_starts_with_the_authors_deviations():
    init = jax.jit(partial(Aux(10).init, train=False))
    params = init(jax.random.key(0), jnp.zeros((1, 17, 17, 768)))["params"]
    kernels = params["conv0"]["conv"]["kernel"], params["conv1"]["conv"]["kernel"], params["fc"]["kernel"]
    for kernel, deviation in zip(kernels, (0.1, 0.01, 0.001), strict=True):
        assert jnp.max(jnp.abs(kernel)) <= 2 * deviation  # cut there
        assert jnp.std(kernel) == pytest.approx(0.88 * deviation, rel=0.02)


@pytest.mark.parity
@pytest.mark.parametrize("transform_input", [False, True])
def test_inception_v3_equals_torchvision(transform_input):
    fields = {"num_classes": 10, "transform_input": transform_input}
    theirs = reference("torchvision/inception_v3", init_weights=False, **fields)
    compare(theirs, "inception_v3", (2, 301, 320, 3), fields=fields)


@pytest.mark.parity
def test_the_net_of_the_fid_equals_pytorch_fid_s(monkeypatch):
    torchvision_of_cpu()
    from pytorch_fid import inception

    untrained = partial(inception._inception_v3, num_classes=1008, aux_logits=False, weights=None)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: untrained().state_dict())
    compare(inception.fid_inception_v3, "inception_v3_fid", (2, 139, 107, 3))


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(299, 299), (32, 48), (400, 320)])
def test_features_for_the_fid_are_those_that_pytorch_fid_measures_with(monkeypatch, shape):
    """Pictures of any size, in [0, 1]: `docs/coming_from_torch.md` has the same lines."""
    import torch

    torchvision_of_cpu()
    from pytorch_fid import inception

    torch.manual_seed(0)
    state = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None).state_dict()
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: state)
    pictures = np.random.default_rng(0).random((2, *shape, 3), np.float32)
    net = inception.InceptionV3([3]).eval()
    with torch.no_grad():
        (theirs,) = net(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    variables = zoo.from_torch("inception_v3_fid", state)
    features = partial(zoo.create("inception_v3_fid").apply, train=False, endpoints=("features",))
    resized = jax.image.resize(pictures, (2, 299, 299, 3), "linear", antialias=False)
    ours = jax.jit(features)(variables, 2 * resized - 1)[1]["features"]
    expected = theirs[..., 0, 0].numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
