"""A run whose numbers stop being numbers is never a success, and what is left of it is good."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from tests.training.conftest import MLP, NORMALISED, read_run
from zoo.errors import UserError
from zoo.training import RunFolder, epochs, resume
from zoo.training.compilation import TrainStep

ONE = replace(MLP, epochs=1, batch_size=722)  # two steps


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


def nan_after(steps):
    """An optimiser whose update is NaN at a step, counted from 0."""
    poison = optax.scale_by_schedule(lambda count: jnp.where(count == steps, jnp.nan, 1.0))
    return optax.chain(optax.sgd(0.01), poison)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (0, r"the loss is nan in epoch 1, step 2: choose another tx, .* continues from its start"),
        (1, r"arrays are not finite in epoch 1, step 2, params/fc/bias the first: .* continues from its start"),
        (2, r"the loss is nan in epoch 2, step 2: .* continues after epoch 1"),
        (3, r"arrays are not finite in epoch 2, step 2, .* continues after epoch 1"),
    ],
)
def test_numbers_that_stop_being_numbers_at_any_step_leave_the_last_good_checkpoint(tmp_path, step, message):
    run = RunFolder(tmp_path / "run")
    config = replace(ONE, epochs=2)
    with pytest.raises(UserError, match=message):
        zoo.fit(config, run.folder, tx=nan_after(step))
    assert not run.weights_path.exists()
    assert len(run.read_metrics()) == step // 2
    assert run.read().diverged
    resume(run.folder, tx=nan_after(100))
    assert [row.epoch for row in run.read_metrics()] == [1, 2]
    assert run.read().diverged is None
    zoo.fit(config, tmp_path / "whole", tx=nan_after(100))
    assert read_run(run.folder) == read_run(tmp_path / "whole")


def test_a_checkpoint_by_time_is_never_of_a_state_that_is_not_numbers(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"not finite in epoch 1, step 2.* continues after step 1 of epoch 1"):
        zoo.fit(replace(ONE, batch_size=361), run.folder, tx=nan_after(1), checkpoint_minutes=0)
    resume(run.folder, tx=nan_after(100))


@pytest.mark.parametrize("which", ["test_loss_running", "test_loss_batch"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_test_loss_that_is_not_a_number_is_no_success(tmp_path, monkeypatch, which, value):
    answers = [{"loss": 1.0, "accuracy": 0.5}, {"loss": 1.0, "accuracy": 0.5}]
    answers[which.endswith("running")]["loss"] = value
    monkeypatch.setattr(epochs, "evaluate", lambda *arguments: answers.pop(0))
    with pytest.raises(UserError, match=f"{which} is {value} after epoch 1: choose a smaller lr than 0.1"):
        zoo.fit(ONE, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_statistics_that_are_not_numbers_are_no_success_though_all_losses_are(tmp_path, monkeypatch):
    def poison(state, metrics):
        stats = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.inf), state.batch_stats)
        return state.replace(batch_stats=stats), metrics

    make = epochs.make_train_step
    monkeypatch.setattr(
        epochs, "make_train_step", lambda loss, **_: TrainStep(lambda *arguments: poison(*make(loss)(*arguments)))
    )
    monkeypatch.setattr(epochs, "evaluate", lambda *arguments: {"loss": 1.0, "accuracy": 0.5})
    with pytest.raises(UserError, match=r"arrays are not finite in epoch 1, step 5, batch_stats/"):
        zoo.fit(replace(NORMALISED, epochs=1), tmp_path / "run")


def test_a_run_that_diverged_is_resumed_with_another_learning_rate_alone(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"loss is nan in epoch 1, step \d+: choose a smaller lr than 1e\+20"
    ) as stopped:
        zoo.fit(replace(MLP, lr=1e20), run.folder)
    assert stopped.value.code == "diverged"
    assert stopped.value.context == {"folder": run.folder, "lr": 1e20, "saved": "from its start"}
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]
    for lr in (None, 1e20):
        with pytest.raises(
            UserError, match=r"stopped because the loss is nan in epoch 1.*, and would again: resume it"
        ):
            resume(run.folder, lr=lr)
    history = resume(run.folder, lr=0.1).history
    assert run.read().config == MLP
    assert history[0].learning_rate < 0.11
    values = [value for row in run.read_metrics() for value in vars(row).values() if value is not None]
    assert np.isfinite(values).all()


def test_the_metrics_of_a_diverged_run_are_json_by_the_letter(tmp_path):
    with pytest.raises(UserError, match="in epoch 2, step 1"):
        zoo.fit(replace(ONE, epochs=2, batch_size=2000), tmp_path / "run", tx=nan_after(1))
    text = RunFolder(tmp_path / "run").metrics_path.read_text()
    rows = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert [row["epoch"] for row in rows] == [1]
