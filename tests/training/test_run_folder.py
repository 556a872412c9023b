"""The run folder: a damaged one is one clear error."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zoo.data import Preprocessing
from zoo.errors import UserError
from zoo.training import Epoch, RunFolder, RunRecord, TrainConfig
from zoo.training.checkpoints import Position
from zoo.training.metrics import EpochSums
from zoo.weights import read, read_metadata
from zoo.weights.files import write_arrays

CHECKPOINT = "checkpoint_0001_00005.safetensors"


def test_a_record_is_read_back(tmp_path):
    preprocessing = Preprocessing((8, 6), None, (0.5,), (0.25,))
    record = RunRecord(TrainConfig("mlp", lr=0.3), preprocessing, 7, ("tx",), {"jax": "1"}, "the loss is nan")
    RunFolder(tmp_path).start(record)
    assert RunFolder(tmp_path).read() == record


def test_a_folder_without_a_run_says_what_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"no run in .*: zoo\.fit makes one"):
        RunFolder(tmp_path).read()


def test_a_config_that_was_edited_says_how_to_say_that_it_was_meant(tmp_path):
    RunFolder(tmp_path).start(RunRecord(TrainConfig("mlp"), Preprocessing(8, None, (0.5,), (0.25,)), 10))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 20', '"epochs": 30'))
    with pytest.raises(UserError, match=r'config\.json: it is not as it was written, .* remove its "digest"'):
        RunFolder(tmp_path).read()
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in record.items() if name != "digest"}))
    assert RunFolder(tmp_path).read().config.epochs == 30


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("std", [0.0]), ("colour", "red")])
def test_an_impossible_preprocessing_in_the_config_is_refused(tmp_path, name, value):
    RunFolder(tmp_path).start(RunRecord(TrainConfig("mlp"), Preprocessing(8, None, (0.5,), (0.25,)), 10))
    record = json.loads((tmp_path / "config.json").read_text())
    record["preprocessing"][name] = value
    del record["digest"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"config\.json: a preprocessing"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-1], "cannot be read"),
        (lambda content: content[:5], "cannot be read"),
        (lambda content: b"", "cannot be read"),
        (lambda content: content.replace(b"params/fc/bias", b"params/fc/bike"), "it is damaged, or was changed"),
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


@pytest.mark.parametrize("content", ["", "{}", '{"config": {"model": "mlp", "tint": "red"}}', "[1, 2]"])
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        RunFolder(tmp_path).restore()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The four files that are read back, as small as they can be."""
    run = RunFolder(tmp_path_factory.mktemp("small"))
    run.start(RunRecord(TrainConfig("mlp"), Preprocessing(8, None, (0.5,), (0.25,)), 10, (), {"jax": "1", "é": "\n"}))
    row = Epoch(1, 0.1, 2.5, 0.25, 1e-5, 0.5, 1.5, 0.75, 1234.5, 0.125)
    run.write_metrics([row, replace(row, epoch=2)])
    arrays = {"params/kernel": np.ones((3, 2), np.float32)}
    run.checkpoints.write(arrays, Position([row], EpochSums(2, 5)), TrainConfig("mlp"), keep=1)
    write_arrays(run.weights_path, arrays, {"model": "mlp"})
    return run


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", CHECKPOINT, "weights.safetensors"])
def test_no_flipped_bit_of_a_run_is_accepted_in_silence(small, tmp_path, name):
    run = RunFolder(tmp_path)
    readers = {
        "config.json": run.read,
        "metrics.jsonl": run.read_metrics,
        CHECKPOINT: lambda: (read(tmp_path / CHECKPOINT), read_metadata(tmp_path / CHECKPOINT)),
        "weights.safetensors": lambda: (read(run.weights_path), read_metadata(run.weights_path)),
    }
    content = (small.folder / name).read_bytes()
    (tmp_path / name).write_bytes(content)
    readers[name]()
    accepted = []
    for bit in np.random.default_rng(0).choice(8 * len(content), 400, replace=False):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(flipped)
        try:
            readers[name]()
            accepted.append((int(bit), bytes(flipped[max(bit // 8 - 20, 0) : bit // 8 + 20])))
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert not accepted


@pytest.mark.parametrize(
    "cut", [lambda lines: lines[1:], lambda lines: [*lines[:1], lines[1][:-1]], lambda lines: lines * 2]
)
def test_metrics_with_missing_lines_are_refused(small, tmp_path, cut):
    lines = small.metrics_path.read_text().splitlines(keepends=True)
    RunFolder(tmp_path).metrics_path.write_text("".join(cut(lines)))
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        RunFolder(tmp_path).read_metrics()


def test_metrics_without_digests_are_read(small, tmp_path):
    rows = [json.loads(line) for line in small.metrics_path.read_text().splitlines()]
    for row in rows:
        del row["digest"]
    RunFolder(tmp_path).metrics_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert RunFolder(tmp_path).read_metrics() == small.read_metrics()


def test_what_a_killed_start_left_is_free_and_cleared_away(tmp_path):
    """A circle once: `fit` saw other files and no run, `resume` no run at all."""
    run = RunFolder(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / "config.json.4711.part").write_text('{"conf')
    (run.folder / f"{CHECKPOINT}.4711.part").write_bytes(b"half of it")
    (run.folder / "lock").write_text("")
    run.check_free(overwrite=False)
    with run.lock():
        assert [path.name for path in run.folder.iterdir()] == ["lock"]
    assert not list(run.folder.iterdir())


@pytest.mark.parametrize("name", ["letter.part", "config.json.part.txt", "novel.1.part", "checkpoint_x.1.part"])
def test_files_of_others_are_not_cleared_away_whatever_they_are_called(tmp_path, name):
    (tmp_path / name).write_text("dear")
    with pytest.raises(UserError, match="holds other files and not a run"):
        RunFolder(tmp_path).check_free(overwrite=True)
    with RunFolder(tmp_path).lock():
        assert (tmp_path / name).read_text() == "dear"


def test_a_kill_at_any_moment_of_a_start_leaves_a_folder_that_can_be_used(tmp_path, monkeypatch):
    """Over an old run: with each write and each removal the last thing that happens."""
    old = RunRecord(TrainConfig("mlp", seed=1), Preprocessing(8, None, (0.5,), (0.25,)), 10)
    new = replace(old, config=TrainConfig("mlp", seed=2))
    for moment in range(20):
        run = RunFolder(tmp_path / str(moment))
        run.folder.mkdir()
        run.start(old)
        run.weights_path.write_text("old")
        left = [moment]

        def die(method, left=left):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise SystemExit
                return method(*arguments, **options)

            return call

        with monkeypatch.context() as context:
            for name in ("unlink", "replace", "write_text"):
                context.setattr(Path, name, die(getattr(Path, name)))
            try:
                run.start(new)
            except SystemExit:
                killed = True
            else:
                killed = False
        assert run.read() in (old, new)
        assert run.read() == new or killed
        assert not (run.weights_path.exists() and run.read() == new)
    assert not killed


def test_a_finished_run_has_its_history(mlp):
    trained = RunFolder(mlp[0]).restore()
    assert trained.finished
    assert trained.history == mlp[1].history


def test_a_run_without_a_checkpoint_is_not_restored(mlp, tmp_path):
    shutil.copy(mlp[0] / "config.json", tmp_path)
    with pytest.raises(UserError, match=r"is not finished, and has no checkpoint yet: zoo\.training\.resume"):
        RunFolder(tmp_path).restore()


@pytest.mark.parametrize("metadata", [{}, {"history": "[]"}, {"position": '{"history": [{"epoch": 1}], "sums": {}}'}])
def test_a_checkpoint_of_another_version_is_one_line(tmp_path, metadata):
    write_arrays(tmp_path / CHECKPOINT, {"params/kernel": np.ones((3, 2), np.float32)}, metadata)
    with pytest.raises(UserError, match="is not a checkpoint of this version of zoo"):
        RunFolder(tmp_path).load_checkpoint({"params": {"kernel": np.ones((3, 2), np.float32)}})
