"""Nets as files for elsewhere: whoever reads them gets the net's logits."""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax import export as jax_export

import zoo
from zoo.data import Preprocessing
from zoo.data.preprocessing import parse_preprocessing, prepare_images
from zoo.errors import UserError
from zoo.weights import export

PREPROCESSING = Preprocessing(32, None, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
SMALL = {  # a net of each family, or the smallest part of it that has its every layer
    "lenet5": {},
    "convnet_bn": {},
    "mlp": {},
    "resnet20": {"width": 4, "depths": (1, 1)},
    "resnet50": {"width": 4, "depths": (1, 1)},
    "resnext29_8x64d": {"depths": (1, 1)},
    "seresnet50": {"width": 4, "depths": (1, 1)},
    "resnet50d": {"width": 4, "depths": (1, 1)},
    "preresnet20": {"width": 4, "depths": (1, 1)},
    "resnetv2_50": {"width": 4, "depths": (1, 1)},
    "densenet40_k12": {"growth": 4, "depths": (1, 1)},
    "densenet121": {"growth": 4, "depths": (1, 1), "stem": 8},
}
LARGE = ("alexnet_2012", "vgg11_bn", "googlenet", "googlenet_2014", "inception_v2", "inception_v3")
LARGE += ("inception_v4", "inception_resnet_v1", "inception_resnet_v2")


def make_net(name, size=32, **fields):
    """A net of random weights and statistics, and the preprocessing of its images."""
    channels = zoo.variant(name).channels
    model = zoo.create(name, num_classes=7, **fields)
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    random = np.random.RandomState(0)

    def fill(path, leaf):
        if path[-1].key == "kernel":
            value = random.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            positive = path[-1].key in ("scale", "var")
            value = random.uniform(0.5 if positive else -0.5, 1.5 if positive else 0.5, leaf.shape)
        return value.astype(leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    mean, std = PREPROCESSING.mean[:channels], PREPROCESSING.std[:channels]
    return model, variables, Preprocessing(size, None, mean=mean, std=std)


@pytest.fixture(scope="module")
def net():
    return make_net("resnet20", **SMALL["resnet20"])


@pytest.fixture(scope="module")
def pictures():
    return np.random.RandomState(1).randint(0, 256, (3, 32, 32, 3), np.uint8)


def answer(net, pictures):
    model, variables, preprocessing = net
    return jax.jit(partial(model.apply, train=False))(variables, prepare_images(pictures, preprocessing))


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_stablehlo_answers_any_number_of_images_as_the_net(net, pictures, tmp_path):
    report = export(tmp_path / "net.stablehlo", *net)
    assert report.files == (tmp_path / "net.stablehlo",)
    assert report.images == "float32 [N, 32, 32, 3]"
    assert report.difference < 1e-5
    restored = jax_export.deserialize((tmp_path / "net.stablehlo").read_bytes())
    assert restored.platforms == ("cpu", "cuda", "rocm", "tpu")
    for n in (1, 3):
        found = restored.call(prepare_images(pictures[:n], PREPROCESSING))
        assert_close(found, answer(net, pictures[:n]))


def test_with_pixels_the_file_takes_bytes(net, pictures, tmp_path):
    assert export(tmp_path / "net.stablehlo", *net, pixels=True).images == "uint8 [N, 32, 32, 3]"
    restored = jax_export.deserialize((tmp_path / "net.stablehlo").read_bytes())
    assert_close(restored.call(pictures), answer(net, pictures))


def test_weights_beside_are_the_first_argument(net, pictures, tmp_path):
    report = export(tmp_path / "net.stablehlo", *net, beside=True)
    assert report.files == (tmp_path / "net.stablehlo", tmp_path / "net.stablehlo.safetensors")
    assert report.files[0].stat().st_size < 100_000
    restored = jax_export.deserialize(report.files[0].read_bytes())
    weights = safetensors.numpy.load_file(report.files[1])
    assert "params/layer1_0/conv1/kernel" in weights
    assert not [name for name in weights if name.startswith("batch_stats")]  # all are folded
    assert_close(restored.call(weights, prepare_images(pictures, PREPROCESSING)), answer(net, pictures))


def test_with_any_size_height_and_width_are_open(net, tmp_path):
    assert export(tmp_path / "net.stablehlo", *net, any_size=True).images == "float32 [N, H, W, 3]"
    restored = jax_export.deserialize((tmp_path / "net.stablehlo").read_bytes())
    model, variables, _ = net
    for shape in ((1, 17, 24, 3), (2, 40, 33, 3)):
        images = np.random.RandomState(2).standard_normal(shape).astype(np.float32)
        assert_close(restored.call(images), model.apply(variables, images, train=False))


def test_with_any_size_a_pool_that_rounds_up_does_so_for_each(tmp_path):
    model, variables, preprocessing = make_net("resnet50d", **SMALL["resnet50d"])
    export(tmp_path / "net.stablehlo", model, variables, preprocessing, any_size=True)
    restored = jax_export.deserialize((tmp_path / "net.stablehlo").read_bytes())
    for shape in ((1, 17, 24, 3), (2, 40, 33, 3)):
        images = np.random.RandomState(2).standard_normal(shape).astype(np.float32)
        assert_close(restored.call(images), model.apply(variables, images, train=False))


def test_parameters_in_bfloat16_are_exported_in_float32(pictures, tmp_path):
    net = make_net("convnet_bn", dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    report = export(tmp_path / "net.stablehlo", *net, beside=True)
    weights = safetensors.numpy.load_file(report.files[1])
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    found = jax_export.deserialize(report.files[0].read_bytes()).call(weights, prepare_images(pictures, PREPROCESSING))
    model, *rest = net
    assert_close(found, answer((model.clone(dtype=jnp.float32), *rest), pictures))


def test_a_file_whose_answers_are_not_the_nets_is_not_written(net, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["zoo.weights.exporting"], "TOLERANCE", 1e-12)
    with pytest.raises(UserError, match=r"net\.stablehlo was not written: its logits differ from the net's by"):
        export(tmp_path / "net.stablehlo", *net, beside=True)
    assert not [*tmp_path.iterdir()]


def test_a_net_whose_answers_are_no_numbers_is_not_written(net, tmp_path):
    model, variables, preprocessing = net
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), variables)
    with pytest.raises(UserError, match="the net's answers are not numbers"):
        export(tmp_path / "net.stablehlo", model, broken, preprocessing)
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_exported_is_refused(net, tmp_path):
    with pytest.raises(UserError, match=r"net\.tflite: nets are exported as \.stablehlo or \.onnx"):
        export(tmp_path / "net.tflite", *net)
    with pytest.raises(UserError, match=r"an \.onnx file of ours has one height and width"):
        export(tmp_path / "net.onnx", *net, any_size=True)
    with pytest.raises(UserError, match="LeNet5 takes images of one size: leave out any_size"):
        export(tmp_path / "net.stablehlo", *make_net("lenet5"), any_size=True)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export(tmp_path / "nowhere" / "net.stablehlo", *net)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("format_", "extra", "library"), [("stablehlo", "export", "flatbuffers"), ("onnx", "onnx", "onnxruntime")]
)
def test_without_its_library_a_format_names_the_extra(format_, extra, library, net, tmp_path, monkeypatch):
    for name in [
        name for name in sys.modules if name.partition(".")[0] == library or name.startswith("jax._src.export.ser")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'jax-cnn-zoo\[{extra}\]'"):
        export(tmp_path / f"net.{format_}", *net)
    assert not [*tmp_path.iterdir()]


def run_onnx(path, images):
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"images": images})[0]


