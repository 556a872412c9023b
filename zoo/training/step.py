"""Train and eval steps: pure, jitted, and explicit about whose statistics the normalisations use.

`train_step(state, batch)` normalises with the batch and returns new running statistics in the new state;
`eval_step(state, batch)` reads the running statistics and returns nothing but sums. The second can be asked to
normalise with the batch as well (`statistics="batch"`): the difference is then one argument and nothing else.

A batch is a dict: `image [N, H, W, C]` floating, `label [N]` integer or `[N, K]` probabilities, and optionally
`mask [N]`: rows that are False are padding. Whatever they hold, NaN included, they count for nothing, neither in the
metrics nor in the new state: they are replaced by zeros before the model or the loss sees them, and `BatchNorm` leaves
them out. (Another library's normalisation in a model of your own does not know the mask, and counts the zeros.)
"""

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from zoo.errors import UserError
from zoo.losses import with_auxiliary
from zoo.losses.inputs import cast_floating
from zoo.norm import Statistics, StatisticsByLayer, batch_norm_options
from zoo.training.compilation import Batch, EvalStep, TrainStep
from zoo.training.state import TrainState, update_averages

Loss = Callable[..., jax.Array]  # (logits, labels) -> one loss per example

AUGMENT = 1  # folded into the step's key, which is dropout's


