"""Logistic regression against automatic differentiation, finite differences and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from zoo.errors import UserError
from zoo.losses import (
    binary_cross_entropy,
    fit_logistic_regression,
    gradient_of,
    logistic_gradient,
    logistic_hessian,
    logistic_loss,
)

fit_compiled = jax.jit(fit_logistic_regression, static_argnames=("l1", "l2", "solver", "tolerance", "max_steps"))
PENALTIES = [{}, {"l2": 0.3}, {"l1": 0.2}, {"l1": 0.2, "l2": 0.3}]
LABELS = {"8 or not": lambda digit: digit == 8, "odd or even": lambda digit: digit % 2}


@pytest.fixture(scope="module")
def digits():
    x, digit = load_digits(return_X_y=True)
    return x / 16, digit


def problem(dtype=np.float64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)).astype(dtype), rng.integers(0, 2, 20)
    return np.array([0.7, -0.4, -1.1], dtype), dtype(0.3), x, y


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_logistic_loss_is_mean_cross_entropy_plus_penalties_on_the_weights(penalty, float64):
    w, b, x, y = problem()
    p = 1 / (1 + np.exp(-(x @ w + b)))
    expected = -np.mean(np.where(y, np.log(p), np.log(1 - p)))
    expected += penalty.get("l1", 0) * abs(w).sum() + penalty.get("l2", 0) / 2 * (w @ w)
    assert_allclose(logistic_loss(w, b, x, y, **penalty), expected, rtol=1e-12)
    assert_allclose(logistic_loss(w, b, x, y.astype(bool), **penalty), expected, rtol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_logistic_gradient_is_the_derivative(penalty, float64):
    w, b, x, y = problem()
    w[1] = 0  # where |w| has no derivative both say 0
    assert gradient_of[logistic_loss] is logistic_gradient
    dw, db = logistic_gradient(w, b, x, y, **penalty)
    automatic = jax.jit(jax.grad(logistic_loss, (0, 1)))(w, b, x, y, **penalty)
    assert_allclose(dw, automatic[0], rtol=1e-10)
    assert_allclose(db, automatic[1], rtol=1e-10)
    step = 1e-6 * np.array([1.0, 0.0, -2.0])
    ahead, behind = (logistic_loss(w + s * step, b + s * 1e-6, x, y, **penalty) for s in (1, -1))
    assert_allclose((ahead - behind) / 2e-6, dw @ step / 1e-6 + db, rtol=1e-7)


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_logistic_hessian_is_the_second_derivative(l2, float64):
    w, b, x, y = problem()
    theta = jnp.append(w, b)
    automatic = jax.jit(jax.hessian(lambda t: logistic_loss(t[:-1], t[-1], x, y, l2=l2)))(theta)
    closed = logistic_hessian(w, b, x, y, l2=l2)
    assert_allclose(closed, automatic, rtol=1e-10, atol=1e-14)
    assert np.linalg.eigvalsh(closed).min() > 0  # convex


def test_the_loss_of_certain_mistakes_is_finite_in_half_precision_too():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        w, x, y = jnp.array([1e4], dtype), jnp.array([[1.0], [-1.0]], dtype), np.array([0, 1])
        loss = logistic_loss(w, jnp.zeros((), dtype), x, y)
        assert loss == w[0].astype(jnp.float32)  # 1e4 to the digits of the type
        assert loss.dtype == jnp.float32
        assert all(np.all(np.isfinite(d)) for d in logistic_gradient(w, jnp.zeros((), dtype), x, y))
        assert np.all(np.isfinite(logistic_hessian(w, jnp.zeros((), dtype), x, y)))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_fit_equals_scikit_learn_on_the_digits(labels, solver, digits, float64):
    x, y = digits[0], LABELS[labels](digits[1])
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(x, y)
    fit = fit_compiled(x, y, l2=1 / len(x), solver=solver, tolerance=1e-9)
    assert fit.converged
    assert_allclose(fit.weights, reference.coef_[0], rtol=0, atol=1e-4)
    assert_allclose(fit.bias, reference.intercept_[0], rtol=0, atol=1e-4)


def test_fit_equals_scikit_learn_in_float32(digits):
    x, y = digits[0].astype(np.float32), digits[1] == 8
    reference = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000).fit(digits[0], y)
    fit = fit_compiled(x, y, l2=10 / len(x), tolerance=1e-6)
    assert fit.converged
    assert fit.weights.dtype == jnp.float32
    assert_allclose(fit.weights, reference.coef_[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("ratio", [1.0, 0.5], ids=["l1", "elastic net"])
def test_proximal_fit_equals_scikit_learn_and_is_sparse(ratio, digits, float64):
    """Scikit-learn's saga, which leaves the bias unpenalised as we do."""
    x, y = digits[0][:400], digits[1][:400] == 8
    strength = 1 / (0.3 * len(x))
    reference = LogisticRegression(C=0.3, l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=20000, random_state=0).fit(
        x, y
    )
    fit = fit_compiled(
        x, y, l1=ratio * strength, l2=(1 - ratio) * strength, solver="proximal", tolerance=1e-9, max_steps=20000
    )
    assert fit.converged
    assert_allclose(fit.weights, reference.coef_[0], rtol=0, atol=1e-4)
    assert_allclose(fit.bias, reference.intercept_[0], rtol=0, atol=1e-4)
    zeros = reference.coef_[0] == 0
    assert np.all(fit.weights[zeros] == 0)
    assert zeros.sum() > 20