@pytest.mark.parametrize("name", SMALL)
def test_onnxruntime_answers_as_a_net_of_each_family(name, tmp_path):
    net = make_net(name, **SMALL[name])
    export(tmp_path / "net.onnx", *net)
    shape = (3, *net[2].image_shape)
    pictures = np.random.RandomState(1).randint(0, 256, shape, np.uint8)
    assert_close(run_onnx(tmp_path / "net.onnx", prepare_images(pictures, net[2])), answer(net, pictures))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_onnxruntime_answers_as_a_large_net(name, tmp_path):
    report = export(tmp_path / "net.onnx", *make_net(name, zoo.variant(name).image_size))
    assert report.difference < 1e-5


@pytest.mark.parametrize("beside", [False, True])
def test_onnx_takes_bytes_and_finds_weights_beside(beside, net, pictures, tmp_path):
    report = export(tmp_path / "net.onnx", *net, pixels=True, beside=beside)
    assert report.images == "uint8 [N, 32, 32, 3]"
    assert report.files[1:] == ((tmp_path / "net.onnx.data",) if beside else ())
    for n in (1, 3):
        assert_close(run_onnx(report.files[0], pictures[:n]), answer(net, pictures[:n]))


def test_an_onnx_file_says_what_it_is(net, tmp_path):
    import onnx

    names = [*"abcdefg"]
    export(tmp_path / "net.onnx", *net, class_names=names)
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert parse_preprocessing(notes["preprocessing"]) == net[2]
    assert json.loads(notes["class_names"]) == names
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 5  # as the net has
    assert kinds.count("Transpose") == 1  # of the images
    assert not {"Sqrt", "Reciprocal", "Sub"} & {*kinds}  # of a normalisation that is not folded
    stored = {array.name: tuple(array.dims) for array in model.graph.initializer}
    assert stored["params/layer2_0/conv1/kernel"] == (8, 4, 3, 3)


def test_an_onnx_file_has_the_networks_own_pool(net, tmp_path):
    """Each pool is one operation, on the maps as they are: not windows written out pixel by pixel."""
    import onnx

    export(tmp_path / "net.onnx", *make_net("resnet50", **SMALL["resnet50"]))
    kinds = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert (kinds.count("MaxPool"), kinds.count("Max"), kinds.count("Slice")) == (1, 0, 0)
