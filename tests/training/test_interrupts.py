"""Ctrl-C and SIGTERM: between two steps, and a second one at once."""

import os
import signal

import pytest

import zoo
from tests.training.conftest import MLP, read_run
from zoo.errors import Terminated
from zoo.training import resume
from zoo.training.interrupts import answer_termination, hold_interrupts


def terminate(*_):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_does_not_wait(number):
    reached = []

    @answer_termination()
    def interrupt_twice():
        with hold_interrupts():
            for _ in range(2):
                os.kill(os.getpid(), number)
                reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert reached == ["after"]


def test_sigterm_is_answered_only_where_nobody_else_does():
    answered = []
    before = signal.signal(signal.SIGTERM, lambda *_: answered.append("theirs"))
    try:
        with answer_termination():
            terminate()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert answered == ["theirs"]
    with pytest.raises(Terminated), answer_termination():
        terminate()
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_in_a_step_waits_for_its_end(mlp, tmp_path):
    seen = []

    def stop(progress, state):
        seen.append(progress.images)
        if len(seen) == 3:
            terminate()

    with pytest.raises(Terminated):
        zoo.fit(MLP, tmp_path / "run", on_step=stop)
    assert seen == [64, 128, 192]
    resume(tmp_path / "run", on_step=lambda progress, state: seen.append(progress.images))
    assert seen[3] == 256
    assert read_run(tmp_path / "run") == read_run(mlp[0])
