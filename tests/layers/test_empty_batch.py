"""A batch of no images has no rows in its answer, as in torch, and teaches nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.support.nets import create_shallow, draw_variables
from zoo.layers import (
    Conv,
    Linear,
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    local_response_norm,
    max_pool,
)
from zoo.norm import BatchNorm, batch_norm

LAYERS = {
    "conv 3x3": (Conv(6, 3, 2, padding=1, use_bias=True), (0, 4, 4, 6)),
    "conv 1x1": (Conv(6, 1, 2, use_bias=True), (0, 4, 4, 6)),
    "conv of groups": (Conv(6, 3, feature_group_count=2), (0, 6, 6, 6)),
    "linear": (Linear(5), (0, 5)),
}
FUNCTIONS = {
    "max_pool": (lambda x: max_pool(x, 3, 2, 1, ceil=True), (0, 5, 5, 4)),
    "avg_pool": (lambda x: avg_pool(x, 3, 1, 1, count_include_pad=False), (0, 8, 8, 4)),
    "adaptive_avg_pool": (lambda x: adaptive_avg_pool(x, 3), (0, 3, 3, 4)),
    "global_avg_pool": (global_avg_pool, (0, 4)),
    "local_response_norm": (lambda x: local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=1.0), (0, 8, 8, 4)),
    "batch_norm": (lambda x: batch_norm(x, None, None)[0], (0, 8, 8, 4)),
    "ghost batches": (lambda x: batch_norm(x, None, None, group_size=2)[0], (0, 8, 8, 4)),
    "masked": (lambda x: batch_norm(x, None, None, where=jnp.zeros(0, bool))[0], (0, 8, 8, 4)),
}
EMPTY = jnp.zeros((0, 8, 8, 4))


@partial(jax.jit, static_argnums=0)
def pull_back(function, *primals):
    """The function's output and the gradients for itself as cotangent, compiled at once."""
    y, back = jax.vjp(function, *primals)
    return y, back(y)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_no_rows_has_no_rows_and_gradients_of_zero(name):
    layer, shape = LAYERS[name]
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 8, 8, 4)))
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    y, (grads, dx) = pull_back(layer.apply, params, EMPTY)
    assert y.shape == shape
    assert dx.shape == EMPTY.shape
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_no_rows_has_no_rows(name):
    function, shape = FUNCTIONS[name]
    y, (dx,) = pull_back(function, EMPTY)
    assert y.shape == shape
    assert dx.shape == EMPTY.shape


@pytest.mark.parametrize("options", [{}, {"group_size": 2}, {"where": jnp.zeros(0, bool)}])
def test_no_rows_leave_the_running_statistics_alone(options):
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), jnp.ones((2, 8, 8, 4)), train=False)
    y, updates = norm.apply(variables, EMPTY, train=True, mutable=["batch_stats"], **options)
    assert y.shape == EMPTY.shape
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])


NETS = ("mlp", "convnet_bn", "lenet5", "alexnet", "vgg11_bn", "googlenet", "inception_v2", "resnet18", "resnet20")
MORE = ("preresnet20", "resnetv2_18", "densenet40_k12", "inception_v3", "inception_resnet_v1")


@pytest.mark.parametrize("name", NETS + MORE)
def test_a_net_of_no_images_has_no_logits(name):
    model, row = create_shallow(name), zoo.variant(name)
    images = jax.ShapeDtypeStruct((0, row.image_size, row.image_size, row.channels), jnp.float32)
    logits, _ = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), images)
    assert logits.shape == (0, model.num_classes)


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_a_compiled_net_of_no_images_has_no_logits(name):
    model = create_shallow(name)
    images = np.zeros((0, 32, 32, zoo.variant(name).channels), np.float32)
    variables = draw_variables(model, images.shape[1:])
    assert jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images).shape == (0, 10)
