"""Caffe's nets: layers by the names in the published prototxt files, and how Caffe's arrays and details differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.support.caffe_files import write
from zoo.errors import UserError
from zoo.layers import Conv, Linear
from zoo.weights.caffe import CAFFE, NETS, caffe_leaves, name_as_ours

NAME = "alexnet_2012"
BVLC = {  # of bvlc_alexnet/deploy.prototxt
    **{"conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3)},
    **{"conv5": (256, 192, 3, 3), "fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (10, 4096)},
}
SOME = {  # of the others'
    "vgg16": {"conv1_1": (64, 3, 3, 3), "conv3_3": (256, 256, 3, 3), "conv5_3": (512, 512, 3, 3), "fc7": (4096, 4096)},
    "vgg19": {"conv2_1": (128, 64, 3, 3), "conv3_4": (256, 256, 3, 3), "conv5_4": (512, 512, 3, 3)},
    "googlenet_2014": {
        **{"conv1/7x7_s2": (64, 3, 7, 7), "conv2/3x3_reduce": (64, 64, 1, 1), "conv2/3x3": (192, 64, 3, 3)},
        **{"inception_3a/1x1": (64, 192, 1, 1), "inception_4b/3x3_reduce": (112, 512, 1, 1)},
        **{"inception_4e/3x3": (320, 160, 3, 3), "inception_5b/5x5_reduce": (48, 832, 1, 1)},
        **{"inception_3b/5x5": (96, 32, 5, 5), "inception_5a/pool_proj": (128, 832, 1, 1)},
        **{"loss1/conv": (128, 512, 1, 1), "loss2/conv": (128, 528, 1, 1)},
    },
    "resnet50_v1": {
        **{"conv1": (64, 3, 7, 7), "res2a_branch1": (256, 64, 1, 1), "res2a_branch2b": (64, 64, 3, 3)},
        **{"res3d_branch2a": (128, 512, 1, 1), "res4f_branch2c": (1024, 256, 1, 1), "res5c_branch2b": (512, 512, 3, 3)},
        **{"bn_conv1": (64,), "bn2a_branch1": (256,), "bn5c_branch2c": (2048,)},
    },
    "resnet101": {"res3b3_branch2b": (128, 128, 3, 3), "res4b22_branch2a": (256, 1024, 1, 1), "bn5b_branch2a": (512,)},
    "resnet152": {"res3b7_branch2b": (128, 128, 3, 3), "res4b35_branch2c": (1024, 256, 1, 1), "bn2c_branch2a": (64,)},
}
LAYERS = {  # convolutions and dense layers, and normalisations
    **{NAME: (8, 0), "vgg16": (16, 0), "vgg19": (19, 0), "googlenet_2014": (64, 0)},
    **{"resnet50_v1": (54, 53), "resnet101": (105, 104), "resnet152": (156, 155)},
}


@pytest.mark.parametrize("name", NETS)
def test_layers_are_those_of_the_published_nets(name):
    leaves = caffe_leaves(name)
    assert sum(leaf.word == "kernel" for leaf in leaves.values()) == LAYERS[name][0]
    assert sum(leaf.word == "scale" for leaf in leaves.values()) == LAYERS[name][1]
    for layer, (outputs, *rest) in (SOME | {NAME: BVLC})[name].items():
        shape = leaves[f"{layer}.weight"].shape
        if layer.startswith("fc"):
            assert np.prod(shape[:-1]) == rest[0]
        else:
            assert shape == (*rest[1:], *rest[:1], outputs)


def alexnet_s_layers():
    rng = np.random.default_rng(0)
    for layer, shape in BVLC.items():
        kind = "InnerProduct" if layer.startswith("fc") else "Convolution"
        yield layer, kind, [rng.standard_normal(shape, np.float32), rng.standard_normal(shape[0], np.float32)]


def test_a_file_is_converted_and_its_layers_compute_what_caffe_s_do(tmp_path):
    layers = [*alexnet_s_layers()]
    path = write(tmp_path / "bvlc_alexnet.caffemodel", layers, old=True)
    assert zoo.weights.find_preprocessing(NAME, path) == NETS[NAME].preprocessing
    model, variables = zoo.pretrained(NAME, path)
    assert model == zoo.create(NAME, num_classes=10, alpha=2e-5, k=1.0)

    blobs = {name: blobs for name, _, blobs in layers}
    patch = np.random.default_rng(1).standard_normal((1, 11, 11, 3), np.float32)
    blue_first = np.einsum("ijc,kcij->k", patch[0, ..., ::-1], blobs["conv1"][0]) + blobs["conv1"][1]
    conv = Conv(96, 11, 4, use_bias=True)
    ours = conv.apply({"params": variables["params"]["conv1"]}, patch)[0, 0, 0]
    np.testing.assert_allclose(ours, blue_first, rtol=1e-4, atol=1e-4)

    maps = np.random.default_rng(2).standard_normal((1, 6, 6, 256), np.float32)
    flat = maps.transpose(0, 3, 1, 2).reshape(-1)  # channels first
    ours = Linear(4096).apply({"params": variables["params"]["fc6"]}, maps)[0]
    np.testing.assert_allclose(ours, blobs["fc6"][0] @ flat + blobs["fc6"][1], rtol=1e-3, atol=1e-2)


def test_a_bias_before_a_normalisation_goes_into_its_mean():
    rng = np.random.default_rng(0)
    bias, mean = rng.standard_normal((2, 64), np.float32)
    ours = name_as_ours("resnet50_v1", {"conv1.bias": bias, "bn_conv1.running_mean": mean})
    assert ours.keys() == {"batch_stats/bn1/mean"}
    np.testing.assert_array_equal(ours["batch_stats/bn1/mean"], mean - bias)


def test_caffe_s_resnet_pools_over_the_right_edge():
    model = CAFFE.make_model("resnet50_v1")
    x = jnp.arange(36.0).reshape(1, 6, 6, 1)
    np.testing.assert_array_equal(model.pool(x)[0, :, :, 0], [[14, 16, 17], [26, 28, 29], [32, 34, 35]])
    shape = jax.eval_shape(model.pool, jax.ShapeDtypeStruct((1, 112, 112, 64), jnp.float32)).shape
    assert shape == (1, 56, 56, 64)


def test_nets_that_caffe_does_not_have_and_layers_of_other_nets_are_refused(tmp_path):
    path = write(tmp_path / "net.caffemodel", [*alexnet_s_layers(), ("ip", "InnerProduct", [np.ones((3, 4))])])
    with pytest.raises(UserError, match="Caffe has no resnet18: its nets here are alexnet_2012, "):
        zoo.load("resnet18", path)
    with pytest.raises(UserError, match=r"1 unexpected: ip\.weight"):
        zoo.pretrained(NAME, path, num_classes=10, key=jax.random.key(0))
