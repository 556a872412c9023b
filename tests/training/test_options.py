"""What a recipe can ask of the loop: averages, accumulation, early stopping, notes of steps, files for TensorBoard."""

import json
import struct
from dataclasses import replace

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

import zoo
from tests.training.conftest import MLP, read_run
from zoo import data
from zoo.training import Epoch, RunFolder, TrainConfig, epochs, load_splits, make_loss, resume
from zoo.training import tensorboard as board
from zoo.training.metrics import EpochSums, find_best
from zoo.training.saving import Saver

EVERYTHING = TrainConfig(
    "convnet_bn",
    epochs=2,
    batch_size=355,
    optimizer="adamw",
    lr=0.01,
    clip_norm=1.0,
    accumulate=2,
    ema_decay=0.5,
    head_lr_scale=2.0,
    layer_decay=0.9,
    dtype="bfloat16",
    flip=0.5,
    patience=2,
    log_every=3,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "everything"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax mixes types
        return folder, zoo.fit(EVERYTHING, folder)


def test_a_run_with_everything_resumes_to_the_same_bits(whole, tmp_path):
    """With steps accumulated and not applied, in the middle of the second epoch."""

    def stop(progress, state):
        if (progress.epoch, progress.images) == (2, 355):
            raise KeyboardInterrupt

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        with pytest.raises(KeyboardInterrupt):
            zoo.fit(EVERYTHING, tmp_path / "run", on_step=stop)
        resume(tmp_path / "run")
    assert read_run(tmp_path / "run") == read_run(whole[0])
    assert not RunFolder(tmp_path / "run").checkpoints.find_all()


def test_the_averages_are_what_is_tested_and_kept(whole):
    """The last state's, of the last epoch, which was the best."""
    folder, result = whole
    assert result.kept is result.history[-1]
    kept = RunFolder(folder).restore()
    jax.tree.map(np.testing.assert_array_equal, kept.state.variables, result.state.ema_variables)
    assert not np.array_equal(kept.state.params["fc"]["kernel"], result.state.params["fc"]["kernel"])
    step = zoo.make_eval_step(make_loss(EVERYTHING))
    means = zoo.training.evaluate(step, kept.state, load_splits(EVERYTHING).test, 355)
    assert means["loss"] == pytest.approx(result.kept.test_loss_running, rel=1e-3)


def test_recalibrated_averages_have_the_statistics_of_the_images(whole):
    """With one batch as the population its own statistics and the running ones are the same, but for n / (n - 1)."""
    state, config = whole[1].state, EVERYTHING
    batch = next(data.batches(load_splits(config).test, 355, seed=0, epoch=0))
    exact = state.replace(**zoo.recalibrate(state.model, state.ema_variables, [batch]))
    losses = [
        float(zoo.make_eval_step(make_loss(config), statistics=name)(exact, batch)["loss"]) / 355
        for name in ("batch", "running")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # bfloat16
    averaged = zoo.make_eval_step(make_loss(config))(state.replace(**state.ema_variables), batch)["loss"] / 355
    assert abs(averaged - losses[0]) > 2 * abs(losses[1] - losses[0])


def test_a_step_s_line_is_its_own_loss_and_rate_and_stands_before_its_epoch(whole):
    """Ten steps, five updates: every third step is noted."""
    lines = [json.loads(line) for line in RunFolder(whole[0]).metrics_path.read_text().splitlines()]
    assert [(line.get("step"), line["epoch"]) for line in lines] == [(3, 1), (None, 1), (6, 2), (9, 2), (None, 2)]
    rates = 0.005 * (1 + np.cos(np.pi * np.array([1, 2, 4]) / 5))
    np.testing.assert_allclose([line["learning_rate"] for line in lines if "step" in line], rates, rtol=1e-5)
    assert RunFolder(whole[0]).read_metrics() == whole[1].history


def test_the_distance_of_the_statistics_is_noted_where_there_are_any(whole, mlp):
    assert all(row.statistics_distance > 0 for row in whole[1].history)
    assert all(row.statistics_distance is None for row in mlp[1].history)
    batch = next(data.batches(load_splits(EVERYTHING).test, 355, seed=0, epoch=0))
    variables = RunFolder(whole[0]).restore().state.variables
    rows = zoo.compare_statistics(whole[1].state.model, variables, batch)
    squares = np.concatenate([np.full(row.channels, row.distance**2) for row in rows])
    assert whole[1].history[-1].statistics_distance == pytest.approx(np.sqrt(squares.mean()), rel=1e-4)


def make_row(epoch, accuracy, loss=1.0):
    return Epoch(epoch, 0.1, 1.0, 0.5, loss, accuracy, 1.0, 0.5, 1.0, 1.0)


def test_the_best_epoch_is_the_first_of_the_highest_accuracy_and_the_lowest_loss():
    rows = [
        make_row(1, 0.8),
        make_row(2, 0.9, 0.5),
        make_row(3, 0.9, 0.4),
        make_row(4, 0.9, 0.4),
        make_row(5, 0.7, 0.1),
    ]
    assert find_best(rows).epoch == 3


def test_a_run_stops_when_it_has_waited_long_enough_and_keeps_the_best_weights(tmp_path, monkeypatch):
    accuracies, states = iter([0.5, 0.5, 0.7, 0.7, 0.6, 0.6, 0.6, 0.6]), []
    monkeypatch.setattr(epochs, "evaluate", lambda *_: {"loss": 1.0, "accuracy": next(accuracies)})

    def keep(row, state):
        states.append(jax.tree.map(np.array, state.params))

    config = replace(MLP, epochs=20, batch_size=722, patience=2)
    result = zoo.fit(config, tmp_path / "run", on_epoch=keep)
    assert [row.epoch for row in result.history] == [1, 2, 3, 4]
    assert result.kept.epoch == 2
    trained = RunFolder(tmp_path / "run").restore()
    assert trained.finished
    jax.tree.map(np.testing.assert_array_equal, trained.state.params, states[1])
    assert not np.array_equal(states[1]["fc"]["kernel"], states[3]["fc"]["kernel"])


def test_the_last_weights_are_kept_where_those_of_the_best_epoch_were_lost(tmp_path, monkeypatch):
    accuracies = iter([0.9, 0.9, 0.5, 0.5])
    monkeypatch.setattr(epochs, "evaluate", lambda *_: {"loss": 1.0, "accuracy": next(accuracies)})
    save = Saver.save
    monkeypatch.setattr(Saver, "save", lambda saver, *state: (save(saver, *state), saver.wait()))

    def spoil(progress, state):
        if (progress.epoch, progress.images) == (2, 1442):
            (tmp_path / "run" / "checkpoint_0001.safetensors").write_bytes(b"spoilt")

    with pytest.warns(
        UserWarning, match=r"the weights of epoch 1, the best, are lost: .*checkpoint_0001.* cannot be read"
    ):
        result = zoo.fit(replace(MLP, batch_size=722, patience=2), tmp_path / "run", on_step=spoil)
    assert result.kept.epoch == 2
    assert RunFolder(tmp_path / "run").restore().finished


def read_events(folder):
    """`{(tag, step): value}` of TensorBoard's records: length, its checksum, an event, its checksum."""
    found = {}
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            place += length + 16
    return found


def test_tensorboard_gets_the_numbers_of_the_metrics(tmp_path):
    config = replace(MLP, epochs=2, batch_size=722, log_every=1, tensorboard=True)
    row = zoo.fit(config, tmp_path / "run").history[1]
    events = read_events(tmp_path / "run" / "tensorboard")
    assert events["epoch/test_accuracy_running", 4] == pytest.approx(row.test_accuracy_running)
    assert events["epoch/train_loss", 4] == pytest.approx(row.train_loss)
    assert {step for tag, step in events if tag == "step/loss"} == {1, 2, 3, 4}
    assert not any("statistics_distance" in tag for tag, _ in events)
    zoo.fit(replace(config, tensorboard=False), tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_tensorboard_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"tensorboardX is missing: `pip install 'jax-cnn-zoo\[tensorboard\]'"
    ):
        zoo.fit(replace(MLP, tensorboard=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("waited", "limit"), [(0.9, "compute"), (0.06, "compute"), (0.01, "input")])
def test_the_input_limits_where_the_step_is_done_before_the_next_batch(waited, limit):
    sums = EpochSums(1).add({"loss": 1.0, "accuracy": 1.0, "count": 8}, 1.0, waited)
    assert sums.to_progress(16).limit == limit
