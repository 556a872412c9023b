"""`zoo export`: a run or a model becomes a file that other programs read."""

import numpy as np
import pytest
from jax import export as jax_export

import zoo
from tests.support.nets import draw_variables
from zoo.cli import main as cli
from zoo.data.preprocessing import format_preprocessing
from zoo.training import RunFolder, RunRecord, TrainConfig, loop


def call(capsys, *words):
    code = cli.main([str(word) for word in words])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the digits that has learnt nothing."""
    config, folder = TrainConfig("convnet_bn"), RunFolder(tmp_path_factory.mktemp("runs") / "run")
    splits, state, _ = loop.prepare(config)
    folder.folder.mkdir()
    folder.start(RunRecord(config, splits.train.preprocessing, splits.train.num_classes))
    model = zoo.create(config.model, num_classes=splits.train.num_classes)
    zoo.save(folder.weights_path, state.variables, name=config.model, model=model)
    return folder


def test_a_run_is_exported_with_its_preprocessing(run, tmp_path, capsys):
    code, out, _ = call(capsys, "export", run.folder, tmp_path / "net.stablehlo", "--pixels")
    assert code == 0
    first, takes, difference = out.splitlines()
    assert first.startswith(f"net: {tmp_path / 'net.stablehlo'} (0.")
    assert takes == "takes: uint8 [N, 8, 8, 1]"
    assert float(difference.rpartition(" ")[2]) < 1e-5
    images = zoo.data.load("digits").test.images[:5]
    trained = run.restore()
    prepared = zoo.data.prepare_images(images, trained.record.preprocessing)
    expected = trained.model.apply(trained.state.variables, prepared, train=False)
    restored = jax_export.deserialize((tmp_path / "net.stablehlo").read_bytes())
    np.testing.assert_allclose(restored.call(images), expected, atol=1e-5)


def test_a_model_is_exported_with_weights_of_a_file(tmp_path, capsys):
    model = zoo.create("lenet5_relu", num_classes=10)
    variables = draw_variables(model, (32, 32, 1))
    preprocessing = zoo.data.Preprocessing(32, None, mean=(0.5,), std=(0.5,))
    notes = {"preprocessing": format_preprocessing(preprocessing)}
    zoo.save(tmp_path / "w.safetensors", variables, name="lenet5_relu", metadata=notes)
    words = ("export", "lenet5_relu", tmp_path / "net.stablehlo", "--weights", tmp_path / "w.safetensors")
    code, out, _ = call(capsys, *words, "--beside")
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()][:3] == ["net", "weights", "takes"]
    assert (tmp_path / "net.stablehlo.safetensors").exists()
    code, _, err = call(capsys, *words, "--any-size")
    assert (code, err) == (2, "zoo: LeNet5ReLU takes images of one size: leave out --any-size.\n")


WRONG = {
    "another format": (["net.tflite"], "net.tflite: nets are exported as .stablehlo or .onnx"),
    "any size as ONNX": (["net.onnx", "--any-size"], "leave out --any-size, or export it as .stablehlo"),
    "no file": ([], "no OUT"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(words, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "export", run.folder, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not [*tmp_path.iterdir()]
