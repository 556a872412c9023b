"""The loop: what it writes, that it can be repeated, interrupted and refused, and that its figures are right."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import data
from zoo import plots as curves
from zoo.models import summary
from zoo.models.registry import create, list_models, variant
from zoo.training import loop as fit
from zoo.training.run_folder import Run, TrainConfig, load_tree, save_tree
from zoo.weights import files

MLP = TrainConfig("mlp", epochs=2)
NORMALISED = TrainConfig("convnet_bn", epochs=2, batch_size=355)


def written(folder):
    """The bytes of every weight, and the metrics without the two that are times."""
    rows = [json.loads(line) for line in Run(folder).metrics.read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["images_per_second"]
    weights = {name: array.tobytes() for name, array in files.read(Run(folder).weights).items()}
    return weights, rows


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """A finished run and the progress of all its steps."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    seen = []
    return folder, fit.fit(MLP, folder, on_step=seen.append), seen


@pytest.fixture(scope="module")
def normalised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "normalised"
    return folder, fit.fit(NORMALISED, folder)


def test_a_finished_run_has_its_four_files_and_no_other(mlp):
    folder, result, _ = mlp
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "curves.png",
        "metrics.jsonl",
        "weights.safetensors",
    ]
    assert [row.epoch for row in result.history] == [1, 2]
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert Run(folder).read()[0] == MLP


