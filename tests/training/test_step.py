"""The steps, against Flax's and optax's own pieces put together by hand, and the difference between the statistics."""

from functools import cache, partial
from typing import ClassVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.errors import UserError
from zoo.losses import softmax_cross_entropy
from zoo.models.net import Net

TX = optax.sgd(0.1, momentum=0.9)
STEP = zoo.make_train_step(softmax_cross_entropy)  # one for all: a step of a state and a batch is traced once


class Small(nn.Module):
    """Convolution, normalisation, ReLU, mean, dense: with Flax's own normalisation it is the reference."""

    norm: type[nn.Module] = nn.BatchNorm

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Conv(4, (3, 3), padding=1, use_bias=False, name="conv")(x)
        if self.norm is nn.BatchNorm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn")(x)
        else:
            x = zoo.BatchNorm(name="bn")(x, train=train)
        x = nn.Dropout(0.0, deterministic=not train)(nn.relu(x))
        return nn.Dense(3, name="fc")(jnp.mean(x, (1, 2)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    image = rng.normal(2, 3, (6, 5, 5, 2)).astype(np.float32)
    return {"image": jnp.asarray(image), "label": jnp.asarray(rng.integers(0, 3, 6), jnp.int32)}


@cache
def initialise(model):
    return zoo.create_train_state(model, jax.random.key(0), optax.sgd(0.1), (5, 5, 2)).variables


def state_of():
    model = Small(zoo.BatchNorm)
    return zoo.create_train_state(model, jax.random.key(0), TX, variables=initialise(model))


def test_train_step_equals_flax_and_optax_by_hand(batch):
    state = state_of()
    params, stats, opt_state = state.params, state.batch_stats, TX.init(state.params)

    @jax.jit
    def by_hand(params, stats, opt_state):
        def loss_of(params):
            variables = {"params": params, "batch_stats": stats}
            logits, new = Small().apply(variables, batch["image"], train=True, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return losses.mean(), (logits, new["batch_stats"])

        (loss, (logits, new)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = TX.update(grads, opt_state, params)
        accuracy = jnp.mean(jnp.argmax(logits, -1) == batch["label"])
        return optax.apply_updates(params, updates), new, opt_state, loss, accuracy

    for _ in range(3):
        params, stats, opt_state, loss, accuracy = by_hand(params, stats, opt_state)
        state, metrics = STEP(jax.tree.map(jnp.copy, state), batch)
        chex.assert_trees_all_close(metrics, {"loss": loss, "accuracy": accuracy, "count": jnp.float32(6)}, rtol=1e-5)
    chex.assert_trees_all_close(state.params, params, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(state.batch_stats["bn"]["mean"], stats["bn"]["mean"], rtol=1e-4)
    assert state.step.dtype == jnp.int32
    assert int(state.step) == 3


def test_running_variance_is_stored_unbiased(batch):
    state = state_of()
    image = np.asarray(batch["image"])
    kernel = jax.tree.map(jnp.copy, state.params["conv"])
    maps = nn.Conv(4, (3, 3), padding=1, use_bias=False).apply({"params": kernel}, image)
    state, _ = STEP(state, batch)
    expected = 0.9 + 0.1 * np.var(np.asarray(maps), axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(state.batch_stats["bn"]["var"], expected, rtol=1e-5)


def test_steps_compile_once(batch):
    step, evaluate = zoo.make_train_step(softmax_cross_entropy), zoo.make_eval_step(softmax_cross_entropy)
    state = state_of()
    for _ in range(3):
        state, _ = step(state, batch)
        evaluate(state, batch)
    assert step._cache_size() == 1
    assert evaluate._cache_size() == 1


def test_loss_is_traced_once_over_many_steps(batch):
    loss = chex.assert_max_traces(softmax_cross_entropy, n=1)
    step, state = zoo.make_train_step(loss), state_of()
    for _ in range(3):
        state, _ = step(state, batch)


def test_train_step_donates_its_state(batch):
    state = state_of()
    STEP(state, batch)
    assert state.params["conv"]["kernel"].is_deleted()


def padded(batch, rows=3):
    fill = jnp.full((rows, *batch["image"].shape[1:]), 1e6)
    return {
        "image": jnp.concatenate([batch["image"], fill]),
        "label": jnp.concatenate([batch["label"], jnp.zeros(rows, jnp.int32)]),
        "mask": jnp.arange(len(batch["label"]) + rows) < len(batch["label"]),
    }


def test_padded_rows_change_neither_parameters_nor_statistics_nor_metrics(batch):
    plain, metrics = STEP(state_of(), batch)
    masked, masked_metrics = STEP(state_of(), padded(batch))
    chex.assert_trees_all_close(masked.params, plain.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(masked.batch_stats, plain.batch_stats, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(masked_metrics, metrics, rtol=1e-5)


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_eval_step_sums_only_valid_rows(batch, statistics):
    evaluate = zoo.make_eval_step(softmax_cross_entropy, statistics=statistics)
    plain, masked = evaluate(state_of(), batch), evaluate(state_of(), padded(batch))
    chex.assert_trees_all_close(masked, plain, rtol=1e-5)
    assert float(plain["count"]) == 6


def test_eval_step_on_batch_statistics_gives_the_logits_of_training(batch):
    state = state_of()
    apply = jax.jit(partial(state.model.apply, train=True, mutable=["batch_stats"]))
    logits, _ = apply(state.variables, batch["image"])
    expected = np.sum(optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]))
    sums = {s: zoo.make_eval_step(softmax_cross_entropy, statistics=s)(state, batch) for s in ("batch", "running")}
    np.testing.assert_allclose(sums["batch"]["loss"], expected, rtol=1e-5)
    assert abs(float(sums["running"]["loss"] - expected)) > 0.1


def test_batch_of_other_statistics_is_refused(batch):
    with pytest.raises(ValueError, match="running"):
        zoo.make_eval_step(softmax_cross_entropy, statistics="population")(state_of(), batch)


def test_soft_labels_train_and_count_their_largest_entry(batch):
    soft = batch | {"label": jax.nn.one_hot(batch["label"], 3)}
    (hard_state, hard), (soft_state, same) = STEP(state_of(), batch), STEP(state_of(), soft)
    chex.assert_trees_all_close(hard, same, rtol=1e-6)
    chex.assert_trees_all_close(hard_state.params, soft_state.params, rtol=1e-5, atol=1e-7)


def test_dropout_differs_from_step_to_step_and_repeats_with_the_seed(batch):
    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dropout(0.5, deterministic=not train)(nn.Dense(3)(x.reshape(x.shape[0], -1)))

    def losses():
        state = zoo.create_train_state(Dropped(), jax.random.key(1), optax.sgd(0.0), (5, 5, 2))
        step, values = zoo.make_train_step(softmax_cross_entropy), []
        for _ in range(3):
            state, metrics = step(state, batch)
            values.append(float(metrics["loss"]))
        return values

    first = losses()
    assert len(set(first)) == 3
    assert losses() == first


class Frozen(nn.Module):
    """Two normalisations, so that one of them can be frozen."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = zoo.BatchNorm(name="bn1")(nn.Conv(4, (3, 3), name="conv1")(x), train=train)
        x = zoo.BatchNorm(name="bn2")(nn.Conv(4, (3, 3), name="conv2")(nn.relu(x)), train=train)
        return nn.Dense(3, name="fc")(jnp.mean(x, (1, 2)))


def frozen_state():
    """With running statistics that differ from any batch's."""
    state = zoo.create_train_state(Frozen(), jax.random.key(0), optax.sgd(0.1), variables=initialise(Frozen()))
    return state.replace(batch_stats=jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + 0.5), state.batch_stats))


@pytest.mark.parametrize(
    "statistics", ["running", {"*": "running"}, {"bn1": "running"}, {"bn1": "batch", "*": "running"}]
)
def test_frozen_normalisations_use_and_keep_the_running_statistics(batch, statistics):
    """Against flax's own, frozen by `use_running_average` where the pattern says so."""
    running = {"bn1": statistics != {"bn1": "batch", "*": "running"}, "bn2": statistics != {"bn1": "running"}}

    class Reference(nn.Module):
        @nn.compact
        def __call__(self, x):
            for name in ("bn1", "bn2"):
                x = nn.Conv(4, (3, 3), name=f"conv{name[-1]}")(x)
                x = nn.BatchNorm(use_running_average=running[name], momentum=0.9, name=name)(x)
                x = nn.relu(x) if name == "bn1" else x
            return nn.Dense(3, name="fc")(jnp.mean(x, (1, 2)))

    state = frozen_state()

    def loss_of(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updates = Reference().apply(variables, batch["image"], mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), updates

    (loss, updates), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(state.params)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * np.asarray(g), state.params, grads)
    before = jax.tree.map(jnp.copy, state.batch_stats)
    new, metrics = zoo.make_train_step(softmax_cross_entropy, statistics=statistics)(state, batch)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    chex.assert_trees_all_close(new.params, expected, rtol=1e-4, atol=1e-6)
    for name in ("bn1", "bn2"):
        if running[name]:
            chex.assert_trees_all_equal(new.batch_stats[name], before[name])
        else:
            theirs = updates["batch_stats"][name]["mean"]
            np.testing.assert_allclose(new.batch_stats[name]["mean"], theirs, rtol=1e-4, atol=1e-6)


def test_a_pattern_that_fits_no_normalisation_is_refused_with_the_paths(batch):
    step = zoo.make_train_step(softmax_cross_entropy, statistics={"layer*": "running"})
    with pytest.raises(UserError, match=r"no normalisation fits 'layer\*': their paths are bn1, bn2"):
        step(frozen_state(), batch)


class Headed(Net, kw_only=True):
    """A net with two auxiliary heads."""

    aux_weights: ClassVar = {"aux1": 0.3, "aux2": 0.5}

    @nn.compact
    def forward(self, x, *, train: bool):
        features = x.mean((1, 2))
        heads = {name: partial(nn.Dense(3, name=name), features) for name in ("aux1", "aux2")}
        return nn.Dense(3, name="fc")(features), heads


@pytest.mark.parametrize("aux_weights", [None, {}, {"aux2": 2.0}])
def test_auxiliary_heads_are_trained_with_their_weights(batch, aux_weights):
    """The loss is the sum over the heads by hand, in value and in what moves."""
    state = zoo.create_train_state(Headed(), jax.random.key(0), optax.sgd(0.1), variables=initialise(Headed()))
    weights = {"aux1": 0.3, "aux2": 0.5} if aux_weights is None else aux_weights

    def loss_of(params):
        features = batch["image"].mean((1, 2))
        total = 0.0
        for name, weight in ({"fc": 1.0} | weights).items():
            logits = features @ params[name]["kernel"] + params[name]["bias"].reshape(1, -1)
            total += weight * optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        return total

    loss, grads = jax.jit(jax.value_and_grad(loss_of))(state.params)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * np.asarray(g), state.params, grads)
    new, metrics = zoo.make_train_step(softmax_cross_entropy, aux_weights=aux_weights)(state, batch)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    chex.assert_trees_all_close(new.params, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.proof
def test_one_step_of_googlenet_moves_its_auxiliary_heads():
    model = zoo.create("googlenet", num_classes=3)
    state = zoo.create_train_state(model, jax.random.key(0), optax.sgd(0.1), (32, 32, 3))
    before = {name: np.array(state.params[name]["fc2"]["kernel"]) for name in ("aux1", "aux2")}
    batch = {"image": jnp.ones((2, 32, 32, 3)), "label": jnp.array([0, 1])}
    new, _ = zoo.make_train_step(softmax_cross_entropy)(state, batch)
    for name, kernel in before.items():
        assert np.abs(new.params[name]["fc2"]["kernel"] - kernel).max() > 0


def test_options_around_a_compiled_step_are_neither_ignored_nor_kept(batch):
    evaluate = zoo.make_eval_step(softmax_cross_entropy)
    plain = evaluate(frozen_state(), batch)
    options = [{"statistics": "batch"}, {"group_size": 3, "statistics": "batch"}]
    with zoo.batch_norm_options(**options[0]):
        assert evaluate(frozen_state(), batch)["loss"] == plain["loss"]  # the step's own word is the innermost
    normalise = jax.jit(lambda variables, x: Frozen().apply(variables, x, train=False))
    state = frozen_state()
    free = normalise(state.variables, batch["image"])
    for option in options:
        with zoo.batch_norm_options(**option):
            inside = normalise(state.variables, batch["image"])
            expected = jax.jit(partial(Frozen().apply, train=False))(state.variables, batch["image"])
        np.testing.assert_allclose(inside, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(inside - free).max() > 1e-3
        np.testing.assert_array_equal(normalise(state.variables, batch["image"]), free)
