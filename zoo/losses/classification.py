"""Losses between scores of K classes and labels, one per example.

In the formulas `z` are logits, `p` probabilities, `y` labels (one-hot if they were integers). Sums run over classes.
Each `Gradient` is the derivative with respect to the first argument, written under its loss; see `gradient_of`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from zoo.errors import UserError
from zoo.losses.gradient import derivative_of
from zoo.losses.inputs import (
    Scalar,
    broadcast_mask,
    cast_floating,
    cast_labels,
    cast_number,
    prepare_classes,
    prepare_regression,
    refuse_unlabelled,
    weigh_equally,
)
from zoo.losses.probabilities import Activation, activate, chain_activation
from zoo.losses.softmax import compute_cross_entropy, compute_slope, sum_others


def _smooth_targets(
    logits: ArrayLike,
    labels: ArrayLike,
    label_smoothing: Scalar,
    class_weights: ArrayLike | None,
    ignore_label: int | None,
    axis: int,
    where: ArrayLike | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the logits, the targets `t`, and which examples have a label."""
    labels = cast_labels(labels)
    integer = jnp.issubdtype(labels.dtype, jnp.integer)
    if ignore_label is not None and not integer:
        raise UserError("ignore_label needs integer labels", "with soft labels pass where= to zoo.losses.reduce")
    logits, targets, labelled = prepare_classes(logits, labels, axis)
    smoothing = cast_number("label_smoothing", label_smoothing, logits)
    if where is not None:
        where = broadcast_mask(where, "logits", logits)
        logits = jnp.where(where, logits, jnp.finfo(logits.dtype).min)
        if integer:
            labelled &= jnp.any(where & (targets > 0), axis) | ~jnp.any(where, axis)
    # Not optax.smooth_labels: it promotes its count of classes from int32 to float.
    targets = (1 - smoothing) * targets + smoothing * weigh_equally("logits", logits, axis, where)
    if class_weights is not None:
        class_weights = cast_floating("class_weights", class_weights).astype(logits.dtype)
        if class_weights.shape != (logits.shape[axis],):
            raise UserError(
                f"class_weights {list(class_weights.shape)} must be [{logits.shape[axis]}]",
                f"pass one weight per class of the logits {list(logits.shape)}",
            )
        targets *= jnp.expand_dims(class_weights, [i for i in range(logits.ndim) if i != axis % logits.ndim])
    if where is not None:
        targets = jnp.where(where, targets, 0)
    if ignore_label is not None:
        ignored = labels == ignore_label
        logits, targets = (jnp.where(jnp.expand_dims(ignored, axis), 0, a) for a in (logits, targets))
        labelled |= ignored
    return logits, targets, labelled


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: Scalar = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_label: int | None = None,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Cross entropy of `p = softmax(z)` against integer or soft labels: `-sum_k t_k log p_k`.

    The targets are `t_k = w_k ((1 - a) y_k + a / K)` with smoothing `a` and class weights `w`, as in torch.
    Gradient: `p_j sum_k t_k - t_j`, which for plain labels is `p - y`, to all digits. What `where` and `ignore_label`
    leave out counts for nothing in loss and gradient, whatever it holds.

    Args:
      logits: `[..., K]` floating point; minus infinity gives a class probability 0.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      label_smoothing: `a`, the share of the labels' mass that moves to the uniform distribution over the classes
        (Szegedy et al. 2015, arXiv:1512.00567, section 7).
      class_weights: `[K]` factors. Torch's weighted mean divides by the sum of the examples' weights:
        `reduce(softmax_cross_entropy(logits, labels), weights=w[labels])`.
      ignore_label: the integer label that makes an example's loss 0 (torch's `ignore_index`). The mean over
        the others is `reduce(loss, where=labels != ignore_label)`.
      axis: the axis of classes.
      where: `[..., K]` booleans, the classes that exist; the others get no probability and no smoothing.

    Returns:
      `[...]` nats; NaN where an integer label is not a class: outside `[0, K)`, or excluded by `where`.

    >>> import jax.numpy as jnp
    >>> print(softmax_cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3])))
    [1.3862944 1.3862944]
    """
    logits, targets, labelled = _smooth_targets(
        logits, labels, label_smoothing, class_weights, ignore_label, axis, where
    )
    logits, targets = (jnp.moveaxis(array, axis, -1) for array in (logits, targets))
    return refuse_unlabelled(compute_cross_entropy(logits, targets), labelled)


@derivative_of(softmax_cross_entropy, _smooth_targets)
def _(logits: jax.Array, targets: jax.Array, labelled: jax.Array, axis: int) -> jax.Array:
    return jnp.where(jnp.expand_dims(labelled, axis), compute_slope(logits, targets, axis), 0)


def poly_loss(logits: ArrayLike, labels: ArrayLike, *, epsilon: Scalar = 2.0, axis: int = -1) -> jax.Array:
    """Poly-1 loss: softmax cross entropy plus `epsilon (1 - p_t)`, with `1 - p_t = sum_k y_k (1 - p_k)`.

    Leng et al. 2022, arXiv:2204.12511, equation 6, changes the first coefficient of the series
    `-log p_t = sum_j (1 - p_t)^j / j`. Non-negative, and 0 at the target only, for `epsilon >= -1`.
    Gradient: `p_j sum_k y_k - y_j - epsilon p_j (y_j - sum_k y_k p_k)`.

    Args:
      logits: `[..., K]` floating point.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      epsilon: what is added to the first coefficient; the paper and optax take 2 for ImageNet.
      axis: the axis of classes.

    Returns:
      `[...]` nats; NaN where an integer label is not a class.

    >>> import jax.numpy as jnp
    >>> print(poly_loss(jnp.zeros((1, 4)), jnp.array([0]), epsilon=1.0))
    [2.1362944]
    """
    cross_entropy = softmax_cross_entropy(logits, labels, axis=axis)
    logits, y, _ = prepare_classes(logits, labels, axis)
    wrong = jnp.sum(y * sum_others(jax.nn.softmax(logits, axis), axis), axis)
    return cross_entropy + cast_number("epsilon", epsilon, logits) * wrong


@derivative_of(poly_loss, prepare_classes)
def _(logits: jax.Array, y: jax.Array, _labelled: jax.Array, epsilon: Scalar, axis: int) -> jax.Array:
    p = jax.nn.softmax(logits, axis)
    wrong = p * (y * sum_others(p, axis) - sum_others(y * p, axis))
    return compute_slope(logits, y, axis) - cast_number("epsilon", epsilon, logits) * wrong


def kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, *, axis: int = -1, where: ArrayLike | None = None
) -> jax.Array:
    """Kullback-Leibler divergence of predictions `q` from targets `t`: `sum_k t_k (log t_k - log q_k)`.

    Torch's `kl_div` summed over the classes. Here `0 log 0` is 0, where `optax.kl_divergence` is NaN if `q_k` is 0 too.
    Gradient with respect to `log q`: `-t`.

    Args:
      log_predictions: `[..., K]` logarithms of probabilities, as from `jax.nn.log_softmax`.
      targets: `[..., K]` probabilities.
      axis: the axis of classes.
      where: `[..., K]` booleans, the terms that count.

    Returns:
      `[...]` nats, non-negative where both are distributions.

    >>> import jax.numpy as jnp
    >>> print(kl_divergence(jnp.log(jnp.array([0.25, 0.75])), jnp.array([0.0, 1.0])).round(4))
    0.2877
    """
    log_predictions, targets = prepare_regression(log_predictions, targets)
    counted = targets != 0
    if where is not None:
        counted &= broadcast_mask(where, "log_predictions", log_predictions)
    surprise = jnp.log(jnp.where(counted, targets, 1)) - jnp.where(counted, log_predictions, 0)
    return jnp.sum(jnp.where(counted, targets, 0) * surprise, axis)


@derivative_of(kl_divergence, prepare_regression)
def _(log_predictions: jax.Array, targets: jax.Array, where: ArrayLike | None) -> jax.Array:
    counted = True if where is None else broadcast_mask(where, "log_predictions", log_predictions)
    return jnp.where(counted, -targets, 0)


def mean_squared_error_with_activation(
    logits: ArrayLike, labels: ArrayLike, *, activation: Activation = "softmax", axis: int = -1
) -> jax.Array:
    """Mean squared error of probabilities, `sum_k (p_k - y_k)^2 / K` with `p = softmax(z)` or `sigmoid(z)`.

    It is here for comparison with cross entropy: where the net is sure and wrong, the activation saturates and takes
    the gradient away. Gradient for the sigmoid: `2/K (p_j - y_j) p_j (1 - p_j)`; for the softmax:
    `2/K p_j (p_j - y_j - sum_k p_k (p_k - y_k))`.

    Args:
      logits: `[..., K]` floating point.
      labels: `[...]` integers in `[0, K)`, or `[..., K]` probabilities.
      activation: what turns the logits into probabilities.
      axis: the axis of classes.

    Returns:
      `[...]`, at most 1; NaN where an integer label is not a class.

    >>> import jax.numpy as jnp
    >>> print(mean_squared_error_with_activation(jnp.array([[-50.0, 50.0]]), jnp.array([0])))
    [1.]
    """
    logits, y, labelled = prepare_classes(logits, labels, axis)
    p, q = activate(logits, activation, axis)
    return refuse_unlabelled(jnp.mean((p * (1 - y) - q * y) ** 2, axis), labelled)


@derivative_of(mean_squared_error_with_activation, prepare_classes)
def _(logits: jax.Array, y: jax.Array, labelled: jax.Array, activation: Activation, axis: int) -> jax.Array:
    p, q = activate(logits, activation, axis)
    gradient = 2 / logits.shape[axis] * (p * (1 - y) - q * y)
    return jnp.where(jnp.expand_dims(labelled, axis), chain_activation(activation, p, q, gradient, axis), 0)
