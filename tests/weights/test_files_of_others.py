"""Files as other people's tools write them, each with the command that a user tries first; one table, that of the docs."""

import shlex
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.support import files_of_others
from tests.support.files_of_others import DEPTHS, FILES, FOLDER, KERAS, SLIM, TIMM_WIDTH, TORCH, WIDTH, WRITERS, File, value
from tests.weights.test_state_dict import assert_equal_trees
from zoo.cli import main as cli
from zoo.models import registry
from zoo.weights import caffe, keras, tf_slim
from zoo.weights.inspection import find_image_shape, init_shapes
from zoo.weights.key_maps import slots

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


def expected_of(file: File, name: str):
    """The model and variables that are in a file, made without it."""
    model = zoo.create(name, num_classes=files_of_others.CLASSES)
    if file.maker in ("torch", "lightning"):
        shapes = slots(init_shapes(model, find_image_shape(name)), zoo.weights.layouts(name)["timm"])
        state = {key: file.factor * value(key, slot.torch_shape) for key, slot in shapes.items()}
        state = {key: array.astype(jnp.dtype(file.stored)) for key, array in state.items()}
        return model, zoo.from_torch(name, state, model=model)
    if name == SLIM:
        return tf_slim.from_tf_slim(name, {k: value(k, s) for k, s in files_of_others.list_slim_variables().items()})
    if file.maker == "caffe":
        arrays = {key: value(key, shape) for key, shape in files_of_others.list_caffe_shapes().items()}
        origin = caffe.CAFFE
    else:
        leaves = {key: slot.shape for key, slot in keras.keras_slots(name).items()}
        arrays = {key: value(key, (*shape[:-1], 3) if key.startswith("predictions") else shape) for key, shape in leaves.items()}
        origin = zoo.weights.origins.KERAS
    model = origin.make_model(name).clone(num_classes=files_of_others.CLASSES)
    return model, zoo.from_torch(name, origin.name_as_ours(name, arrays), model=model, layout="zoo")


def assert_loads(file: File, capsys) -> None:
    """Runs the command in a folder with the file, and looks at what it loaded."""
    Image.effect_noise((80, 60), 40).convert("RGB").save("cat.png")
    program, command, name, *arguments = shlex.split(file.command)
    assert program == "zoo"
    assert cli.main([command, name, *arguments]) == 0
    printed = capsys.readouterr()
    model, variables = expected_of(file, name)
    source = arguments[1] if command == "convert" else arguments[-1]
    found, loaded = zoo.pretrained(name, source)
    assert found == model
    assert_equal_trees(loaded, variables)
    if command == "verify":
        assert f"{source} holds the weights of {name} with 3 classes" in printed.out
    elif command == "predict":
        (best,) = zoo.predict(model, variables, ["cat.png"], zoo.weights.find_preprocessing(name, source))
        lines = [f"{100 * probability:7.1f} %  {label}" for label, probability in best]
        assert printed.out.splitlines() == ["cat.png", *lines]
    else:
        assert f"weights: {source}" in printed.out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_of_another_tool_loads_with_the_first_command(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(shutil.copytree(FOLDER, tmp_path / "files"))
    assert_loads(file, capsys)


@pytest.fixture(scope="module")
def written_now(tmp_path_factory):
    """A folder with the files of the tools that are installed, written by them."""
    folder = tmp_path_factory.mktemp("files")
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
