"""Eight devices come to what one comes to: loss, gradients, running statistics and averages; and what they exchange."""

import math
import re
from collections import Counter
from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from tests.training.conftest import MLP
from zoo.errors import UserError
from zoo.losses import softmax_cross_entropy
from zoo.norm.options import current_options
from zoo.training import RunFolder, devices, resume
from zoo.training.compilation import TrainStep
from zoo.training.devices import choose_spec, find_mesh, make_mesh, place_state, replicate, share_batch

NORMS = (8, 16)  # channels
STEP = zoo.make_train_step(softmax_cross_entropy)


class Small(nn.Module):
    """Two convolutions with normalisations, and a head."""

    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for channels in NORMS:
            x = nn.Conv(channels, (3, 3), use_bias=False, **types)(x)
            x = nn.relu(zoo.BatchNorm()(x, train=train))
        return nn.Dense(16, **types)(jnp.mean(x, (1, 2)))


def make_state(tx=None, **types):
    tx = optax.sgd(0.05, momentum=0.9) if tx is None else tx
    return zoo.create_train_state(Small(**types), jax.random.key(0), tx, (8, 8, 1), ema_decay=0.9)


def make_batches(rows, dtype=np.float32):
    """Three batches, the last rows of each masked, with values that must not count."""
    random = np.random.default_rng(0)
    for left in (3, 1, 5):
        image = random.normal(1, 2, (rows, 8, 8, 1)).astype(dtype)
        image[-left:] = 1e3
        yield {"image": image, "label": random.integers(0, 10, rows), "mask": np.arange(rows) < rows - left}


def train(state, batches, mesh=None, **placing):
    """The state, on the host, and the metrics of each step."""
    state = state if mesh is None else place_state(state, mesh, **placing)
    places, seen = [leaf.sharding for leaf in jax.tree.leaves(state)], []
    for batch in batches:
        state, metrics = STEP(state, share_batch(batch, mesh))
        seen.append(metrics)
    assert mesh is None or find_mesh(state) is mesh
    assert [leaf.sharding for leaf in jax.tree.leaves(state)] == places
    parts = {name: getattr(state, name) for name in ("params", "batch_stats", "opt_state", "ema_params")}
    return jax.device_get((parts, seen))


@pytest.mark.parametrize("rows", [16, 13])
def test_steps_on_eight_devices_equal_those_on_one_in_float64(float64, rows):
    """Ragged, masked batches, also of a size that the devices do not divide."""
    types = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    with jax.numpy_dtype_promotion("standard"):  # the count is a float32
        one = train(make_state(**types), make_batches(rows, np.float64))
        many = train(make_state(**types), make_batches(rows, np.float64), make_mesh(8))
    chex.assert_trees_all_close(many, one, rtol=1e-9, atol=1e-11)
    assert one[1][0]["count"] == rows - 3


@pytest.mark.parametrize("shard_parameters", [False, True])
def test_accumulation_and_parts_of_parameters_change_nothing(monkeypatch, shard_parameters):
    monkeypatch.setattr(devices, "LARGE", 2**8)
    tx = optax.MultiSteps(optax.sgd(0.05, momentum=0.9), 2).gradient_transformation()
    with jax.numpy_dtype_promotion("standard"):  # which optax's counter of steps wants
        one = train(make_state(tx), make_batches(16))
        many = train(make_state(tx), make_batches(16), make_mesh(8), shard_parameters=shard_parameters)
    chex.assert_trees_all_close(many, one, rtol=2e-3, atol=2e-5)


def test_in_bfloat16_the_difference_is_that_of_its_eight_bits():
    one = train(make_state(dtype=jnp.bfloat16), make_batches(16))
    many = train(make_state(dtype=jnp.bfloat16), make_batches(16), make_mesh(8))
    for found, expected in zip(many[1], one[1], strict=True):
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=0.02)
    distance = optax.tree.norm(jax.tree.map(jnp.subtract, many[0]["batch_stats"], one[0]["batch_stats"]))
    assert distance < 0.02 * optax.tree.norm(one[0]["batch_stats"])


def test_groups_within_the_devices_equal_ghost_batch_normalisation_on_one():
    with zoo.batch_norm_options(group_size=2):
        one = train(make_state(), make_batches(16))
        many = train(make_state(), make_batches(16), make_mesh(8))
    chex.assert_trees_all_close(many, one, rtol=2e-3, atol=2e-5)
    whole = train(make_state(), make_batches(16))
    assert abs(whole[1][1]["loss"] - one[1][1]["loss"]) > 1e-3


COLLECTIVES = r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
SIZES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "bf16": 2}


def count_exchanged(compiled):
    """Bytes of what each kind of collective hands over, in all of a compiled program."""
    counted = Counter()
    for shapes, kind in re.findall(COLLECTIVES, compiled.as_text()):
        for type_, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            counted[kind] += SIZES[type_] * math.prod(int(n) for n in dims.split(",") if n)
    return counted


def test_a_step_exchanges_gradients_and_two_vectors_a_pass_of_each_normalisation_and_nothing_else():
    """The sums of the forward pass twice: once in the second pass, which is made where the first lost its digits."""
    mesh, state = make_mesh(8), make_state()
    batch = next(make_batches(16))
    compiled = STEP.lower(place_state(state, mesh), share_batch(batch, mesh)).compile()
    counted = count_exchanged(compiled)
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    vectors = 4 * sum(NORMS)
    assert set(counted) == {"all-reduce"}
    assert gradients <= counted["all-reduce"] <= gradients + 6 * vectors + 64  # and a few numbers: loss, counts


