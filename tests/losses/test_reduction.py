"""The reduction, auxiliary heads and weight decay."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from zoo.errors import UserError
from zoo.losses import kernel_mask, reduce, softmax_cross_entropy, weight_decay, with_auxiliary

LOSS = np.array([1.0, 2.0, 4.0, 8.0], np.float32)
WEIGHTS = np.array([1.0, 3.0, 0.0, 2.0], np.float32)
WHERE = np.array([True, False, True, True])


def test_reduce_is_the_mean():
    assert reduce(LOSS) == 3.75
    assert reduce(LOSS.reshape(2, 2)) == 3.75
    assert reduce(LOSS[0]) == 1


def test_reduce_divides_by_what_it_counted():
    assert_allclose(reduce(LOSS, where=WHERE), 13 / 3, rtol=1e-6)
    assert_allclose(reduce(LOSS, weights=WEIGHTS), np.average(LOSS, weights=WEIGHTS), rtol=1e-6)
    expected = np.average(LOSS[WHERE], weights=WEIGHTS[WHERE])
    assert_allclose(reduce(LOSS, WHERE, WEIGHTS), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"where": np.zeros(4, bool)}, {"weights": np.zeros(4, np.float32)}, {"where": WEIGHTS > 9, "weights": WEIGHTS}],
    ids=["nothing valid", "no weight", "both"],
)
def test_reduce_of_nothing_is_0_and_so_is_its_gradient(options):
    assert reduce(LOSS, **options) == 0
    assert_allclose(jax.grad(lambda loss: reduce(loss, **options))(jnp.asarray(LOSS)), np.zeros(4))


def test_what_is_masked_may_be_nan():
    spoilt, weights = np.where(WHERE, LOSS, np.nan), np.where(WHERE, WEIGHTS, np.nan)
    assert_allclose(reduce(spoilt, WHERE, weights), reduce(LOSS, WHERE, WEIGHTS))
    derivative = jax.grad(lambda loss: reduce(loss, WHERE, weights))(jnp.asarray(spoilt))
    assert_allclose(derivative, [1 / 3, 0, 0, 2 / 3], rtol=1e-6)


def test_reduce_of_an_empty_batch_is_0():
    assert reduce(LOSS[:0]) == reduce(LOSS[:0], WHERE[:0], WEIGHTS[:0]) == 0


def test_reduce_adds_half_precision_in_float32():
    ones = jnp.ones(4096, jnp.bfloat16)  # in bfloat16 the sum stops at 256
    assert reduce(ones) == 1
    assert reduce(ones).dtype == jnp.float32


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((LOSS, WHERE[:, None]), UserError, r"loss \[4\] and where \[4, 1\] must have the same shape"),
        ((LOSS, None, WEIGHTS[:, None]), UserError, r"loss \[4\] and weights \[4, 1\] must have the same shape"),
        ((LOSS, WEIGHTS), TypeError, r"where must be boolean, not float32: pass where.astype\(bool\)"),
        ((LOSS, None, WHERE), TypeError, r"weights must be floating point, not bool"),
        ((LOSS.astype(int),), TypeError, r"loss must be floating point"),
    ],
)
def test_reduce_names_the_bad_argument(arguments, error, says):
    with pytest.raises(error, match=says):
        reduce(*arguments)


# Auxiliary heads.

RNG = np.random.default_rng(0)
LOGITS, AUX1, AUX2 = RNG.normal(size=(3, 5, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, 5)


def test_auxiliary_heads_add_their_share():
    """GoogLeNet's 0.3 and 0.3, Inception v3's 0.4; options reach every head, other endpoints none."""
    googlenet = with_auxiliary(softmax_cross_entropy, {"aux1": 0.3, "aux2": 0.3})
    main, first, second = (softmax_cross_entropy(z, LABELS, label_smoothing=0.1) for z in (LOGITS, AUX1, AUX2))
    ends = {"aux1": AUX1, "aux2": AUX2, "layer2": np.zeros(7)}
    loss = googlenet((LOGITS, ends), LABELS, label_smoothing=0.1)
    assert loss.shape == (5,)
    assert_allclose(loss, main + 0.3 * first + 0.3 * second, rtol=1e-6)
    inception = with_auxiliary(softmax_cross_entropy, {"aux": 0.4})
    loss = inception((LOGITS, {"aux": AUX1}), LABELS, label_smoothing=0.1)
    assert_allclose(loss, main + 0.4 * first, rtol=1e-6)


def test_a_missing_head_is_named_with_the_call_that_gives_it():
    loss = with_auxiliary(softmax_cross_entropy, {"aux1": 0.3, "aux2": 0.3})
    with pytest.raises(UserError, match=r"\['aux2'\] are not among .*\['aux1'\].*endpoints=\('aux1', 'aux2'\)"):
        loss((LOGITS, {"aux1": AUX1}), LABELS)
    with pytest.raises(TypeError, match=r"takes \(logits, ends\).*endpoints=\('aux1', 'aux2'\)"):
        loss(LOGITS, LABELS)


def test_a_loss_of_a_head_does_not_broadcast_against_the_others():
    loss = with_auxiliary(lambda logits, labels: jnp.mean(logits, -1, keepdims=len(logits) == 1), {"aux": 0.4})
    with pytest.raises(UserError, match=r"the loss of aux \[1, 1\] and the loss of the logits \[5\]"):
        loss((LOGITS, {"aux": AUX1[:1]}), LABELS)


# Weight decay.


class Small(nn.Module):
    """One layer of each class that has parameters."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True, name="bn")(nn.Conv(3, (2, 2), name="conv")(x))
        return nn.Dense(2, name="fc")(x.reshape(x.shape[0], -1))