def make_train_step(
    loss_fn: Loss,
    *,
    statistics: StatisticsByLayer | None = None,
    aux_weights: Mapping[str, float] | None = None,
    augment: Callable[[jax.Array, Batch], Batch] | None = None,
) -> TrainStep:
    """A jitted `(state, batch) -> (state, metrics)` that donates the state it is given.

    Metrics are the means over the batch's valid rows, before the update: `loss`, which is what is minimised,
    `accuracy`; and their `count`.

    The optimiser is told `value` (the loss), `grad`, and `value_fn` and `obj_fn` (the loss of other parameters on this
    batch), for those that want them: `optax.polyak_sgd`, `optax.lbfgs`, `optax.contrib.reduce_on_plateau`, ...

    With `optax.MultiSteps(tx, k)` the parameters move at every k-th step, but the running statistics (and averages, see
    `ema_decay`) at each: k times as far between two updates, of batches k times smaller. Where that matters,
    freeze them with `statistics="running"`, or take exact ones after the training, by `zoo.recalibrate`, which do not
    depend on how the images were batched.

    Args:
      loss_fn: `(logits [N, K], labels) -> [N]`, floating point.
      statistics: what normalises. By default this batch, whose statistics move the running ones. `"running"` freezes
        all normalisations for fine-tuning: the running statistics normalise and do not move;
        `{"layer1_*": "running"}` freezes those whose path fits the shell pattern.
      aux_weights: factors of the losses of auxiliary heads by endpoint, by default the published ones of the model
        (`model.aux_weights`); `{}` trains without the heads.
      augment: `(key, batch) -> batch`, the batch as the model and the loss take it, changed at random: at every step
        by a key of its own. `zoo.data.make_augment` makes one.

    Raises:
      UserError: from the step: a pattern of `statistics` fits no normalisation of the model; the shapes of the batch,
        the logits and what `loss_fn` returns do not go together.
      TypeError: from the step: `loss_fn` returns something else than floating-point numbers, or `mask` is not boolean.
    """

    @TrainStep
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        heads = getattr(state.model, "aux_weights", {}) if aux_weights is None else aux_weights
        endpoints: dict[str, Any] = {"endpoints": tuple(heads)} if heads else {}
        if isinstance(statistics, Mapping):
            _check_patterns(statistics, state.batch_stats)
        key = jax.random.fold_in(state.key, state.step)
        if augment is not None:
            batch = augment(jax.random.fold_in(key, AUGMENT), batch)
        image, labels, mask = _blank_padding(batch)
        rngs = {"dropout": key}

        def loss_of(params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            with batch_norm_options(statistics=statistics, where=mask):
                outputs, updates = state.model.apply(
                    variables, image, train=True, mutable=["batch_stats"], rngs=rngs, **endpoints
                )
            sums = _sums(loss_fn, outputs, labels, mask, heads)
            return sums["loss"] / jnp.maximum(sums["count"], 1), (sums, updates.get("batch_stats", {}))

        def value_fn(params: Any, obj_fn: object = None) -> jax.Array:  # noqa: ARG001, line searches want it named
            return loss_of(params)[0]

        (loss, (sums, batch_stats)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        told = _choose_arguments(state.tx, value=loss, grad=grads, value_fn=value_fn, obj_fn=value_fn)
        updates, opt_state = state.tx.update(grads, state.opt_state, state.params, **told)
        params = optax.apply_updates(state.params, updates)
        new = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            **update_averages(state, params, batch_stats),
        )
        accuracy = sums["correct"] / jnp.maximum(sums["count"], 1)
        return new, {"loss": loss, "accuracy": accuracy, "count": sums["count"]}

    return train_step


def make_eval_step(loss_fn: Loss, *, statistics: Statistics = "running") -> EvalStep:
    """A jitted `(state, batch) -> {"loss", "correct", "count"}`: sums over the valid rows, to be added up over batches.

    `statistics="batch"` normalises with the batch instead of the running statistics: nothing is written and no unit
    is dropped, so that what differs from `"running"` is the statistics alone. `loss_fn` and errors are those of
    `make_train_step`.
    """

    @EvalStep
    def eval_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        image, labels, mask = _blank_padding(batch)
        with batch_norm_options(statistics=statistics, where=mask):
            logits: Any = state.model.apply(state.variables, image, train=False)
        return _sums(loss_fn, logits, labels, mask)

    return eval_step


def _choose_arguments(tx: optax.GradientTransformation, **known: object) -> dict[str, Any]:
    """Those of the known arguments that the optimiser takes beside gradients, state and parameters."""
    taken = inspect.signature(tx.update).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    return {name: value for name, value in known.items() if takes_all or name in taken}


def _check_patterns(statistics: Mapping[str, Statistics], batch_stats: Any) -> None:
    """Raises `UserError` for a pattern that no normalisation fits, because it would silently do nothing."""
    layers = {"/".join(path[:-1]) for path in flatten_dict(batch_stats)}
    for pattern in statistics:
        if not fnmatch.filter(layers, pattern):
            known = ", ".join(sorted(layers)[:5])
            raise UserError(f"no normalisation fits {pattern!r}", f"their paths are {known}, ...")


def _blank_padding(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Images and labels with zeros in the rows that the mask leaves out, and the mask, None where there is none."""
    image, labels = jnp.asarray(batch["image"]), jnp.asarray(batch["label"])
    if "mask" not in batch:
        return image, labels, None
    mask = jnp.asarray(batch["mask"])
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean, not {mask.dtype}: compare first, as in mask > 0.")
    if mask.shape != image.shape[:1]:
        raise UserError(f"the mask {list(mask.shape)} of images {list(image.shape)}", f"pass [{len(image)}]")

    def blank(rows: jax.Array) -> jax.Array:
        valid = jnp.expand_dims(mask, tuple(range(1, rows.ndim)))
        return jnp.where(valid, rows, jnp.zeros((), rows.dtype))  # not a product: NaN times 0 is NaN

    return blank(image), blank(labels), mask


def _sums(
    loss_fn: Loss,
    outputs: Any,
    labels: jax.Array,
    mask: jax.Array | None,
    heads: Mapping[str, float] | None = None,
) -> dict[str, jax.Array]:
    """Sums over the valid rows; `outputs` are logits, or logits and endpoints where there are heads."""
    outputs = jax.tree.map(partial(cast_floating, "logits"), outputs)
    logits = outputs[0] if heads else outputs
    _check_logits(logits, labels)
    checked = _check_returned(loss_fn)
    losses = with_auxiliary(checked, heads)(outputs, labels) if heads else checked(logits, labels)
    truth = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    mask = jnp.ones(len(logits), bool) if mask is None else mask
    return {
        "loss": jnp.sum(losses, where=mask),
        "correct": jnp.sum(jnp.argmax(logits, axis=-1) == truth, where=mask, dtype=jnp.float32),
        "count": jnp.sum(mask, dtype=jnp.float32),
    }


def _check_logits(logits: jax.Array, labels: jax.Array) -> None:
    if logits.ndim != 2:
        raise UserError(f"the model returned {list(logits.shape)}", "a step takes logits [N, K], one row per image")
    wanted = logits.shape[:1] if jnp.issubdtype(labels.dtype, jnp.integer) else logits.shape
    if labels.shape != wanted:
        raise UserError(
            f"logits {list(logits.shape)} and {labels.dtype} labels {list(labels.shape)}",
            f"pass integer labels [{len(logits)}] or probabilities {list(logits.shape)}",
        )


def _check_returned(loss_fn: Loss) -> Loss:
    """`loss_fn`, but never a number per batch, a column or a matrix, which would be summed up without a word."""

    def checked(logits: jax.Array, labels: jax.Array) -> jax.Array:
        losses = loss_fn(logits, labels)
        remedy = f"return one floating-point loss per example, [{len(logits)}]"
        if not isinstance(losses, jax.Array | np.ndarray):
            raise TypeError(f"loss_fn returned a {type(losses).__name__}: {remedy}.")
        if losses.shape != logits.shape[:1]:
            raise UserError(f"loss_fn returned {list(losses.shape)} for {len(logits)} examples", remedy)
        if not jnp.issubdtype(losses.dtype, jnp.floating):
            raise TypeError(f"loss_fn returned {losses.dtype}: {remedy}.")
        return losses

    return checked
