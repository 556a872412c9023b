"""What every net shares: it says what is wrong with its input, and computes no more than is asked for."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import zoo
from zoo.errors import UserError
from zoo.models.net import Net

IMAGES = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)


def shapes(name: str, images=IMAGES, **options):
    return jax.eval_shape(partial(zoo.create(name).init, train=False, **options), jax.random.key(0), images)


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        (
            "resnet20",
            ((32, 32, 3), jnp.float32),
            r"takes images \[N, H, W, C\], got shape \(32, 32, 3\): .*image\[None\]",
        ),
        ("resnet20", ((2, 32, 32, 3), jnp.uint8), r"got uint8: scale them first, images.astype\(float32\) / 255"),
        ("resnet20", ((2, 32, 32, 3), jnp.int32), "takes floating images, got int32"),
        ("lenet5", ((2, 15, 32, 1), jnp.float32), "LeNet5 needs images of at least 16x16, got 15x32: resize them"),
        ("convnet", ((2, 32, 3, 1), jnp.float32), "ConvNet needs images of at least 4x4, got 32x3: resize them"),
        *(
            (name, ((2, *shape), jnp.float32), r"images \[N, H, W, C\], and the shape .* looks like \[N, C, H, W\]")
            for name in ("resnet50", "vgg11", "mlp")
            for shape in ((3, 224, 224), (1, 28, 28), (4, 480, 640), (3, 640, 480))
        ),
    ],
)
def test_images_that_a_net_cannot_see_are_refused_with_their_shape_and_the_remedy(name, images, message):
    with pytest.raises(UserError, match=message):
        shapes(name, jax.ShapeDtypeStruct(*images))


@pytest.mark.parametrize(
    "shape", [(4, 6, 3), (32, 32, 12), (3, 3, 200), (1, 5000, 12), (1, 1, 64), (2, 2, 512), (200, 1, 256)]
)
def test_many_bands_and_few_pixels_are_images_too(shape):
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    assert shapes("resnet20", images)["params"]["conv1"]["kernel"].shape == (3, 3, shape[-1], 16)


@pytest.mark.parametrize(
    ("name", "image_shape", "words"),
    [
        ("resnet20", (3, 32, 32), r"\[N, C, H, W\]"),
        ("resnet20", (32, 32, 4), r"need conv1/kernel of shape \(3, 3, 4, 16\), .* have \(3, 3, 3, 16\)"),
        ("googlenet", (32, 32, 1), r"need conv1/conv/kernel of shape \(7, 7, 1, 64\), .* have \(7, 7, 3, 64\)"),
        ("mlp", (28, 28, 3), r"need fc1/kernel of shape \(28, 28, 3, 512\), .* have \(32, 32, 3, 512\)"),
    ],
)
def test_images_other_than_those_of_init_are_refused_with_both_shapes_and_the_order_of_the_axes(
    name, image_shape, words
):
    images, variables = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32), shapes(name)
    with pytest.raises(UserError, match=rf"\[N, H, W, C\].*{words}"):
        jax.eval_shape(partial(zoo.create(name).apply, train=False), variables, images)


@pytest.mark.parametrize("endpoints", [("layer4",), ("layer1", "logits"), "layer1", "stem"])
def test_unknown_endpoints_and_a_bare_string_are_refused_with_the_known_names(endpoints):
    known = "pass a tuple of names out of 'stem', 'layer1', 'layer2', 'layer3', 'features'"
    with pytest.raises(UserError, match=known):
        shapes("resnet20", endpoints=endpoints)


def test_endpoints_come_beside_the_logits_in_the_order_asked_for():
    model, variables = zoo.create("resnet20"), shapes("resnet20")
    apply = partial(model.apply, train=False)
    logits, ends = jax.eval_shape(partial(apply, endpoints=("layer3", "stem")), variables, IMAGES)
    assert logits.shape == jax.eval_shape(apply, variables, IMAGES).shape == (2, 10)
    assert list(ends) == ["layer3", "stem"]
    assert [end.shape for end in ends.values()] == [(2, 8, 8, 64), (2, 32, 32, 16)]


def test_num_classes_0_gives_the_features():
    model = zoo.create("resnet20", num_classes=0)
    features, variables = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), IMAGES)
    assert features.shape == (2, 64)
    assert "fc" not in variables["params"]


def test_an_early_endpoint_costs_no_dead_compute():
    model, variables = zoo.create("resnet20"), shapes("resnet20")

    def flops(endpoint):
        def end(variables, images):
            return model.apply(variables, images, train=False, endpoints=(endpoint,))[1][endpoint]

        return jax.jit(end).lower(variables, IMAGES).compile().cost_analysis()["flops"]

    macs = {"stem": 442_368, "layer1": 442_368 + 6 * 2_359_296}  # of one image, counted by hand
    for endpoint, expected in macs.items():
        assert 0.95 < flops(endpoint) / (2 * 2 * expected) < 1.05  # XLA leaves out products with the padding


class Headed(Net, kw_only=True):
    """A net with an auxiliary head that must not run when nobody asks."""

    @nn.compact
    def forward(self, x, *, train: bool):
        features, aux = x.mean((1, 2)), nn.Dense(5, name="aux")
        return nn.Dense(3, name="fc")(features), {"aux": lambda: aux(features)}


def test_an_auxiliary_head_has_its_parameters_always_and_runs_when_asked():
    variables = Headed().init(jax.random.key(0), jnp.ones((1, 4, 4, 3)), train=False)
    assert set(variables["params"]) == {"fc", "aux"}
    _, captured = Headed().apply(variables, jnp.ones((1, 4, 4, 3)), train=False, capture_intermediates=True)
    assert "aux" not in captured["intermediates"]
    _, ends = Headed().apply(variables, jnp.ones((1, 4, 4, 3)), train=False, endpoints=("aux",))
    assert ends["aux"].shape == (1, 5)


def test_a_net_without_layers_says_where_they_go():
    with pytest.raises(TypeError, match="Net has no forward: a net writes its layers there"):
        Net().init(jax.random.key(0), jnp.ones((1, 4, 4, 3)), train=False)
