"""Saving beside the training: it does not wait, nothing is forgotten, and what fails is said."""

import errno
import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from tests.training.conftest import MLP
from zoo.errors import UserError
from zoo.training import create_train_state, saving
from zoo.training.checkpoints import Checkpoints, Position
from zoo.training.metrics import EpochSums
from zoo.training.saving import Saver, SavingPlan


@pytest.fixture(scope="module")
def state():
    variables = {"params": {"kernel": jnp.arange(3.0)}, "batch_stats": {}}
    return create_train_state(zoo.create("mlp"), jax.random.key(0), optax.sgd(0.1), variables=variables)


@pytest.fixture
def make(tmp_path, state):
    """Makes a saver, which ends with the test."""
    made = []

    def make_saver(**plan):
        made.append(Saver(Checkpoints(tmp_path), SavingPlan(**plan), state, Position()))
        return made[-1]

    yield make_saver
    for saver in made:
        saver.close()


def at(step):
    return Position([], EpochSums(1, step))


def steps_of(saver):
    return [int(path.stem.rpartition("_")[2]) for path in saver.checkpoints.find_all()]


def test_the_training_goes_on_while_a_checkpoint_is_written_and_the_next_one_waits(make, state, monkeypatch):
    write, begun, gone_on, order = Checkpoints.write, threading.Event(), threading.Event(), []

    def write_slowly(checkpoints, arrays, position, *others):
        begun.set()
        assert gone_on.wait(60)
        write(checkpoints, arrays, position, *others)
        order.append(position.sums.steps)

    monkeypatch.setattr(Checkpoints, "write", write_slowly)
    saver = make()
    saver.save(state, at(1), MLP)
    assert begun.wait(60)
    assert steps_of(saver) == []  # and yet we are here
    assert not saver.is_due(1)
    gone_on.set()
    saver.save(state, at(2), MLP)
    assert order[:1] == [1]
    saver.wait()
    assert order == [1, 2]
    assert steps_of(saver) == [1, 2]


def test_what_is_written_is_the_state_of_the_call_whatever_becomes_of_its_arrays(make, state, monkeypatch):
    saver, go, write = make(), threading.Event(), Checkpoints.write
    monkeypatch.setattr(Checkpoints, "write", lambda *arguments: (go.wait(60), write(*arguments)))
    given = jax.tree.map(lambda leaf: leaf.copy(), state)
    saver.save(given, at(1), MLP)
    for leaf in jax.tree.leaves(given):
        leaf.delete()
    go.set()
    saver.wait()
    loaded, position = saver.checkpoints.load(state)
    assert position == at(1)
    np.testing.assert_array_equal(loaded.params["kernel"], np.arange(3.0))


@pytest.mark.parametrize("ask", [lambda s, state: s.is_due(2), lambda s, state: s.save(state, at(2), MLP)])
def test_what_could_not_be_written_is_said_at_the_next_opportunity_and_once(make, state, monkeypatch, ask):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write", fail)
        saver = make()
        saver.save(state, at(1), MLP)
        saver._thread.submit(int).result()  # the thread is through with it
        with pytest.raises(OSError, match="No space left"):
            ask(saver, state)
    saver.save(state, at(3), MLP)
    saver.close()
    assert steps_of(saver) == [3]


def test_time_and_steps_say_when(make, state, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: now[0]))
    saver = make(minutes=2, steps=5)
    assert [step for step in range(1, 12) if saver.is_due(step)] == [5, 10]
    now[0] += 121
    assert saver.is_due(1)
    saver.save(state, at(1), MLP)
    assert not saver.is_due(2)
    assert saver.saved == "after step 1 of epoch 1"


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"minutes": -1}, "checkpoint_minutes is -1: it must be 0 or more"),
        ({"minutes": float("nan")}, "checkpoint_minutes is nan: it must be 0 or more"),
        ({"steps": 0}, "checkpoint_steps is 0: it must be at least 1"),
        ({"keep": 0}, "keep_checkpoints is 0: it must be at least 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan, message):
    with pytest.raises(UserError, match=message):
        SavingPlan(**plan)


def test_only_the_first_of_several_processes_writes(make, state, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    saver = make()
    saver.save(state, at(1), MLP)
    saver.wait()
    assert steps_of(saver) == []
