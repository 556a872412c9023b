"""Weights in the form in which timm keeps them: timm makes the net of them, and it computes the same."""

import json
import math
import warnings
from functools import partial

import jax
import numpy as np
import pytest

import zoo
from tests.support import oracle
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo.data import PRESETS, Preprocessing
from zoo.weights import find_class_names, find_preprocessing, hub, layouts, slots
from zoo.weights.inspection import init_shapes
from zoo.weights.repository import ARGUMENTS, TIMM, describe, write_repository

GREY = Preprocessing(32, 0.8, (0.5,), (0.25,), interpolation="bicubic")


def write(folder, preprocessing=GREY, class_names=("cat", "dog", "horse"), name=NAME):
    """A repository of a net with three classes; returns the model and its variables."""
    model = zoo.create(name, num_classes=3)
    shape = preprocessing.image_shape
    variables = zoo.from_torch(name, state_dict_of(name, shape, num_classes=3), model=model, image_shape=shape)
    write_repository(folder, name, variables, model=model, preprocessing=preprocessing, class_names=class_names)
    return model, variables


def test_what_is_written_comes_back_with_preprocessing_and_names(tmp_path):
    model, variables = write(tmp_path / "new")
    found, loaded = zoo.pretrained(NAME, tmp_path / "new")
    assert found == model
    assert_equal_trees(loaded, variables)
    assert find_preprocessing(NAME, tmp_path / "new") == GREY
    assert find_class_names(NAME, tmp_path / "new") == ("cat", "dog", "horse")


@pytest.mark.parametrize("preprocessing", [*PRESETS.values(), GREY, Preprocessing((32, 48), None)])
def test_the_card_says_what_is_done_to_a_picture(tmp_path, preprocessing):
    write(tmp_path, preprocessing)
    (tmp_path / "model.safetensors").unlink()
    said = zoo.weights.hub.read_card(tmp_path).preprocessing
    assert (said.size, said.interpolation) == (preprocessing.size, preprocessing.interpolation)
    for height, width in ((500, 333), (100, 400)):
        assert said.resized_shape(height, width) == preprocessing.resized_shape(height, width)
    for name in ("mean", "std"):
        np.testing.assert_allclose(getattr(said, name), np.divide(getattr(preprocessing, name), preprocessing.scale))


def test_the_words_are_timm_s(tmp_path):
    write(tmp_path)
    card = json.loads((tmp_path / "config.json").read_text())
    assert (card["architecture"], card["num_classes"]) == (NAME, 3)
    assert card["label_names"] == ["cat", "dog", "horse"]
    said = card["pretrained_cfg"]
    assert said["input_size"] == [1, 32, 32]
    assert (said["first_conv"], said["classifier"]) == ("conv1", "fc")
    assert (said["crop_pct"], said["crop_mode"]) == (0.8, "center")


@pytest.mark.parametrize("crop", [0.8, 0.875, 0.9, 299 / 342])
@pytest.mark.parametrize("size", [25, 32, 64, 224, 299])
def test_timm_which_cuts_off_a_fraction_resizes_to_the_same_height(size, crop):
    ours = Preprocessing(size, crop)
    said = describe("resnet18", zoo.create("resnet18"), ours, None, "torchvision")["pretrained_cfg"]
    assert math.floor(size / said["crop_pct"]) == ours.resized_shape(500, 500)[0]


@pytest.mark.parametrize(("size", "crop_pct", "resized"), [(299, 0.875, 341), (288, 0.95, 303), (224, 0.9, 248)])
def test_timm_s_fraction_is_cut_off(size, crop_pct, resized):
    """As its create_transform does with the `config.json` of these pictures."""
    said = {
        "input_size": [3, size, size],
        "crop_pct": crop_pct,
        "mean": [0.5],
        "std": [0.5],
        "interpolation": "bicubic",
    }
    assert hub._read_preprocessing(said).resized_shape(500, 500) == (resized, resized)


def import_timm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own
        from zoo.bench.torch_nets import import_torchvision

        import_torchvision()  # with what timm wants of it
        import timm

    return timm


def make_timm(folder, **options):
    return import_timm().create_model(f"local-dir:{folder}", pretrained=True, **options).eval()


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("resnet18", Preprocessing(64, 0.875)),
        ("mobilenet_v2", Preprocessing(64, 0.9)),
        ("resnet18", Preprocessing((64, 48), None, (0.5,), (0.25,))),
        ("resnetv2_18", Preprocessing(64, 1.0)),
        ("densenet121", PRESETS["caffe"]),
    ],
)
def test_timm_computes_the_same(tmp_path, name, preprocessing):
    import torch

    model, variables = write(tmp_path, preprocessing, name=name)
    net = make_timm(tmp_path)
    shape = preprocessing.image_shape
    images = np.random.RandomState(0).standard_normal((2, 64, 64, shape[2]))
    with jax.enable_x64(True):
        ours = np.asarray(jax.jit(partial(model.apply, train=False))(variables, images))
    with torch.no_grad():
        theirs = net.double()(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
    assert net.pretrained_cfg["label_names"] == ["cat", "dog", "horse"]
    config = import_timm().data.resolve_model_data_config(net)
    assert (list(config["input_size"]), config["interpolation"]) == (
        [shape[2], *shape[:2]],
        preprocessing.interpolation,
    )
    np.testing.assert_allclose(config["mean"], np.divide(preprocessing.mean, preprocessing.scale))
    resized = import_timm().data.create_transform(**config).transforms[0].size
    if preprocessing.crop:
        assert resized == preprocessing.resized_shape(500, 500)[0]


@pytest.mark.parity
@pytest.mark.parametrize("name", sorted(TIMM))
def test_every_net_that_is_said_to_be_timm_s_has_timm_s_names_and_shapes(name):
    import torch

    timm = import_timm()
    known, model = layouts(name), zoo.create(name, num_classes=3)
    layout = "timm" if "timm" in known else next(iter(known))
    preprocessing = Preprocessing(96, 1.0, (0.5,), (0.5,))
    ours = slots(init_shapes(model, preprocessing.image_shape), known[layout])
    with torch.device("meta"):
        net = timm.create_model(TIMM[name], num_classes=3, in_chans=1, **ARGUMENTS.get(name, {}))
    theirs = {k: tuple(v.shape) for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {k: slot.torch_shape for k, slot in ours.items()} == theirs
    card = describe(name, model, preprocessing, None, layout)["pretrained_cfg"]
    for place in ("first_conv", "classifier"):
        assert card[place] == net.pretrained_cfg[place]


@pytest.mark.parity
def test_timm_makes_a_new_head_and_takes_other_channels_from_what_is_written(tmp_path):
    write(tmp_path, Preprocessing(64), name="resnet18")
    net = make_timm(tmp_path, num_classes=7, in_chans=1)
    weight = oracle.tensor("conv1.weight", (64, 3, 7, 7))
    np.testing.assert_allclose(net.conv1.weight.detach().numpy(), weight.sum(1, keepdims=True), rtol=1e-4, atol=1e-5)
    assert net.fc.out_features == 7
