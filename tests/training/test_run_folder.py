"""The run folder: a damaged one is one clear error."""

import json

import pytest

from zoo.data import Preprocessing
from zoo.errors import UserError
from zoo.training import RunFolder, RunRecord, TrainConfig


def test_a_record_is_read_back(tmp_path):
    preprocessing = Preprocessing((8, 6), None, (0.5,), (0.25,))
    record = RunRecord(TrainConfig("mlp", lr=0.3), preprocessing, 7, ("tx",), {"jax": "1"})
    RunFolder(tmp_path).start(record)
    assert RunFolder(tmp_path).read() == record


def test_a_folder_without_a_run_says_what_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"no run in .*: zoo\.fit makes one"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("std", [0.0]), ("colour", "red")])
def test_an_impossible_preprocessing_in_the_config_is_refused(tmp_path, name, value):
    RunFolder(tmp_path).start(RunRecord(TrainConfig("mlp"), Preprocessing(8, None, (0.5,), (0.25,)), 10))
    record = json.loads((tmp_path / "config.json").read_text())
    record["preprocessing"][name] = value
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"config\.json: a preprocessing"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-1], "cannot be read"),
        (lambda content: content[:5], "cannot be read"),
        (lambda content: b"", "cannot be read"),
        (lambda content: content.replace(b"params/fc/bias", b"params/fc/bike"), "2 arrays: params/fc/bias is absent"),
    ],
)
def test_damaged_weights_are_refused(mlp, tmp_path, spoil, message):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in mlp[0].iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(spoil(content) if path.suffix == ".safetensors" else content)
    with pytest.raises(UserError, match=message):
        RunFolder(folder).restore()


@pytest.mark.parametrize("content", ["", "{}", '{"config": {"model": "mlp", "colour": "red"}}', "[1, 2]"])
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        RunFolder(tmp_path).restore()
