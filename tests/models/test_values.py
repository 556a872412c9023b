"""Models as values: hashable, equal to their copies and to whoever is made alike, and to nothing else."""

import copy
import dataclasses
import pickle
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from tests.support.nets import draw_variables
from zoo.models import resnet
from zoo.models.branches import BasicConv, Mixed, conv
from zoo.models.inception import halve

every_model = pytest.mark.parametrize("name", zoo.list_models())
SMALL = {"lenet5": (32, 32, 1), "convnet_bn": (8, 8, 3), "resnet20": (8, 8, 3)}
small = pytest.mark.parametrize("name", SMALL)


def copies(value):
    return copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))


@every_model
def test_a_model_equals_its_copies_and_whoever_is_created_alike_and_compiles_once_for_all_of_them(name):
    model, traced = zoo.create(name), []
    alike = (*copies(model), zoo.create(name), model.clone(), model.copy(name=model.name))
    size = jax.jit(lambda model: traced.append(model) or model.num_classes, static_argnums=0)
    for other in (model, *alike):
        assert other == model
        assert hash(other) == hash(model)
        size(other)
    assert len(traced) == 1
    assert zoo.create(name, num_classes=7) != model


@every_model
def test_every_field_of_a_row_can_be_given_anew(name):
    model = zoo.create(name)
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("parent", "name")}
    assert zoo.create(name, **fields) == model


@every_model
def test_a_state_and_its_copy_are_one_structure(name):
    state = zoo.TrainState(
        step=jnp.zeros((), jnp.int32),
        params={"kernel": jnp.ones(2)},
        batch_stats={},
        opt_state=(),
        key=jax.random.key(0),
        model=zoo.create(name),
        tx=optax.sgd(0.1),
    )
    difference = jax.tree.map(jnp.subtract, state.params, copy.deepcopy(state).params)
    assert not difference["kernel"].any()
    assert jax.tree.structure(state) == jax.tree.structure(copy.deepcopy(state))


@every_model
def test_a_row_is_a_value_too(name):
    row = zoo.variant(name)
    assert all(other == row and hash(other) == hash(row) for other in copies(row))


@pytest.mark.parametrize("dtype", ["bfloat16", jnp.bfloat16, jnp.dtype("bfloat16")])
@pytest.mark.parametrize("field", ["dtype", "param_dtype"])
def test_a_type_is_one_field_however_it_is_spelled(field, dtype):
    model = zoo.create("resnet20", **{field: dtype})
    assert model == zoo.create("resnet20", **{field: jnp.bfloat16})
    assert hash(model) == hash(zoo.create("resnet20", **{field: jnp.bfloat16}))
    assert all(other == model for other in copies(model))


def test_fields_given_as_lists_dictionaries_and_partials_become_values():
    def made(stride_in_1x1):
        return zoo.create("resnet50", depths=[1, 1], block=partial(resnet.Bottleneck, stride_in_1x1=stride_in_1x1))

    assert made(True) == made(True) != made(False)
    assert len({made(True), made(True), made(False)}) == 2
    assert made(True).depths == (1, 1)
    table = {"a": [conv(1, 1)], "b": [partial(halve, ceil=True)]}
    assert len({zoo.create("inception_resnet_v1", block8=copy.deepcopy(table)) for _ in range(2)}) == 1


def test_the_order_of_branches_is_part_of_the_value():
    table = {"a": [conv(1, 1)], "b": [conv(1, 3)]}
    assert Mixed(table) == Mixed(dict(table)) != Mixed(dict(reversed(table.items())))
    assert len({Mixed(table), Mixed(dict(table)), Mixed(dict(reversed(table.items())))}) == 2
    assert BasicConv(1, 3) == copy.deepcopy(BasicConv(1, 3))


def make_net(name):
    model = zoo.create(name)
    images = np.random.default_rng(0).normal(size=(3, 2, *SMALL[name])).astype(np.float32)
    return model, draw_variables(model, SMALL[name]), images


@small
def test_a_net_inside_flax_s_jit_is_the_net(name):
    class Jitted(nn.Module):
        net: nn.Module

        @nn.compact
        def __call__(self, x):
            return nn.jit(lambda net, x: net(x, train=False))(self.net, x)

    model, variables, (images, *_) = make_net(name)
    inside = {collection: {"net": tree} for collection, tree in variables.items()}
    jitted = jax.jit(Jitted(model).apply)(inside, images)
    np.testing.assert_allclose(jitted, jax.jit(partial(model.apply, train=False))(variables, images), atol=1e-5)


@small
def test_a_net_scanned_over_the_frames_of_a_film_is_the_net_on_each(name):
    class Film(nn.Module):
        net: nn.Module

        @nn.compact
        def __call__(self, frames):
            scan = nn.scan(
                lambda net, carry, frame: (carry, net(frame, train=False)),
                variable_broadcast=("params", "batch_stats"),
                split_rngs={"params": False},
            )
            return scan(self.net, (), frames)[1]

    model, variables, frames = make_net(name)
    inside = {collection: {"net": tree} for collection, tree in variables.items()}
    each = jax.jit(jax.vmap(partial(model.apply, train=False), in_axes=(None, 0)))(variables, frames)
    np.testing.assert_allclose(jax.jit(Film(model).apply)(inside, frames), each, atol=1e-5)