def test_parts_of_parameters_are_brought_together_once(monkeypatch):
    monkeypatch.setattr(devices, "LARGE", 2**8)
    mesh = make_mesh(8)
    placed = place_state(make_state(), mesh, shard_parameters=True)
    cut = [leaf for leaf in jax.tree.leaves(placed.params) if not leaf.is_fully_replicated]
    compiled = STEP.lower(placed, share_batch(next(make_batches(16)), mesh)).compile()
    assert 0 < count_exchanged(compiled)["all-gather"] <= sum(leaf.nbytes for leaf in cut)


def test_parameters_come_back_in_parts_also_where_nothing_else_of_the_state_is_cut(monkeypatch):
    """Without momentum and averages the compiler alone would leave them whole."""
    monkeypatch.setattr(devices, "LARGE", 2**8)
    mesh = make_mesh(8)
    state = zoo.create_train_state(Small(), jax.random.key(0), optax.sgd(0.05), (8, 8, 1))
    placed = place_state(state, mesh, shard_parameters=True)
    places = [leaf.sharding for leaf in jax.tree.leaves(placed)]
    assert not all(place.is_fully_replicated for place in places)
    placed, _ = STEP(placed, share_batch(next(make_batches(16)), mesh))
    assert [leaf.sharding for leaf in jax.tree.leaves(placed)] == places


def test_each_device_keeps_an_eighth_of_what_is_cut(monkeypatch):
    monkeypatch.setattr(devices, "LARGE", 1)
    state = make_state()
    placed = place_state(state, make_mesh(8), shard_parameters=True)
    for tree in (placed.params, placed.opt_state, placed.ema_params):
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        kept = sum(leaf.addressable_shards[3].data.nbytes for leaf in jax.tree.leaves(tree))
        assert kept == whole / 8
    chex.assert_trees_all_equal(jax.device_get(replicate(placed).params), jax.device_get(state.params))


def test_vgg19_and_its_optimiser_need_an_eighth_of_the_memory_on_each_of_eight_devices():
    model, tx = zoo.create("vgg19"), optax.sgd(0.1, momentum=0.9)
    state = jax.eval_shape(lambda key: zoo.create_train_state(model, key, tx, (224, 224, 3)), jax.random.key(0))
    leaves = jax.tree.leaves((state.params, state.opt_state))
    cut = sum(leaf.size for leaf in leaves if choose_spec(leaf.shape, 8))
    assert sum(leaf.size for leaf in leaves) > 2 * 143e6
    assert cut > 0.999 * sum(leaf.size for leaf in leaves)


def test_a_mesh_has_all_devices_but_where_a_number_or_a_default_device_says_otherwise():
    with jax.default_device(None):
        assert make_mesh().size == 8
    assert make_mesh(2).size == 2
    assert make_mesh(1) is None
    with jax.default_device(jax.devices()[3]):
        assert make_mesh() is None
    for wrong in (0, 9):
        with pytest.raises(UserError, match=f"devices is {wrong}: it must be from 1 to 8"):
            make_mesh(wrong)


def test_rows_that_the_devices_do_not_divide_are_filled_up_and_masked():
    batch = share_batch({"image": np.ones((13, 2, 2, 1)), "label": np.arange(13)}, make_mesh(8))
    assert batch["image"].shape == (16, 2, 2, 1)
    np.testing.assert_array_equal(batch["mask"], np.arange(16) < 13)
    assert {part.data.shape[0] for part in batch["image"].addressable_shards} == {2}


def read_metrics(folder):
    rows = RunFolder(folder).read_metrics()
    return [(row.train_loss, row.test_loss_running, row.test_loss_batch) for row in rows]


@pytest.mark.parametrize("shard_parameters", [False, True])
def test_a_run_on_many_devices_comes_to_the_figures_of_one_also_when_resumed_on_another_number(
    mlp, tmp_path, monkeypatch, shard_parameters
):
    monkeypatch.setattr(devices, "LARGE", 2**8)
    folder = tmp_path / "run"

    def stop(progress, state):
        if (progress.epoch, progress.images) == (1, 640):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, folder, devices=2, shard_parameters=shard_parameters, on_step=stop)
    resume(folder, devices=4)
    np.testing.assert_allclose(read_metrics(folder), read_metrics(mlp[0]), rtol=1e-3)


def test_groups_of_the_recipe_are_those_of_the_step(tmp_path, monkeypatch):
    seen = []

    def lower(*_):
        seen.append(current_options().group_size)
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainStep, "lower", lower)
    for group_size in (2, None):
        with pytest.raises(KeyboardInterrupt):
            zoo.fit(replace(MLP, group_size=group_size), tmp_path / str(group_size))
    assert seen == [2, None]


def test_groups_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match="group_size is 7: it must be a divisor of the batch_size, 64"):
        zoo.TrainConfig("mlp", group_size=7)
    config = zoo.TrainConfig("convnet_bn", batch_size=12, group_size=3)
    with pytest.raises(UserError, match="batch_size is 12, on 8 devices and with groups of 3: it must be a multiple"):
        zoo.fit(config, tmp_path / "run", devices=8)
    assert not (tmp_path / "run").exists()
