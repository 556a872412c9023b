"""Every public loss has every property that applies to it; the table says which do not, and why."""

import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from numpy.testing import assert_allclose

from tests.losses import properties as p
from tests.losses.cases import BY_NAME, CASES
from zoo import losses

REGRESSION = ("l1", "l2", "smooth_l1", "huber", "log_cosh")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_probabilities", "focal", "hinge")
INTEGER_LABELS = ("softmax_cross_entropy", "poly_loss", "mean_squared_error_with_activation", "dice")
NOT_INTEGER_LABELS = (*REGRESSION, *BINARY, "multilabel_cross_entropy", "kl_divergence")


def each(names, why):
    return dict.fromkeys(names, why)


NO_CLASSES = each((*REGRESSION, *BINARY), "has no axis of classes")
NOT_CONVEX = {
    "mean_squared_error_with_activation": "saturates: that is what it is here to show",
    "focal": "the factor in front fades where the example is easy",
    "poly_loss": "1 - p is not convex in the logits",
    "dice": "a ratio of sums of probabilities",
}

# property -> the losses that do not have it, and why; all others are tested
DRAWN = {
    p.equals_its_slow_reference: {},
    p.is_non_negative: {},
    p.is_zero_at_the_target: {},
    p.is_symmetric: each(INTEGER_LABELS, "K classes have no mirror image; see the order of classes instead")
    | {"kl_divergence": "is not a distance: exchanging the distributions changes it"},
    p.is_convex: NOT_CONVEX,
    p.masked_mean_is_the_mean_of_the_slice: {},
    p.takes_integer_labels_as_one_hot: each(NOT_INTEGER_LABELS, "integers are not the numbers of classes here"),
    p.does_not_depend_on_the_order_of_classes: NO_CLASSES,
    p.does_not_depend_on_a_shift_of_the_logits: NO_CLASSES
    | {
        "multilabel_cross_entropy": "its sigmoids do not compete: a shift makes every label likelier",
        "kl_divergence": "takes normalised logarithms, which cannot be shifted",
    },
    p.has_the_closed_form_gradient: {},
}
NO_INTEGER_LABELS = each(NOT_INTEGER_LABELS, "integers are not the numbers of classes here")
FIXED = {
    p.has_the_hessian_of_its_closed_form_gradient: {},
    p.has_the_gradient_of_finite_differences_in_float64: {},
    p.is_the_same_in_float64: {},
    p.computes_half_precision_in_float32: {},
    p.is_finite_for_huge_predictions: {
        "binary_cross_entropy_with_probabilities": "takes [0, 1]; 0 and 1 are its extremes",
    },
    p.is_finite_for_certain_predictions: each(
        set(BY_NAME) - {"binary_cross_entropy_with_probabilities"}, "takes no probabilities: +-1e4 is its certainty"
    ),
    p.takes_targets_of_zero_probability: each(
        (*REGRESSION, *BINARY, "multilabel_cross_entropy"), "its targets are not a distribution over classes"
    ),
    p.survives_a_logit_of_minus_infinity: NO_INTEGER_LABELS,
    p.answers_nan_for_a_label_that_is_no_class: NO_INTEGER_LABELS,
    p.lets_a_masked_prediction_be_anything: {},
    p.stops_no_search_for_nan: {},
    p.takes_an_empty_batch: {},
    p.takes_one_number_as_one_number: each(
        set(BY_NAME)
        - {"smooth_l1", "huber", "softmax_cross_entropy", "poly_loss", "dice"}
        - {"binary_cross_entropy", "multilabel_cross_entropy", "focal"},
        "has no option that is a number",
    ),
    p.maps_over_a_new_axis: {},
    p.is_smooth_at_its_joints: each(
        set(BY_NAME) - {"smooth_l1", "huber", "log_cosh"}, "one formula, or (l1, hinge) a corner on purpose"
    ),
    p.does_not_broadcast: {},
    p.refuses_integer_predictions: {},
    p.refuses_targets_of_a_wrong_dtype: {},
}


def applicable(table):
    """All pairs of a property and a loss that has it, as parameters of a test."""
    return pytest.mark.parametrize(
        ("has", "case"),
        [
            pytest.param(has, case, id=f"{case.name}-{has.__name__}")
            for has, without in table.items()
            for case in CASES
            if case.name not in without
        ],
    )


@applicable(DRAWN)
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 8))
def test_loss_on_drawn_inputs(has, case, seed, scale):
    has(case, np.random.default_rng(seed), scale)


@applicable(FIXED)
def test_loss_on_fixed_inputs(has, case):
    has(case, np.random.default_rng(0))


class Variants(chex.TestCase):
    """With and without jit, from the host and from a device: value, gradient and type are the same."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    @parameterized.named_parameters((name, name) for name in BY_NAME)
    def test_loss_is_the_reference(self, name):
        case = BY_NAME[name]
        predictions, targets = case.draw(np.random.default_rng(1), 1.0)
        for options in case.options:
            value = self.variant(functools.partial(case.loss, **options))(predictions, targets)
            assert value.dtype == jnp.float32
            assert_allclose(value, case.reference(predictions, targets, **options), rtol=1e-4, atol=1e-5)


def test_the_table_covers_every_public_loss():
    """What `zoo.losses` exports is a case of the table or named here with the test that it has instead."""
    elsewhere = {
        *("logistic_loss", "logistic_gradient", "logistic_hessian", "fit_logistic_regression", "LogisticFit"),
        *("reduce", "with_auxiliary", "kernel_mask", "weight_decay"),  # test_reduction.py; above: test_logistic.py
        "gradient_of",
    }
    assert set(BY_NAME) | elsewhere == set(losses.__all__)
    assert {loss.__name__ for loss in losses.gradient_of} == {*BY_NAME, "logistic_loss"}


def test_the_table_names_losses_and_checks_that_exist():
    table = DRAWN | FIXED
    for without in table.values():
        assert set(without) <= set(BY_NAME)
    checks = {f for f in vars(p).values() if getattr(f, "__module__", "") == p.__name__}
    assert checks - {p.doubled} == set(table)
