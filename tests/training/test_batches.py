"""What the steps take and refuse: masked rows of any content, and losses, logits and labels of any shape."""

from functools import cache

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from tests.support.nets import draw_variables
from zoo.errors import UserError
from zoo.losses import softmax_cross_entropy


class Net(nn.Module):
    """With and without normalisation."""

    normalised: bool

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Dense(4, name="fc1")(x)
        x = zoo.BatchNorm(name="bn")(x, train=train) if self.normalised else x
        return nn.Dense(3, name="fc2")(jnp.mean(nn.relu(x), (1, 2)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"image": rng.normal(2, 3, (4, 3, 3, 2)).astype(np.float32), "label": np.array([0, 2, 1, 1], np.int32)}


@cache
def initialise(normalised):
    return zoo.create_train_state(Net(normalised), jax.random.key(0), optax.sgd(0.1), (3, 3, 2)).variables


def make_state(normalised=True, tx=None):
    tx = optax.sgd(0.1, momentum=0.9) if tx is None else tx
    return zoo.create_train_state(Net(normalised), jax.random.key(0), tx, variables=initialise(normalised))


def pad(batch, image, label):
    """Two rows more, that hold anything, and the mask that leaves them out."""
    return {
        "image": np.concatenate([batch["image"], np.full((2, 3, 3, 2), image, np.float32)]),
        "label": np.concatenate([batch["label"], np.full((2, *batch["label"].shape[1:]), label, batch["label"].dtype)]),
        "mask": np.array([True] * 4 + [False] * 2),
    }


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("soft", [False, True])
def test_masked_rows_count_for_nothing_whatever_they_hold(batch, normalised, soft):
    """Their gradients included: the new state is that of the rows alone, and not one bit depends on the others."""
    if soft:
        batch["label"] = np.eye(3, dtype=np.float32)[batch["label"]]
    train = zoo.make_train_step(softmax_cross_entropy)
    evals = [zoo.make_eval_step(softmax_cross_entropy, statistics=s) for s in ("running", "batch")]

    def run(batch):
        state, metrics = train(make_state(normalised), batch)
        sums = [evaluate(make_state(normalised), batch) for evaluate in evals]
        return state.params, state.batch_stats, state.opt_state, metrics, sums

    alone, zeros = run(batch), run(pad(batch, 0, 0))
    chex.assert_trees_all_close(zeros, alone, rtol=1e-5, atol=1e-5)
    for image in (np.nan, np.inf, -np.inf, 3e38):
        label = np.nan if soft else 2_000_000_000
        chex.assert_trees_all_equal(run(pad(batch, image, label)), zeros)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "convnet_bn"])
def test_a_masked_nan_image_leaves_the_nets_of_the_zoo_as_they_would_be_without_it(name):
    row = zoo.variant(name)
    shape = (row.image_size, row.image_size, row.channels)
    rng = np.random.default_rng(0)
    image, mask = rng.normal(size=(4, *shape)).astype(np.float32), np.array([True, True, True, False])
    model, tx, step, ends = zoo.create(name), optax.sgd(0.1), zoo.make_train_step(softmax_cross_entropy), []
    variables = draw_variables(model, shape)
    for fill in (0, np.nan):
        image[3] = fill
        state = zoo.create_train_state(model, jax.random.key(0), tx, variables=variables)
        batch = {"image": image, "label": np.array([1, 2, 3, 4]), "mask": mask}
        ends.append(step(state, batch))
    chex.assert_tree_all_finite(ends[1][0].params)
    chex.assert_trees_all_equal(*(end[0].variables for end in ends))


def test_a_batch_of_masked_rows_alone_has_a_gradient_of_zero(batch):
    batch = {**batch, "image": np.full_like(batch["image"], np.nan), "mask": np.zeros(4, bool)}
    state, metrics = zoo.make_train_step(softmax_cross_entropy)(make_state(tx=optax.sgd(0.1)), batch)
    chex.assert_trees_all_equal(state.variables, make_state().variables)
    assert [float(metrics[name]) for name in ("loss", "accuracy", "count")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones(4), TypeError, "mask must be boolean, not float32"),
        (np.ones((4, 1), bool), UserError, r"the mask \[4, 1\] of images \[4, 3, 3, 2\]: pass \[4\]"),
        (np.ones(3, bool), UserError, r"the mask \[3\] of images \[4, 3, 3, 2\]"),
    ],
)
def test_a_mask_that_is_none_is_refused(batch, mask, error, message):
    with pytest.raises(error, match=message):
        zoo.make_train_step(softmax_cross_entropy)(make_state(), {**batch, "mask": mask})