PARAMS = {
    "conv": {"kernel": jnp.full((2, 2, 1, 3), 0.5), "bias": jnp.ones(3)},
    "bn": {"scale": jnp.ones(3), "bias": jnp.ones(3)},
    "fc": {"kernel": jnp.full((12, 2), -1.0), "bias": jnp.ones(2)},
    "odd": {"kernel": jnp.ones(3), "embedding": jnp.ones((3, 3))},
}


def test_kernels_are_the_weights_of_convolutions_and_linear_layers():
    mask = kernel_mask(PARAMS)
    decayed = {jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(mask) if leaf}
    assert decayed == {"['conv']['kernel']", "['fc']['kernel']"}
    params = jax.eval_shape(Small().init, jax.random.key(0), jnp.zeros((1, 2, 2, 1)))["params"]
    assert kernel_mask(params) == {
        "conv": {"kernel": True, "bias": False},
        "bn": {"scale": False, "bias": False},
        "fc": {"kernel": True, "bias": False},
    }


def test_weight_decay_is_half_the_squared_norm_of_the_kernels():
    assert weight_decay(PARAMS) == (12 * 0.25 + 24) / 2
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    assert weight_decay(half) == weight_decay(PARAMS)
    assert weight_decay(half).dtype == jnp.float32
    assert weight_decay({"bias": jnp.ones(3)}) == 0


def test_weight_decay_in_the_loss_is_optaxs_decayed_weights_in_front_of_sgd():
    rate, momentum = 5e-4, optax.sgd(0.1, momentum=0.9)
    in_loss = jax.grad(lambda params: rate * weight_decay(params))(PARAMS)
    updates, _ = momentum.update(in_loss, momentum.init(PARAMS), PARAMS)
    chain = optax.chain(optax.add_decayed_weights(rate, mask=kernel_mask), momentum)
    nothing = jax.tree.map(jnp.zeros_like, PARAMS)
    expected, _ = chain.update(nothing, chain.init(PARAMS), PARAMS)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-6), updates, expected)


def test_weight_decay_in_the_loss_is_not_that_of_adamw():
    rate, adam = 5e-4, optax.adam(0.1)
    adamw = optax.adamw(0.1, weight_decay=rate, mask=kernel_mask)
    nothing = jax.tree.map(jnp.zeros_like, PARAMS)
    in_loss = jax.grad(lambda params: rate * weight_decay(params))(PARAMS)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
        decoupled, _ = adamw.update(nothing, adamw.init(PARAMS), PARAMS)
        coupled, _ = adam.update(in_loss, adam.init(PARAMS), PARAMS)
    assert_allclose(decoupled["fc"]["kernel"], 0.1 * rate, rtol=1e-5)
    assert_allclose(coupled["fc"]["kernel"], 0.1, rtol=1e-3)  # Adam divides the rate away
