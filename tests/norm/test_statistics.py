"""Comparison with running statistics against numpy, and exact population statistics against the whole batch at once."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.nets import create_shallow, draw_variables
from zoo.norm import BatchNorm, compare_statistics, format_statistics, recalibrate


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        for i in range(3):
            x = nn.relu(BatchNorm(name=f"bn{i}")(nn.Dense(4, name=f"fc{i}")(x), train=train))
        return x


@pytest.fixture
def net():
    model, x = Net(), 3 * jax.random.normal(jax.random.key(1), (24, 5)) + 2
    return model, model.init(jax.random.key(0), x, train=False), x


def test_first_layer_is_compared_with_what_numpy_finds(net):
    model, variables, x = net
    stats = {"mean": jnp.array([1.0, 0.0, -1.0, 2.0]), "var": jnp.array([4.0, 1.0, 9.0, 0.25])}
    variables["batch_stats"]["bn0"] = stats
    row = compare_statistics(model, variables, {"image": x})[0]
    inputs = np.asarray(x) @ np.asarray(variables["params"]["fc0"]["kernel"])
    shift = (inputs.mean(0) - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    ratio = inputs.var(0) / stats["var"]
    assert (row.layer, row.channels) == ("bn0", 4)
    np.testing.assert_allclose(
        [row.distance, row.max_distance], [np.sqrt((shift**2).mean()), abs(shift).max()], rtol=1e-3
    )
    expected = [np.exp(np.log(ratio).mean()), ratio.min(), ratio.max()]
    np.testing.assert_allclose([row.variance_ratio, row.min_ratio, row.max_ratio], expected, rtol=1e-3)


def test_recalibrated_statistics_are_those_of_all_valid_rows_layer_after_layer(net):
    model, variables, x = net
    padded = jnp.concatenate([x[20:], jnp.full((3, 5), jnp.nan)])
    batches = [{"image": x[:9]}, {"image": x[9:20]}, {"image": padded, "mask": jnp.arange(7) < 4}]
    exact = recalibrate(model, variables, batches)["batch_stats"]
    values = np.asarray(x, np.float64)
    for i in range(3):
        values = values @ np.asarray(variables["params"][f"fc{i}"]["kernel"])
        mean, var = values.mean(0), values.var(0, ddof=1)
        np.testing.assert_allclose(exact[f"bn{i}"]["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(exact[f"bn{i}"]["var"], var, rtol=1e-4)
        values = np.maximum((values - mean) / np.sqrt(var + 1e-5), 0)


def test_recalibration_forgets_order_batch_sizes_and_the_statistics_before(net):
    model, variables, x = net
    one = recalibrate(model, variables, [{"image": x}])
    shuffled = x[jax.random.permutation(jax.random.key(3), 24)]
    others = jax.tree.map(lambda leaf: leaf + 1.5, variables["batch_stats"])
    many = recalibrate(
        model, {**variables, "batch_stats": others}, [{"image": b} for b in (shuffled[:2], shuffled[2:])]
    )
    chex.assert_trees_all_close(many["batch_stats"], one["batch_stats"], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(many["params"], variables["params"])


def test_recalibration_says_what_it_cannot_do(net):
    model, variables, x = net
    with pytest.raises(TypeError, match="list"):
        recalibrate(model, variables, iter([{"image": x}]))
    for batches in ([], [{"image": x, "mask": jnp.zeros(24, bool)}]):
        with pytest.raises(ValueError, match="nothing to recalibrate"):
            recalibrate(model, variables, batches)


def test_comparison_says_what_it_cannot_do(net):
    model, variables, x = net
    with pytest.raises(ValueError, match="no row"):
        compare_statistics(model, variables, {"image": x, "mask": jnp.zeros(24, bool)})
    dense = nn.Dense(3)
    dense_variables = dense.init(jax.random.key(0), x)

    class NoNorm(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(3)(x)

    with pytest.raises(ValueError, match="NoNorm has no batch normalisation"):
        compare_statistics(NoNorm(), {"params": {"Dense_0": dense_variables["params"]}}, {"image": x})


TRACES: list[tuple[int, ...]] = []


class Counted(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        TRACES.append(x.shape)
        x = BatchNorm(name="z")(nn.Dense(4)(x), train=train)
        return BatchNorm(name="a", epsilon=1e-3)(x, train=train)


def test_a_model_and_its_shapes_are_compiled_once():
    x = 3 * jax.random.normal(jax.random.key(1), (24, 5)) + 2
    variables = Counted().init(jax.random.key(0), x, train=False)
    TRACES.clear()
    for factor in (1, 2, 3):  # another model of equal fields, other variables, another batch
        scaled = jax.tree.map(lambda leaf, factor=factor: leaf * factor, variables)
        rows = compare_statistics(Counted(), scaled, {"image": factor * x})
    assert [row.layer for row in rows] == ["z", "a"]  # as called, not as sorted
    assert len(TRACES) == 1
    compare_statistics(Counted(), variables, {"image": x[:7]})
    assert len(TRACES) == 2
    recalibrate(Counted(), variables, [{"image": x}])
    recalibrate(Counted(), variables, [{"image": x}])
    assert len(TRACES) == 3  # with the running statistics, another function


def test_rows_of_a_zoo_model_in_call_order_as_table():
    model = create_shallow("resnet20")
    rows = compare_statistics(model, draw_variables(model, (16, 16, 3)), {"image": jnp.ones((2, 16, 16, 3))})
    assert [row.layer for row in rows[:3]] == ["bn1", "layer1_0/bn1", "layer1_0/bn2"]
    lines = format_statistics(rows).splitlines()
    assert len(lines) == 10  # the table's head, the stem's and two of each of four blocks
    assert lines[1].split()[:2] == ["bn1", "16"]
