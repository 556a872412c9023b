"""Contestants in processes of their own: they prepare one by one, take turns, and a failure is their own."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from zoo.bench import Job, Result, race
from zoo.bench.machine import available_cores

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    """The file in which the stubs write down what they do."""
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "log"


def make_job(kind, name):
    return Job(f"tests.bench.stubs:make_{kind}", name, "train", 2, 8, "float32", tuple(available_cores()[:1]))


def test_a_job_survives_its_way_through_json():
    job = make_job("steady", "a")
    assert Job.from_json(job.to_json()) == job
    assert json.loads(job.to_json())["cores"] == available_cores()[:1]


def test_median_and_spread_are_numpys():
    result = Result(seconds=[3.0, 1.0, 2.0, 10.0, 4.0, 7.0])
    assert result.median == 3.5
    low, middle, high = np.percentile(result.seconds, [25, 50, 75])
    assert result.spread == pytest.approx((high - low) / middle)


def test_contestants_prepare_one_after_the_other_and_then_each_makes_one_step_in_every_round(log):
    told = []
    jobs = {name: make_job("steady", name) for name in "abc"}
    results = race(jobs, rounds=6, patience=60, tell=told.append)
    lines = log.read_text().splitlines()
    assert lines[:9] == [f"{what} {name}" for name in "abc" for what in ("starts", "ready", "step")]
    turns = list(zip(*[iter(lines[9:])] * 3, strict=True))
    assert len(turns) == 2 + 6
    assert {frozenset(turn) for turn in turns} == {frozenset(f"step {name}" for name in "abc")}
    assert len(set(turns)) > 1, "the order changes"
    assert list(results) == ["a", "b", "c"]
    for result in results.values():
        assert (len(result.seconds), result.failure) == (6, "")
        assert (result.compile_seconds, result.memory, result.device) == (1.5, 2**20, "stub")
        assert result.note == f"cores {available_cores()[0]}"
        assert all(seconds > 0 for seconds in result.seconds)
    assert told[0] == "a: preparing a, 1 of 3"
    assert told[-1] == "round 8 of 8: a, b, c"


@pytest.mark.parametrize(
    ("kind", "patience", "failure"),
    [
        ("dying", 60, "ended by SIGKILL"),
        ("complaining", 60, "there is no bad: choose"),
        ("crashing", 60, "ended with code 7: malloc(): corrupted"),
        ("hanging", 4, "no answer within 4 s"),
    ],
)
def test_who_fails_is_out_with_a_reason_and_the_others_go_on(kind, patience, failure, log):
    results = race({"bad": make_job(kind, "bad"), "good": make_job("steady", "good")}, rounds=5, patience=patience)
    assert results["bad"] == Result(failure=failure)
    assert len(results["good"].seconds) == 5
    steps = {name: len(list(lines)) for name, lines in groupby(sorted(log.read_text().splitlines()))}
    assert steps["step good"] == 1 + 2 + 5
    assert steps.get("step bad", 0) == (3 if kind == "dying" else 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them_whatever_they_compute(number, log):
    code = f"from zoo.bench import Job, race; race({{'a': {make_job('hanging', 'a')!r}}}, rounds=5, patience=600)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.02)
        child = int(log.read_text().split()[1])
        os.kill(child, 0)
        parent.send_signal(number)
        parent.wait()
    for _ in range(500):
        if not is_running(child):
            return
        time.sleep(0.02)
    raise AssertionError("the contestant lives on")


def is_running(pid):
    """A zombie that nobody has waited for is not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
