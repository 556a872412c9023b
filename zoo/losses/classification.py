"""Losses between scores of K classes and labels, one per example, unreduced.

In the formulas `z` are logits, `p` probabilities, `y` labels (one-hot, if they were integers); sums run over
the classes.
Each `Gradient` is the derivative with respect to the first argument that `zoo.losses.gradient_of` computes.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from zoo.losses.inputs import class_mask, class_pair, floating, regression_pair, same_shape, share_of_each


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: Any = 0.0,
    class_weights: Any = None,
    ignore_label: int | None = None,
    axis: int = -1,
    where: Any = None,
) -> jax.Array:
    """Cross entropy of `p = softmax(z)` against integer or soft labels: `-sum_k t_k log p_k`.

    The targets are `t_k = w_k ((1 - a) y_k + a / K)` with smoothing `a` and class weights `w`, as in torch.
    Gradient: `p_j sum_k t_k - t_j`, which for plain labels is `p - y`.

    Args:
      logits: `[..., K]` floating point; minus infinity is a class of probability 0.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      label_smoothing: `a`, share of the labels' mass moved to the uniform distribution over the classes
        (Szegedy et al. 2015, arXiv:1512.00567, section 7).
      class_weights: `[K]` factors. Torch's weighted mean divides by the weights it met:
        `reduce(softmax_cross_entropy(logits, labels), weights=w[labels])`.
      ignore_label: the integer label that makes an example's loss 0 (torch's `ignore_index`). The mean over
        the others is `reduce(loss, where=labels != ignore_label)`.
      axis: the axis of classes.
      where: `[..., K]` booleans, the classes that exist; the others get no probability and no smoothing.

    Returns:
      `[...]` nats. NaN where an integer label names no class: outside of `[0, K)`, or excluded by `where`.

    >>> import jax.numpy as jnp
    >>> print(softmax_cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3])))
    [1.3862944 1.3862944]
    """
    logits, targets, labelled = smoothed_targets(
        logits, labels, label_smoothing, class_weights, ignore_label, axis, where
    )
    # Of optax's three the one that takes 0 * log 0 as 0.
    loss = optax.safe_softmax_cross_entropy(jnp.moveaxis(logits, axis, -1), jnp.moveaxis(targets, axis, -1))
    return jnp.where(labelled, loss, jnp.nan)


def smoothed_targets(
    logits: Any,
    labels: Any,
    label_smoothing: Any,
    class_weights: Any,
    ignore_label: int | None,
    axis: int,
    where: Any,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits, targets `t`, and which examples have a label: what the loss and its gradient are made of."""
    integer = jnp.issubdtype(jnp.asarray(labels).dtype, jnp.integer)
    if ignore_label is not None and not integer:
        raise ValueError("ignore_label needs integer labels: with soft ones pass where= to zoo.losses.reduce.")
    logits, targets, labelled = class_pair(logits, labels, axis)
    if where is not None:
        where = class_mask(where, "logits", logits)
        logits = jnp.where(where, logits, jnp.finfo(logits.dtype).min)
        if integer:
            labelled &= jnp.any(where & (targets > 0), axis) | ~jnp.any(where, axis)
    # Not optax.smooth_labels: it promotes its count of classes from int32 to float.
    targets = (1 - label_smoothing) * targets + label_smoothing * share_of_each("logits", logits, axis, where)
    if where is not None:
        targets = jnp.where(where, targets, 0)
    if class_weights is not None:
        class_weights = floating("class_weights", class_weights).astype(logits.dtype)
        if class_weights.shape != (logits.shape[axis],):
            raise ValueError(
                f"class_weights {list(class_weights.shape)} must be [{logits.shape[axis]}], "
                f"one a class of the logits {list(logits.shape)}."
            )
        targets *= jnp.expand_dims(class_weights, [i for i in range(logits.ndim) if i != axis % logits.ndim])
    if ignore_label is not None:
        counted = jnp.asarray(labels).astype(jnp.int32) != ignore_label
        targets = jnp.where(jnp.expand_dims(counted, axis), targets, 0)
        labelled |= ~counted
    return logits, targets, labelled


def poly_loss(logits: Any, labels: Any, *, epsilon: Any = 2.0, axis: int = -1) -> jax.Array:
    """Poly-1: softmax cross entropy plus `epsilon (1 - p_t)`, with `1 - p_t = sum_k y_k (1 - p_k)`.

    Leng et al. 2022, arXiv:2204.12511, equation 6: the first coefficient of the series
    `-log p_t = sum_j (1 - p_t)^j / j` is changed. Non-negative and 0 at the target only for `epsilon >= -1`.
    Gradient: `p_j sum_k y_k - y_j - epsilon p_j (y_j - sum_k y_k p_k)`.

    Args:
      logits: `[..., K]` floating point.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      epsilon: what is added to the first coefficient; the paper's and optax's choice for ImageNet is 2.
      axis: the axis of classes.

    Returns:
      `[...]` nats; NaN where an integer label names no class.

    >>> import jax.numpy as jnp
    >>> print(poly_loss(jnp.zeros((1, 4)), jnp.array([0]), epsilon=1.0))
    [2.1362944]
    """
    cross_entropy = softmax_cross_entropy(logits, labels, axis=axis)
    logits, targets, _ = class_pair(logits, labels, axis)
    return cross_entropy + epsilon * jnp.sum(targets * (1 - jax.nn.softmax(logits, axis)), axis)


