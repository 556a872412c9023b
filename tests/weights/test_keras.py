"""Keras's applications: their tables of layers, and the way there and back."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.support import oracle
from zoo.weights.inspection import find_image_shape, init_shapes
from zoo.weights.keras import from_keras, keras_slots, name_as_ours, to_keras
from zoo.weights.keras_applications import APPLICATIONS, make_model

SMALL = "densenet121"
TABLES = {path.stem: json.loads(path.read_text()) for path in (oracle.FIXTURES / "keras").glob("*.json")}
HEADS = ("predictions/", "conv_preds/")
every_application = pytest.mark.parametrize("name", APPLICATIONS)


@cache
def arrays_of(name: str, classes: int = 1000, start: str = "") -> dict[str, np.ndarray]:
    """Keras's arrays by its own table, all different, of the layers whose names start so."""
    rng = np.random.default_rng(0)
    found = {}
    for key, shape in TABLES[APPLICATIONS[name].name]["weights"]:
        shape = (*shape[:-1], classes) if key.startswith(HEADS) else shape
        if key.startswith(start):
            found[key] = rng.standard_normal(shape, np.float32)
    return found


@pytest.fixture(scope="module", autouse=True)
def _forget_arrays():
    """Half a gigabyte that no other module needs."""
    yield
    arrays_of.cache_clear()


@every_application
def test_the_key_map_is_keras_s_table_of_layers(name):
    theirs = {key: tuple(shape) for key, shape in TABLES[APPLICATIONS[name].name]["weights"]}
    ours = {}
    for key, slot in keras_slots(name).items():
        shape = (*slot.shape[:-1], 1000) if key.startswith(HEADS) else slot.shape
        ours[key] = slot.write(np.empty(shape)).shape
    assert ours == theirs


@pytest.mark.parametrize(
    "name",
    [
        "vgg16",
        "resnet50_v1",
        "resnetv2_50",
        SMALL,
        "inception_v3",
        "inception_resnet_v2",
        "mobilenet_v1",
        "mobilenet_v2",
        "xception",
    ],
)
def test_the_model_has_as_many_parameters_as_keras_s(name):
    parameters = init_shapes(make_model(name), find_image_shape(name))["params"]
    published = TABLES[APPLICATIONS[name].name]["params_trainable"]
    assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) == published


@pytest.mark.parametrize(
    ("name", "bgr"),
    [("inception_v3", True), ("resnet50_v1", None), ("mobilenet_v1", None), ("mobilenet_v2", None), ("xception", None)],
)
def test_to_keras_gives_what_from_keras_took(name, bgr):
    arrays = arrays_of(name, 10)
    model, variables = from_keras(name, Layers(arrays), bgr=bgr)
    assert model == make_model(name).clone(num_classes=10)
    layers: dict[str, list[np.ndarray]] = {}
    for key, array in arrays.items():
        layers.setdefault(key.rpartition("/")[0], []).append(array)
    written = to_keras(name, variables, bgr=bgr)
    assert written.keys() == layers.keys()
    for layer, theirs in layers.items():
        for array, wanted in zip(written[layer], theirs, strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=layer, strict=True)


def test_kernels_for_blue_first_are_turned_round_where_keras_s_preprocessing_gives_it():
    for name, turned in (("resnet50_v1", True), (SMALL, False)):
        kernel = arrays_of(name)["conv1_conv/kernel"]
        first = next(iter(keras_slots(name).values())).path
        for bgr, expected in ((None, turned), (True, True), (False, False)):
            ours = name_as_ours(name, {"conv1_conv/kernel": kernel}, bgr=bgr)[first]
            np.testing.assert_array_equal(ours, kernel[:, :, ::-1] if expected else kernel)


