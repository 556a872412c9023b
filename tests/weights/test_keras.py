"""Keras's applications: their tables of layers, and where Keras is installed their figures in float64 (`parity`)."""

import json
import os
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

import zoo
from tests.support import oracle
from tests.support.live import NO_GRADIENT, ROUNDING
from tests.support.proof import assert_within, distance
from zoo.weights import keras as library
from zoo.weights.inspection import find_image_shape, init_shapes
from zoo.weights.keras import APPLICATIONS, collect_arrays, from_keras, keras_slots, make_model, name_as_ours, to_keras

SMALL = "densenet121"
SIZES = {"vgg": (224, 224), "inception": (139, 107)}  # others: two small images that are not square
TABLES = {path.stem: json.loads(path.read_text()) for path in (oracle.FIXTURES / "keras").glob("*.json")}
HEADS = ("predictions/", "conv_preds/")
every_application = pytest.mark.parametrize("name", APPLICATIONS)


@cache
def arrays_of(name: str, classes: int = 1000) -> dict[str, np.ndarray]:
    """Keras's arrays by its own table, all different."""
    rng = np.random.default_rng(0)
    found = {}
    for key, shape in TABLES[APPLICATIONS[name].name]["weights"]:
        shape = (*shape[:-1], classes) if key.startswith(HEADS) else shape
        found[key] = rng.standard_normal(shape, np.float32)
    return found


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
    ],
)
def test_the_model_has_as_many_parameters_as_keras_s(name):
    parameters = init_shapes(make_model(name), find_image_shape(name))["params"]
    published = TABLES[APPLICATIONS[name].name]["params_trainable"]
    assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) == published


@pytest.mark.parametrize(
    ("name", "bgr"),
    [("inception_v3", True), ("resnet50_v1", None), ("mobilenet_v1", None), ("mobilenet_v2", None)],
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
    layers = Layers({key: array for key, array in arrays_of("vgg16").items() if key.startswith("block")})
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


def keep_float64(module) -> None:
    """Keras's rule of types knows nothing wider than float32, the type of its normalisations and means."""
    import keras

    rule = module.result_type
    if rule.__module__ != __name__:

        def result_type(*types):
            names = [keras.backend.standardize_dtype(kind) if kind is not None else "" for kind in types]
            return "float64" if "float64" in names else rule(*types)

        module.result_type = result_type


def application(name: str, image_size: tuple[int, int], kind: str):
    """Keras's net of ten classes, in the type `kind`, and images for it; its statistics are near those of the batch."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    keras.utils.clear_session()
    keras.config.set_floatx(kind)
    keras.config.set_dtype_policy(kind)
    keras.config.set_image_data_format("channels_last")
    keep_float64(keras.src.backend)
    keep_float64(keras.src.backend.common.dtypes)
    make = getattr(keras.applications, APPLICATIONS[name].name)
    net = make(weights=None, input_shape=(*image_size, 3), classes=10, classifier_activation=None)
    rng = np.random.RandomState(1)
    images = rng.standard_normal((2, *image_size, 3)).astype(kind)
    for variable in net.weights:
        leaf, shape = variable.name, tuple(variable.shape)
        if leaf == "kernel":
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        else:
            value = rng.uniform(0.5, 1.5, shape) if leaf == "gamma" else 0.1 * rng.standard_normal(shape)
        variable.assign(np.abs(value) + 0.1 if leaf == "moving_variance" else value)
    norms = [layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    state = [[v.value for v in group] for group in (net.trainable_variables, net.non_trainable_variables)]
    _, batch = net.stateless_call(*state, images, training=True)
    for variable, value in zip(net.non_trainable_variables, batch, strict=True):
        variable.assign(value * rng.uniform(0.8, 1.2, value.shape))
    for norm in norms:
        norm.momentum = 0.99
    return net, images


def size_of(name: str) -> tuple[int, int]:
    return next((size for family, size in SIZES.items() if name.startswith(family)), (96, 64))


@pytest.fixture
def numpy_s_broadcasting():
    """Keras adds biases to matrices, which the tests of our own code refuse."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parity
@pytest.mark.usefixtures("numpy_s_broadcasting")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@every_application
def test_the_net_is_keras_s_in_evaluation_and_in_training(name):
    with jax.enable_x64(True):
        assert_within(distances(name))


def distances(name: str):
    net, images = application(name, size_of(name), "float64")
    off = {f: 0.0 for f in make_model(name).__dataclass_fields__ if f.endswith("dropout")}
    arrays = collect_arrays(net)
    model = make_model(name).clone(num_classes=10, param_dtype=jnp.float64, **off)
    ours = name_as_ours(name, arrays, bgr=False)
    variables = zoo.from_torch(name, ours, model=model, layout="zoo")
    state = [[v.value for v in group] for group in (net.trainable_variables, net.non_trainable_variables)]
    labels = np.array([3, 7])

    # Operation by operation: the same few shapes again and again are compiled sooner than a whole net.
    theirs, _ = net.stateless_call(*state, images, training=False)
    found = model.apply(variables, images, train=False)
    yield compared("logits", found, theirs)

    def their_loss(trained, others):
        logits, others = net.stateless_call(trained, others, images, training=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), (logits, others)

    def our_loss(params):
        answer = model.apply(variables | {"params": params}, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(answer[0], labels).mean(), answer

    their_grads, (logits, others) = jax.grad(their_loss, has_aux=True)(*state)
    grads, (found, updates) = jax.grad(our_loss, has_aux=True)(variables["params"])
    yield compared("logits in training", found, logits)

    def by_path(trainable, values):
        keyed = {f"{v.path.split('/')[-2]}/{v.name}": np.asarray(a) for v, a in zip(trainable, values, strict=True)}
        return name_as_ours(name, keyed, bgr=False)

    expected = by_path(net.trainable_variables, their_grads)
    grads = flatten_dict({"params": grads}, sep="/")
    assert grads.keys() == expected.keys()
    least = NO_GRADIENT * max(map(size, expected.values()))
    for path, grad in grads.items():
        # A bias before a normalisation has no gradient: what rounding leaves of it is measured by its kernel's.
        kernel = expected.get(f"{path.removesuffix('/bias')}/kernel", 0.0)
        yield compared(f"gradient of {path}", grad, expected[path], max(least, size(kernel)))

    new = by_path(net.non_trainable_variables, others)
    old = flatten_dict(dict(variables), sep="/")
    for path, value in flatten_dict(dict(updates), sep="/").items():
        batch, theirs = ((v - kept * old[path]) / (1 - kept) for v, kept in ((value, 0.9), (new[path], 0.99)))
        if path.endswith("/var"):  # ours is unbiased: larger by n / (n - 1)
            n = round(1 / (1 - float(np.median(theirs / batch))))
            batch = batch * (n - 1) / n
        yield compared(f"running {path}", batch, theirs)


def size(array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(array))))


def compared(quantity, ours, theirs, least=0.0):
    return distance(quantity, ours, theirs, max(size(theirs), least), ROUNDING)


@pytest.mark.parity
@pytest.mark.usefixtures("numpy_s_broadcasting")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_every_kind_of_file_that_keras_writes_is_read_and_converted(suffix, tmp_path):
    net, images = application(SMALL, (64, 64), "float32")
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
        assert model.epsilon == library.BIASED["epsilon"]
        logits = jax.jit(partial(model.apply, train=False))(variables, images)
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