def kl_divergence(log_predictions: Any, targets: Any, *, axis: int = -1, where: Any = None) -> jax.Array:
    """Divergence of the predicted `q` from the targets `t`: `sum_k t_k (log t_k - log q_k)`, `0 log 0 = 0`.

    Torch's `kl_div` summed over the classes. `optax.kl_divergence` is NaN where `t_k = q_k = 0`.
    Gradient with respect to `log q`: `-t`.

    Args:
      log_predictions: `[..., K]` logarithms of probabilities, as of `jax.nn.log_softmax`.
      targets: `[..., K]` probabilities.
      axis: the axis of classes.
      where: `[..., K]` booleans, the terms that count.

    Returns:
      `[...]` nats, non-negative where both are distributions.

    >>> import jax.numpy as jnp
    >>> print(kl_divergence(jnp.log(jnp.array([0.25, 0.75])), jnp.array([0.0, 1.0])).round(4))
    0.2877
    """
    log_predictions, targets = regression_pair(log_predictions, targets)
    counted = targets > 0
    if where is not None:
        counted &= class_mask(where, "log_predictions", log_predictions)
    surprise = jnp.log(jnp.where(counted, targets, 1)) - jnp.where(counted, log_predictions, 0)
    return jnp.sum(jnp.where(counted, targets, 0) * surprise, axis)


def mean_squared_error_with_activation(
    logits: Any, labels: Any, *, activation: Literal["softmax", "sigmoid"] = "softmax", axis: int = -1
) -> jax.Array:
    """`sum_k (p_k - y_k)^2 / K` with `p = softmax(z)` or `sigmoid(z)`: the loss that saturates.

    Here to be compared with cross entropy: where the net is sure and wrong, the slope of the activation
    takes the gradient away. Gradient for the sigmoid: `2/K (p_j - y_j) p_j (1 - p_j)`; for softmax:
    `2/K p_j (p_j - y_j - sum_k p_k (p_k - y_k))`.

    Args:
      logits: `[..., K]` floating point.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      activation: what makes probabilities of the logits.
      axis: the axis of classes.

    Returns:
      `[...]`, at most 1; NaN where an integer label names no class.

    >>> import jax.numpy as jnp
    >>> print(mean_squared_error_with_activation(jnp.array([[-50.0, 50.0]]), jnp.array([0])))
    [1.]
    """
    logits, targets, labelled = class_pair(logits, labels, axis)
    errors = activate(logits, activation, axis) - targets
    return jnp.where(labelled, jnp.mean(errors**2, axis), jnp.nan)


def activate(logits: jax.Array, activation: str, axis: int) -> jax.Array:
    """Probabilities of logits, by the name of the activation."""
    if activation == "softmax":
        return jax.nn.softmax(logits, axis)
    if activation == "sigmoid":
        return jax.nn.sigmoid(logits)
    raise ValueError(f'activation must be "softmax" or "sigmoid", not {activation!r}.')


def dice(logits: Any, labels: Any, *, smooth: Any = 1.0, where: Any = None) -> jax.Array:
    """Soft Dice loss of a segmentation: `1 - mean_k (I_k + c) / ((P_k + Y_k) / 2 + c)`.

    Over an example's pixels `I_k = sum p_k y_k`, `P_k = sum p_k`, `Y_k = sum y_k`, and `c` is `smooth`, in
    pixels. Milletari et al. 2016, arXiv:1606.04797, with optax's meaning of `smooth` (half of the one in
    `(2 I + c) / (P + Y + c)`). `p` is the softmax of the logits, for `K = 1` the sigmoid.
    Gradient: `u_k = ((I_k + c) / (2 D_k) - y_k) / (K D_k)` with `D_k = (P_k + Y_k) / 2 + c` through the
    activation: `p_j (u_j - sum_k p_k u_k)`, for `K = 1` `u p (1 - p)`.

    Args:
      logits: `[N, ..., K]` floating point: examples first, classes last, pixels between.
      labels: `[N, ...]` integers in `[0, K)`, or `[N, ..., K]` probabilities; for `K = 1` floating 0 and 1.
      smooth: keeps a class that is neither predicted nor there at a loss of 0.
      where: `[N, ...]` booleans, the pixels that count.

    Returns:
      `[N]` in [0, 1]; NaN where an integer label of a pixel that counts names no class.

    >>> import jax.numpy as jnp
    >>> print(dice(jnp.array([[[50.0, 0.0], [0.0, 50.0]]]), jnp.array([[0, 0]])).round(4))
    [0.2667]
    """
    _, overlap, size, labelled = dice_parts(logits, labels, smooth, where)
    return jnp.where(labelled, 1 - jnp.mean(overlap / size, -1), jnp.nan)


def dice_parts(
    logits: Any, labels: Any, smooth: Any, where: Any
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array, jax.Array, jax.Array]:
    """`(p, y, counted)` of every pixel, `I + c` and `D` of every class, and which examples have labels."""
    logits, targets, labelled = class_pair(logits, labels, -1)
    if logits.ndim < 2:
        raise ValueError(f"logits {list(logits.shape)} must be [N, ..., K]: add the axis of examples.")
    counted = jnp.ones(logits.shape[:-1], bool) if where is None else jnp.asarray(where)
    if counted.dtype != bool:
        raise TypeError(f"where must be boolean, not {counted.dtype}: pass where.astype(bool).")
    same_shape("where", counted, "the pixels of the logits", logits[..., 0])
    probabilities = activate(logits, "sigmoid" if logits.shape[-1] == 1 else "softmax", -1)
    pixels = tuple(range(1, logits.ndim - 1))
    mask = jnp.expand_dims(counted, -1)
    overlap = jnp.sum(probabilities * targets, pixels, where=mask) + smooth
    size = jnp.sum(probabilities + targets, pixels, where=mask) / 2 + smooth
    return (probabilities, targets, mask), overlap, size, jnp.all(labelled | ~counted, pixels)
