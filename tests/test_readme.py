"""The README says what the project shows."""

import json
import re
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import skimage.data
from PIL import Image

import zoo
from tests.support.hub import make_repository
from tests.support.proof_table import PROOFS
from tools import write_model_table
from zoo.cli import main as cli
from zoo.models import registry, resnet

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize(("path", "text"), write_model_table.files().items(), ids=lambda value: Path(value).name[:20])
def test_tables_of_models_are_those_the_command_writes(path, text):
    assert path.read_text(encoding="utf-8") == text, "write them: python -m tools.write_model_table"


def test_measured_figures_are_of_registered_models_and_every_fixture_is_among_them():
    measured = json.loads(write_model_table.MEASURED.read_text())
    assert set(measured) <= set(zoo.list_models())
    missing = {proof.name for proof in PROOFS} - set(measured)
    assert not missing, "measure them: python -m tools.write_model_table --measure"


def blocks(language):
    """The fenced blocks of the README in that language; "" are those that show what is printed."""
    text = README.read_text(encoding="utf-8").split("```")[1::2]
    return [block.partition("\n")[2] for block in text if block.partition("\n")[0] == language]


def test_example_prints_what_the_readme_shows(capsys):
    """The same words and the same tale: the digits differ from machine to machine."""
    (code,) = (block for block in blocks("python") if "eval_batch" in block)
    (printed,) = (block for block in blocks("") if block.startswith("running"))
    exec(code, {})
    shown, now = (
        dict(line.split() for line in text.split("\n") if line) for text in (printed, capsys.readouterr().out)
    )
    assert shown.keys() == now.keys()
    assert float(now["running"]) < 0.5 < 0.8 < float(now["batch"])
    assert float(shown["running"]) < 0.5 < 0.8 < float(shown["batch"])


def test_example_with_weights_pictures_and_one_s_own_images_runs(tmp_path, monkeypatch):
    """With a made file in the place of the published weights, which are on the hub."""
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in blocks("python") if "best_five_of_each" in block)
    shape = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(partial(zoo.create("resnet18").init, train=False), jax.random.key(0), shape)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, leaf.dtype), shapes)
    zoo.save(tmp_path / "model.safetensors", variables, name="resnet18", layout="torchvision")
    monkeypatch.setattr("zoo.weights.hub.fetch", lambda source: tmp_path / "model.safetensors")
    for name in ("cat", "dog"):
        Image.effect_noise((60, 50), 40).convert("RGB").save(f"{name}.jpg")
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    arrays = {f"{split}_images": images for split in ("train", "test")}
    arrays |= {f"{split}_labels": np.arange(8) % 2 for split in ("train", "test")}
    names = {"zoo": zoo, "jax": jax, "optax": optax, **arrays}
    with jax.numpy_dtype_promotion("standard"):  # a user's; optax's adamw needs it
        exec(code, names)
    assert [len(best) for best in names["best_five_of_each"]] == [5, 5]
    assert names["model"].num_classes == 2
    assert (tmp_path / "runs" / "mine" / "weights.safetensors").exists()


def make_pets(folder):
    """JPEGs of three kinds: parts of two of scikit-image's photographs, and shipped digits as ink on paper."""
    random = np.random.default_rng(0)
    photographs = {"cat": skimage.data.chelsea(), "coffee": skimage.data.coffee()}
    digits = zoo.data.load("digits").train.images[..., 0]

    def draw(name):
        if name == "digit":
            return Image.fromarray(255 - digits[random.integers(len(digits))]).resize((50, 60))
        height, width, _ = photographs[name].shape
        top, left = random.integers(0, height - 200), random.integers(0, width - 240)
        return Image.fromarray(photographs[name][top : top + 200, left : left + 240]).resize((60, 50))

    for name in (*photographs, "digit"):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            draw(name).save(folder / name / f"{i}.jpg")
    return draw


def test_a_folder_of_photographs_becomes_a_named_prediction_by_the_readme_s_words(tmp_path, monkeypatch, capsys):
    """With a ResNet of 8 layers under the name of the ResNet-50, whose weights on the hub are made here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.training.memory.LIBRARY", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    published = replace(zoo.variant("resnet50").weights, preprocessing=zoo.data.Preprocessing(32))
    row = resnet.CIFAR(resnet.cifar(resnet.PADDED, 1), 0, 0, weights=published)
    monkeypatch.setitem(registry._ROWS, "resnet50", (resnet, row))
    variables = jax.jit(partial(row.make().init, train=False))(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    repository = make_repository(tmp_path / "hub", published.source.removeprefix("hf:"))
    zoo.save(repository / "model.safetensors", variables, name="resnet50")

    draw = make_pets(tmp_path / "pets")
    draw("coffee").save("holiday.jpg")
    (tmp_path / "photos").mkdir()
    for name in ("cat", "digit"):
        draw(name).save(tmp_path / "photos" / f"{name}.jpg")
    (commands,) = (block for block in blocks("sh") if "folder:pets" in block)
    printed = {}
    for line in commands.replace("\\\n", "").splitlines():
        _, *words = shlex.split(line, comments=True)
        assert cli.main(words) == 0, line
        printed[words[0]] = capsys.readouterr()
    assert "fc is new, for 3 classes" in printed["train"].err
    assert re.search(r"^digit +8 +", printed["eval"].out, re.MULTILINE)
    assert re.findall(r"^(\S+)\n +\d+\.\d %  (\w+)$", printed["predict"].out, re.MULTILINE) == [
        ("holiday.jpg", "coffee"),
        ("photos/cat.jpg", "cat"),
        ("photos/digit.jpg", "digit"),
    ]
    assert printed["explain"].out.splitlines()[1].split()[-1] == "coffee"
    for name in ("runs/pets/confusion.png", "holiday_explained.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    (code,) = (block for block in blocks("python") if "folder:pets" in block)
    names = {"zoo": zoo}
    exec(code, names)
    assert capsys.readouterr().out.startswith("coffee 0.")
    assert names["heat"].shape == (1, 8, 8)