def softmax(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


@pytest.mark.parametrize(
    ("loss_fn", "error", "message"),
    [
        (lambda z, y: softmax(z, y).mean(), UserError, r"loss_fn returned \[\] for 4 examples: return one .*, \[4\]"),
        (lambda z, y: softmax(z, y)[:, None], UserError, r"loss_fn returned \[4, 1\] for 4 examples"),
        (lambda z, y: z, UserError, r"loss_fn returned \[4, 3\] for 4 examples"),
        (lambda z, y: softmax(z, y)[:1], UserError, r"loss_fn returned \[1\] for 4 examples"),
        (lambda z, y: jnp.argmax(z, -1) != y, TypeError, r"loss_fn returned bool: return one floating-point loss"),
        (lambda z, y: y, TypeError, "loss_fn returned int32"),
        (lambda z, y: (softmax(z, y), {}), TypeError, "loss_fn returned a tuple"),
        (lambda z, y: None, TypeError, "loss_fn returned a NoneType"),
    ],
)
@pytest.mark.parametrize("which", ["train", "running", "batch"])
def test_a_loss_function_that_returns_something_else_is_told_what_it_returned(batch, loss_fn, error, message, which):
    step = zoo.make_train_step(loss_fn) if which == "train" else zoo.make_eval_step(loss_fn, statistics=which)
    with pytest.raises(error, match=message):
        jax.eval_shape(step, make_state(), batch)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 1), np.int32), r"logits \[4, 3\] and int32 labels \[4, 1\]: pass integer labels \[4\]"),
        (np.zeros(3, np.int32), r"logits \[4, 3\] and int32 labels \[3\]"),
        (np.zeros((4, 2), np.float32), r"and float32 labels \[4, 2\]: .* or probabilities \[4, 3\]"),
        (np.zeros(4, np.float32), r"and float32 labels \[4\]"),
        (np.zeros(4, bool), r"and bool labels \[4\]"),
    ],
)
def test_labels_that_do_not_go_with_the_logits_are_refused(batch, labels, message):
    for step in (zoo.make_train_step(softmax_cross_entropy), zoo.make_eval_step(softmax_cross_entropy)):
        with pytest.raises(UserError, match=message):
            jax.eval_shape(step, make_state(), {**batch, "label": labels})


def test_a_model_that_returns_maps_is_refused(batch):
    class Maps(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool):
            return nn.Dense(3)(x)

    state = zoo.create_train_state(Maps(), jax.random.key(0), optax.sgd(0.1), (3, 3, 2))
    with pytest.raises(UserError, match=r"the model returned \[4, 3, 3, 3\]: a step takes logits \[N, K\]"):
        jax.eval_shape(zoo.make_train_step(softmax_cross_entropy), state, batch)


@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_a_step_in_bfloat16_makes_no_promotion_that_strict_rules_forbid(param_dtype):
    """The suite runs under them; the loss is that of the float32 net up to bfloat16's eight bits."""
    sizes = {"b": 1, "c": 1, "width": 8, "dense_width": 16}
    model = zoo.create("convnet_bn", num_classes=3, dtype=jnp.bfloat16, param_dtype=param_dtype, **sizes)
    image = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    batch = {"image": image, "label": np.array([0, 1, 2, 0]), "mask": np.array([True] * 3 + [False])}
    losses, variables = [], draw_variables(model, (8, 8, 1))
    for net in (model, model.clone(dtype=jnp.float32)):
        state = zoo.create_train_state(net, jax.random.key(0), optax.sgd(0.1), variables=variables, ema_decay=0.9)
        state, metrics = zoo.make_train_step(softmax_cross_entropy)(state, batch)
        assert zoo.make_eval_step(softmax_cross_entropy)(state, batch)["loss"].dtype == jnp.float32
        losses.append(metrics["loss"])
    np.testing.assert_allclose(*losses, rtol=0.02)
