"""A net is an ordinary Linen module: NNX, tabulate, export, Orbax, half precision and vmap take it as it is."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import zoo
from tests.support.nets import create_shallow
from tests.weights.test_state_dict import assert_equal_trees, state_dict_of
from zoo import weights

NAME = "convnet_bn"
SIZES = {"b": 1, "width": 8, "dense_width": 16}  # a stage or a channel more would only be slower
MODEL = zoo.create(NAME, **SIZES)
SHAPE = (8, 8, 3)
IMAGES = np.random.RandomState(0).standard_normal((4, *SHAPE)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3])


@pytest.fixture(scope="module")
def variables():
    return weights.from_torch(NAME, state_dict_of(NAME, SHAPE, **SIZES), model=MODEL, image_shape=SHAPE)


def cross_entropy(logits):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, LABELS))


def pure(module: nnx.Module) -> dict:
    """A bridged net's variables as Linen's."""
    kinds = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    return {name: jax.tree.map(jnp.array, nnx.to_pure_dict(nnx.state(module, kind))) for name, kind in kinds.items()}


def test_nnx_trains_one_step_like_linen_and_updates_the_statistics():
    bridged = nnx.bridge.ToNNX(MODEL, rngs=nnx.Rngs(0)).lazy_init(IMAGES, train=False)
    optimizer = nnx.Optimizer(bridged, optax.sgd(0.1), wrt=nnx.Param)
    before = pure(bridged)

    @nnx.jit
    def step(bridged, optimizer):
        def loss_of(bridged):
            return cross_entropy(bridged(IMAGES, train=True, mutable=["batch_stats"]))

        loss, grads = nnx.value_and_grad(loss_of)(bridged)
        optimizer.update(bridged, grads)
        return loss

    @jax.jit
    def linen_step(variables):
        def loss_of(params):
            variables = {**before, "params": params}
            logits, updates = MODEL.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
            return cross_entropy(logits), updates

        (loss, updates), grads = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
        return loss, {"params": jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], grads), **updates}

    loss, after = step(bridged, optimizer), pure(bridged)
    expected_loss, expected = linen_step(before)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after, expected)
    moved = zip(jax.tree.leaves(before["batch_stats"]), jax.tree.leaves(after["batch_stats"]), strict=True)
    assert all(np.any(a != b) for a, b in moved)
    assert bridged(IMAGES, train=False).shape == (4, 10)


def test_the_shapes_of_a_net_cost_nothing(variables):
    init = partial(MODEL.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)


def test_tabulate_shows_every_layer_and_all_parameters(variables):
    wide = {"width": 200, "force_terminal": False}
    table = nn.tabulate(MODEL, jax.random.key(0), console_kwargs=wide)(IMAGES, train=False)
    for layer in variables["params"]:
        assert layer in table
    total = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert f"Total Parameters: {total:,}" in table


def test_an_exported_net_gives_the_same_logits_for_any_batch(variables):
    apply = jax.jit(partial(MODEL.apply, train=False))
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    exported = jax.export.export(apply)(shapes, jax.ShapeDtypeStruct((batch, *SHAPE), jnp.float32))
    restored = jax.export.deserialize(exported.serialize())
    for n in (1, 4):
        np.testing.assert_array_equal(restored.call(variables, IMAGES[:n]), apply(variables, IMAGES[:n]))


def of_any_size(name, unit, model):
    """A net exported for any batch, height and width, its `apply`, and variables."""
    row = zoo.variant(name)
    size = 64 if unit == "32*" else row.image_size
    image = jax.ShapeDtypeStruct((1, size, size, row.channels), jnp.float32)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    n, height, width = jax.export.symbolic_shape(
        f"n, {unit}h, {unit}w", constraints=[f"{unit}{axis} >= {model.min_size}" for axis in "hw"]
    )
    apply = jax.jit(partial(model.apply, train=False))
    images = jax.ShapeDtypeStruct((n, height, width, row.channels), jnp.float32)
    return jax.export.export(apply)(shapes, images), apply, shapes


ANY_SIZE = {name: "" for name in ("alexnet", "vgg11_bn", "googlenet", "googlenet_2014", "resnet18", "resnet20")}
ANY_SIZE |= {name: "" for name in ("resnext29_8x64d", "resnet50_v1", "preresnet20", "preresnet164", "resnetv2_18")}
ANY_SIZE |= {name: "" for name in ("densenet40_k12", "densenet121", "inception_v3", "inception_v4")}
ANY_SIZE |= {"inception_v2": "32*", "inception_resnet_v1": "", "inception_resnet_v2": ""}  # v2: only these fit together


@pytest.mark.parametrize("name", ANY_SIZE)
def test_a_net_that_takes_any_size_is_exported_for_any_size(name):
    exported, _, _ = of_any_size(name, ANY_SIZE[name], create_shallow(name))
    (logits,) = exported.out_avals
    assert str(logits.shape) == f"(n, {zoo.create(name).num_classes})"


SMALL = {
    "resnet20": {"depths": (2, 1, 1), "width": 4},
    "resnet18": {"depths": (2, 1, 1, 1), "width": 4},
    "preresnet20": {"depths": (1, 1), "width": 4},
    "resnetv2_18": {"depths": (1, 1), "width": 4},
    "densenet40_k12": {"depths": (1, 1), "growth": 4},
    "densenet121": {"depths": (1, 1), "growth": 4, "stem": 8},
}
LARGE = ("googlenet", "inception_v2", "inception_v3", "inception_v4", "inception_resnet_v1")


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_a_net_exported_for_any_size_gives_the_logits_of_each(name):
    model = zoo.create(name, **SMALL.get(name, {"num_classes": 5}))
    exported, apply, shapes = of_any_size(name, ANY_SIZE.get(name, ""), model)
    random = np.random.RandomState(0)
    made = jax.tree.map(lambda leaf: random.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype), shapes)
    restored = jax.export.deserialize(exported.serialize())
    for size in ((96, 128), (128, 96)) if name in LARGE else ((32, 45), (41, 38)):
        images = random.standard_normal((2, *size, 3)).astype(np.float32)
        expected = apply(made, images)
        np.testing.assert_allclose(restored.call(made, images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_orbax_gives_back_parameters_and_statistics(tmp_path, variables):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint", variables)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "checkpoint", jax.eval_shape(lambda: variables))
    assert_equal_trees(restored, variables)


def test_bfloat16_computes_in_halves_and_keeps_parameters_and_statistics_whole(variables):
    model = MODEL.clone(dtype=jnp.bfloat16)
    apply = partial(model.apply, train=True, mutable=["batch_stats"])
    logits, updates = jax.jit(apply)(variables, IMAGES)
    expected, whole = jax.jit(partial(MODEL.apply, train=True, mutable=["batch_stats"]))(variables, IMAGES)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(updates)} == {"float32"}
    np.testing.assert_allclose(logits.astype(jnp.float32), expected, atol=0.05 * np.std(expected))
    for ours, theirs in zip(jax.tree.leaves(updates), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.std(theirs))
    made = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), IMAGES)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} == {"float32"}
    grads = jax.eval_shape(jax.grad(lambda p: apply({**variables, "params": p}, IMAGES)[0].sum()), variables["params"])
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grads)} == {"float32"}


def equations_of(jaxpr):
    """All equations, those of functions inside included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(getattr(value, "jaxpr", value), "eqns"):
                yield from equations_of(getattr(value, "jaxpr", value))


