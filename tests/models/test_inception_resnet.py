"""Inception-ResNet: the paper's figure, Keras' kernels, the bottleneck, older names, and sizes that no fixture has."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoo
from tests.support import oracle
from tests.support.layouts import PYTORCHCV_INCEPTION_RESNET_V1
from tests.support.live import compare, reference
from zoo import weights
from zoo.models import summary

TEN = {"num_classes": 10}
IMAGES = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)


def initialised(name: str, **fields):
    """Shapes of the logits and the variables."""
    init = partial(zoo.create(name, **fields).init_with_output, train=False)
    return jax.eval_shape(init, jax.random.key(0), IMAGES)


def test_maps_of_v1_are_those_of_figure_15():
    figure = {"stem": (35, 35, 256), "block35": (35, 35, 256), "block17": (17, 17, 896), "block8": (8, 8, 1792)}
    assert summary.endpoints(zoo.create("inception_resnet_v1"), (299, 299, 3), tuple(figure)) == figure


def test_kernels_of_v2_are_those_of_keras():
    keras = json.loads((oracle.FIXTURES / "keras/InceptionResNetV2.json").read_text())
    theirs = sorted(tuple(shape) for name, shape in keras["weights"] if name.endswith("kernel"))
    ours = flatten_dict(initialised("inception_resnet_v2")[1]["params"]).items()
    assert sorted(leaf.shape for path, leaf in ours if path[-1] == "kernel") == theirs


def test_bottleneck_makes_the_face_model_and_its_embedding():
    logits, variables = initialised("inception_resnet_v1", bottleneck=512)
    params = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert params == oracle.record("pytorchcv/inceptionresnetv1").figures["params"]
    assert logits.shape == (2, 1000)
    embedding, _ = initialised("inception_resnet_v1", bottleneck=512, num_classes=0)
    assert embedding.shape == (2, 512)


def test_cadene_s_name_of_the_classifier_is_understood():
    keys = oracle.record("timm/inception_resnet_v2").keys
    state = {key.replace("classif", "last_linear"): np.zeros(shape, np.float32) for key, shape in keys}
    state["last_linear.bias"] += 1
    variables = weights.from_torch("inception_resnet_v2", state)
    np.testing.assert_array_equal(variables["params"]["classif"]["bias"], 1)


@pytest.mark.parity
def test_v2_equals_timm():
    theirs = reference("timm/inception_resnet_v2", **TEN)
    compare(theirs, "inception_resnet_v2", (3, 123, 155, 3), layout="timm", fields=TEN)


@pytest.mark.parity
def test_v1_with_the_bottleneck_equals_pytorchcv():
    theirs = reference("pytorchcv/inceptionresnetv1", **TEN)
    fields = TEN | {"bottleneck": 512}
    compare(theirs, "inception_resnet_v1", (3, 299, 315, 3), layout=PYTORCHCV_INCEPTION_RESNET_V1, fields=fields)
