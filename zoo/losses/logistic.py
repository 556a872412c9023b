"""Logistic regression: its loss, gradient and Hessian in closed form, and three solvers.

It is the smallest net, and the only one here whose minimum is known: a convex problem that scikit-learn solves too.
In the formulas `z = x w + b`, `p = s(z)` is the sigmoid, and `N` is the number of examples.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from zoo.errors import UserError
from zoo.losses.binary import binary_cross_entropy
from zoo.losses.gradient import derivative_of, gradient_of
from zoo.losses.inputs import Scalar, cast_floating, cast_number, prepare_binary
from zoo.losses.reduction import reduce

Step = Callable[[jax.Array, optax.OptState], tuple[jax.Array, optax.OptState]]  # of theta and the solver's own state


def _prepare(weights: ArrayLike, bias: ArrayLike, x: ArrayLike, y: ArrayLike) -> tuple[jax.Array, ...]:
    """Return all four in the precision of the weights, with shapes that fit."""
    w = cast_floating("weights", weights)
    b, x = cast_floating("bias", bias).astype(w.dtype), cast_floating("x", x).astype(w.dtype)
    if x.ndim != 2 or w.shape != x.shape[1:] or b.ndim:
        raise UserError(
            f"weights {list(w.shape)}, bias {list(b.shape)} and x {list(x.shape)} must be [D], [] and [N, D]",
            "pass one weight per column of x, and one bias",
        )
    _, y = prepare_binary(jnp.zeros_like(x, shape=x.shape[:1]), y, "the rows of x")
    return w, b, x, y


def logistic_loss(
    weights: ArrayLike, bias: ArrayLike, x: ArrayLike, y: ArrayLike, *, l1: Scalar = 0.0, l2: Scalar = 0.0
) -> jax.Array:
    """Mean binary cross entropy plus penalties on the weights: `mean(-log p(y)) + l1 |w|_1 + l2/2 |w|^2`.

    Scikit-learn's `C` weighs the sum over the examples instead: its penalty is `1 / (C N)` here, for `l1` and `l2`
    alike. Gradient: `x^T (p - y) / N + l1 sign(w) + l2 w` for the weights and `mean(p - y)` for the bias.

    Args:
      weights: `[D]` floating point.
      bias: `[]` floating point.
      x: `[N, D]` floating point, the features.
      y: `[N]` 0 and 1 (bool, integer or floating), or probabilities.
      l1: strength of the absolute penalty.
      l2: strength of the squared penalty.

    Returns:
      A scalar in nats: an objective over all examples, not a loss per example.

    >>> import jax.numpy as jnp
    >>> print(logistic_loss(jnp.ones(2), jnp.array(0.0), jnp.zeros((3, 2)), jnp.array([0, 1, 1]), l2=1.0))
    1.6931472
    """
    w, b, x, y = _prepare(weights, bias, x, y)
    l1, l2 = cast_number("l1", l1, w), cast_number("l2", l2, w)
    data = reduce(binary_cross_entropy(_compute_logits(w, b, x), y))
    return data + l1 * jnp.sum(w * jnp.sign(w)) + l2 / 2 * jnp.sum(w**2)


@derivative_of(logistic_loss, _prepare)
def logistic_gradient(
    w: jax.Array, b: jax.Array, x: jax.Array, y: jax.Array, l1: Scalar, l2: Scalar
) -> tuple[jax.Array, jax.Array]:
    """Derivative of `logistic_loss` with respect to weights `[D]` and bias `[]`, with 0 as the slope of `|0|`.

    >>> import jax.numpy as jnp
    >>> dw, db = logistic_gradient(jnp.zeros(2), jnp.array(0.0), jnp.eye(2), jnp.array([1, 1]))
    >>> print(dw, db)
    [-0.25 -0.25] -0.5
    """
    l1, l2 = cast_number("l1", l1, w), cast_number("l2", l2, w)
    error = gradient_of[binary_cross_entropy](_compute_logits(w, b, x), y) / max(y.size, 1)
    return jnp.matmul(error, x, precision="highest") + l1 * jnp.sign(w) + l2 * w, jnp.sum(error)


def logistic_hessian(weights: ArrayLike, bias: ArrayLike, x: ArrayLike, y: ArrayLike, *, l2: Scalar = 0.0) -> jax.Array:
    """Second derivative `[D + 1, D + 1]`, bias last: `X^T diag(p (1 - p)) X / N + l2 diag(1, ..., 1, 0)`.

    `X` is `x` with a column of ones. There is no `l1`, because `|w|` has no curvature, and only the shape of `y`
    matters.

    >>> import jax.numpy as jnp
    >>> print(logistic_hessian(jnp.zeros(1), jnp.array(0.0), jnp.ones((1, 1)), jnp.array([1]), l2=1.0))
    [[1.25 0.25]
     [0.25 0.25]]
    """
    w, b, x, y = _prepare(weights, bias, x, y)
    z, l2 = _compute_logits(w, b, x), cast_number("l2", l2, w)
    extended = jnp.concatenate([x, jnp.ones_like(x[:, :1])], 1)
    curvature = jnp.expand_dims(jax.nn.sigmoid(z) * jax.nn.sigmoid(-z) / max(y.size, 1), 1)
    data = jnp.matmul(extended.T, curvature * extended, precision="highest")
    return data + l2 * jnp.diag(jnp.append(jnp.ones_like(w), jnp.zeros_like(b)))


class LogisticFit(NamedTuple):
    """Weights `[D]`, bias `[]`, and whether the solver converged to its tolerance `[]`."""

    weights: jax.Array
    bias: jax.Array
    converged: jax.Array


def fit_logistic_regression(
    x: ArrayLike,
    y: ArrayLike,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    solver: Literal["newton", "lbfgs", "proximal"] = "newton",
    tolerance: float = 1e-5,
    max_steps: int = 1000,
) -> LogisticFit:
    """Minimise `logistic_loss`, starting at zero.

    "newton" (iteratively reweighted least squares with step halving) takes a few steps that cost `D^3` each; "lbfgs" is
    optax's, for many features. Both need a smooth objective, so `l1 = 0`. "proximal" allows `l1`: accelerated proximal
    gradient descent (Beck & Teboulle 2009, doi:10.1137/080716542, restarted as in arXiv:1204.3982). Separable classes
    need a penalty, without which the weights grow for ever. Scale `x` to about 1.

    Args:
      x: `[N, D]` floating point.
      y: `[N]` 0 and 1 (bool, integer or floating).
      l1: strength of the absolute penalty, scikit-learn's `1 / (C N)`.
      l2: strength of the squared penalty, scikit-learn's `1 / (C N)`.
      solver: one of the three above.
      tolerance: the solver stops when no entry of the gradient (with `l1`: of the proximal step) is larger.
      max_steps: the most steps that the solver takes.

    Returns:
      `LogisticFit(weights, bias, converged)`, in the precision of `x`.

    >>> import jax.numpy as jnp
    >>> fit = fit_logistic_regression(jnp.array([[-1.0], [1.0]]), jnp.array([0, 1]), l2=0.25)
    >>> print(f"{fit.weights[0]:.3f} {abs(fit.bias):.3f} {fit.converged}")
    1.043 0.000 True
    """
    if solver not in _SOLVERS:
        raise UserError(f"solver must be one of {sorted(_SOLVERS)}, not {solver!r}")
    if l1 and solver != "proximal":
        raise UserError(f'solver "{solver}" needs a smooth objective, but l1 is {l1}', 'pass solver="proximal"')
    x = cast_floating("x", x)
    if x.ndim != 2:
        raise UserError(f"x {list(x.shape)} must be [N, D]", "pass one row per example and one column per feature")
    if not len(x):
        raise UserError(f"x {list(x.shape)} has no examples", "pass one row per example")
    theta = jnp.zeros(x.shape[1] + 1, x.dtype)
    _, _, x, y = _prepare(theta[:-1], theta[-1], x, y)
    problem = _Problem(x, y, l1, l2)
    step, state = _SOLVERS[solver](problem, theta)
    theta, _, _ = jax.lax.while_loop(
        lambda carry: (problem.distance(carry[0]) > tolerance) & (carry[2] < max_steps),
        lambda carry: (*step(carry[0], carry[1]), carry[2] + 1),
        (theta, state, 0),
    )
    return LogisticFit(theta[:-1], theta[-1], problem.distance(theta) <= tolerance)


class _Problem(NamedTuple):
    """The objective as a function of one vector `theta = [w, b]`; the absolute penalty is in `shrink` alone."""

    x: jax.Array
    y: jax.Array
    l1: float
    l2: float

    def loss(self, theta: jax.Array) -> jax.Array:
        return logistic_loss(theta[:-1], theta[-1], self.x, self.y, l2=self.l2)

    def gradient(self, theta: jax.Array) -> jax.Array:
        dw, db = logistic_gradient(theta[:-1], theta[-1], self.x, self.y, l2=self.l2)
        return jnp.append(dw, db)

    def hessian(self, theta: jax.Array) -> jax.Array:
        return logistic_hessian(theta[:-1], theta[-1], self.x, self.y, l2=self.l2)

    def shrink(self, theta: jax.Array, rate: Scalar) -> jax.Array:
        """Apply the proximal map of the absolute penalty: move the weights towards 0 but not past it."""
        w = theta[:-1]
        return theta.at[:-1].set(jnp.sign(w) * jnp.maximum(jnp.abs(w) - rate * self.l1, 0))

    def distance(self, theta: jax.Array) -> jax.Array:
        """Return the largest entry of the gradient; with an absolute penalty, that of the proximal step."""
        return jnp.max(jnp.abs(theta - self.shrink(theta - self.gradient(theta), 1)))


def _newton(problem: _Problem, theta: jax.Array) -> tuple[Step, optax.OptState]:
    halvings = jnp.expand_dims(0.5 ** jnp.arange(16, dtype=theta.dtype), 1)
    slack = 1 + 8 * jnp.finfo(theta.dtype).eps  # near the minimum the loss no longer tells steps apart

    def step(theta: jax.Array, state: optax.OptState) -> tuple[jax.Array, optax.OptState]:
        # Least squares, because a constant feature makes the Hessian singular.
        direction = jnp.linalg.lstsq(problem.hessian(theta), problem.gradient(theta))[0]
        candidates = jnp.expand_dims(theta, 0) - halvings * jnp.expand_dims(direction, 0)
        better = jax.vmap(problem.loss)(candidates) <= slack * problem.loss(theta)
        return candidates[jnp.argmax(better)], state

    return step, ()


def _lbfgs(problem: _Problem, theta: jax.Array) -> tuple[Step, optax.OptState]:
    optimizer = optax.lbfgs()
    value_and_gradient = optax.value_and_grad_from_state(problem.loss)

    def step(theta: jax.Array, state: optax.OptState) -> tuple[jax.Array, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):  # its line search compares int32 with int64
            value, gradient = value_and_gradient(theta, state=state)
            updates, state = optimizer.update(gradient, state, theta, value=value, grad=gradient, value_fn=problem.loss)
        return optax.apply_updates(theta, updates), state

    return step, optimizer.init(theta)


def _proximal(problem: _Problem, theta: jax.Array) -> tuple[Step, optax.OptState]:
    extended = jnp.concatenate([problem.x, jnp.ones_like(problem.x[:, :1])], 1)
    rate = 1 / (jnp.linalg.norm(extended, 2) ** 2 / (4 * problem.y.size) + problem.l2)  # p (1 - p) <= 1/4

    def step(theta: jax.Array, state: optax.OptState) -> tuple[jax.Array, optax.OptState]:
        ahead, speed = state
        after = problem.shrink(ahead - rate * problem.gradient(ahead), rate)
        faster = (1 + jnp.sqrt(1 + 4 * speed**2)) / 2
        overshot = jnp.dot(ahead - after, after - theta) > 0
        momentum = jnp.where(overshot, 0, (speed - 1) / faster)
        return after, (after + momentum * (after - theta), jnp.where(overshot, 1, faster))

    return step, (theta, jnp.ones((), theta.dtype))


_SOLVERS = {"newton": _newton, "lbfgs": _lbfgs, "proximal": _proximal}


def _compute_logits(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.matmul(x, w, precision="highest") + b
