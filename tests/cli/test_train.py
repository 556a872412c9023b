"""`zoo train` with recipes and trained weights, and `zoo recipes`."""

import json
from pathlib import Path

import jax.numpy as jnp
import pytest

import zoo
from tests.support.nets import draw_variables
from zoo.cli import main as cli
from zoo.training import RunFolder, list_recipes, read_recipe
from zoo.training.recipe_files import show_recipe


def call(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_recipes_are_listed_and_printed_as_they_are(capsys):
    code, out, _ = call(capsys, "recipes")
    assert code == 0
    for name, purpose in list_recipes().items():
        assert any(line.split()[0] == name and purpose in line for line in out.splitlines())
    assert call(capsys, "recipes", "resnet-cifar") == (0, show_recipe("resnet-cifar"), "")


def test_flags_override_the_recipe_also_with_the_value_of_a_default_and_the_run_keeps_all(tmp_path, capsys):
    words = ("train", "mlp", "--recipe", "resnet-cifar", "--epochs", 1, "--lr", 0.01, "--label-smoothing", 0.1)
    assert call(capsys, *words, "--log_every", 5, "--out", tmp_path / "run")[0] == 0
    config = RunFolder(tmp_path / "run").read().config
    typed = {"epochs": 1, "lr": 0.01, "label_smoothing": 0.1, "log_every": 5}
    assert config == zoo.TrainConfig("mlp", **read_recipe("resnet-cifar") | typed)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert stored["schedule"] == "step"


def test_a_run_from_weights_names_its_new_head_and_finds_them_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = zoo.create("mlp", num_classes=4)
    variables = draw_variables(model, (8, 8, 1))
    zoo.save("donor.safetensors", variables, name="mlp", model=model)
    words = ("train", "mlp", "--weights", "donor.safetensors", "--freeze", "fc1", "--epochs", 1, "--out", "run")
    code, _, err = call(capsys, *words)
    assert code == 0
    assert "fc is new, for 10 classes: the weights were trained for others\n" in err
    run = RunFolder("run")
    assert run.read().config.weights == str(tmp_path / "donor.safetensors")
    assert run.read().new == ("fc",)
    trained = run.restore().state.params["fc1"]["kernel"]
    assert jnp.array_equal(trained, variables["params"]["fc1"]["kernel"])


WRONG = {
    "recipe unknown": ("--recipe resnet-cifr", "did you mean 'resnet-cifar'"),
    "recipe with an unknown key": (
        "--recipe wrong.toml",
        "wrong.toml has an unknown key 'epoch': did you mean 'epochs'?",
    ),
    "optimiser unknown": ("--optimizer adam", "--optimizer is 'adam': it must be sgd or adamw or lamb or lars."),
    "no number": ("--clip-norm x", "--clip-norm takes a number, not 'x'"),
    "no numbers": ("--milestones x", "--milestones does not take 'x'"),
    "a value out of range": ("--ema-decay 1", "--ema-decay is 1.0: it must be from 0 to below 1."),
    "nothing fits": ("--freeze fcc", "no parameter fits 'fcc': near are fc"),
    "nothing left": ("--freeze *", "leave the head out of --freeze"),
    "nothing to freeze": ("--freeze-statistics", "the net has no normalisation"),
    "no weights": ("--weights published", "mlp has no published weights: choose a file with --weights."),
    "no file": ("--weights nowhere.safetensors", "nowhere.safetensors"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_recipe_is_one_line_and_exit_code_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text("epoch = 3\n")
    code, out, err = call(capsys, "train", "mlp", *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]
