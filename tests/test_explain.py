"""Grad-CAM: equations 1 and 2 of the paper, by finite differences in float64 and by nets whose map is known."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.errors import UserError
from zoo.explain import find_first_filters, grad_cam
from zoo.layers import Conv, Linear, global_avg_pool
from zoo.models import Net
from zoo.norm import BatchNorm


def finish(map_, kernel, bias, weights):
    """What `Small` does behind its map, in NumPy: a 1x1 convolution, tanh, a sum of squares, a dense layer."""
    return np.sum(np.tanh(map_ @ kernel + bias) ** 2, axis=(1, 2)) @ weights


class Small(Net):
    """A map behind a normalisation; what follows it is not linear, and the shortcut uses the map a second time."""

    shortcut: bool = False

    @nn.compact
    def forward(self, x, *, train):
        x = BatchNorm(name="bn")(Conv(5, 3, 2, padding=1, name="conv")(x), train=train)
        ends = {"map": x}
        y = jnp.sum(jnp.tanh(Conv(4, 1, use_bias=True, name="last")(x)) ** 2, axis=(1, 2))
        y = Linear(self.num_classes, use_bias=False, name="fc")(y)
        return (y + global_avg_pool(x)[:, : self.num_classes] if self.shortcut else y), ends


def make(model, shape, dtype=np.float32):
    """Random images, and random variables near those of a net that does not change the size of its maps."""
    random = np.random.default_rng(0)
    images = random.normal(size=shape).astype(dtype)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    fan_in = {4: lambda s: s[0] * s[1] * s[2], 2: lambda s: s[0]}

    def fill(leaf):
        scale = np.sqrt(2 / fan_in[leaf.ndim](leaf.shape)) if leaf.ndim > 1 else 0.1
        return (random.normal(size=leaf.shape) * scale + (leaf.ndim == 1)).astype(dtype)

    return images, jax.tree.map(fill, shapes)


@pytest.mark.parametrize("shortcut", [False, True])
def test_the_weights_are_means_of_the_derivatives_as_finite_differences_have_them(float64, shortcut):
    model = Small(num_classes=3, shortcut=shortcut, param_dtype=jnp.float64)
    images, variables = make(model, (2, 9, 7, 3), np.float64)
    _, ends = model.apply(variables, images, train=False, endpoints=("map",))
    map_, params = np.asarray(ends["map"]), variables["params"]
    kernel, bias, weights = params["last"]["kernel"][0, 0], params["last"]["bias"], params["fc"]["kernel"]

    def logits(map_):
        return finish(map_, *map(np.asarray, (kernel, bias, weights))) + shortcut * map_.mean((1, 2))[:, :3]

    classes, step = np.array([2, 0]), 1e-6
    slopes = np.zeros_like(map_)
    for place in np.ndindex(map_.shape):
        bump = np.zeros_like(map_)
        bump[place] = step
        slopes[place] = ((logits(map_ + bump) - logits(map_ - bump)) / (2 * step))[place[0], classes[place[0]]]
    expected = np.maximum(0, np.sum(slopes.mean((1, 2), keepdims=True) * map_, -1))
    found = grad_cam(model, variables, images, "map", classes)
    assert found.shape == (2, 5, 4)
    assert (expected > 0).any()
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    chosen = np.argmax(model.apply(variables, images, train=False), -1)
    np.testing.assert_array_equal(
        grad_cam(model, variables, images, "map"), grad_cam(model, variables, images, "map", chosen)
    )


def test_before_a_mean_and_a_dense_layer_it_is_the_map_by_the_weights_of_the_class():
    """Section 3.1: class activation mapping (Zhou et al. 2016), here of a ResNet, divided by the number of pixels."""
    model = zoo.create("resnet20")
    images, variables = make(model, (2, 32, 32, 3))
    _, ends = jax.jit(partial(model.apply, train=False, endpoints=("layer3",)))(variables, images)
    map_, kernel = np.asarray(ends["layer3"], np.float64), np.asarray(variables["params"]["fc"]["kernel"], np.float64)
    expected = np.maximum(0, np.stack([map_[0] @ kernel[:, 4], map_[1] @ kernel[:, 7]]) / 64)
    found = grad_cam(model, variables, images, "layer3", [4, 7])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", ["convnet_bn", "lenet5", "densenet40_k12", "preresnet20", "googlenet", "inception_v3"])
def test_every_family_has_a_map_of_the_size_of_its_endpoint(name):
    row, model = zoo.variant(name), zoo.create(name)
    endpoint = [end for end, (stride, _) in row.endpoints.items() if stride][-1]
    images = jax.ShapeDtypeStruct((2, row.image_size, row.image_size, row.channels), jnp.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    _, ends = jax.eval_shape(partial(model.apply, train=False, endpoints=(endpoint,)), variables, images)
    found = jax.eval_shape(lambda v, x: zoo.explain._weigh_map(model, v, x, endpoint, None), variables, images)
    assert found.shape == ends[endpoint].shape[:3]
    assert found.dtype == jnp.float32


def test_what_has_no_map_is_an_error():
    model = Small(num_classes=3)
    images, variables = make(model, (2, 9, 7, 3))
    with pytest.raises(UserError, match=r"endpoints.*'map'"):
        grad_cam(model, variables, images, "mop")
    with pytest.raises(UserError, match=r"int32 classes \[3\] of 2 images"):
        grad_cam(model, variables, images, "map", [0, 1, 2])
    with pytest.raises(UserError, match="classes go from 0 to 3: those of the net go from 0 to 2"):
        grad_cam(model, variables, images, "map", [0, 3])
    mlp = zoo.create("mlp")
    with pytest.raises(UserError, match=r"'fc1' has the shape \(2, 512\): choose"):
        grad_cam(mlp, make(mlp, images.shape)[1], images, "fc1")


@pytest.mark.parametrize(
    ("name", "layer", "shape"), [("resnet20", "conv1", (16, 3, 3, 3)), ("mlp", "fc1", (512, 32, 32, 3))]
)
def test_the_first_filters_are_the_kernels_that_see_the_image(name, layer, shape):
    model = zoo.create(name)
    _, variables = make(model, (1, 32, 32, 3))
    filters = find_first_filters(model, variables, (32, 32, 3))
    assert filters.shape == shape
    np.testing.assert_array_equal(filters[5], variables["params"][layer]["kernel"][..., 5])
