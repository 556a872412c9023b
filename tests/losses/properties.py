"""What can be true of a loss: one function a property, each given a case and numbers to draw its inputs with."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.losses.cases import CLASSES, Case, one_hot, value_and_both_gradients
from zoo import losses
from zoo.errors import UserError
from zoo.losses import gradient_of

HUGE = 1e4


def doubled(case: Case, rng: np.random.Generator, scale: float = 1.0):
    """Inputs in float64, targets too if they are floating."""
    predictions, targets = case.draw(rng, scale)
    double = targets.dtype == np.float32
    return predictions.astype(np.float64), targets.astype(np.float64) if double else targets


# Drawn inputs.


def equals_its_slow_reference(case, rng, scale):
    predictions, targets = case.draw(rng, scale)
    in_double = [a.astype(np.float64) if a.dtype == np.float32 else a for a in (predictions, targets)]
    for options, compiled in zip(case.options, case.compiled, strict=True):
        value, _, _ = compiled(predictions, targets)
        assert_allclose(value, case.reference(*in_double, **options), rtol=2e-5, atol=2e-5)


def is_non_negative(case, rng, scale):
    value, _, _ = case.compiled[0](*case.draw(rng, scale))
    assert jnp.all(value >= 0)


def is_zero_at_the_target(case, rng, scale):
    _, targets = case.draw(rng, scale)
    perfect = case.perfect(targets).astype(np.float32)
    assert_allclose(case.compiled[0](perfect, targets)[0], 0, atol=1e-6)


def is_symmetric(case, rng, scale):
    """Regression: in prediction and target. Binary: in the two answers."""
    predictions, targets = case.draw(rng, scale)
    mirrored = {
        "real": (targets, predictions),
        "binary": (-predictions, 1 - targets),
        "probability": (1 - predictions, 1 - targets),
        "margin": (-predictions, -targets),
        "multilabel": (-predictions, 1 - targets),
    }[case.draw.__name__]
    assert_allclose(case.loss(*mirrored), case.loss(predictions, targets), rtol=1e-4, atol=1e-6)


def is_convex(case, rng, scale):
    """Along the segments between two random predictions."""
    (a, targets), (b, _) = case.draw(rng, scale), case.draw(rng, scale)
    for t in (0.1, 0.5, 0.8):
        chord = (1 - t) * case.loss(a, targets) + t * case.loss(b, targets)
        assert jnp.all(case.loss((1 - t) * a + t * b, targets) <= chord + 1e-5 * (1 + abs(chord)))


def masked_mean_is_the_mean_of_the_slice(case, rng, scale):
    predictions, targets = case.draw(rng, scale)
    mask = np.arange(len(targets)) % 3 != 1
    poisoned = predictions.copy()
    poisoned[~mask] = np.nan
    mean = losses.reduce(case.compiled[0](predictions[mask], targets[mask])[0])
    assert_allclose(losses.reduce(case.compiled[0](poisoned, targets)[0], where=jnp.asarray(mask)), mean, rtol=1e-5)


def takes_integer_labels_as_one_hot(case, rng, scale):
    logits, labels = case.draw(rng, scale)
    assert_allclose(case.loss(logits, one_hot(labels)), case.loss(logits, labels), rtol=1e-6)
    assert_allclose(case.loss(logits, labels.astype(np.uint8)), case.loss(logits, labels), rtol=0)


def does_not_depend_on_the_order_of_classes(case, rng, scale):
    predictions, targets = case.draw(rng, scale)
    order = rng.permutation(CLASSES)
    moved = targets[..., order] if targets.ndim == predictions.ndim else np.argsort(order)[targets]
    assert_allclose(case.loss(predictions[..., order], moved), case.loss(predictions, targets), rtol=1e-5)


def does_not_depend_on_a_shift_of_the_logits(case, rng, scale):
    logits, labels = case.draw(rng, scale)
    shift = np.float32(scale) * rng.normal(size=(*logits.shape[:-1], 1)).astype(np.float32)
    assert_allclose(case.loss(logits + shift, labels), case.loss(logits, labels), rtol=1e-4, atol=1e-5)


def has_the_closed_form_gradient(case, rng, scale):
    predictions, targets = case.draw(rng, scale)
    for compiled in case.compiled:
        _, automatic, closed = compiled(predictions, targets)
        assert closed.dtype == jnp.float32
        assert closed.shape == predictions.shape
        assert_allclose(closed, automatic, rtol=1e-4, atol=1e-5)


# Fixed inputs: these cost a compilation or do not gain by more numbers.


def has_the_hessian_of_its_closed_form_gradient(case, rng):
    """The second derivative of the loss is the first of that, symmetric, and finite on the target itself too."""
    closed = jax.jit(jax.jacfwd(gradient_of[case.loss]))
    automatic = jax.jit(jax.hessian(lambda p, t: jnp.sum(case.loss(p, t))))
    predictions, targets = case.draw(rng, 1.0)
    predictions, targets = predictions[:2], targets[:2]
    on_target = case.perfect(targets).astype(np.float32)
    for where in (predictions, on_target):
        second = np.reshape(automatic(where, targets), (where.size,) * 2)
        assert np.all(np.isfinite(second))
        assert_allclose(second, second.T, rtol=1e-4, atol=1e-5)
        assert_allclose(second, np.reshape(closed(where, targets), second.shape), rtol=1e-4, atol=1e-5)


def has_the_gradient_of_finite_differences_in_float64(case, rng):
    with jax.enable_x64(True):
        predictions, targets = doubled(case, rng)
        for compiled in case.compiled:
            value, _, closed = compiled(predictions, targets)
            assert value.dtype == closed.dtype == jnp.float64
            direction = rng.normal(size=predictions.shape)
            # a step that crosses no joint of 1e-6 and still leaves eight digits
            ahead, behind = (np.sum(compiled(predictions + s * direction, targets)[0]) for s in (1e-7, -1e-7))
            assert_allclose(np.sum(closed * direction), (ahead - behind) / 2e-7, rtol=1e-6, atol=1e-7)


def is_the_same_in_float64(case, rng):
    predictions, targets = case.draw(rng, 1.0)
    single, _, _ = case.compiled[0](predictions, targets)
    assert single.dtype == jnp.float32
    with jax.enable_x64(True):
        double, _, _ = case.compiled[0](predictions.astype(np.float64), targets)
        assert double.dtype == jnp.float64
        if targets.dtype == np.float32:  # the predictions decide
            assert case.loss(predictions, targets.astype(np.float64)).dtype == jnp.float32
    assert_allclose(single, double, rtol=1e-5, atol=1e-6)


def computes_half_precision_in_float32(case, rng):
    for dtype in (jnp.bfloat16, jnp.float16):
        predictions, targets = case.draw(rng, 1.0)
        half = jnp.asarray(predictions).astype(dtype)
        value, automatic, _ = case.compiled[0](half, targets)
        assert value.dtype == jnp.float32
        assert_allclose(value, case.compiled[0](half.astype(jnp.float32), targets)[0], rtol=1e-6)
        assert automatic.dtype == dtype
        assert jnp.all(jnp.isfinite(automatic))


def is_finite_for_huge_predictions(case, rng):
    """Of +-1e4, of either sign against either target, in value and gradient, in every precision."""
    predictions, targets = case.draw(rng, 1.0)
    signs = np.sign(predictions)
    for dtype, sign, compiled in itertools.product((jnp.float32, jnp.bfloat16, jnp.float16), (1, -1), case.compiled):
        value, automatic, closed = compiled(jnp.asarray(HUGE * sign * signs).astype(dtype), targets)
        assert jnp.all(jnp.isfinite(value))
        assert jnp.all(jnp.isfinite(automatic))
        assert_allclose(automatic.astype(jnp.float32), closed, rtol=1e-2, atol=1e-5)


def is_finite_for_certain_predictions(case, rng):
    """Probabilities of exactly 0 and 1, for and against the target, in value and gradient."""
    _, targets = case.draw(rng, 1.0)
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        for certain in (targets, 1 - targets):
            probabilities = jnp.asarray(certain).astype(dtype)
            assert jnp.all(jnp.isfinite(case.loss(probabilities, targets)))
            # In float16 a slope of 1e12 has no other name than infinity.
            _, automatic, closed = case.compiled[0](probabilities.astype(jnp.float32), targets)
            assert jnp.all(jnp.isfinite(automatic))
            assert_allclose(closed, automatic, rtol=1e-5)


def takes_targets_of_zero_probability(case, rng):
    """Value and gradient stay finite where a target probability is 0, with respect to either argument."""
    predictions, targets = case.draw(rng, 1.0)
    targets = one_hot(np.argmax(targets, -1)) if targets.ndim == predictions.ndim else one_hot(targets)
    for argument in (0, 1):
        derivative = jax.jit(jax.grad(lambda *a: jnp.sum(case.loss(*a)), argument))(predictions, targets)
        assert jnp.all(jnp.isfinite(derivative))


def survives_a_logit_of_minus_infinity(case, rng):
    """A class that the net has masked out has probability 0; with another label that costs nothing."""
    logits, labels = case.draw(rng, 1.0)
    labels = np.minimum(labels, CLASSES - 2)
    masked = logits.copy()
    masked[..., -1] = -np.inf
    assert_allclose(case.loss(masked, labels), case.loss(np.where(masked < -9, -HUGE, logits), labels), rtol=1e-6)
    assert jnp.all(jnp.isfinite(case.compiled[0](masked, labels)[1]))


def answers_nan_for_a_label_that_is_no_class(case, rng):
    """Not a plausible number; and a reduction that masks the example has a finite gradient."""
    logits, labels = case.draw(rng, 1.0)
    for wrong in (-1, CLASSES):
        spoilt = labels.copy()
        spoilt[0] = wrong
        value, _, closed = case.compiled[0](logits, spoilt)
        assert jnp.isnan(value[0])
        assert_allclose(value[1:], case.compiled[0](logits, labels)[0][1:])
        assert jnp.all(closed[0] == 0)
        mask = jnp.arange(len(labels)) > 0
        masked = jax.jit(jax.grad(lambda z, y, m=mask: losses.reduce(case.loss(z, y), where=m)))(logits, spoilt)
        assert jnp.all(jnp.isfinite(masked))
        assert jnp.all(masked[0] == 0)


def lets_a_masked_prediction_be_anything(case, rng):
    """With the pattern that `reduce` names, where JAX alone would say `0 * NaN`."""
    predictions, targets = case.draw(rng, 1.0)
    mask = np.arange(len(targets)) % 2 == 0
    valid = mask.reshape((-1,) + (1,) * (predictions.ndim - 1))

    @jax.jit
    def gradient(z):
        return jax.grad(lambda z: losses.reduce(case.loss(jnp.where(valid, z, 1), targets), where=examples))(z)

    examples = np.broadcast_to(mask.reshape((-1,) + (1,) * (case.loss(predictions, targets).ndim - 1)), mask.shape)
    expected = gradient(predictions)
    assert np.any(expected[mask] != 0)
    for poison in (np.nan, np.inf, -np.inf):
        assert_allclose(gradient(np.where(valid, predictions, np.float32(poison))), expected, rtol=0)
    assert np.all(expected[~mask] == 0)


def stops_no_search_for_nan(case, rng):
    """Every single operation on healthy numbers is a number: in value and both gradients, on extremes too."""
    predictions, targets = case.draw(rng, 1.0)
    certain = case.perfect(targets).astype(np.float32)
    extremes = [predictions, 0 * predictions, certain]
    if case.draw.__name__ not in ("probability", "distribution"):
        extremes += [-certain, 100 * predictions]
    elif case.draw.__name__ == "probability":
        extremes += [0 * predictions + 1]
    with jax.debug_nans(True), jax.disable_jit():
        for options in case.options:
            for p in extremes:
                jax.value_and_grad(lambda p, o=options: losses.reduce(case.loss(p, targets, **o)))(p)
                gradient_of[case.loss](p, targets, **options)


def takes_an_empty_batch(case, rng):
    """Of which the mean is 0, and nothing divides by its size."""
    predictions, targets = (a[:0] for a in case.draw(rng, 1.0))
    for options in case.options:
        if "where" in options and len(options["where"]) > 1:
            options = {**options, "where": options["where"][:0]}
        value, automatic, closed = value_and_both_gradients(case.loss, **options)(predictions, targets)
        assert value.shape[0] == 0
        assert automatic.shape == closed.shape == predictions.shape
        assert losses.reduce(value) == 0


def maps_over_a_new_axis(case, rng):
    """`vmap` over batches is the loop over batches; so does `jit` of `grad` of it."""
    batches = [case.draw(rng, 1.0) for _ in range(2)]
    predictions, targets = (np.stack(arrays) for arrays in zip(*batches, strict=True))
    mapped = jax.jit(jax.vmap(case.loss))(predictions, targets)
    derivatives = jax.jit(jax.vmap(jax.grad(lambda p, t: jnp.sum(case.loss(p, t)))))(predictions, targets)
    looped = [case.compiled[0](*batch) for batch in batches]
    assert_allclose(mapped, np.stack([value for value, _, _ in looped]), rtol=1e-5, atol=1e-6)
    assert_allclose(derivatives, np.stack([closed for _, _, closed in looped]), rtol=1e-4, atol=1e-5)


def is_smooth_at_its_joints(case, rng):
    """Value and slope on both sides of where the formula changes."""
    joints = {"smooth_l1": ("beta", 0.7), "huber": ("delta", 0.7), "log_cosh": (None, 1.0)}
    option, joint = joints[case.name]
    compiled = value_and_both_gradients(case.loss, **({option: joint} if option else {}))
    with jax.enable_x64(True):
        for sign in (-1, 1):
            for number in compiled(sign * joint * (1 + np.array([-1e-9, 0, 1e-9])), np.zeros(3)):
                assert_allclose(np.ptp(number), 0, atol=1e-8)


def does_not_broadcast(case, rng):
    """`[N]` against `[N, 1]` is an error that shows both shapes, in either order, and in the gradient too."""
    predictions, targets = case.draw(rng, 1.0)
    for function in (case.loss, gradient_of[case.loss]):
        for p, t in ((predictions, targets[..., None]), (predictions[..., None], targets), (predictions, targets[:1])):
            with pytest.raises(UserError, match=r"shape|integer labels") as error:
                function(p, t)
            assert str(list(p.shape)) in str(error.value)
            assert str(list(t.shape)) in str(error.value)


def takes_one_number_as_one_number(case, rng):
    """An option that is a number is no array, which would broadcast; a double one does not raise the precision."""
    predictions, targets = case.draw(rng, 1.0)
    numbers = {
        "beta": 1.0,
        "delta": 1.0,
        "label_smoothing": 0.1,
        "epsilon": 2.0,
        "smooth": 1.0,
        "gamma": 2.0,
        "alpha": 0.3,
    }
    for function in (case.loss, gradient_of[case.loss]):
        for option in numbers.keys() & inspect.signature(function).parameters.keys():
            with pytest.raises(UserError, match=rf"{option} \[6\] must be one number"):
                function(predictions, targets, **{option: np.full(6, numbers[option], np.float32)})
            with jax.enable_x64(True):
                number = np.float64(numbers[option])
                assert function(predictions, targets, **{option: number}).dtype == jnp.float32


def refuses_integer_predictions(case, rng):
    predictions, targets = case.draw(rng, 1.0)
    for function in (case.loss, gradient_of[case.loss]):
        with pytest.raises(TypeError, match=r"must be floating point, not int32.*astype\(jnp.float32\)"):
            function(predictions.astype(np.int32), targets)


def refuses_targets_of_a_wrong_dtype(case, rng):
    predictions, targets = case.draw(rng, 1.0)
    wrong = {
        "real": (np.int32, np.complex64, bool),
        "distribution": (np.int32, np.complex64, bool),
        "binary": (np.complex64,),
        "probability": (np.complex64,),
        "multilabel": (np.complex64,),
        "margin": (np.complex64, bool),
        "multiclass": (np.complex64, bool),
        "segmentation": (np.complex64, bool),
    }[case.draw.__name__]
    for dtype in wrong:
        with pytest.raises(TypeError, match=np.dtype(dtype).name):
            case.loss(predictions, targets.astype(dtype))