def test_numbered_layers_of_a_later_net_are_the_same():
    later = {}
    for key, array in arrays_of("inception_v3").items():
        layer, _, leaf = key.rpartition("/")
        kind, _, number = layer.rpartition("_") if layer[-1].isdigit() and layer != "conv2d" else (layer, "", "0")
        later[f"{kind}_{int(number) + 94}/{leaf}" if kind in ("conv2d", "batch_normalization") else key] = array
    ours, same = (name_as_ours("inception_v3", arrays) for arrays in (later, arrays_of("inception_v3")))
    assert len(set(later) & set(arrays_of("inception_v3"))) == 2  # the classifier's
    assert ours.keys() == same.keys()
    assert all(np.shares_memory(ours[path], same[path]) for path in ours)


def test_one_error_lists_missing_unexpected_and_misshapen_arrays():
    arrays = dict(arrays_of(SMALL)) | {"extra/kernel": np.zeros((3, 3), np.float32)}
    del arrays["bn/gamma"]
    arrays["conv1_conv/kernel"] = arrays["conv1_conv/kernel"][:5]
    with pytest.raises(ValueError, match="not the weights of densenet121") as error:
        from_keras(SMALL, Layers(arrays))
    for problem in ("1 missing: params/norm5/scale", "1 unexpected: extra/kernel", "1 misshapen: params/conv0/kernel"):
        assert problem in str(error.value)


def test_other_classes_want_a_new_head_with_a_key_and_none_give_features():
    layers = Layers(arrays_of(SMALL))
    with pytest.raises(ValueError, match="pass key="):
        from_keras(SMALL, layers, num_classes=3)
    model, variables = from_keras(SMALL, layers, num_classes=0)
    assert model.num_classes == 0
    assert "classifier" not in variables["params"]


def test_weights_without_top_give_features_or_take_a_new_head_and_the_message_says_so():
    layers = Layers({key: array for key, array in arrays_of(SMALL).items() if not key.startswith("predictions/")})
    with pytest.raises(ValueError, match=r"without its dense layers \(classifier\): pass num_classes=K and key="):
        from_keras(SMALL, layers)
    model, variables = from_keras(SMALL, layers, num_classes=0)
    assert model.num_classes == 0
    assert "classifier" not in variables["params"]
    model, variables = from_keras(SMALL, layers, num_classes=3, key=jax.random.key(0))
    assert variables["params"]["classifier"]["kernel"].shape == (1024, 3)
    with pytest.raises(ValueError, match=r"new=\('classifier',\) is initialised and not loaded: pass key="):
        from_keras(SMALL, layers, num_classes=3)


def test_what_vgg_s_features_need_of_the_top_is_said():
    layers = Layers(arrays_of("vgg16", start="block"))
    with pytest.raises(ValueError, match=r"\(classifier_0, classifier_3, classifier_6\)"):
        from_keras("vgg16", layers)
    with pytest.raises(ValueError, match=r"new=\('classifier_0', 'classifier_3'\) is initialised and not loaded"):
        from_keras("vgg16", layers, num_classes=0)


def test_nets_that_keras_does_not_have_and_variables_of_other_nets_are_refused():
    with pytest.raises(ValueError, match=r"Keras has no resnet18: its applications here are vgg16"):
        from_keras("resnet18", Layers({}))
    with pytest.raises(TypeError, match="a file or a model of Keras's, got dict"):
        from_keras(SMALL, {})
    with pytest.raises(ValueError, match=r"w\.pth: Keras's files end in \.h5"):
        from_keras(SMALL, "w.pth")
    with pytest.raises(FileNotFoundError, match=r"no file of weights at w\.h5"):
        from_keras(SMALL, "w.h5")
    plain = jax.eval_shape(
        lambda: zoo.create("resnet50_v1").init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    with pytest.raises(ValueError, match="missing: params/conv1/bias"):
        to_keras("resnet50_v1", plain)


class Variable:
    def __init__(self, name: str, value: np.ndarray):
        self.name, self.value = name, value

    def numpy(self) -> np.ndarray:
        return self.value


class Layer:
    def __init__(self, name: str):
        self.name, self.weights = name, []


class Layers:
    """As much of a model of Keras's as is read."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        layers: dict[str, Layer] = {}
        for key, array in arrays.items():
            layer, _, leaf = key.rpartition("/")
            layers.setdefault(layer, Layer(layer)).weights.append(Variable(leaf, array))
        self.layers = list(layers.values())
