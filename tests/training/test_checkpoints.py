"""The checkpoints of a run: which are kept, and which of them is believed."""

import errno
from dataclasses import replace

import numpy as np
import pytest

import zoo
from tests.training.conftest import MLP, read_run
from zoo.errors import UserError
from zoo.training import Epoch, RunFolder, TrainConfig, resume
from zoo.training.checkpoints import Checkpoints, Position
from zoo.training.metrics import EpochSums
from zoo.weights import read_metadata

ROW = Epoch(1, 0.1, 2.5, 0.25, 1.5, 0.5, 1.5, 0.75, 1234.5, 0.125)
TEMPLATE = {"params": {"kernel": np.zeros(3, np.float32)}}


def write(checkpoints, epoch, step=0, accuracies=(), keep=2):
    """One whose array is its position; `accuracies` are those of its epochs."""
    history = [replace(ROW, epoch=n + 1, test_accuracy_running=(*accuracies, *epoch * [0.5])[n]) for n in range(epoch)]
    arrays = {"params/kernel": np.array([epoch, step, 0], np.float32)}
    checkpoints.write(arrays, Position(history, EpochSums(epoch + 1, step)), TrainConfig("mlp"), keep)


def names(folder):
    return [path.name.removeprefix("checkpoint_").removesuffix(".safetensors") for path in folder.iterdir()]


def load(checkpoints):
    tree, position = checkpoints.load(TEMPLATE)
    return [int(number) for number in tree["params"]["kernel"][:2]], str(position)


def test_the_last_ones_are_kept_and_that_of_the_best_epoch(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    kept = []
    for position in ((0, 7), (1,), (1, 7), (2,), (2, 7), (3,), (3, 7)):
        write(checkpoints, *position, accuracies=(0.6, 0.9, 0.7))
        kept.append([path.stem.removeprefix("checkpoint_") for path in checkpoints.find_all()])
    assert kept == [
        ["0000_00007"],
        ["0000_00007", "0001"],
        ["0001", "0001_00007"],
        ["0001_00007", "0002"],
        ["0002", "0002_00007"],
        ["0002", "0002_00007", "0003"],
        ["0002", "0003", "0003_00007"],
    ]


def test_files_of_others_are_neither_taken_for_one_nor_removed(tmp_path):
    checkpoints, theirs = Checkpoints(tmp_path), ["checkpoint_mine.safetensors", "checkpoint_0001.safetensors.bak"]
    for name in theirs:
        (tmp_path / name).write_text("mine")
    for epoch in (1, 2, 3):
        write(checkpoints, epoch, keep=1)
    checkpoints.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)


def test_the_farthest_is_loaded_also_where_names_have_more_digits(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for position in ((9,), (10_000,), (10_000, 5), (10_000, 100_000)):
        write(checkpoints, *position)
    assert load(checkpoints) == ([10_000, 100_000], "after step 100000 of epoch 10001")


def test_a_checkpoint_has_the_recipe(tmp_path):
    write(Checkpoints(tmp_path), 1)
    metadata = read_metadata(tmp_path / "checkpoint_0001.safetensors")
    assert '"model": "mlp"' in metadata["recipe"]


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-1], lambda content: b"", lambda content: bytes([content[0] ^ 1]) + content[1:]]
)
def test_where_the_last_one_is_damaged_the_one_before_is_used_and_one_line_says_so(tmp_path, spoil):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 4)
    write(checkpoints, 4, 7)
    last = checkpoints.find_all()[-1]
    last.write_bytes(spoil(last.read_bytes()))
    message = r"0004_00007.* cannot be read, .*: checkpoint_0004\.safetensors is used instead, after epoch 4$"
    with pytest.warns(UserWarning, match=message) as told:
        assert load(checkpoints) == ([4, 0], "after epoch 4")
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    write(checkpoints, 4, 3)
    assert [path.stem for path in checkpoints.find_all()] == ["checkpoint_0004", "checkpoint_0004_00003"]


@pytest.mark.parametrize(
    "lack", [MemoryError("Unable to allocate 1 GiB"), OSError(errno.EMFILE, "Too many open files")]
)
def test_a_machine_that_has_too_little_to_read_it_does_not_make_it_damaged(tmp_path, monkeypatch, lack):
    def run_out(*_):
        raise lack

    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1)
    write(checkpoints, 2)
    monkeypatch.setattr("zoo.weights.files._digest_arrays", run_out)
    with pytest.raises(UserError, match=r"checkpoint_0002.* cannot be read, .*(allocate|open).*: close other programs"):
        checkpoints.load(TEMPLATE)
    monkeypatch.undo()
    assert load(checkpoints) == ([2, 0], "after epoch 2")


def test_where_none_can_be_read_that_is_an_error_and_nothing_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        write(checkpoints, epoch)
    for path in checkpoints.find_all():
        path.write_bytes(b"spoilt")
    with pytest.raises(
        UserError, match=r"checkpoint_0002\.safetensors cannot be read, .*: no other .* remove them all"
    ):
        checkpoints.load(TEMPLATE)
    assert len(checkpoints.find_all()) == 2


def test_one_that_does_not_fit_is_an_error_though_the_one_before_would(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1)
    checkpoints.write({"params/bias": np.ones(3)}, Position([ROW], EpochSums(2, 1)), TrainConfig("mlp"), 2)
    with pytest.raises(UserError, match="does not fit the net"):
        checkpoints.load(TEMPLATE)


def test_one_that_was_removed_while_it_was_looked_for_is_looked_for_again(tmp_path, monkeypatch):
    """`zoo eval` of a run that is being trained."""
    checkpoints, find_all = Checkpoints(tmp_path), Checkpoints.find_all
    write(checkpoints, 1)

    def find_late(checkpoints):
        found = find_all(checkpoints)
        if found[-1].name == "checkpoint_0001.safetensors":
            monkeypatch.undo()
            write(checkpoints, 2, keep=1, accuracies=(0.1, 0.9))
        return found

    monkeypatch.setattr(Checkpoints, "find_all", find_late)
    assert load(checkpoints) == ([2, 0], "after epoch 2")


def test_a_run_whose_last_checkpoint_is_damaged_is_resumed_from_the_one_before_to_the_same_bits(mlp, tmp_path):
    def stop(progress, state):
        if (progress.epoch, progress.images) == (2, 640):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, tmp_path / "run", on_step=stop)
    run = RunFolder(tmp_path / "run")
    before, last = run.checkpoints.find_all()
    last.write_bytes(last.read_bytes()[:-3])
    with pytest.warns(
        UserWarning, match=rf"{last.name} cannot be read.*: {before.name} is used instead, after epoch 1"
    ):
        assert len(run.restore().history) == 1
    with pytest.warns(UserWarning, match=f"{before.name} is used instead"):
        resume(run.folder)
    assert read_run(run.folder) == read_run(mlp[0])
