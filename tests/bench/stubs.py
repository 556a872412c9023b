"""Contestants for tests of the turns: they write down what they do in the file that STUB_LOG names."""

import os
import signal
import time
from functools import partial
from pathlib import Path

from zoo.bench.job import Contestant
from zoo.errors import UserError


def note(word, job):
    with Path(os.environ["STUB_LOG"]).open("a") as file:
        file.write(f"{word} {job.model}\n")


def make_steady(job):
    note("starts", job)
    time.sleep(0.05)
    note("ready", job)
    print("what a library prints is no answer")
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return Contestant(partial(note, "step", job), "stub", compile_seconds=1.5, memory=2**20, note=f"cores {cores}")


def make_dying(job):
    """Dies in its third step."""
    steps = iter(range(2))

    def step():
        note("step", job)
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return Contestant(step, "stub")


def make_complaining(job):
    raise UserError(f"there is no {job.model}", "choose\nanother")


def make_crashing(_):
    print("malloc(): corrupted", flush=True)
    os._exit(7)


def make_hanging(job):
    note(f"pid {os.getpid()}", job)
    time.sleep(600)
