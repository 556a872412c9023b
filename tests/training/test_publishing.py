"""A run for others: what is written, that it comes back the same, and what the card says."""

import json
from dataclasses import replace

import numpy as np
import pytest

import zoo
from tests.weights.test_state_dict import assert_equal_trees
from zoo.cli import main as cli
from zoo.errors import UserError
from zoo.training import RunFolder, TrainConfig, push, write_run
from zoo.training.publishing import describe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two epochs, on pictures of the caller's own."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), np.uint8)
    labels = np.arange(24) % 3
    splits = zoo.data.make_splits(images, labels, images, labels, class_names=("cat", "dog", "horse"))
    zoo.fit(TrainConfig("mlp", epochs=2, batch_size=8, lr=0.05), folder, splits=splits)
    return folder


def test_what_is_written_is_the_run_s_net_pictures_and_names(run, tmp_path):
    write_run(run, tmp_path / "new", "me/mine")
    trained = RunFolder(run).restore()
    model, variables = zoo.pretrained("mlp", tmp_path / "new")
    assert model.num_classes == 3
    assert_equal_trees(variables["params"], trained.state.params)
    found = zoo.weights.find_preprocessing("mlp", tmp_path / "new")
    assert found == trained.record.preprocessing
    assert zoo.weights.find_class_names("mlp", tmp_path / "new") == ("cat", "dog", "horse")
    written = {path.name for path in (tmp_path / "new").iterdir()}
    assert written == {"model.safetensors", "config.json", "README.md", "curves.png"}


def test_the_card_has_the_figures_of_the_last_epoch_and_how_to_use_it(run):
    trained = RunFolder(run).restore()
    card = describe(trained, "me/mine", drawn=True)
    last = trained.history[-1]
    assert f"| 2 | running | {last.test_loss_running:.4f} | {last.test_accuracy_running:.2%} |" in card
    assert 'zoo.pretrained("mlp", "hf:me/mine")' in card
    assert "3 classes: cat, dog, horse." in card
    assert "](curves.png)" in card
    assert "timm" not in card
    head = dict(line.split(": ", 1) for line in card.split("---\n")[1].splitlines())
    ((result,),) = [one["results"] for one in json.loads(head["model-index"])]
    assert result["metrics"][0]["value"] == pytest.approx(last.test_accuracy_running, abs=1e-6)
    assert "curves.png" not in describe(trained, "me/mine")


def test_the_card_does_not_tell_where_things_lie_on_the_author_s_machine(run):
    trained = RunFolder(run).restore()
    config = TrainConfig("resnet18", data="folder:/home/me/pets", weights="/home/me/w.pth#model_ema", epochs=2)
    elsewhere = replace(trained, record=replace(trained.record, config=config, own=()))
    card = describe(elsewhere, "me/mine")
    assert "/home" not in card
    assert '"data": "folder:pets"' in card
    assert '"weights": "w.pth#model_ema"' in card
    assert "trained on folder:pets" in card
    assert 'timm.create_model("hf_hub:me/mine", pretrained=True)' in card


def test_a_run_that_is_not_finished_is_not_pushed(run, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError, match="no run in"):
        push(tmp_path, "me/mine")
    folder.write_record(RunFolder(run).read())
    with pytest.raises(UserError, match="is not finished"):
        push(tmp_path, "me/mine")


def test_the_command_writes_a_folder_or_sends_the_same_files(run, tmp_path, monkeypatch, capsys):
    sent = {}

    def send(folder, repository, *, private):
        sent.update({path.name: path.read_bytes() for path in folder.iterdir()} | {"to": (repository, private)})
        return f"https://hub/{repository}"

    monkeypatch.setattr("zoo.weights.hub.push", send)
    assert cli.main(["push", str(run), "me/mine", "--out", str(tmp_path / "out")]) == 0
    assert not sent
    assert cli.main(["push", str(run), "me/mine", "--private"]) == 0
    assert capsys.readouterr().out == f"repository: {tmp_path / 'out'}\nrepository: https://hub/me/mine\n"
    assert sent.pop("to") == ("me/mine", True)
    assert sent == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert cli.main(["push", str(tmp_path), "me/mine"]) == 2
    assert capsys.readouterr().err.startswith("zoo: no run in ")
