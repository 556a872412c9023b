"""From one loss per example to the one number that is minimised: masks, auxiliary heads, weight decay."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from zoo.errors import UserError
from zoo.losses.inputs import cast_floating, require_boolean, require_same_shape


def reduce(loss: ArrayLike, where: ArrayLike | None = None, weights: ArrayLike | None = None) -> jax.Array:
    """Weighted mean over the valid examples: `sum_i v_i w_i loss_i / sum_i v_i w_i`.

    Args:
      loss: `[...]` one number per example.
      where: `[...]` booleans `v`, True where an example is valid. Masked losses and weights may be NaN, and the
        derivative with respect to them is 0. JAX cannot stop a NaN further up, because in the chain rule `0 * NaN` is
        NaN: replace it where it comes in, in the predictions as in the last example, or in the inputs of the net.
      weights: `[...]` factors `w`.

    Returns:
      A scalar; 0, with a gradient of 0, where no example is valid or the weights add up to 0.

    >>> import jax.numpy as jnp
    >>> loss = jnp.array([1.0, 3.0, jnp.nan])
    >>> print(reduce(loss, where=jnp.array([True, True, False])))
    2.0
    >>> print(reduce(loss, where=jnp.zeros(3, bool)))
    0.0
    >>> from zoo.losses import binary_cross_entropy
    >>> logits, labels, valid = jnp.array([0.0, jnp.inf]), jnp.array([1, 1]), jnp.array([True, False])
    >>> masked_mean = lambda z: reduce(binary_cross_entropy(jnp.where(valid, z, 0), labels), where=valid)
    >>> print(jax.grad(masked_mean)(logits))
    [-0.5  0. ]
    """
    loss = cast_floating("loss", loss)
    weights = jnp.ones_like(loss) if weights is None else cast_floating("weights", weights).astype(loss.dtype)
    require_same_shape("loss", loss, "weights", weights)
    if where is not None:
        where = require_boolean(where)
        require_same_shape("loss", loss, "where", where)
        loss, weights = jnp.where(where, loss, 0), jnp.where(where, weights, 0)
    total = jnp.sum(weights)
    return jnp.sum(weights * loss) / jnp.where(total == 0, 1, total)


def with_auxiliary(loss: Callable[..., jax.Array], weights: Mapping[str, float]) -> Callable[..., jax.Array]:
    """Add the losses of auxiliary heads: `loss(logits, labels) + sum_h weights[h] loss(ends[h], labels)`.

    Published weights: GoogLeNet `{"aux1": 0.3, "aux2": 0.3}` (Szegedy et al. 2014, arXiv:1409.4842, section
    5), Inception v3 `{"aux": 0.4}` (its authors' training script). In evaluation use `loss` alone.

    Args:
      loss: any loss per example, `(logits, labels, **options)`.
      weights: the factor of each head, by the name of its endpoint.

    Returns:
      A loss `((logits, ends), labels, **options)`, one number per example. It takes what a model called with
      `endpoints=tuple(weights)` returns, and raises `UserError` if a head is missing. Other endpoints are ignored.

    >>> import jax.numpy as jnp
    >>> from zoo.losses import softmax_cross_entropy
    >>> loss = with_auxiliary(softmax_cross_entropy, {"aux": 0.4})
    >>> logits = jnp.zeros((1, 4))
    >>> print(loss((logits, {"aux": logits}), jnp.array([2])))
    [1.9408121]
    """

    def add_up(outputs: tuple[ArrayLike, Mapping[str, ArrayLike]], labels: ArrayLike, **options: object) -> jax.Array:
        if not (isinstance(outputs, tuple) and len(outputs) == 2):
            raise TypeError(
                f"a loss with auxiliary heads takes (logits, ends): call the model with endpoints={tuple(weights)}."
            )
        logits, ends = outputs
        if missing := sorted(set(weights) - set(ends)):
            raise UserError(
                f"auxiliary heads {missing} are not among the outputs {sorted(ends)}",
                f"call the model with endpoints={tuple(weights)}",
            )
        total = main = loss(logits, labels, **options)
        for name, weight in weights.items():
            head = loss(ends[name], labels, **options)
            require_same_shape(f"the loss of {name}", head, "the loss of the logits", main)
            total += weight * head
        return total

    return add_up


def kernel_mask(params: optax.Params) -> optax.Params:
    """Select the parameters that decay: those named `kernel` with two or more axes.

    Biases and the scales of normalisations do not decay: they are few, and a scale near 0 switches a channel off.

    Args:
      params: a tree of parameters, as in `variables["params"]`.

    Returns:
      A tree of booleans in the same structure.

    >>> import jax.numpy as jnp
    >>> kernel_mask({"conv": {"kernel": jnp.ones((3, 3, 1, 8)), "bias": jnp.ones(8)}})
    {'conv': {'bias': False, 'kernel': True}}
    """

    def is_kernel(path: jax.tree_util.KeyPath, leaf: jax.Array) -> bool:
        return bool(path) and getattr(path[-1], "key", None) == "kernel" and leaf.ndim > 1

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def weight_decay(params: optax.Params) -> jax.Array:
    """Half the squared norm of the parameters that `kernel_mask` selects.

    Used as in `loss + 5e-4 * weight_decay(params)`. Its gradient is the kernels themselves, so that
    `rate * weight_decay(params)` in the loss equals `optax.add_decayed_weights(rate, mask=kernel_mask)` before the
    optimiser. It does not equal the decay of `optax.adamw(learning_rate, weight_decay=rate, mask=kernel_mask)`, which
    is decoupled: it is added after the adaptive step (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Args:
      params: a tree of parameters, as in `variables["params"]`.

    Returns:
      A scalar in at least float32.

    >>> import jax.numpy as jnp
    >>> print(weight_decay({"kernel": jnp.full((2, 2), 3.0), "bias": jnp.ones(2)}))
    18.0
    """
    masked = zip(jax.tree.leaves(kernel_mask(params)), jax.tree.leaves(params), strict=True)
    kernels = [cast_floating("kernel", leaf) for decayed, leaf in masked if decayed]
    return sum((jnp.sum(kernel**2) for kernel in kernels), start=jnp.zeros(())) / 2
