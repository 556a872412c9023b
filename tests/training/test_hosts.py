"""Many processes: how they find each other, that two come to what one comes to, and the end of both when one dies."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import zoo
from zoo.errors import UserError
from zoo.training import RunFolder, hosts, resume
from zoo.training.hosts import explain_lost_process, finds_launcher, join_processes
from zoo.weights import read

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "4"}


@contextlib.contextmanager
def start_two(*words):
    """Two processes of a command, and what they print; whatever happens, both are gone at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "zoo", *map(str, words), "--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
    started = [
        subprocess.Popen([*command, "--process", str(i)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    try:
        yield started
    finally:
        for one in started:
            one.kill()
            one.communicate()


@pytest.mark.parametrize("model", ["mlp", pytest.param("convnet_bn", marks=pytest.mark.slow)])
def test_two_processes_come_to_the_parameters_of_one_and_the_first_alone_speaks(tmp_path, model):
    config = zoo.TrainConfig(model, epochs=1, batch_size=722)
    words = ("train", config.model, "--epochs", 1, "--batch-size", 722)
    with start_two(*words, "--out", tmp_path / "two") as started:
        said = [one.communicate(timeout=300) for one in started]
    assert [one.returncode for one in started] == [0, 0], said
    assert "test accuracy" in said[0][0]
    assert not [line for line in said[1][0].splitlines() if not line.startswith("[Gloo]")]
    assert said[1][1] == ""
    zoo.fit(config, tmp_path / "one")
    one, two = (read(RunFolder(tmp_path / name).weights_path) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    rows = [RunFolder(tmp_path / name).read_metrics()[0] for name in ("one", "two")]
    assert rows[0].train_loss == pytest.approx(rows[1].train_loss, rel=1e-5)
    if model == "convnet_bn":
        assert rows[0].statistics_distance == pytest.approx(rows[1].statistics_distance, rel=1e-2)


def test_when_one_process_is_killed_the_other_says_so_in_a_line_and_the_run_is_resumed(tmp_path):
    folder = tmp_path / "run"
    with start_two("train", "mlp", "--epochs", 20, "--out", folder) as (first, second):
        while not RunFolder(folder).metrics_path.exists():
            assert first.poll() is None, first.communicate()
            time.sleep(0.05)
        second.send_signal(signal.SIGKILL)
        _, said = first.communicate(timeout=60)
    assert first.returncode != 0
    last = said.splitlines()[-1]
    assert last.startswith("zoo: another process of this job has ended")
    assert last.endswith(", with `zoo resume RUN`.")
    assert said.count("zoo: ") == 1
    assert "Traceback" not in said
    done = len(RunFolder(folder).read_metrics())
    assert 1 <= done < 20
    assert len(resume(folder).history) == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "a:1"}, "coordinator without processes and process: the three belong together"),
        ({"processes": 2, "process": 0}, "processes and process without coordinator"),
        ({"coordinator": "here", "processes": 2, "process": 0}, "coordinator is 'here': it must be HOST:PORT"),
        ({"coordinator": "a:1", "processes": 0, "process": 0}, "processes is 0: it must be at least 1"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, "process is 2: it must be from 0 to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        join_processes(**given)


@pytest.mark.parametrize("environment", [SLURM, OPEN_MPI])
def test_a_launcher_that_jax_knows_is_asked_without_a_flag(monkeypatch, environment):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *place, **_: asked.append(place))
    assert not join_processes()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert join_processes()
    assert asked == [(None, None, None)]


@pytest.mark.parametrize("environment", [SLURM, OPEN_MPI])
def test_jax_reads_the_same_of_the_launcher_as_we_do(monkeypatch, environment):
    from jax._src.clusters import ClusterEnv

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    present = [cluster for cluster in ClusterEnv._cluster_types if cluster.name in ("slurm", "ompi")]
    assert sum(cluster.is_env_present() for cluster in present) == 1
    assert finds_launcher(os.environ)
    job = next(iter(environment))
    assert not finds_launcher({name: value for name, value in environment.items() if name != job})


def test_processes_that_do_not_find_each_other_are_told(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DEADLINE_EXCEEDED:\n waited")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(UserError, match=r"did not find each other at a:1 \(DEADLINE_EXCEEDED: waited\): start all"):
        join_processes("a:1", 2, 0)


def test_an_error_of_the_device_is_a_lost_process_only_where_there_are_many(monkeypatch):
    error = jax.errors.JaxRuntimeError("Gloo all-reduce failed: Connection closed by peer")
    with pytest.raises(jax.errors.JaxRuntimeError), explain_lost_process():
        raise error
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="another process of this job has ended"), explain_lost_process():
        raise error
