"""The state owns its arrays, starts from weights that are there, keeps an average, and goes through bytes."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

import zoo
from zoo.errors import UserError
from zoo.losses import softmax_cross_entropy

TX = optax.sgd(0.1, momentum=0.9)


class Tiny(nn.Module):
    @nn.compact
    def __call__(self, x, *, train: bool):
        x = zoo.BatchNorm(name="bn")(x, train=train)
        return nn.Dense(2, name="fc")(nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), 4)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"image": rng.normal(size=(6, 2, 2, 1)).astype(np.float32), "label": np.array([0, 1, 0, 1, 1, 0])}


@pytest.fixture
def loaded():
    """Variables as they come from a file."""
    shape = jnp.zeros((1, 2, 2, 1))
    return jax.tree.map(jnp.asarray, Tiny().init(jax.random.key(7), shape, train=False))


def make_state(**options):
    return zoo.create_train_state(Tiny(), jax.random.key(0), TX, (2, 2, 1), **options)


def test_two_trainings_start_from_one_set_of_loaded_variables_without_initialising(batch, loaded, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("initialised")

    monkeypatch.setattr(Tiny, "init", refuse)
    before = jax.tree.map(np.array, loaded)
    step, ends = zoo.make_train_step(softmax_cross_entropy), []
    for _ in range(2):
        state = zoo.create_train_state(Tiny(), jax.random.key(0), optax.sgd(0.1), variables=loaded)
        chex.assert_trees_all_equal(state.variables, before)
        ends.append(step(state, batch)[0].params)
    chex.assert_trees_all_equal(*ends)
    chex.assert_trees_all_equal(loaded, before)


def test_numpy_variables_are_copied_too(batch, loaded):
    arrays = jax.tree.map(np.array, loaded)
    before = jax.tree.map(np.copy, arrays)
    state = zoo.create_train_state(Tiny(), jax.random.key(0), optax.sgd(0.1), variables=arrays)
    zoo.make_train_step(softmax_cross_entropy)(state, batch)
    chex.assert_trees_all_equal(arrays, before)


def test_a_state_needs_an_image_shape_or_variables():
    with pytest.raises(UserError, match="pass image_shape, or variables"):
        zoo.create_train_state(Tiny(), jax.random.key(0), optax.sgd(0.1))
    with pytest.raises(UserError, match=r"variables hold \['fc'\]: pass"):
        zoo.create_train_state(Tiny(), jax.random.key(0), optax.sgd(0.1), variables={"fc": {}})


def test_the_averages_of_parameters_and_statistics_are_those_of_their_formula(batch):
    state, step = make_state(ema_decay=0.9), zoo.make_train_step(softmax_cross_entropy)
    expected = jax.tree.map(lambda leaf: np.array(leaf, np.float64), state.variables)
    for _ in range(3):
        state, _ = step(state, batch)
        expected = jax.tree.map(lambda e, v: 0.9 * e + 0.1 * np.array(v, np.float64), expected, state.variables)
    chex.assert_trees_all_close(state.ema_variables, expected, rtol=1e-5, atol=1e-7)
    evaluate = zoo.make_eval_step(softmax_cross_entropy)
    logits = Tiny().apply(state.ema_variables, batch["image"], train=False)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).sum()
    np.testing.assert_allclose(evaluate(state.replace(**state.ema_variables), batch)["loss"], loss, rtol=1e-5)
    assert step._cache_size() == 1


def test_the_average_of_half_precision_does_not_stand_still():
    class Half(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool):
            return nn.Dense(2, dtype=jnp.float32, param_dtype=jnp.bfloat16)(x.reshape(len(x), 4))

    state = zoo.create_train_state(Half(), jax.random.key(0), optax.sgd(0.1), (2, 2, 1), ema_decay=0.999)
    first = np.array(state.ema_params["Dense_0"]["kernel"])
    batch = {"image": jnp.ones((2, 2, 2, 1)), "label": jnp.array([0, 0])}
    state, _ = zoo.make_train_step(softmax_cross_entropy)(state, batch)
    moved = np.array(state.params["Dense_0"]["kernel"], np.float32) - first
    np.testing.assert_allclose(state.ema_params["Dense_0"]["kernel"] - first, 0.001 * moved, rtol=0.1)
    assert state.ema_variables["params"]["Dense_0"]["kernel"].dtype == jnp.bfloat16


def test_without_an_average_there_is_none():
    with pytest.raises(UserError, match=r"keeps no average of its parameters: create_train_state"):
        make_state().ema_variables  # noqa: B018
    with pytest.raises(UserError, match=r"ema_decay=1\.0"):
        make_state(ema_decay=1.0)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_state_goes_through_flax_s_bytes_and_trains_on_as_if_it_had_not(batch, ema_decay, impl):
    def make(seed):
        key = jax.random.key(seed, impl=impl)
        return zoo.create_train_state(Tiny(), key, TX, (2, 2, 1), ema_decay=ema_decay)

    step = zoo.make_train_step(softmax_cross_entropy)
    state, _ = step(make(0), batch)
    back = serialization.from_bytes(make(1), serialization.to_bytes(state))
    ends = [step(s, batch)[0] for s in (state, back)]
    chex.assert_trees_all_equal(*(end.replace(key=jax.random.key_data(end.key)) for end in ends))


def test_bytes_of_something_else_are_refused():
    values = serialization.to_state_dict(make_state())
    values["parameters"] = values.pop("params")
    with pytest.raises(UserError, match="a TrainState has step, params"):
        serialization.from_state_dict(make_state(), values)


def test_image_shape_with_a_batch_axis_is_refused():
    with pytest.raises(ValueError, match="without the batch"):
        zoo.create_train_state(Tiny(), jax.random.key(0), optax.sgd(0.1), (1, 5, 5, 2))


def test_state_can_be_made_under_jit_and_eval_shape():
    shapes = jax.eval_shape(make_state)
    state = jax.jit(make_state)()
    chex.assert_trees_all_equal_shapes_and_dtypes(state.params, shapes.params)
    chex.assert_trees_all_close(state.params, make_state().params, rtol=1e-5)
