"""The recipe: numbers that make sense, and the schedule by its formula."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.errors import UserError
from zoo.training import TrainConfig, make_optimizer, make_schedule
from zoo.training.recipe import find_aux_weights, make_model

MLP = TrainConfig("mlp")


def test_the_learning_rate_rises_for_a_tenth_of_the_steps_and_falls_to_zero():
    schedule = make_schedule(replace(MLP, epochs=10, batch_size=100, lr=0.3), 1000)
    rates = np.array([schedule(step) for step in range(101)])
    np.testing.assert_allclose(rates[:11], 0.3 * np.arange(11) / 10, atol=1e-7)
    np.testing.assert_allclose(rates[10:], 0.15 * (1 + np.cos(np.pi * np.arange(91) / 90)), atol=1e-7)


def test_the_schedule_of_few_steps_has_no_rise():
    schedule = make_schedule(replace(MLP, epochs=1, batch_size=100), 300)
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(4) / 3))
    np.testing.assert_allclose([schedule(step) for step in range(4)], expected, atol=1e-8)


def test_the_optimiser_decays_kernels_alone_and_is_nesterov_s():
    """Two steps by hand: v = m v + g, p -= lr (m v + g), with the decay in g (Sutskever et al. 2013)."""
    config = replace(MLP, weight_decay=0.5, momentum=0.9)
    tx, schedule = make_optimizer(config, 640), make_schedule(config, 640)
    params = {"fc": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "bn": {"scale": jnp.ones(2)}}
    grads = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    state = tx.init(params)
    decay = {"fc": {"kernel": 0.5, "bias": 0.0}, "bn": {"scale": 0.0}}
    expected, velocity = params, jax.tree.map(jnp.zeros_like, params)
    for step in range(2):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        g = jax.tree.map(lambda g, d, p: g + d * p, grads, decay, expected)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, g)
        lr = schedule(step)
        expected = jax.tree.map(lambda p, v, g, lr=lr: p - lr * (0.9 * v + g), expected, velocity, g)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"lr": float("inf")}, {"momentum": 1.0}, {"image_size": 0}])
def test_a_number_that_makes_no_sense_makes_no_recipe(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} is .*: it must be"):
        replace(MLP, **wrong)


def test_auxiliary_heads_are_weighted_as_published_alike_or_not_at_all():
    config = TrainConfig("googlenet")
    assert find_aux_weights(config) is None
    assert find_aux_weights(replace(config, aux_weight=0.2)) == {"aux1": 0.2, "aux2": 0.2}
    assert find_aux_weights(replace(config, aux_weight=0.0)) == {}


def test_the_net_has_the_recipe_s_dropout_and_type_of_computation():
    model = make_model(TrainConfig("vgg11", dropout=0.25, dtype="bfloat16"), 7)
    assert (model.num_classes, model.dropout, model.dtype, model.param_dtype) == (7, 0.25, jnp.bfloat16, jnp.float32)
    assert make_model(TrainConfig("vgg11"), 7).dropout == 0.5