def test_all_solvers_find_one_minimum(float64):
    _, _, x, y = problem()
    solve = functools.partial(fit_compiled, x, y, l2=0.1, tolerance=1e-8)
    fits = [solve(solver=solver) for solver in ("newton", "lbfgs", "proximal")]
    for fit in fits:
        assert fit.converged
        assert_allclose(fit.weights, fits[0].weights, atol=1e-6)
        assert max(abs(logistic_gradient(fit.weights, fit.bias, x, y, l2=0.1)[0])) < 1e-7


def test_the_bias_is_not_penalised(float64):
    """However strong the penalty on the weights, the bias fits the share of ones."""
    _, _, x, y = problem()
    for penalty in ({"l2": 1e6}, {"l1": 1e6, "solver": "proximal"}):
        fit = fit_compiled(x, y, tolerance=1e-9, **penalty)
        assert_allclose(fit.weights, 0, atol=1e-6)
        assert_allclose(fit.bias, np.log(y.mean() / (1 - y.mean())), rtol=1e-5)


def test_newton_takes_back_a_step_that_is_too_long(float64):
    """Two features with far outliers, on which the full Newton step runs away for ever."""
    rng = np.random.default_rng(730)
    x = 10 * rng.standard_cauchy((20, 2))
    y = (x[:, 0] > x[:, 1]).astype(int)
    fit = fit_compiled(x, y, l2=1e-3, tolerance=1e-8)
    assert fit.converged
    reference = LogisticRegression(C=50.0, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
    assert_allclose(fit.weights, reference.coef_[0], atol=1e-5)
    assert_allclose(fit.bias, reference.intercept_[0], atol=1e-5)


def test_newton_leaves_a_constant_feature_alone(float64):
    """It makes the Hessian singular where nothing is penalised."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(40, 2)), np.zeros((40, 1))], 1)
    y = (x[:, 0] + rng.normal(size=40) > 0).astype(int)
    fit = fit_compiled(x, y, tolerance=1e-8)
    assert fit.converged
    assert fit.weights[2] == 0
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10000).fit(x, y)
    assert_allclose(fit.weights, reference.coef_[0], atol=1e-4)


def test_a_fit_that_did_not_arrive_says_so(float64):
    _, _, x, y = problem()
    assert not fit_compiled(x, y, l2=0.1, solver="lbfgs", max_steps=1).converged


def test_fit_runs_under_jit():
    _, _, x, y = problem(np.float32)
    compiled = fit_compiled(x, y, l2=0.1)
    assert_allclose(compiled.weights, fit_logistic_regression(x, y, l2=0.1).weights, atol=1e-5)


def test_bad_input_is_named():
    w, b, x, y = problem(np.float32)
    for function in (logistic_loss, logistic_gradient, logistic_hessian):
        with pytest.raises(UserError, match=r"weights \[2\], bias \[\] and x \[20, 3\]"):
            function(w[:2], b, x, y)
        with pytest.raises(UserError, match=r"the rows of x \[20\] and labels \[20, 1\] must have the same shape"):
            function(w, b, x, y[:, None])
        with pytest.raises(TypeError, match="weights must be floating point, not int32"):
            function(w.astype(np.int32), b, x, y)
    with pytest.raises(UserError, match=r'"newton" needs a smooth objective, but l1 is 0.1: .*solver="proximal"'):
        fit_logistic_regression(x, y, l1=0.1)
    with pytest.raises(UserError, match=r"solver must be one of \['lbfgs', 'newton', 'proximal'\], not 'saga'"):
        fit_logistic_regression(x, y, solver="saga")
    with pytest.raises(UserError, match=r"x \[20\] must be \[N, D\]"):
        fit_logistic_regression(x[:, 0], y)
    with pytest.raises(TypeError, match="x must be floating point"):
        fit_logistic_regression(x.astype(int), y)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_without_examples_or_features_nothing_is_divided_by_0(shape):
    w, b, x, y = np.ones(shape[1], np.float32), np.float32(0), np.ones(shape, np.float32), np.zeros(shape[0], int)
    data = np.float32(np.log(2)) if shape[0] else 0
    assert_allclose(logistic_loss(w, b, x, y, l2=1.0), data + shape[1] / 2, rtol=1e-6)
    automatic = jax.grad(logistic_loss, (0, 1))(w, b, x, y, l2=1.0)
    for got, want in zip(logistic_gradient(w, b, x, y, l2=1.0), automatic, strict=True):
        assert_allclose(got, want, rtol=1e-6)
    assert np.all(np.isfinite(logistic_hessian(w, b, x, y)))
    if not shape[0]:
        with pytest.raises(UserError, match=rf"x \[0, {shape[1]}\] has no examples"):
            fit_logistic_regression(x, y)


def test_no_operation_gives_nan_on_the_way():
    w, b, x, y = problem(np.float32)
    with jax.debug_nans(True), jax.disable_jit():
        for scale in (0, 1, 1000):
            jax.value_and_grad(logistic_loss)(scale * w, b, x, y, l1=0.1, l2=0.1)
            logistic_gradient(scale * w, b, x, y, l1=0.1, l2=0.1)
            logistic_hessian(scale * w, b, x, y, l2=0.1)
        for solver in ("newton", "proximal"):  # optax's line search divides 0 by 0 on purpose
            fit_logistic_regression(x, y, l2=0.3, solver=solver, max_steps=2)


def test_a_penalty_is_one_number_in_the_precision_of_the_weights():
    w, b, x, y = problem(np.float32)
    for function in (logistic_loss, logistic_gradient, logistic_hessian):
        with pytest.raises(UserError, match=r"l2 \[3\] must be one number"):
            function(w, b, x, y, l2=np.ones(3, np.float32))
    with jax.enable_x64(True):
        assert logistic_loss(w, b, x, y, l1=np.float64(0.1), l2=np.float64(0.1)).dtype == jnp.float32


def test_without_features_it_is_binary_cross_entropy():
    _, b, x, y = problem(np.float32)
    expected = jnp.mean(binary_cross_entropy(np.full(20, b), y))
    assert_allclose(logistic_loss(np.zeros(3, np.float32), b, x, y), expected, rtol=1e-6)
