"""The options of the step's compilation: who gets them, and that they change nothing but the speed."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.training import compilation
from zoo.training.compilation import accepts_options, has_wide_kernels


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


def test_this_xla_knows_the_options():
    assert accepts_options()


@pytest.mark.parametrize(
    ("name", "wide"),
    [
        *((name, True) for name in ("vgg11_bn", "resnet50", "googlenet", "densenet121")),
        *((name, False) for name in ("resnext50_32x4d", "resnet20", "mlp", "lenet5")),
    ],
)
def test_nets_of_few_channels_keep_the_other_engine(name, wide):
    model, row = zoo.create(name), zoo.variant(name)
    image = jax.ShapeDtypeStruct((1, row.image_size, row.image_size, row.channels), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    assert has_wide_kernels(shapes["params"]) is wide


def test_with_them_xla_convolves_itself(images):
    state = start()
    plain = jax.jit(make_step().__wrapped__, donate_argnums=0)
    chosen, without = (step.lower(state, images).compile().as_text() for step in (make_step(), plain))
    assert chosen.count("ynn_fusion") < without.count("ynn_fusion")


def test_an_xla_that_does_not_know_them_is_not_told(images, monkeypatch):
    monkeypatch.setattr(compilation, "OWN_CONVOLUTIONS", {"xla_cpu_no_such_option": "1"})
    assert not accepts_options.__wrapped__()
    monkeypatch.setattr(compilation, "accepts_options", accepts_options.__wrapped__)
    make_step()(start(), images)


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
