"""Train and eval steps: pure, jitted, and explicit about whose statistics the normalisations use.

`train_step(state, batch)` normalises with the batch and returns new running statistics in the new state;
`eval_step(state, batch)` reads the running statistics and returns nothing but sums. The second can be asked to
normalise with the batch as well (`statistics="batch"`): the difference is then one argument and nothing else.

A batch is a dict: `image [N, H, W, C]` floating, `label [N]` integer or `[N, K]` probabilities, and optionally
`mask [N]`: rows that are False are padding and count for nothing, in the loss and in the batch statistics alike.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from zoo.norm import batch_norm_options

Batch = Mapping[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]  # (logits, labels) -> one loss per example
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
      ValueError: `image_shape` has a batch axis, or the model refuses it.
    """
    if len(image_shape) != 3:
        raise ValueError(f"image_shape={image_shape}: pass (height, width, channels), without the batch.")
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


def make_train_step(loss_fn: Loss) -> TrainStep:
    """A jitted `(state, batch) -> (state, metrics)` that donates the state it is given.

    Metrics are the means over the batch's valid rows, before the update: `loss`, `accuracy`; and their `count`.
    """

    @partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        mask = _mask(batch)
        rngs = {"dropout": jax.random.fold_in(state.key, state.step)}

        def loss_of(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            with batch_norm_options(where=batch.get("mask")):
                logits, updates = state.model.apply(
                    variables, batch["image"], train=True, mutable=["batch_stats"], rngs=rngs
                )
            sums = _sums(loss_fn, logits, batch["label"], mask)
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


def make_eval_step(loss_fn: Loss, *, statistics: Literal["running", "batch"] = "running") -> EvalStep:
    """A jitted `(state, batch) -> {"loss", "correct", "count"}`: sums over the valid rows, to be added up over batches.

    `statistics="batch"` normalises with the batch instead of the running statistics: nothing is written and no unit
    is dropped, so that what differs from `"running"` is the statistics alone.
    """

    @jax.jit
    def eval_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        with batch_norm_options(statistics=statistics, where=batch.get("mask")):
            logits: Any = state.model.apply(state.variables, batch["image"], train=False)
        return _sums(loss_fn, logits, batch["label"], _mask(batch))

    return eval_step


def _mask(batch: Batch) -> jax.Array:
    return batch["mask"] if "mask" in batch else jnp.ones(batch["image"].shape[0], bool)


def _sums(loss_fn: Loss, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    truth = labels if jnp.issubdtype(labels.dtype, jnp.integer) else jnp.argmax(labels, axis=-1)
    return {
        "loss": jnp.sum(loss_fn(logits, labels), where=mask),
        "correct": jnp.sum(jnp.argmax(logits, axis=-1) == truth, where=mask, dtype=jnp.float32),
        "count": jnp.sum(mask, dtype=jnp.float32),
    }