TYPES_OF_LAYERS = ("mlp", "convnet_bn", "lenet5", "alexnet", "vgg11_bn", "googlenet_2014", "resnet20", "densenet40_k12")


@pytest.mark.parametrize("name", TYPES_OF_LAYERS)
def test_nothing_is_summed_in_half_precision_forward_or_backward(name):
    """Products and convolutions aside, which sum in float32 inside."""
    model, row = create_shallow(name, dtype=jnp.bfloat16), zoo.variant(name)
    images = jax.ShapeDtypeStruct((2, row.image_size, row.image_size, row.channels), jnp.float32)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)

    statistics = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes.get("batch_stats", {}))

    def loss(params, images):
        variables, rngs = {"params": params, "batch_stats": statistics}, {"dropout": jax.random.key(0)}
        logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
        return jnp.sum(logits.astype(jnp.float32))

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(shapes["params"], images)
    sums = [e for e in equations_of(jaxpr.jaxpr) if e.primitive.name in ("reduce_sum", "reduce_window_sum", "cumsum")]
    assert sums
    assert {variable.aval.dtype.name for equation in sums for variable in equation.invars} <= {"float32", "int32"}


def test_param_dtype_is_the_type_of_stored_kernels_but_not_of_the_statistics():
    model = MODEL.clone(param_dtype=jnp.bfloat16)
    made = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), IMAGES)
    kernels = [layer["kernel"] for layer in made["params"].values() if "kernel" in layer]
    assert {kernel.dtype.name for kernel in kernels} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made["batch_stats"])} == {"float32"}


def test_an_ensemble_is_a_vmap_over_variables(variables):
    other = jax.tree.map(lambda leaf: leaf * 0.9, variables)
    ensemble = jax.tree.map(lambda *leaves: jnp.stack(leaves), variables, other)
    apply = partial(MODEL.apply, train=True, mutable=["batch_stats"])
    logits, updates = jax.jit(jax.vmap(apply, in_axes=(0, None)))(ensemble, IMAGES)
    for i, member in enumerate((variables, other)):
        expected, statistics = jax.jit(apply)(member, IMAGES)
        np.testing.assert_allclose(logits[i], expected, rtol=1e-3, atol=1e-4)
        member_updates = jax.tree.map(lambda leaf, i=i: leaf[i], updates)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), member_updates, statistics)