def test_the_same_seed_gives_the_same_numbers_also_after_a_start_that_was_interrupted(mlp, tmp_path):
    def at_once(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(MLP, tmp_path / "run", on_step=at_once)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    fit.resume(tmp_path / "run")
    assert written(tmp_path / "run") == written(mlp[0])


def test_another_seed_starts_from_other_weights():
    first, second = (fit.prepare(replace(MLP, seed=seed))[1].params["fc"]["kernel"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def loss_and_accuracy(logits, labels, smoothing):
    """Straight from the definitions, in float64."""
    logits = np.asarray(logits, np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    return -(targets * log_shares).sum(1).mean(), (logits.argmax(1) == labels).mean()


def test_the_test_figures_are_those_of_the_saved_net_on_the_whole_split(normalised):
    folder, result = normalised
    trained, test = fit.restore(folder), data.load("digits").test
    images = jnp.asarray(test.prepare(test.images))
    model, variables = trained.state.model, trained.state.variables
    running = model.apply(variables, images, train=False)
    batch, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])  # the split is one batch
    last = result.history[-1]
    found = {
        "running": (last.test_loss_running, last.test_accuracy_running),
        "batch": (last.test_loss_batch, last.test_accuracy_batch),
    }
    for name, logits in {"running": running, "batch": batch}.items():
        np.testing.assert_allclose(found[name], loss_and_accuracy(logits, test.labels, 0.1), rtol=1e-5)
        assert list(fit.evaluate(trained, test, name).values()) == pytest.approx(found[name], rel=1e-6)
    assert abs(last.test_loss_running - last.test_loss_batch) > 1e-3
    shares = np.exp(np.asarray(running, np.float64))
    np.testing.assert_allclose(
        fit.probabilities(trained, np.asarray(images)), shares / shares.sum(1, keepdims=True), rtol=1e-4
    )


def test_training_figures_are_means_over_the_images_not_over_the_batches(mlp):
    _, result, steps = mlp
    epoch = [step for step in steps if step.epoch == 1]
    assert [step.images for step in epoch] == [*range(64, 1442, 64), 1442]
    train = data.load("digits").train
    batch = next(data.batches(train, 64, seed=0, epoch=1, max_shift=1))
    state = fit.prepare(MLP)[1]
    logits = state.model.apply(state.variables, jnp.asarray(batch["image"]), train=False)
    expected = loss_and_accuracy(logits, batch["label"], 0.1)
    np.testing.assert_allclose((epoch[0].loss, epoch[0].accuracy), expected, rtol=1e-5)
    sums = np.diff([0, *(step.images * step.loss for step in epoch)])
    mean_of_means = (sums / np.diff([0, *(step.images for step in epoch)])).mean()
    assert abs(mean_of_means - sums.sum() / 1442) > 1e-3
    assert result.history[0].train_loss == epoch[-1].loss == pytest.approx(sums.sum() / 1442, rel=1e-12)


def interrupt(progress):
    if progress.epoch == 2:
        raise KeyboardInterrupt


def test_an_interrupted_run_is_not_finished_and_resumes_to_the_same_bits(normalised, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit.fit(NORMALISED, folder, on_step=interrupt)
    assert not Run(folder).weights.exists()
    with pytest.raises(ValueError, match=r"not finished: `zoo resume .*run`"):
        fit.restore(folder)
    epochs = []
    fit.resume(folder, on_epoch=epochs.append)
    assert [row.epoch for row in epochs] == [2]
    assert written(folder) == written(normalised[0])
    with pytest.raises(ValueError, match="is finished, after 2 epochs"):
        fit.resume(folder)


def test_a_killed_process_leaves_a_run_that_can_be_resumed(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "zoo", "train", "mlp", "--epochs", "500", "--out", str(folder)]
    here = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not Run(folder).metrics.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not Run(folder).weights.exists()
    done = len(Run(folder).metrics.read_text().splitlines())

    def enough(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.resume(folder, on_epoch=enough)
    rows = [json.loads(line)["epoch"] for line in Run(folder).metrics.read_text().splitlines()]
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) in (done + 1, done + 2)  # the checkpoint is written just before the metrics


def test_a_saved_state_comes_back_bit_for_bit(normalised, tmp_path):
    state = normalised[1].state
    path = tmp_path / "state.safetensors"
    save_tree(path, state, {"note": "kept"})
    back = load_tree(path, state)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    plain = [jax.tree.leaves(tree.replace(key=jax.random.key_data(tree.key))) for tree in (state, back)]
    for one, other in zip(*plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(jax.random.normal(back.key), jax.random.normal(state.key))


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
    with pytest.raises(ValueError, match=message):
        fit.restore(folder)


@pytest.mark.parametrize("content", ["", "{}", '{"config": {"model": "mlp", "colour": "red"}}', "[1, 2]"])
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        fit.restore(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "lenet6"}, "lenet5"),
        ({"data": "digit"}, "Did you mean 'digits'"),
        ({"data": "idx:/nowhere"}, "No folder '/nowhere'"),
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
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        fit.fit(replace(MLP, **wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_in_it_is_left_alone(mlp, tmp_path):
    folder = mlp[0]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"holds a run already.*--overwrite\.$"):
        fit.fit(MLP, folder)
    with pytest.raises(ValueError, match="no model"):
        fit.fit(replace(MLP, model="none"), folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "letter.txt").write_text("dear")
    for target in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(ValueError, match=r"choose another --out"):
            fit.fit(MLP, target, overwrite=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_overwriting_takes_the_finished_look_from_the_old_run_first(mlp, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in mlp[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        fit.fit(replace(MLP, seed=5), folder, overwrite=True, on_step=interrupt)
    assert not Run(folder).weights.exists()
    assert not Run(folder).picture.exists()
    assert Run(folder).read()[0].seed == 5


def test_a_training_that_diverges_says_so_and_stays_unfinished(tmp_path):
    with pytest.raises(ValueError, match=r"loss is nan in epoch \d: choose a smaller lr than 1e\+20"):
        fit.fit(replace(MLP, lr=1e20), tmp_path / "run")
    assert not Run(tmp_path / "run").weights.exists()


@pytest.mark.parametrize(
    ("model", "image_size", "expected"), [("lenet5_relu", None, 32), ("lenet5_relu", 16, 16), ("mlp", None, 8)]
)
def test_images_are_resized_only_for_a_net_that_needs_it(model, image_size, expected):
    splits, _ = fit.prepare(replace(MLP, model=model, image_size=image_size))
    assert [split.prepare.image_shape for split in splits] == 2 * [(expected, expected, 1)]


def test_the_learning_rate_rises_for_a_tenth_of_the_steps_and_falls_to_zero():
    schedule = fit.schedule_of(replace(MLP, epochs=10, batch_size=100, lr=0.3), 1000)
    rates = np.array([schedule(step) for step in range(101)])
    np.testing.assert_allclose(rates[:11], 0.3 * np.arange(11) / 10, atol=1e-7)
    np.testing.assert_allclose(rates[10:], 0.15 * (1 + np.cos(np.pi * np.arange(91) / 90)), atol=1e-7)


def test_without_matplotlib_there_is_no_picture_and_no_failure(mlp, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert curves.draw(mlp[1].history, title="a run") is None


@pytest.mark.slow
def test_resnet20_reads_98_percent_of_the_test_digits(tmp_path):
    last = fit.fit(TrainConfig("resnet20"), tmp_path / "run").history[-1]
    assert last.test_accuracy_running >= 0.98


@pytest.mark.parametrize("name", ["resnet50", *list_models("lenet*"), "convnet_bn"])
def test_layers_add_up_to_the_published_parameters_and_multiply_adds(name):
    row = variant(name)
    layers = summary.layers(create(name), (row.image_size, row.image_size, row.channels))
    assert sum(layer.params for layer in layers) == row.params
    assert sum(layer.macs for layer in layers if not layer.auxiliary) == row.macs
