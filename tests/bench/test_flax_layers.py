"""A net of Flax's layers is the same net: same names and shapes, and from the same variables the same outputs."""

import ast
from functools import cache, partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import layers
from zoo.bench import flax_layers
from zoo.models import registry

FAST = {"xla_backend_optimization_level": 0}  # to compile
# What the models take from zoo either way: Flax has nothing else for it.
SHARED = {"Linear", "dropout", "add_bias", "global_avg_pool", "adaptive_avg_pool", "local_response_norm", "take_every"}
SHARED |= {"he_fan_in", "he_fan_out", "torch_default", "stored_dtype", "widen", "pair", "Pair"}
SHARED |= {"intercept_calls", "path_of"}
MEMBERS = [  # of each family: name, side of the images, fields that make it small
    ("lenet5", 32, {}),
    ("convnet_bn", 16, {}),
    ("alexnet_2012", 67, {}),
    ("vgg11_bn", 32, {}),
    ("googlenet", 32, {}),
    ("resnet50", 16, {"depths": (1, 1, 1, 1)}),
    ("preresnet20", 16, {"depths": (1, 1, 1)}),
    ("mobilenet_v2", 16, {"stages": ((1, 16, 1, 1), (6, 24, 2, 2))}),
    ("densenet121", 32, {"depths": (1, 1, 1, 1)}),
    pytest.param("inception_v2", 31, {}, marks=pytest.mark.slow),
    pytest.param("inception_v3", 75, {}, marks=pytest.mark.slow),
    pytest.param("inception_v4", 75, {}, marks=pytest.mark.slow),
    pytest.param("inception_resnet_v2", 75, {}, marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def standard_promotion():
    """Flax's layers mix types."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@cache
def flax_models():
    return flax_layers.models_of()


def draw(shapes, seed=0):
    """Kernels that keep the size of what passes, everything else between a half and one and a half."""
    rng = np.random.default_rng(seed)

    def leaf(s):
        if len(s.shape) == 1:
            return rng.uniform(0.5, 1.5, s.shape).astype(s.dtype)
        return (rng.standard_normal(s.shape) * np.sqrt(2 / np.prod(s.shape[:-1]))).astype(s.dtype)

    return jax.tree.map(leaf, shapes)


def both(name, size, fields, batch):
    """The two models, variables that suit both, and images."""
    ours, theirs = zoo.create(name, **fields), flax_models().create(name, **fields)
    images = np.random.default_rng(1).standard_normal((batch, size, size, zoo.variant(name).channels), np.float32)
    shapes, flax_shapes = (
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images) for model in (ours, theirs)
    )
    assert flax_shapes == shapes
    return (ours, theirs), draw(shapes), images


@pytest.mark.parametrize(("name", "size", "fields"), MEMBERS)
def test_a_net_of_flax_layers_has_our_variables_and_gives_our_logits(name, size, fields):
    models, variables, images = both(name, size, fields, batch=1)
    compiled = jax.jit(lambda v, x: [model.apply(v, x, train=False) for model in models], compiler_options=FAST)
    ours, theirs = compiled(variables, images)
    assert np.ptp(ours) > 0
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())


def test_in_training_it_normalises_with_the_batch_and_moves_the_same_means():
    models, variables, images = both("resnet20", 16, {"depths": (1, 1, 1)}, batch=4)
    compiled = jax.jit(
        lambda v, x: [model.apply(v, x, train=True, mutable=["batch_stats"]) for model in models], compiler_options=FAST
    )
    (ours, our_updates), (theirs, their_updates) = compiled(variables, images)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
    our_stats, their_stats = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(updates)}
        for updates in (our_updates, their_updates)
    )
    assert set(our_stats) == set(their_stats)
    for path in our_stats:
        if "mean" in path:  # Flax's variance is the biased one
            np.testing.assert_allclose(their_stats[path], our_stats[path], rtol=1e-4, atol=1e-4, err_msg=path)


def test_every_layer_in_it_is_flax_own():
    found = {"conv": set(), "norm": set()}

    def note(method, args, kwargs, context):
        kind = {"Conv": "conv", "BatchNorm": "norm"}.get(type(context.module).__name__)
        if kind:
            found[kind].add(isinstance(context.module, (nn.Conv, nn.BatchNorm)))
        return method(*args, **kwargs)

    short = {"depths": (1, 1, 1, 1)}
    for name, fields in {"googlenet": {}, "resnext50_32x4d": short, "densenet121": short}.items():
        model = flax_models().create(name, **fields)
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        with nn.intercept_methods(note):
            jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    assert found == {"conv": {True}, "norm": {True}}


def test_of_each_layer_that_a_model_imports_it_is_decided_whether_flax_has_its_own():
    imported = set()
    for path in Path(registry.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("zoo.layers", "zoo.norm")):
                imported |= {alias.name for alias in node.names}
    assert imported - SHARED == set(flax_layers.LAYERS)


def test_the_models_that_everybody_uses_stay_as_they_are():
    create, conv = zoo.create, layers.Conv
    flax_layers.models_of()
    assert zoo.create is create
    assert zoo.models.registry is registry
    assert layers.Conv is conv
    assert registry.family("resnet50").Conv is conv
    assert zoo.norm.BatchNorm is registry.family("resnet50").BatchNorm


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"), [(7, 3, 2, 1), (8, 3, 2, 0), (9, 2, 2, 0), (6, 3, 1, 1)]
)
def test_pools_have_as_many_windows_as_ours(size, window, stride, padding, ceil):
    x = jax.random.normal(jax.random.key(0), (1, size, size + 1, 2))
    ours = layers.max_pool(x, window, stride, padding, ceil=ceil)
    np.testing.assert_array_equal(flax_layers.max_pool(x, window, stride, padding, ceil=ceil), ours)
    for count in (False, True):
        options = {"count_include_pad": count, "ceil": ceil and not count}  # Flax counts what hangs over too
        ours = layers.avg_pool(x, window, stride, padding, **options)
        theirs = flax_layers.avg_pool(x, window, stride, padding, **options)
        np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_computes_in_the_type_that_is_asked_for(dtype):
    model = flax_models().create("resnet20", depths=(1, 1, 1), dtype=dtype)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    jaxpr = jax.make_jaxpr(partial(model.apply, train=False))(variables, images)
    convolutions = [line for line in str(jaxpr).splitlines() if "conv_general_dilated" in line]
    short = {"float32": ":f32[", "bfloat16": ":bf16["}[dtype]
    assert len(convolutions) == 7
    assert all(short in line for line in convolutions)
