"""A folded model equals its model with running statistics, and says which normalisations cannot be folded."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoo
from tests.support.nets import create_shallow, draw_variables
from zoo.layers import Conv, Linear
from zoo.norm import BatchNorm, fold


class Plain(nn.Module):
    """Convolutions with and without bias, groups, parameters left out, a dense layer: all foldable."""

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(4, 3, padding=1, use_bias=True, name="conv1")(x)
        x = nn.relu(BatchNorm(name="bn1")(x, train=train))
        x = Conv(4, 1, name="conv2")(x)
        x = nn.relu(BatchNorm(use_scale=False, epsilon=1e-3, name="bn2")(x, train=train))
        x = nn.Conv(6, (3, 3), feature_group_count=2, name="conv3")(x)
        x = jnp.tanh(BatchNorm(use_scale=False, use_bias=False, name="bn3")(x, train=train))
        return BatchNorm(name="bn4")(Linear(5, name="fc")(x), train=train)


class PreActivation(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        y = Conv(3, 3, padding=1, name="conv1")(nn.relu(BatchNorm(name="bn1")(x, train=train)))
        y = Conv(3, 3, padding=1, name="conv2")(nn.relu(BatchNorm(name="bn2")(y, train=train)))
        z = BatchNorm(name="bn3")(x + y, train=train)
        w = Conv(3, 1, name="conv3")(z)
        return w + BatchNorm(name="bn4")(w, train=train)


class CalledTwice(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        conv = Conv(3, 1, name="conv")
        return BatchNorm(name="a")(conv(x), train=train) + BatchNorm(name="b")(conv(2 * x), train=train)


def assert_equal_outputs(model, variables, folded, x):
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)
    np.testing.assert_allclose(jax.jit(folded)(x), expected, rtol=1e-4, atol=1e-4 * float(jnp.abs(expected).max()))


def test_every_kind_of_layer_is_folded_and_nothing_of_the_normalisation_but_an_addition_is_left():
    x = jax.random.normal(jax.random.key(1), (3, 6, 6, 2))
    variables = draw_variables(Plain(), x.shape[1:])
    folded = fold(Plain(), variables, image_shape=x.shape[1:])
    assert folded.layers == {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3", "bn4": "fc"}
    assert_equal_outputs(Plain(), variables, folded, x)
    assert "rsqrt" not in str(jax.make_jaxpr(folded)(x))


def test_variables_are_left_as_they_were():
    x = jnp.ones((1, 6, 6, 2))
    variables = draw_variables(Plain(), x.shape[1:])
    kernel, names = variables["params"]["conv1"]["kernel"], set(variables["params"]["bn1"])
    fold(Plain(), variables, image_shape=x.shape[1:])
    assert variables["params"]["conv1"]["kernel"] is kernel
    assert set(variables["params"]["bn1"]) == names


def test_impossible_orders_are_refused_by_name_and_can_be_kept():
    x = jax.random.normal(jax.random.key(1), (3, 6, 6, 3))
    variables = draw_variables(PreActivation(), x.shape[1:])
    with pytest.raises(ValueError, match=r"bn1 follows an input.*bn3 follows add.*bn4 is not alone.*conv3") as error:
        fold(PreActivation(), variables, image_shape=x.shape[1:])
    assert "bn2" not in str(error.value)
    folded = fold(PreActivation(), variables, keep=["bn[134]"], image_shape=x.shape[1:])
    assert folded.layers == {"bn2": "conv1"}
    assert_equal_outputs(PreActivation(), variables, folded, x)


def test_a_layer_called_twice_is_refused():
    x = jnp.ones((1, 4, 4, 2))
    with pytest.raises(ValueError, match="conv, which is called twice"):
        fold(CalledTwice(), draw_variables(CalledTwice(), x.shape[1:]), image_shape=x.shape[1:])


def test_resnet20_folds_completely():
    model = zoo.create("resnet20", num_classes=10)
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    variables = draw_variables(model, x.shape[1:])
    folded = fold(model, variables)
    assert len(folded.layers) == 19
    assert_equal_outputs(model, variables, folded, x)


def test_of_parameters_in_bfloat16_the_product_is_rounded_once():
    model = zoo.create("resnet20", num_classes=10)
    variables = draw_variables(model, (16, 16, 3))
    variables["params"] = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables["params"])
    wide = variables | {"params": jax.tree.map(lambda leaf: leaf.astype(jnp.float32), variables["params"])}
    found, expected = (fold(model, v, image_shape=(16, 16, 3)).variables for v in (variables, wide))
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), expected["params"])
    chex.assert_trees_all_equal(found["params"], rounded)
    chex.assert_trees_all_equal(found["shifts"], expected["shifts"])


@pytest.mark.parametrize(
    ("name", "first"), [("resnetv2_50", "layer1_0/norm1"), ("densenet121", "denseblock1_denselayer1/norm1")]
)
def test_pre_activation_models_name_what_they_cannot_fold(name, first):
    model = create_shallow(name)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False))
    with pytest.raises(ValueError, match=rf"{first} follows reduce_window_max.*; and \d+ more: pass keep=\[") as error:
        fold(model, shapes, image_shape=(64, 64, 3))
    assert len(str(error.value)) < 500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "share"),
    [
        ("resnet18", 64, 1.0),
        ("resnext50_32x4d", 64, 1.0),
        ("seresnet50", 64, 1.0),
        ("resnet50d", 64, 1.0),
        ("vgg11_bn", 64, 1.0),
        ("googlenet", 64, 1.0),
        ("inception_v2", 64, 1.0),
        ("inception_v3", 107, 1.0),
        ("inception_v4", 107, 1.0),
        ("inception_resnet_v1", 107, 1.0),
        ("convnet_bn", 32, 1.0),
        ("resnetv2_18", 64, 0.4),
        ("densenet121", 64, 0.4),
    ],
)
def test_every_family_is_folded_wherever_its_order_allows(name, size, share):
    model = zoo.create(name, num_classes=10)
    x = jax.random.normal(jax.random.key(1), (2, size, size, 3))
    variables = draw_variables(model, x.shape[1:])
    keep = ["*"] if share < 1 else []
    folded = fold(model, variables, keep=keep, image_shape=x.shape[1:])
    stats = flatten_dict(variables["batch_stats"])
    norms = [
        path for path in stats if path[-1] == "mean" and not path[0].lower().startswith("aux")
    ]  # heads: not called
    assert len(folded.layers) >= share * len(norms)
    assert_equal_outputs(model, variables, folded, x)
