"""How the steps are compiled: by the options that are chosen for them, once, and alike within a transformation."""

from functools import cache

import jax
import numpy as np
import optax
import pytest

import zoo
from zoo.layers.engine import OWN_CONVOLUTIONS
from zoo.training import compilation


@pytest.fixture
def images():
    random = np.random.default_rng(1)
    return {"image": random.normal(size=(4, 16, 16, 3)).astype(np.float32), "label": np.array([0, 1, 0, 1])}


@cache
def initialise(model):
    return zoo.create_train_state(model, jax.random.key(0), optax.sgd(0.1), (16, 16, 3)).variables


def start():
    model = zoo.create("convnet_bn", num_classes=2)
    return zoo.create_train_state(model, jax.random.key(0), optax.sgd(0.1), variables=initialise(model))


def make_step():
    return zoo.make_train_step(zoo.losses.softmax_cross_entropy)


@pytest.mark.parametrize(
    ("make", "train"), [(zoo.make_train_step, True), (zoo.make_eval_step, False)], ids=["train", "eval"]
)
def test_steps_are_compiled_with_the_options_that_are_chosen_for_them(make, train, images, monkeypatch):
    def count_ynn(chosen):
        def choose(variables, *, train=False):
            asked.append(train)
            return chosen

        monkeypatch.setattr(compilation, "choose_compiler_options", choose)
        step = make(zoo.losses.softmax_cross_entropy)
        return step.lower(start(), images).compile().as_text().count("ynn_fusion")

    asked: list[bool] = []
    assert count_ynn(OWN_CONVOLUTIONS) < count_ynn(None)
    assert asked == [train, train]


def test_inside_another_transformation_the_step_is_as_it_would_be_alone(images):
    alone, metrics = make_step()(start(), images)
    batches = jax.tree.map(lambda leaf: leaf[None], images)
    scanned, rows = jax.jit(lambda state, batches: jax.lax.scan(make_step(), state, batches))(start(), batches)
    np.testing.assert_allclose(rows["loss"][0], metrics["loss"], rtol=1e-5)
    for one, other in zip(jax.tree.leaves(alone.params), jax.tree.leaves(scanned.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_state_is_donated_and_the_step_is_compiled_once(images):
    step, state = make_step(), start()
    new, _ = step(state, images)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    step(new, images)
    assert step._cache_size() == 1
