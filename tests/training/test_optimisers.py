"""Every optimiser of optax makes steps: those that keep the parameters, and those that want to be told the loss."""

import inspect
import warnings
from functools import cache

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import zoo
from zoo.losses import softmax_cross_entropy

REQUIRED = {
    "inner": optax.sgd(0.1),
    "base_optimizer": optax.sgd(0.1),
    "optimizer": optax.sgd(0.1),
    "adv_optimizer": optax.sgd(0.1),
    "tx": optax.sgd(0.1),
    "inner_factory": optax.sgd,
    "transforms": {"all": optax.sgd(0.1)},
    "param_labels": "all",
    "f": lambda updates, params: updates,
    "step_size_fn": lambda step: 0.1,
    "should_transform_fn": lambda step: step > 0,
    "mask": True,
    "freeze_mask": True,
    "measure": lambda updates: updates,
    "measure_name": "updates",
    "max_backtracking_steps": 5,
    "max_linesearch_steps": 5,
    "max_consecutive_errors": 5,
}
NOT_AN_OPTIMISER_OF_PARAMETERS = {
    "lookahead": "its parameters are pairs, optax.LookaheadParams, which no model takes",
    "dpsgd": "it wants one gradient per example",
    "differentially_private_aggregate": "it wants one gradient per example",
    "scale_by_muon": "a part of muon, which tells it the axes of each kernel",
}
PARTS = {"chain": (optax.clip(1.0), optax.contrib.reduce_on_plateau()), "named_chain": (("sgd", optax.sgd(0.1)),)}


def list_optimisers():
    for module in (optax, optax.contrib):
        for name, make in vars(module).items():
            if not inspect.isfunction(make) or name.startswith("_") or name in NOT_AN_OPTIMISER_OF_PARAMETERS:
                continue
            if "GradientTransformation" in str(inspect.signature(make).return_annotation):
                yield pytest.param(make, id=f"{module.__name__}.{name}")


def make_optimiser(make):
    required = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
    arguments = {p.name: REQUIRED.get(p.name, 0.1) for p in required if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    with warnings.catch_warnings(action="ignore"):  # optax's own deprecations
        tx = make(*PARTS.get(make.__name__, ()), **arguments)
    return tx if hasattr(tx, "update") else tx(learning_rate=0.1)  # inject_hyperparams gives a factory


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train: bool):
        return nn.Dense(2)(x.reshape(len(x), 4))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {"image": rng.normal(size=(6, 2, 2, 1)).astype(np.float32), "label": np.array([0, 1, 0, 1, 1, 0])}


@cache
def initialise():
    return zoo.create_train_state(Linear(), jax.random.key(0), optax.sgd(0.1), (2, 2, 1)).variables


def make_state(tx):
    return zoo.create_train_state(Linear(), jax.random.key(0), tx, variables=initialise())


@pytest.mark.parametrize("make", list(list_optimisers()))
def test_every_optimiser_of_optax_makes_two_steps(batch, make):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax's own is not strict
        state, step = make_state(make_optimiser(make)), zoo.make_train_step(softmax_cross_entropy)
        for _ in range(2):
            state, metrics = step(state, batch)
    assert int(state.step) == 2
    assert np.isfinite(metrics["loss"])
    chex.assert_tree_all_finite(state.params)


def test_as_many_optimisers_are_tried_as_optax_has():
    assert len(list(list_optimisers())) > 100


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.polyak_sgd(1.0),
        lambda: optax.contrib.momo(1.0),
        lambda: optax.lbfgs(),
        lambda: optax.chain(optax.sgd(0.5), optax.contrib.reduce_on_plateau(patience=1, accumulation_size=1)),
        lambda: optax.contrib.sophia(0.1),
        lambda: optax.contrib.prodigy(),
    ],
    ids=["polyak_sgd", "momo", "lbfgs", "reduce_on_plateau", "sophia", "prodigy"],
)
def test_an_optimiser_that_wants_the_loss_is_told_the_loss_of_the_batch(batch, make):
    """Optax's own call, by hand."""
    with jax.numpy_dtype_promotion("standard"):
        tx = make()
        state = make_state(tx)
        params = jax.tree.map(jnp.copy, state.params)

        def loss_of(params, obj_fn=None):
            logits = Linear().apply({"params": params}, batch["image"], train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        opt_state = tx.init(params)
        value, grad = jax.value_and_grad(loss_of)(params)
        told = {"value": value, "grad": grad, "value_fn": loss_of, "obj_fn": loss_of}
        updates, _ = optax.with_extra_args_support(tx).update(grad, opt_state, params, **told)
        state, _ = zoo.make_train_step(softmax_cross_entropy)(state, batch)
    chex.assert_trees_all_close(state.params, optax.apply_updates(params, updates), rtol=1e-4, atol=1e-6)


def test_with_multisteps_parameters_move_at_every_kth_step_and_statistics_at_each(batch):
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool):
            return nn.Dense(2)(zoo.BatchNorm(name="bn")(x, train=train).reshape(len(x), 4))

    tx = optax.MultiSteps(optax.sgd(0.1), 2)
    state = zoo.create_train_state(Normalised(), jax.random.key(0), tx, (2, 2, 1))
    first, mean = np.array(state.params["Dense_0"]["kernel"]), np.mean(batch["image"])
    step = zoo.make_train_step(softmax_cross_entropy)
    for moved, share in ((False, 0.1), (True, 0.19)):
        with jax.numpy_dtype_promotion("standard"):
            state, _ = step(state, batch)
        assert np.array_equal(state.params["Dense_0"]["kernel"], first) is not moved
        np.testing.assert_allclose(state.batch_stats["bn"]["mean"], share * mean, rtol=1e-4)
