"""Checkpoints in parts: bit for bit on any number of devices, and believed only as they were written.

Eight devices of one process write and read as those of several do; two processes are at the end.
"""

import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.training.conftest import MLP, read_run
from zoo.errors import UserError
from zoo.training import RunFolder
from zoo.training.checkpoint import describe, name_arrays
from zoo.training.checkpoints import Checkpoints, Position
from zoo.training.devices import make_mesh
from zoo.training.metrics import EpochSums
from zoo.training.sharded_checkpoint import ShardWriter, folder_of

KERNEL = np.arange(48, dtype=np.float32).reshape(16, 3)


def make_tree(devices):
    """Kernels by rows, a random key and a bfloat16 vector on each of so many devices; of 1, without a mesh."""
    tree = {
        "params": {"bias": jnp.arange(3, dtype=jnp.bfloat16), "kernel": jnp.array(KERNEL)},
        "key": jax.random.key(3),
    }
    if (mesh := make_mesh(devices)) is None:
        return tree
    tree = jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
    tree["params"]["kernel"] = jax.device_put(KERNEL, NamedSharding(mesh, PartitionSpec("batch")))
    return tree


def write(folder, tree, step=1):
    checkpoints, writer = Checkpoints(folder), ShardWriter()
    arrays, path = name_arrays(tree), checkpoints.path_after(0, step, ".json")
    finish = writer.begin(path, arrays)
    finish()
    checkpoints.write_shards(path, describe(arrays), Position(sums=EpochSums(1, step)), MLP, 2)
    writer.close()
    return checkpoints


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (name, one), other in zip(name_arrays(found).items(), name_arrays(expected).values(), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name


def test_it_is_loaded_bit_for_bit_on_any_number_of_devices_or_without_any(tmp_path):
    tree = make_tree(8)
    checkpoints = write(tmp_path, tree, step=7)
    for template in (make_tree(8), make_tree(2), make_tree(1)):
        loaded, position = checkpoints.load(template)
        assert_equal(loaded, tree)
        assert position.sums.steps == 7
        assert loaded["params"]["kernel"].sharding.is_equivalent_to(template["params"]["kernel"].sharding, 2)
    shapes = {"params": jax.eval_shape(lambda: tree["params"])}
    loaded, _ = checkpoints.load(shapes, parts=("params",))
    assert_equal(loaded["params"], tree["params"])


def test_the_arrays_may_be_given_away_as_soon_as_they_are_copied(tmp_path):
    writer, path = ShardWriter(), Checkpoints(tmp_path).path_after(0, 1, ".json")
    tree = make_tree(8)
    finish = writer.begin(path, arrays := name_arrays(tree))
    shapes = describe(arrays)
    for array in arrays.values():
        array.delete()
    finish()
    writer.close()
    Checkpoints(tmp_path).write_shards(path, shapes, Position(sums=EpochSums(1, 1)), MLP, 2)
    assert_equal(Checkpoints(tmp_path).load(make_tree(1))[0], make_tree(1))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil", [flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink()]
)
def test_whichever_file_is_damaged_the_checkpoint_before_is_used_and_one_line_says_so(tmp_path, spoil):
    write(tmp_path / "run", make_tree(8), step=3)
    checkpoints = write(tmp_path / "run", make_tree(8), step=5)
    last = checkpoints.find_all()[-1]
    files = sorted(path for path in folder_of(last).rglob("*") if path.is_file())
    assert len(files) > 3
    for damaged in files:
        content = damaged.read_bytes()
        spoil(damaged)
        message = r"0000_00005\.json cannot be read: 1 files .* lost: checkpoint_0000_00003\.json is used instead"
        with pytest.warns(UserWarning, match=message) as told:
            loaded, position = checkpoints.load(make_tree(8))
        assert (len(told), position.sums.steps) == (1, 3)
        assert_equal(loaded, make_tree(1))
        damaged.write_bytes(content)
    assert checkpoints.load(make_tree(8))[1].sums.steps == 5


@pytest.mark.parametrize("spoil", [flip, lambda path: path.write_text("{}"), lambda path: path.write_text("")])
def test_a_list_that_is_not_as_it_was_written_is_not_believed(tmp_path, spoil):
    write(tmp_path, make_tree(8), step=3)
    checkpoints = write(tmp_path, make_tree(8), step=5)
    spoil(checkpoints.find_all()[-1])
    with pytest.warns(UserWarning, match=r"0000_00005\.json cannot be read: "):
        assert checkpoints.load(make_tree(8))[1].sums.steps == 3


def test_a_folder_whose_list_was_not_written_is_no_checkpoint_and_goes_with_the_next_start(tmp_path):
    checkpoints = write(tmp_path / "run", make_tree(8))
    ShardWriter().begin(checkpoints.path_after(0, 2, ".json"), name_arrays(make_tree(8)))()
    (tmp_path / "run" / "checkpoint_0000_00003.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "run" / "checkpoint_mine").mkdir()
    assert [path.stem for path in checkpoints.find_all()] == ["checkpoint_0000_00001"]
    with RunFolder(tmp_path / "run").lock():
        left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert left == ["checkpoint_0000_00001", "checkpoint_0000_00001.json", "checkpoint_mine", "lock"]
    checkpoints.remove()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint_mine"]


def test_old_ones_go_with_their_folders(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, make_tree(8), step)
    kept = ["checkpoint_0000_00002", "checkpoint_0000_00003"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, *(f"{name}.json" for name in kept)])


def test_arrays_of_another_net_are_refused(tmp_path):
    checkpoints, tree = write(tmp_path, make_tree(8)), make_tree(8)
    tree["params"]["kernel"] = tree["params"]["kernel"].T
    with pytest.raises(UserError, match="does not fit the net in 1 arrays: params/kernel is"):
        checkpoints.load(tree)


TRAINING = """
import os, signal, sys

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
place, process, folder, stops = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "stop"
jax.distributed.initialize(place, 2, process)

from zoo.training import TrainConfig, devices, fit, resume
from zoo.errors import Terminated

devices.LARGE = 2**8

def stop(progress, state):
    if process == 1 and stops and (progress.epoch, progress.images) == (2, 640):
        os.kill(os.getpid(), signal.SIGTERM)

settings = {"shard_parameters": True, "checkpoint_steps": 7, "on_step": stop}
try:
    if os.path.exists(os.path.join(folder, "config.json")):
        resume(folder, **settings)
    else:
        fit(TrainConfig("mlp", epochs=2), folder, **settings)
except Terminated:
    sys.exit(3)
"""


def train_with_two(folder, word):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-c", TRAINING, place]
    started = [subprocess.Popen([*command, i, folder, word], stderr=subprocess.PIPE, text=True) for i in "01"]
    told = [one.communicate(timeout=240)[1] for one in started]
    return [one.returncode for one in started], told


@pytest.mark.slow  # six processes, each of which imports and compiles
def test_two_processes_with_a_part_each_stop_together_at_a_signal_to_one_and_resume_to_the_same_bits(tmp_path):
    codes, told = train_with_two(tmp_path / "whole", "run")
    assert codes == [0, 0], told
    codes, told = train_with_two(tmp_path / "run", "stop")
    assert codes == [3, 3], told
    steps = [path.name for path in Checkpoints(tmp_path / "run").find_all()]
    assert steps[-1] == "checkpoint_0001_00010.json"  # 640 images are ten batches
    codes, told = train_with_two(tmp_path / "run", "run")
    assert codes == [0, 0], told
    assert read_run(tmp_path / "run") == read_run(tmp_path / "whole")
