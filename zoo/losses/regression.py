"""Losses between real numbers, element by element, unreduced. In the formulas `e = prediction - target`.

Each `Gradient` is the derivative with respect to the predictions that `zoo.losses.gradient_of` computes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from zoo.losses.inputs import regression_pair


def l1(predictions: Any, targets: Any) -> jax.Array:
    """Absolute error `|e|`, whose mean is the mean absolute error. Gradient: `sign(e)`, 0 at `e = 0`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.

    Returns:
      `[...]` in the unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(l1(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])))
    [2. 0.]
    """
    return _abs(_errors(predictions, targets))


def l2(predictions: Any, targets: Any) -> jax.Array:
    """Squared error `e^2`, whose mean is the mean squared error. Gradient: `2 e`.

    As `optax.squared_error` and torch's `mse_loss`; `optax.l2_loss` is half of it.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.

    Returns:
      `[...]` in the squared unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(l2(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])))
    [4. 0.]
    """
    return optax.squared_error(*regression_pair(predictions, targets))


def smooth_l1(predictions: Any, targets: Any, *, beta: Any = 1.0) -> jax.Array:
    """`e^2 / (2 beta)` where `|e| < beta`, else `|e| - beta / 2` (Girshick 2015, arXiv:1504.08083, equation
    3).

    Torch's `smooth_l1_loss`: the slope far out is 1 whatever `beta` is. Gradient: `clip(e / beta, -1, 1)`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.
      beta: the joint, in the unit of the targets, at least 0; at 0 this is `l1`.

    Returns:
      `[...]` in the unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2)))
    [0.125 2.5  ]
    """
    errors = _errors(predictions, targets)
    beta = jnp.asarray(beta, errors.dtype)
    inner = jnp.clip(errors, -beta, beta)  # not jnp.where: its idle branch may overflow and poison the gradient
    return inner**2 / (2 * jnp.where(beta > 0, beta, 1)) + (_abs(errors) - _abs(inner))


def huber(predictions: Any, targets: Any, *, delta: Any = 1.0) -> jax.Array:
    """`e^2 / 2` where `|e| < delta`, else `delta (|e| - delta / 2)` (Huber 1964,
    doi:10.1214/aoms/1177703732).

    `huber(delta)` is `delta * smooth_l1(beta=delta)`, as in optax and torch. Gradient: `clip(e, -delta,
    delta)`.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.
      delta: the joint, in the unit of the targets, above 0.

    Returns:
      `[...]` in the squared unit of the targets.

    >>> import jax.numpy as jnp
    >>> print(huber(jnp.array([0.5, 3.0]), jnp.zeros(2), delta=2.0))
    [0.125 4.   ]
    """
    predictions, targets = regression_pair(predictions, targets)
    return optax.huber_loss(predictions, targets, delta=jnp.asarray(delta, predictions.dtype))


def log_cosh(predictions: Any, targets: Any) -> jax.Array:
    """`log(cosh(e))`: about `e^2 / 2` near 0 and `|e| - log 2` far out, with every derivative. Gradient:
    `tanh(e)`.

    `optax.log_cosh` subtracts `log 2` from a number close to it and is 7% off at `e = 1e-3` in float32.

    Args:
      predictions: `[...]` floating point.
      targets: `[...]` floating point, in the same shape and unit.

    Returns:
      `[...]` without a unit.

    >>> import jax.numpy as jnp
    >>> print(log_cosh(jnp.array([0.0, 100.0]), jnp.zeros(2)).round(4))
    [ 0.     99.3069]
    """
    errors = _errors(predictions, targets)
    near = jnp.log1p(2 * jnp.sinh(jnp.clip(errors, -1, 1) / 2) ** 2)  # clipped: the idle branch stays finite
    size = _abs(errors)
    far = size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(jnp.asarray(2, errors.dtype))
    return jnp.where(size < 1, near, far)


def _errors(predictions: Any, targets: Any) -> jax.Array:
    predictions, targets = regression_pair(predictions, targets)
    return predictions - targets


def _abs(x: jax.Array) -> jax.Array:
    """`|x|` with slope 0 at 0, where `jnp.abs` has slope 1."""
    return x * jnp.sign(x)
