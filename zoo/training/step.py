"""Train and eval steps: pure, jitted, and explicit about whose statistics the normalisations use.

`train_step(state, batch)` normalises with the batch and returns new running statistics in the new state;
`eval_step(state, batch)` reads the running statistics and returns nothing but sums. The second can be asked to
normalise with the batch as well (`statistics="batch"`): the difference is then one argument and nothing else.

A batch is a dict: `image [N, H, W, C]` floating, `label [N]` integer or `[N, K]` probabilities, and optionally
`mask [N]`: rows that are False are padding and count for nothing, in the loss and in the batch statistics alike.
"""

import fnmatch
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from flax.traverse_util import flatten_dict

from zoo.errors import UserError
from zoo.losses import with_auxiliary
from zoo.norm import Statistics, StatisticsByLayer, batch_norm_options

Batch = Mapping[str, jax.Array | np.ndarray]
Loss = Callable[..., jax.Array]  # (logits, labels) -> one loss per example
TrainStep = Callable[["TrainState", Batch], tuple["TrainState", dict[str, jax.Array]]]
EvalStep = Callable[["TrainState", Batch], dict[str, jax.Array]]


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the two functions that change it.

    Attributes:
      step: int32 array, number of updates made; an int would compile the step twice.
      params, batch_stats: the model's variables.
      opt_state: the optimiser's state.
      key: where each step's dropout comes from, by `fold_in(key, step)`.
      model: the unbound module.
      tx: the optimiser.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: jax.Array
    model: nn.Module = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_train_state(
    model: nn.Module, key: jax.Array, tx: optax.GradientTransformation, image_shape: tuple[int, int, int]
) -> TrainState:
    """Initialises the model for images of `(height, width, channels)`.

    Raises:
      UserError: `image_shape` has a batch axis, or the model refuses it.
    """
    if len(image_shape) != 3:
        raise UserError(f"image_shape={image_shape}", "pass (height, width, channels), without the batch")
    init_key, step_key = jax.random.split(key)
    # Compiled for a single call: without optimising, that takes a quarter of the time on a CPU. Only the outermost
    # jit may have options, so not under the caller's own jit or eval_shape.
    outermost = jax.default_backend() == "cpu" and not isinstance(init_key, jax.core.Tracer)
    options = {"xla_backend_optimization_level": 0} if outermost else None
    init = jax.jit(partial(model.init, train=False), compiler_options=options)
    variables = init(init_key, jnp.zeros((1, *image_shape), jnp.float32))
    params = variables["params"]
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        variables.get("batch_stats", {}),
        tx.init(params),
        step_key,
        model,
        tx,
    )


def make_train_step(
    loss_fn: Loss,
    *,
    statistics: StatisticsByLayer | None = None,
    aux_weights: Mapping[str, float] | None = None,
) -> TrainStep:
    """A jitted `(state, batch) -> (state, metrics)` that donates the state it is given.

    Metrics are the means over the batch's valid rows, before the update: `loss`, which is what is minimised,
    `accuracy`; and their `count`.

    Args:
      loss_fn: `(logits, labels) -> [N]`.
      statistics: what normalises. By default this batch, whose statistics move the running ones. `"running"` freezes
        all normalisations for fine-tuning: the running statistics normalise and do not move;
        `{"layer1_*": "running"}` freezes those whose path fits the shell pattern.
      aux_weights: factors of the losses of auxiliary heads by endpoint, by default the published ones of the model
        (`model.aux_weights`); `{}` trains without the heads.

    Raises:
      UserError: from the step: a pattern of `statistics` fits no normalisation of the model.
    """

    @partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        heads = getattr(state.model, "aux_weights", {}) if aux_weights is None else aux_weights
        endpoints: dict[str, Any] = {"endpoints": tuple(heads)} if heads else {}
        total = with_auxiliary(loss_fn, heads) if heads else loss_fn
        if isinstance(statistics, Mapping):
            _check_patterns(statistics, state.batch_stats)
        where, mask = _find_mask(batch)
        rngs = {"dropout": jax.random.fold_in(state.key, state.step)}

        def loss_of(params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            with batch_norm_options(statistics=statistics, where=where):
                outputs, updates = state.model.apply(
                    variables, batch["image"], train=True, mutable=["batch_stats"], rngs=rngs, **endpoints
                )
            sums = _sums(total, outputs, batch["label"], mask)
            return sums["loss"] / jnp.maximum(sums["count"], 1), (sums, updates.get("batch_stats", {}))

        grads, (sums, batch_stats) = jax.grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        count = jnp.maximum(sums["count"], 1)
        metrics = {"loss": sums["loss"] / count, "accuracy": sums["correct"] / count, "count": sums["count"]}
        return new, metrics

    return train_step


def make_eval_step(loss_fn: Loss, *, statistics: Statistics = "running") -> EvalStep:
    """A jitted `(state, batch) -> {"loss", "correct", "count"}`: sums over the valid rows, to be added up over batches.

    `statistics="batch"` normalises with the batch instead of the running statistics: nothing is written and no unit
    is dropped, so that what differs from `"running"` is the statistics alone.
    """

    @jax.jit
    def eval_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        where, mask = _find_mask(batch)
        with batch_norm_options(statistics=statistics, where=where):
            logits: Any = state.model.apply(state.variables, batch["image"], train=False)
        return _sums(loss_fn, logits, batch["label"], mask)

    return eval_step


def _check_patterns(statistics: Mapping[str, Statistics], batch_stats: Any) -> None:
    """Raises `UserError` for a pattern that no normalisation fits, because it would silently do nothing."""
    layers = {"/".join(path[:-1]) for path in flatten_dict(batch_stats)}
    for pattern in statistics:
        if not fnmatch.filter(layers, pattern):
            known = ", ".join(sorted(layers)[:5])
            raise UserError(f"no normalisation fits {pattern!r}", f"their paths are {known}, ...")


def _find_mask(batch: Batch) -> tuple[jax.Array | None, jax.Array]:
    """The batch's mask, None where it has none, and `[N]` booleans in either case."""
    where = jnp.asarray(batch["mask"]) if "mask" in batch else None
    return where, jnp.ones(batch["image"].shape[0], bool) if where is None else where


def _sums(loss_fn: Loss, outputs: Any, labels: jax.Array | np.ndarray, mask: jax.Array) -> dict[str, jax.Array]:
    """Sums over the valid rows; `outputs` are logits, or logits and endpoints where the loss takes both."""
    outputs = jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), outputs)
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    truth = labels if jnp.issubdtype(labels.dtype, jnp.integer) else jnp.argmax(labels, axis=-1)
    return {
        "loss": jnp.sum(loss_fn(outputs, labels), where=mask),
        "correct": jnp.sum(jnp.argmax(logits, axis=-1) == truth, where=mask, dtype=jnp.float32),
        "count": jnp.sum(mask, dtype=jnp.float32),
    }
