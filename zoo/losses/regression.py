"""Losses between real numbers, one per element. In the formulas `e = prediction - target`.

Each `Gradient` is the derivative with respect to the predictions, written under its loss; see `gradient_of`.
"""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from zoo.losses.gradient import derivative_of
from zoo.losses.inputs import Scalar, cast_number, prepare_regression


def l1(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Absolute error `|e|`, whose mean is the mean absolute error.

    Gradient: `sign(e)`, 0 at `e = 0`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.

    Returns:
      `[...]` in the unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(l1(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])))
    [2. 0.]
    """
    predictions, targets = prepare_regression(predictions, targets)
    return _abs(predictions - targets)


@derivative_of(l1, prepare_regression)
def _(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.sign(predictions - targets)


def l2(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Squared error `e^2`, whose mean is the mean squared error.

    The same as `optax.squared_error` and torch's `mse_loss`; `optax.l2_loss` is half of it. Gradient: `2 e`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.

    Returns:
      `[...]` in the squared unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(l2(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])))
    [4. 0.]
    """
    return optax.squared_error(*prepare_regression(predictions, targets))


@derivative_of(l2, prepare_regression)
def _(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    return 2 * (predictions - targets)


def smooth_l1(predictions: ArrayLike, targets: ArrayLike, *, beta: Scalar = 1.0) -> jax.Array:
    """Smooth L1 loss, quadratic near 0 and linear beyond: `e^2 / (2 beta)` where `|e| < beta`, else `|e| - beta / 2`.

    Girshick 2015, arXiv:1504.08083, equation 3; torch's `smooth_l1_loss`. For large errors the slope is 1, whatever
    `beta` is. Gradient: `clip(e / beta, -1, 1)`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.
      beta: where the two formulas meet, in the unit of the targets, at least 0; with 0 this is `l1`.

    Returns:
      `[...]` in the unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2)))
    [0.125 2.5  ]
    """
    predictions, targets = prepare_regression(predictions, targets)
    errors, beta = predictions - targets, cast_number("beta", beta, predictions)
    inner = jnp.clip(errors, -beta, beta)  # not jnp.where: the branch not taken may overflow and spoil the gradient
    outer = jnp.maximum(_abs(errors) - beta, 0)  # not `|errors| - |inner|`: its slope, 1 - 1, has few digits
    return inner / jnp.where(beta > 0, beta, 1) * inner / 2 + outer  # in this order, because a square may overflow


@derivative_of(smooth_l1, prepare_regression)
def _(predictions: jax.Array, targets: jax.Array, beta: Scalar) -> jax.Array:
    errors, beta = predictions - targets, cast_number("beta", beta, predictions)
    inside = jnp.abs(errors) < beta
    return jnp.where(inside, errors / jnp.where(inside, beta, 1), jnp.sign(errors))


def huber(predictions: ArrayLike, targets: ArrayLike, *, delta: Scalar = 1.0) -> jax.Array:
    """Huber loss, quadratic near 0 and linear beyond: `e^2 / 2` where `|e| < delta`, else `delta (|e| - delta / 2)`.

    Huber 1964, doi:10.1214/aoms/1177703732. It is `delta * smooth_l1(beta=delta)`, as in optax and torch.
    Gradient: `clip(e, -delta, delta)`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.
      delta: where the two formulas meet, in the unit of the targets, above 0.

    Returns:
      `[...]` in the squared unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(huber(jnp.array([0.5, 3.0]), jnp.zeros(2), delta=2.0))
    [0.125 4.   ]
    """
    predictions, targets = prepare_regression(predictions, targets)
    errors, delta = predictions - targets, cast_number("delta", delta, predictions)
    return jnp.clip(errors, -delta, delta) ** 2 / 2 + delta * jnp.maximum(_abs(errors) - delta, 0)


@derivative_of(huber, prepare_regression)
def _(predictions: jax.Array, targets: jax.Array, delta: Scalar) -> jax.Array:
    errors, delta = predictions - targets, cast_number("delta", delta, predictions)
    return jnp.clip(errors, -delta, delta)


def log_cosh(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Logarithm of the hyperbolic cosine, `log(cosh(e))`: about `e^2 / 2` near 0, `|e| - log 2` for large errors.

    It is smooth everywhere. `optax.log_cosh` subtracts `log 2` from a number close to it and is 7% off at `e = 1e-3` in
    float32. Gradient: `tanh(e)`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.

    Returns:
      `[...]` without a unit.

    >>> import jax.numpy as jnp
    >>> print(log_cosh(jnp.array([0.0, 100.0]), jnp.zeros(2)).round(4))
    [ 0.     99.3069]
    """
    predictions, targets = prepare_regression(predictions, targets)
    errors = predictions - targets
    near = jnp.log1p(2 * jnp.sinh(jnp.clip(errors, -1, 1) / 2) ** 2)  # clipped: the branch not taken stays finite
    size = _abs(errors)
    far = size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(jnp.asarray(2, errors.dtype))
    return jnp.where(size < 1, near, far)


@derivative_of(log_cosh, prepare_regression)
def _(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.tanh(predictions - targets)


def _abs(x: jax.Array) -> jax.Array:
    """`|x|` with slope 0 at 0, where `jnp.abs` has slope 1."""
    return x * jnp.sign(x)
