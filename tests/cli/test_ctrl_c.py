"""Ctrl-C: one line, whenever and however often."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from zoo.cli import interrupts

# The command, in which the first library waits to be loaded.
LOADING = """
import sys, time
class Waiting:
    def find_spec(self, name, *_):
        if name == "jax":
            print("loading", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Waiting())
from zoo.__main__ import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def heard():
    """Interrupts as in a terminal: who is started in the background may have been told to ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(*arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *arguments], **pipes, text=True)


def test_pressed_three_times_in_a_training_is_one_line(tmp_path):
    with start("-m", "zoo", "train", "mlp", "--epochs", "100000", "--out", str(tmp_path / "run")) as process:
        assert process.stderr.readline().startswith("epoch ")
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        *epochs, last = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert last == f"zoo: interrupted: `zoo resume {tmp_path / 'run'}` continues the run"
    assert all(line.startswith("epoch ") for line in epochs)


@pytest.mark.parametrize("times", [1, 3])
def test_pressed_while_the_libraries_are_loaded_is_one_line_too(times, tmp_path):
    with start("-c", LOADING, "train", "mlp", "--out", str(tmp_path / "run")) as process:
        assert process.stdout.readline() == "loading\n"
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "zoo: interrupted\n"
    assert process.returncode == 130


def test_ignored_from_the_start_it_stays_ignored(tmp_path):
    """As under nohup, or behind & in a script."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with start("-c", LOADING.replace("jax", "tyro").replace("60", "0.1"), "list", "z*") as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        assert "no model matches 'z*'" in process.stderr.read()
    assert process.returncode == 2


def lose_in_destructor(interrupt):
    type("Careless", (), {"__del__": interrupt})()


def lose_in_garbage_collection(interrupt):
    gc.callbacks.append(interrupt)
    gc.collect()


def lose_and_wait(lose, interrupt):
    with interrupts.answered():
        lose(interrupt)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.01)


@pytest.mark.parametrize("lose", [lose_in_destructor, lose_in_garbage_collection])
def test_an_interrupt_that_is_lost_in_a_callback_comes_again(lose, capfd):
    def interrupt(*_):
        gc.callbacks.clear()
        raise KeyboardInterrupt

    callbacks = list(gc.callbacks)
    with pytest.raises(KeyboardInterrupt):
        lose_and_wait(lose, interrupt)
    gc.callbacks[:] = callbacks
    assert capfd.readouterr().err == ""


def test_what_a_command_changes_about_interrupts_is_its_caller_s_again():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with interrupts.answered():
        interrupts.ignore()
        os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
