"""TF-slim's nets: their tables of variables and, for weights that are a function of their names, their logits.

Both are tf_slim 1.1's under TensorFlow 2.12 in float64, of Inception v4 and Inception-ResNet v2 those of
tensorflow/models, research/slim/nets.
"""

import gzip
import json
import zlib
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.support import oracle
from zoo.errors import UserError
from zoo.weights import from_tf_slim
from zoo.weights.tf_slim import NETS, SCOPES, SLIM, name_as_ours, slim_leaves

FOLDER = oracle.FIXTURES / "tf_slim"
SMALL = "resnetv2_50"
every_net = pytest.mark.parametrize("name", NETS)


@cache
def record(name: str) -> dict:
    return json.loads(gzip.decompress((FOLDER / f"{SCOPES[name]}.json.gz").read_bytes()))


def value(name: str, shape: list[int]) -> np.ndarray:
    """Of the variable called so."""
    rng, leaf = np.random.RandomState(zlib.crc32(name.encode())), name.rpartition("/")[2]
    if leaf == "weights":
        return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return rng.uniform(0.5, 1.5, shape) if leaf in ("gamma", "moving_variance") else 0.1 * rng.standard_normal(shape)


def arrays_of(name: str) -> dict[str, np.ndarray]:
    return {key: value(key, shape) for key, shape in record(name)["weights"]}


@every_net
def test_the_key_map_is_tf_slim_s_table_of_variables(name):
    theirs = {key.removeprefix(f"{SCOPES[name]}/"): shape for key, shape in record(name)["weights"]}
    ours = {}
    for key, leaf in slim_leaves(name).items():
        shape = [*leaf.shape[:-1], 1001] if "ogits" in key else [*leaf.shape]
        ours[key] = [1, 1, *shape] if key == "Logits/Conv2d_1c_1x1/weights" else shape
    assert ours == theirs


@pytest.mark.proof
@every_net
def test_the_net_is_tf_slim_s(name):
    theirs = record(name)
    with jax.enable_x64(True):
        model = SLIM.make_model(name).clone(num_classes=1001, param_dtype=jnp.float64)
        ours = name_as_ours(name, arrays_of(name))
        variables = zoo.from_torch(name, ours, model=model, layout="zoo")
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        images = np.random.RandomState(0).standard_normal(theirs["input"])
        logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(logits[0, :8], theirs["logits"], rtol=0, atol=1e-7 * theirs["std"])


def test_what_is_not_of_the_net_is_left_out_and_what_stands_before_it_taken_off():
    arrays = {"Conv2d_1a_3x3/weights": np.zeros((3, 3, 3, 32)), "Mixed_5c/Branch_0/Conv2d_9/weights": np.zeros(3)}
    written = {f"module/InceptionV3/{key}": array for key, array in arrays.items()}
    for key in ("AuxLogits/Conv2d_1b_1x1/weights", "Conv2d_1a_3x3/weights/RMSProp", "beta/ExponentialMovingAverage"):
        written[f"module/InceptionV3/{key}"] = np.zeros(3)
    ours = name_as_ours("inception_v3", written | {"global_step": np.zeros(())})
    assert ours.keys() == {"params/Conv2d_1a_3x3/conv/kernel", "module/InceptionV3/Mixed_5c/Branch_0/Conv2d_9/weights"}


def test_class_0_is_dropped_unless_all_1001_are_wanted():
    arrays = arrays_of(SMALL)
    kernel, bias = (arrays[f"resnet_v2_50/logits/{leaf}"].astype(np.float32) for leaf in ("weights", "biases"))
    for classes, first in ((None, 1), (1001, 0)):
        model, variables = from_tf_slim(SMALL, arrays, num_classes=classes)
        assert model == SLIM.make_model(SMALL).clone(num_classes=1001 - first)
        np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], kernel[..., first:])
        np.testing.assert_array_equal(variables["params"]["fc"]["bias"], bias[first:])


def test_an_npz_file_with_tf_slim_s_names_is_converted_and_loaded(tmp_path):
    path, out = tmp_path / "resnet_v2_50.npz", tmp_path / "out.safetensors"
    np.savez(path, **{key: array.astype(np.float32) for key, array in arrays_of(SMALL).items()})
    zoo.weights.convert(SMALL, path, out)
    assert zoo.weights.find_preprocessing(SMALL, out) == NETS[SMALL].preprocessing
    model, variables = zoo.pretrained(SMALL, out)
    assert model == SLIM.make_model(SMALL)
    for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(from_tf_slim(SMALL, arrays_of(SMALL))[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_net_that_tf_slim_does_not_have_and_missing_variables_are_one_error(tmp_path):
    with pytest.raises(UserError, match=r"TF-slim has no resnet18: its nets here are inception_v3, "):
        from_tf_slim("resnet18", {})
    arrays = arrays_of(SMALL) | {"resnet_v2_50/more/weights": np.zeros(3)}
    del arrays["resnet_v2_50/postnorm/gamma"]
    with pytest.raises(UserError, match=r"1 missing: params/norm/scale\n  1 unexpected: resnet_v2_50/more/weights"):
        from_tf_slim(SMALL, arrays)
