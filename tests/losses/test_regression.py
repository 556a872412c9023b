"""What is particular to the losses between real numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from zoo.losses import gradient_of, huber, l1, l2, log_cosh, smooth_l1

ERRORS = np.array([-1e30, -30.0, -2.0, -0.3, 0.0, 0.3, 2.0, 30.0, 1e30], np.float32)
ZERO = np.zeros_like(ERRORS)


def slope(loss, errors, **options):
    return jax.jit(jax.vmap(jax.grad(lambda e: loss(e, jnp.zeros_like(e), **options))))(errors)


def test_l2_is_twice_optaxs_l2_loss():
    assert_allclose(l2(ERRORS[1:-1], ZERO[1:-1]), 2 * optax.l2_loss(ERRORS[1:-1], ZERO[1:-1]))


@pytest.mark.parametrize("delta", [0.25, 1.0, 3.0])
def test_huber_is_delta_times_smooth_l1(delta):
    assert_allclose(huber(ERRORS, ZERO, delta=delta), delta * smooth_l1(ERRORS, ZERO, beta=delta), rtol=1e-6, atol=0)
    assert_allclose(slope(huber, ERRORS, delta=delta), delta * slope(smooth_l1, ERRORS, beta=delta), rtol=1e-6)


def test_smooth_l1_with_beta_0_is_l1_with_a_finite_gradient():
    assert_allclose(smooth_l1(ERRORS, ZERO, beta=0.0), l1(ERRORS, ZERO), rtol=0)
    assert_allclose(slope(smooth_l1, ERRORS, beta=0.0), np.sign(ERRORS), rtol=0)
    assert_allclose(gradient_of[smooth_l1](ERRORS, ZERO, beta=0.0), np.sign(ERRORS), rtol=0)


@pytest.mark.parametrize("beta", [0.0, 1e-8, 1.0, 1e8])
def test_smooth_l1_has_a_slope_within_one_for_every_error(beta):
    """Also where the square of the error would overflow."""
    assert np.all(np.abs(slope(smooth_l1, ERRORS, beta=beta)) <= 1)
    assert np.all(np.isfinite(smooth_l1(ERRORS, ZERO, beta=beta)))


@pytest.mark.parametrize(("loss", "option"), [(smooth_l1, "beta"), (huber, "delta")])
def test_the_joint_may_be_traced(loss, option):
    traced = jax.jit(lambda joint: loss(ERRORS, ZERO, **{option: joint}))(0.5)
    assert_allclose(traced, loss(ERRORS, ZERO, **{option: 0.5}), rtol=1e-6)


def test_every_slope_at_the_target_is_zero():
    """`jnp.abs` would say 1."""
    for loss in (l1, l2, smooth_l1, huber, log_cosh):
        assert slope(loss, np.zeros(1, np.float32)) == 0


def test_log_cosh_keeps_its_digits_for_small_errors():
    """Where the series is exact; optax's is off by per cents."""
    small = np.array([1e-6, 1e-4, 1e-3, 1e-2], np.float32)
    exact = small.astype(np.float64) ** 2 / 2 - small.astype(np.float64) ** 4 / 12
    assert_allclose(log_cosh(small, np.zeros_like(small)), exact, rtol=1e-6)
    assert abs(optax.log_cosh(small[2]) / exact[2] - 1) > 0.05


def test_log_cosh_is_the_error_less_log_2_far_out():
    far = np.array([-1e30, -50.0, 50.0, 1e30], np.float32)
    assert_allclose(log_cosh(far, np.zeros_like(far)), np.abs(far) - np.log(2), rtol=1e-6)
    assert_allclose(slope(log_cosh, far), np.sign(far), rtol=0)
