"""The optimiser of a recipe: one step of each is that of the chain composed by hand, and each layer gets its share."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.errors import UserError
from zoo.training import TrainConfig, make_optimizer, make_schedule

CONFIG = TrainConfig("resnet20", weight_decay=0.1, momentum=0.8, epochs=2, warmup_epochs=0, batch_size=10)
KERNELS = {"conv1": {"kernel": True}, "bn1": {"scale": False}, "fc": {"kernel": True, "bias": False}}
LR = 0.1  # of the first step, without warm-up
PARAMS = {
    "conv1": {"kernel": jnp.array([[3.0, -4.0]])},
    "bn1": {"scale": jnp.array([1.0, 2.0])},
    "fc": {"kernel": jnp.array([[0.5], [-2.0]]), "bias": jnp.array([0.25])},
}
GRADS = jax.tree.map(lambda leaf: 0.3 * leaf + 0.1, PARAMS)
BY_HAND = {
    "sgd": optax.chain(
        optax.masked(optax.add_decayed_weights(0.1), KERNELS), optax.trace(0.8, nesterov=True), optax.scale(-LR)
    ),
    "adamw": optax.chain(
        optax.scale_by_adam(0.8), optax.masked(optax.add_decayed_weights(0.1), KERNELS), optax.scale(-LR)
    ),
    "lamb": optax.chain(
        optax.scale_by_adam(0.8, eps=1e-6),
        optax.masked(optax.add_decayed_weights(0.1), KERNELS),
        optax.scale_by_trust_ratio(),
        optax.scale(-LR),
    ),
    "lars": optax.chain(
        optax.masked(optax.add_decayed_weights(0.1), KERNELS),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=0.001), KERNELS),
        optax.scale(-LR),
        optax.trace(0.8),
    ),
}


@pytest.fixture(autouse=True)
def optax_s_promotion():
    """Optax mixes types, and scalars with arrays."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def step(tx, grads=GRADS, state=None):
    return tx.update(grads, tx.init(PARAMS) if state is None else state, PARAMS)


def assert_equal(found, expected, rtol=1e-6):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-9), found, expected)


@pytest.mark.parametrize("name", BY_HAND)
def test_two_steps_of_each_optimiser_are_those_of_the_chain_by_hand(name):
    tx, hand = make_optimizer(replace(CONFIG, optimizer=name, schedule="constant"), 100), BY_HAND[name]
    state, other = tx.init(PARAMS), hand.init(PARAMS)
    for _ in range(2):
        (updates, state), (expected, other) = step(tx, state=state), step(hand, state=other)
        assert_equal(updates, expected)


def test_gradients_longer_than_the_norm_are_shortened_together():
    plain = replace(CONFIG, weight_decay=0, momentum=0)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(GRADS)))
    for clip_norm in (0.5, 1000.0):
        updates, _ = step(make_optimizer(replace(plain, clip_norm=clip_norm), 100))
        factor = min(1, clip_norm / norm)
        assert_equal(updates, jax.tree.map(lambda g, f=factor: -LR * f * g, GRADS), rtol=1e-5)


def test_accumulation_is_one_update_with_the_mean_of_the_gradients():
    tx = make_optimizer(replace(CONFIG, accumulate=2, optimizer="adamw"), 100)
    other = jax.tree.map(lambda g: -2 * g + 1, GRADS)
    first, state = step(tx)
    second, state = step(tx, other, state)
    assert not any(leaf.any() for leaf in jax.tree.leaves(first))
    mean = jax.tree.map(lambda a, b: (a + b) / 2, GRADS, other)
    assert_equal(second, step(make_optimizer(replace(CONFIG, optimizer="adamw"), 100), mean)[0], rtol=1e-5)


def test_the_schedule_counts_updates_and_a_run_without_one_is_refused():
    config = replace(CONFIG, accumulate=4, lr=1.0)  # 20 steps, 5 updates
    rates = [float(make_schedule(config, 100)(update)) for update in range(6)]
    np.testing.assert_allclose(rates, 0.5 * (1 + np.cos(np.pi * np.arange(6) / 5)), atol=1e-6)
    with pytest.raises(UserError, match="accumulate is 21: it must be at most 20"):
        make_optimizer(replace(CONFIG, accumulate=21), 100)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("step", [0, 0.5, 1, 1, 1, 0.2, 0.2, 0.04, 0.04, 0.04]), ("constant", [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 1])],
)
def test_the_rate_rises_and_then_drops_at_the_milestones_or_stays(schedule, expected):
    config = TrainConfig(
        "mlp",
        epochs=10,
        batch_size=100,
        lr=1.0,
        schedule=schedule,
        warmup_epochs=2,
        milestones=(0.5, 0.7),
        step_factor=0.2,
    )
    with jax.numpy_dtype_promotion("strict"):
        rates = [float(make_schedule(config, 100)(epoch)) for epoch in range(10)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_each_layer_s_update_is_that_of_its_share_of_the_learning_rate():
    """ResNet-20 has nine blocks between its stem and its head."""
    plain, _ = step(make_optimizer(CONFIG, 100))
    scaled, _ = step(make_optimizer(replace(CONFIG, head_lr_scale=10, layer_decay=0.5), 100))
    factors = {"conv1": 0.5**10, "bn1": 0.5**10, "fc": 10}
    expected = {name: jax.tree.map(lambda leaf, f=factors[name]: f * leaf, plain[name]) for name in plain}
    assert_equal(scaled, expected)
