"""The README says what the project shows."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import zoo
from tests.support.proof import PROOFS
from tools import write_model_table


def test_table_of_models_is_the_one_the_command_writes():
    assert write_model_table.readme() == write_model_table.README.read_text(), (
        "write it: python -m tools.write_model_table"
    )


def test_measured_figures_are_of_registered_models_and_every_fixture_is_among_them():
    measured = json.loads(write_model_table.MEASURED.read_text())
    assert set(measured) <= set(zoo.list_models())
    missing = {proof.name for proof in PROOFS} - set(measured)
    assert not missing, "measure them: python -m tools.write_model_table --measure"


def blocks(language):
    """The fenced blocks of the README in that language; "" are those that show what is printed."""
    text = write_model_table.README.read_text().split("```")[1::2]
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
    (code,) = (block for block in blocks("python") if "pretrained" in block)
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
