"""The loop: what it writes, that it can be repeated, interrupted and refused, and that its figures are right."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from tests.training.conftest import MLP, NORMALISED, read_run
from zoo import data
from zoo.errors import UserError
from zoo.training import RunFolder, TrainConfig, evaluate, make_loss, resume
from zoo.training.loop import prepare


def test_a_finished_run_has_its_four_files_and_no_other(mlp):
    folder, result, _ = mlp
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "curves.png",
        "metrics.jsonl",
        "weights.safetensors",
    ]
    assert [row.epoch for row in result.history] == [1, 2]
    assert result.curves.read_bytes().startswith(b"\x89PNG")
    assert RunFolder(folder).read().config == MLP


def test_the_same_seed_gives_the_same_numbers_also_after_a_start_that_was_interrupted(mlp, tmp_path):
    def at_once(progress, state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, tmp_path / "run", on_step=at_once)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint_0000_00001.safetensors",
        "config.json",
    ]
    resume(tmp_path / "run")
    assert read_run(tmp_path / "run") == read_run(mlp[0])


def test_another_seed_starts_from_other_weights():
    first, second = (prepare(replace(MLP, seed=seed)).state.params["fc"]["kernel"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def loss_and_accuracy(logits, labels, smoothing):
    """Straight from the definitions, in float64."""
    logits = np.asarray(logits, np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    return -(targets * log_shares).sum(1).mean(), (logits.argmax(1) == labels).mean()


def test_the_test_figures_are_those_of_the_saved_net_on_the_whole_split(normalised):
    folder, result = normalised
    trained, test = RunFolder(folder).restore(), data.load("digits").test
    images = jnp.asarray(data.prepare_images(test.images, test.preprocessing))
    model, variables = trained.model, trained.state.variables
    running = model.apply(variables, images, train=False)
    batch, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])  # the split is one batch
    last = result.history[-1]
    found = {
        "running": (last.test_loss_running, last.test_accuracy_running),
        "batch": (last.test_loss_batch, last.test_accuracy_batch),
    }
    for name, logits in {"running": running, "batch": batch}.items():
        np.testing.assert_allclose(found[name], loss_and_accuracy(logits, test.labels, 0.1), rtol=1e-5)
        step = zoo.make_eval_step(make_loss(NORMALISED), statistics=name)
        means = evaluate(step, trained.state, test, batch_size=100 if name == "running" else 355)
        assert list(means.values()) == pytest.approx(found[name], rel=1e-5)
    assert abs(last.test_loss_running - last.test_loss_batch) > 1e-3


def test_training_figures_are_means_over_the_images_not_over_the_batches(mlp):
    _, result, steps = mlp
    epoch = [step for step in steps if step.epoch == 1]
    assert [step.images for step in epoch] == [*range(64, 1442, 64), 1442]
    train = data.load("digits").train
    batch = next(data.batches(train, 64, seed=0, epoch=1, augmentation=data.Augmentation(max_shift=1)))
    state = prepare(MLP).state
    logits = state.model.apply(state.variables, jnp.asarray(batch["image"]), train=False)
    expected = loss_and_accuracy(logits, batch["label"], 0.1)
    np.testing.assert_allclose((epoch[0].loss, epoch[0].accuracy), expected, rtol=1e-5)
    sums = np.diff([0, *(step.images * step.loss for step in epoch)])
    mean_of_means = (sums / np.diff([0, *(step.images for step in epoch)])).mean()
    assert abs(mean_of_means - sums.sum() / 1442) > 1e-3
    assert result.history[0].train_loss == epoch[-1].loss == pytest.approx(sums.sum() / 1442, rel=1e-12)


def interrupt(progress, state):
    if progress.epoch == 2:
        raise KeyboardInterrupt


def test_an_interrupted_run_is_not_finished_and_resumes_to_the_same_bits(normalised, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(NORMALISED, folder, on_step=interrupt)
    assert not RunFolder(folder).weights_path.exists()
    restored = RunFolder(folder).restore()
    assert (restored.finished, [row.epoch for row in restored.history]) == (False, [1])
    epochs = []
    resume(folder, on_epoch=lambda row, state: epochs.append(row.epoch))
    assert epochs == [2]
    assert RunFolder(folder).restore().finished
    assert read_run(folder) == read_run(normalised[0])
    with pytest.raises(ValueError, match="is finished, after 2 epochs"):
        resume(folder)


def test_a_killed_process_leaves_a_run_that_can_be_resumed(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "zoo", "train", "mlp", "--epochs", "500", "--out", str(folder)]
    here = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not RunFolder(folder).metrics_path.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not RunFolder(folder).weights_path.exists()
    done = len(RunFolder(folder).metrics_path.read_text().splitlines())

    def enough(row, state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume(folder, on_epoch=enough)
    rows = [json.loads(line)["epoch"] for line in RunFolder(folder).metrics_path.read_text().splitlines()]
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) in (done, done + 1, done + 2)  # the checkpoint is written while the metrics are


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "lenet6"}, "lenet5"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"data": "idx:/nowhere"}, "no folder '/nowhere'"),
        ({"model": "lenet5", "image_size": 4}, r"at least 16x16, got 4x4"),
        ({"epochs": 0}, "epochs is 0: it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"max_shift": -1}, "max_shift is -1"),
        ({"image_size": 0}, "image_size is 0"),
        ({"warmup_epochs": 2.0}, "warmup_epochs is 2.0: it must be 0 or more, less than epochs"),
        ({"milestones": (0.7, 0.5)}, "rising, between 0 and 1"),
        ({"accumulate": 47}, "accumulate is 47: it must be at most 46, the steps of the whole run"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"patience": 0}, "patience is 0"),
        ({"flip": 2.0}, "flip is 2.0"),
        ({"epochs": "3"}, "epochs is '3': it must be a whole number"),
        ({"optimizer": "adam"}, "optimizer is 'adam': it must be sgd or adamw or lamb or lars"),
        ({"freeze": "conv1"}, "freeze is 'conv1': it must be a list"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises((UserError, FileNotFoundError), match=message):
        zoo.fit(replace(MLP, **wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_in_it_is_left_alone(mlp, tmp_path):
    folder = mlp[0]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"holds a finished run: pass another folder, or overwrite=True"):
        zoo.fit(MLP, folder)
    with pytest.raises(ValueError, match="no model"):
        zoo.fit(replace(MLP, model="none"), folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "letter.txt").write_text("dear")
    for target in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(ValueError, match=r"pass another folder"):
            zoo.fit(MLP, target, overwrite=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_overwriting_takes_the_finished_look_from_the_old_run_first(mlp, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in mlp[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(replace(MLP, seed=5), folder, overwrite=True, on_step=interrupt)
    assert not RunFolder(folder).weights_path.exists()
    assert not RunFolder(folder).curves_path.exists()
    assert RunFolder(folder).read().config.seed == 5


@pytest.mark.parametrize(
    ("model", "image_size", "expected"), [("lenet5_relu", None, 32), ("lenet5_relu", 16, 16), ("mlp", None, 8)]
)
def test_images_are_resized_only_for_a_net_that_needs_it(model, image_size, expected):
    splits = prepare(replace(MLP, model=model, image_size=image_size)).splits
    assert [split.preprocessing.image_shape for split in splits] == 2 * [(expected, expected, 1)]


@pytest.mark.slow
def test_resnet20_reads_98_percent_of_the_test_digits(tmp_path):
    last = zoo.fit(TrainConfig("resnet20"), tmp_path / "run").history[-1]
    assert last.test_accuracy_running >= 0.98


def make_own_parts():
    """Every other digit as one's own arrays, and another optimiser than the recipe's."""
    train, test = data.load("digits")
    splits = data.make_splits(train.images[::2], train.labels[::2], test.images[::2], test.labels[::2])
    return {"splits": splits, "tx": optax.rmsprop(1e-3)}


def test_fit_takes_the_caller_s_own_images_and_optimiser(tmp_path):
    """The first step is the optimiser's own on the first batch, by hand."""
    own = make_own_parts()
    steps = []
    config = replace(MLP, epochs=1, batch_size=2000)
    zoo.fit(config, tmp_path / "run", **own, on_step=lambda progress, state: steps.append(progress))
    assert [step.images for step in steps] == [721]
    state = prepare(config, own["splits"]).state
    batch = next(data.batches(own["splits"].train, 2000, seed=0, epoch=1, augmentation=data.Augmentation(max_shift=1)))

    def mean_loss(params):
        logits = state.model.apply({"params": params}, batch["image"], train=True)
        losses = optax.softmax_cross_entropy(
            logits, optax.smooth_labels(np.eye(10, dtype=np.float32)[batch["label"]], 0.1)
        )
        return jnp.mean(losses, where=batch["mask"])

    updates, _ = own["tx"].update(jax.grad(mean_loss)(state.params), own["tx"].init(state.params), state.params)
    expected = optax.apply_updates(state.params, updates)
    trained = RunFolder(tmp_path / "run").restore().state.params
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), trained, expected)
    assert json.loads(RunFolder(tmp_path / "run").metrics_path.read_text())["learning_rate"] is None


def test_a_run_with_the_caller_s_own_parts_is_resumed_with_them_alone(tmp_path):
    own = make_own_parts()
    zoo.fit(MLP, tmp_path / "whole", **own)
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, tmp_path / "run", **own, on_step=interrupt)
    for lacking in ("splits", "tx"):
        given = {name: part for name, part in own.items() if name != lacking}
        with pytest.raises(UserError, match=f"started with its caller's own {lacking}: resume it with the same"):
            resume(tmp_path / "run", **given)
    resume(tmp_path / "run", **own)
    assert read_run(tmp_path / "run") == read_run(tmp_path / "whole")


@pytest.mark.parametrize(
    ("edit", "message"),
    [({"epochs": -3}, r"config\.json: epochs is -3: it must be at least 1"), ({"epochs": 1}, "has had 2 epochs")],
)
def test_an_edited_config_does_not_finish_a_run(tmp_path, edit, message):
    folder = tmp_path / "run"

    def stop(row, state):
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fit(replace(MLP, epochs=3), folder, on_epoch=stop)
    record = json.loads((folder / "config.json").read_text())
    record["config"] |= edit
    del record["digest"]  # or the edit itself is refused
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        resume(folder)
    assert not RunFolder(folder).weights_path.exists()
