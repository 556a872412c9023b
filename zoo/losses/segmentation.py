"""Losses between scores of K classes and labels, one per pixel of an example."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from zoo.errors import UserError
from zoo.losses.gradient import derivative_of
from zoo.losses.inputs import (
    Scalar,
    cast_number,
    prepare_classes,
    refuse_unlabelled,
    require_boolean,
    require_same_shape,
)
from zoo.losses.probabilities import activate, chain_activation


def _measure_overlap(
    logits: ArrayLike, labels: ArrayLike, smooth: Scalar, where: ArrayLike | None
) -> tuple[jax.Array, ...]:
    """Return `p`, `1 - p`, `y` and the mask per pixel, `I + c`, `D` and their gap per class, and who has labels."""
    logits, y, labelled = prepare_classes(logits, labels, -1)
    if logits.ndim < 2:
        raise UserError(f"logits {list(logits.shape)} must be [N, ..., K]", "add the axis of examples")
    counted = jnp.ones(logits.shape[:-1], bool) if where is None else require_boolean(where)
    require_same_shape("where", counted, "the pixels of the logits", logits[..., 0])
    pixels, mask = tuple(range(1, logits.ndim - 1)), jnp.expand_dims(counted, -1)
    logits, y = (jnp.where(mask, a, 0) for a in (logits, y))
    p, q = activate(logits, "sigmoid" if logits.shape[-1] == 1 else "softmax", -1)
    smooth = cast_number("smooth", smooth, logits)
    overlap = jnp.sum(p * y, pixels, where=mask) + smooth
    size = jnp.sum(p + y, pixels, where=mask) / 2 + smooth
    gap = jnp.sum(p * (1 - y) + q * y, pixels, where=mask) / 2
    return p, q, y, mask, overlap, jnp.where(size == 0, 1, size), gap, jnp.all(labelled | ~counted, pixels)


def dice(logits: ArrayLike, labels: ArrayLike, *, smooth: Scalar = 1.0, where: ArrayLike | None = None) -> jax.Array:
    """Soft Dice loss of a segmentation: `1 - mean_k (I_k + c) / D_k` with `D_k = (P_k + Y_k) / 2 + c`.

    Milletari et al. 2016, arXiv:1606.04797. `p` is the softmax of the logits, or the sigmoid for `K = 1`. The sums
    `I_k = sum p_k y_k`, `P_k = sum p_k` and `Y_k = sum y_k` run over the pixels of an example. `c` is `smooth` in
    optax's meaning, half of the one in `(2 I + c) / (P + Y + c)`. Gradient: `p_j (u_j - sum_k p_k u_k)` with
    `u_k = ((I_k + c) / (2 D_k) - y_k) / (K D_k)`, or `u p (1 - p)` for `K = 1`.

    Args:
      logits: `[N, ..., K]` floating point: examples first, classes last, pixels in between.
      labels: `[N, ...]` integers in `[0, K)`, or `[N, ..., K]` probabilities; for `K = 1` floating 0 and 1.
      smooth: `c`, in pixels, keeps the loss of a class that is neither predicted nor present at 0.
      where: `[N, ...]` booleans, the pixels that count; what the others hold counts for nothing in loss and gradient.

    Returns:
      `[N]` in [0, 1]; NaN where a pixel that counts has an integer label that is not a class.

    >>> import jax.numpy as jnp
    >>> print(dice(jnp.array([[[50.0, 0.0], [0.0, 50.0]]]), jnp.array([[0, 0]])).round(4))
    [0.2667]
    """
    *_, size, gap, labelled = _measure_overlap(logits, labels, smooth, where)
    return refuse_unlabelled(jnp.mean(gap / size, -1), labelled)


@derivative_of(dice, _measure_overlap)
def _(
    p: jax.Array,
    q: jax.Array,
    y: jax.Array,
    counted: jax.Array,
    overlap: jax.Array,
    size: jax.Array,
    _gap: jax.Array,
    labelled: jax.Array,
) -> jax.Array:
    classes, pixels = p.shape[-1], tuple(range(1, p.ndim - 1))
    overlap, size = jnp.expand_dims(overlap, pixels), jnp.expand_dims(size, pixels)
    gradient = (overlap / (2 * size) - y) / (classes * size)
    gradient = chain_activation("sigmoid" if classes == 1 else "softmax", p, q, gradient, -1)
    return jnp.where(counted & labelled.reshape(labelled.shape + (1,) * (p.ndim - 1)), gradient, 0)
