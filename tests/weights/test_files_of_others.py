"""Files as other people's tools write them, with the command that a user tries first; one table, that of the docs."""

import shlex
import shutil
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import pytest
from PIL import Image

import zoo
from tests.support import files_of_others
from tests.support.files_of_others import (
    CLASSES,
    DEPTHS,
    FILES,
    FOLDER,
    KERAS,
    SLIM,
    TIMM_WIDTH,
    TORCH,
    WIDTH,
    WRITERS,
    File,
    value,
)
from tests.weights.test_state_dict import assert_equal_trees
from zoo.cli import main as cli
from zoo.models import registry
from zoo.weights import caffe, keras, tf_slim
from zoo.weights.inspection import find_image_shape, init_shapes
from zoo.weights.key_maps import slots
from zoo.weights.origins import KERAS as KERAS_S

INSTALLED = ("torch", "keras")  # of the makers: with the [parity] extra
PAGE = Path(__file__).parents[2] / "docs" / "coming_from_torch.md"


@pytest.fixture(autouse=True)
def tiny_nets(monkeypatch):
    """The models by their names, with a block a stage and few channels, as those in the files."""
    tables = (keras.keras_slots, tf_slim.slim_leaves, caffe.caffe_leaves)  # of whole nets, each made once
    for table in tables:
        table.cache_clear()
    for name in (TORCH, SLIM, KERAS):
        module, row = registry._ROWS[name]
        tiny = partial(row.make, width=TIMM_WIDTH if name == TORCH else WIDTH, depths=DEPTHS)
        monkeypatch.setitem(registry._ROWS, name, (module, replace(row, make=tiny)))
    yield
    for table in tables:
        table.cache_clear()


def make_expected(file: File):
    """The model and the variables that are in a file, made without it."""
    if file.maker == "tensorflow" and file.model == SLIM:
        shapes = files_of_others.list_slim_variables()
        return tf_slim.from_tf_slim(SLIM, {key: value(key, shape) for key, shape in shapes.items()})
    origin = {"torch": None, "lightning": None, "caffe": caffe.CAFFE}.get(file.maker, KERAS_S)
    make = origin.make_model if origin else zoo.create
    model = make(file.model).clone(num_classes=CLASSES)
    if origin is None:
        found = slots(init_shapes(model, find_image_shape(file.model)), zoo.weights.layouts(file.model)["timm"])
        arrays = {key: file.factor * value(key, slot.torch_shape) for key, slot in found.items()}
        arrays = {key: array.astype(jnp.dtype(file.stored)) for key, array in arrays.items()}
        return model, zoo.from_torch(file.model, arrays, model=model)
    if file.maker == "caffe":
        shapes = files_of_others.list_caffe_shapes()
    else:
        shapes = {key: slot.shape for key, slot in keras.keras_slots(file.model).items()}
        shapes |= {key: (*shapes[key][:-1], CLASSES) for key in ("predictions/kernel", "predictions/bias")}
    arrays = origin.name_as_ours(file.model, {key: value(key, shape) for key, shape in shapes.items()})
    return model, zoo.from_torch(file.model, arrays, model=model, layout="zoo")


def assert_loads(file: File, capsys) -> None:
    """Runs the command in a folder with the file, and looks at what it loaded."""
    Image.effect_noise((80, 60), 40).convert("RGB").save("cat.png")
    program, *words = shlex.split(file.command)
    assert program == "zoo"
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    model, variables = make_expected(file)
    source = "out.safetensors" if file.does == "convert" else file.source
    found, loaded = zoo.pretrained(file.model, source)
    assert found == model
    assert_equal_trees(loaded, variables)
    if file.does == "predict":
        (best,) = zoo.predict(model, variables, ["cat.png"], zoo.weights.find_preprocessing(file.model, source))
        expected = [f"{100 * probability:7.1f} %  {label}" for label, probability in best]
        assert printed.splitlines() == ["cat.png", *expected]
    else:
        said = {
            "verify": f"{source} holds the weights of {file.model} with 3 classes: ",
            "convert": f"weights: {source}",
        }
        assert said[file.does] in printed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_of_another_tool_loads_with_the_first_command(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(shutil.copytree(FOLDER, tmp_path / "files"))
    assert_loads(file, capsys)


def test_what_of_a_checkpoint_was_read_and_what_was_taken_off_its_names_is_said(monkeypatch, capsys):
    monkeypatch.chdir(FOLDER)
    for name, said in {
        "model_best.pth.tar": "Its 'state_dict' was read. 'module.' was taken off its names.",
        "checkpoint.pth": "Its 'model' was read; checkpoint.pth#model_ema is another.",
        "checkpoint-3.pth.tar": "Its 'state_dict' was read; checkpoint-3.pth.tar#state_dict_ema is another.",
        "epoch=0-step=1.ckpt": "Its 'state_dict' was read. 'model.' was taken off its names.",
        "compiled.pt": "Its 'model_state_dict' was read. '_orig_mod.' was taken off its names.",
    }.items():
        assert cli.main(["verify", TORCH, name]) == 0
        assert capsys.readouterr().out.endswith(f"running statistics. {said}\n")


@pytest.fixture(scope="module")
def written_now(tmp_path_factory):
    """A folder with the files of the tools that are installed, written by them."""
    folder = tmp_path_factory.mktemp("files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools' own deprecations
        for maker in INSTALLED:
            WRITERS[maker](folder)
    return folder


@pytest.mark.parity
@pytest.mark.parametrize("file", [file for file in FILES if file.maker in INSTALLED], ids=lambda file: file.name)
def test_so_does_one_that_the_installed_tool_writes_now(file, written_now, monkeypatch, capsys):
    monkeypatch.chdir(written_now)
    assert_loads(file, capsys)


def test_caffe_s_file_is_what_protobuf_writes_now(tmp_path):
    WRITERS["caffe"](tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == (FOLDER / path.name).read_bytes()


def test_every_file_is_in_the_table_and_the_table_is_in_the_documentation():
    named = {file.name for file in FILES} | {f"model.ckpt-30.{end}" for end in ("index", "data-00000-of-00001")}
    assert {path.name for path in FOLDER.iterdir()} == named - {"model.ckpt-30"}
    assert files_of_others.format_table() in PAGE.read_text(encoding="utf-8")
    assert len(FILES) >= 10
