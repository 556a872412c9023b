"""Everything that training changes, as one pytree: `create_train_state` makes it, the steps carry it on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import serialization, struct

from zoo.errors import UserError


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the two functions that change it.

    `flax.serialization.to_bytes` and `from_bytes` take it as it is.

    Attributes:
      step: int32 array, number of updates made; an int would compile the step twice.
      params, batch_stats: the model's variables.
      opt_state: the optimiser's state.
      key: where each step's dropout comes from, by `fold_in(key, step)`.
      model: the unbound module.
      tx: the optimiser.
      ema_params, ema_batch_stats: exponential moving averages of the parameters and of the running statistics, in
        float32 at least; None where none are kept.
      ema_decay: share of the old averages that every step keeps.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: jax.Array
    model: nn.Module = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)
    ema_params: Any = None
    ema_batch_stats: Any = None
    ema_decay: float | None = struct.field(pytree_node=False, default=None)

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def ema_variables(self) -> dict[str, Any]:
        """What `model.apply` takes, averaged; `state.replace(**state.ema_variables)` for a step.

        The running statistics are averaged as the parameters are, which costs nothing and at the end of a run is as
        good as the averaged parameters' own (`zoo.recalibrate(model, state.ema_variables, batches)`), for which the
        images are gone through as often as normalisations follow each other. ResNet-20 on the digits, decay 0.99, mean
        test loss of three seeds after all 20 epochs: 0.534 averaged, 0.534 recalibrated. After 10 of them, with young
        averages, 0.596 and 0.548: recalibrate where an average is taken in the middle.

        Raises:
          UserError: no average is kept.
        """
        if self.ema_params is None:
            raise UserError("the state keeps no average of its parameters", "create_train_state(..., ema_decay=0.999)")

        def narrow(average: Any, like: Any) -> Any:
            return jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), average, like)

        params, batch_stats = narrow(self.ema_params, self.params), narrow(self.ema_batch_stats, self.batch_stats)
        return {"params": params, "batch_stats": batch_stats}


def create_train_state(
    model: nn.Module,
    key: jax.Array,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int] | None = None,
    variables: Mapping[str, Any] | None = None,
    *,
    ema_decay: float | None = None,
) -> TrainState:
    """The first state: of a model initialised for images of `image_shape`, or of the `variables` that it is given.

    The state owns its arrays. A step that donates it takes neither `variables` nor anything else from its caller, so
    that two trainings can start from the same loaded weights.

    Args:
      model: the unbound module.
      key: initialises the model, and is where dropout comes from.
      tx: the optimiser. `optax.MultiSteps(tx, k)` updates the parameters at every k-th step; see `make_train_step`.
      image_shape: `(height, width, channels)`; not needed with `variables`.
      variables: `params`, and `batch_stats` if the model has any, to start from instead of initialising.
      ema_decay: keeps exponential moving averages of the parameters and the running statistics that start at the
        first ones, `ema = ema_decay * ema + (1 - ema_decay) * new` after every step; see `TrainState.ema_variables`.

    Raises:
      UserError: there is neither an `image_shape` nor `variables`, `image_shape` has a batch axis, `variables` has no
        `params`, `ema_decay` is not in [0, 1), or the model refuses the images.
    """
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise UserError(f"ema_decay={ema_decay}", "it is the share of the old average kept, from 0 to below 1")
    init_key, step_key = jax.random.split(key)
    if variables is None:
        variables = _initialise(model, init_key, image_shape)
    elif "params" not in variables:
        raise UserError(f"variables hold {sorted(variables)}", 'pass {"params": ..., "batch_stats": ...}')
    params, batch_stats = _copy(variables["params"]), _copy(variables.get("batch_stats", {}))
    averages = {} if ema_decay is None else {"ema_params": params, "ema_batch_stats": batch_stats}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=_copy(tx.init(params)),  # some optimisers keep the very arrays of the parameters
        key=step_key,
        model=model,
        tx=tx,
        **jax.tree.map(_widen, averages),
        ema_decay=ema_decay,
    )


def update_averages(state: TrainState, params: Any, batch_stats: Any) -> dict[str, Any]:
    """The fields of the moving averages after a step that made `params` and `batch_stats`; none if none are kept."""
    if state.ema_decay is None:
        return {}
    new = jax.tree.map(_widen, {"ema_params": params, "ema_batch_stats": batch_stats})
    old = {"ema_params": state.ema_params, "ema_batch_stats": state.ema_batch_stats}
    return optax.incremental_update(new, old, 1 - state.ema_decay)


def _initialise(model: nn.Module, key: jax.Array, image_shape: tuple[int, int, int] | None) -> Mapping[str, Any]:
    if image_shape is None:
        raise UserError("a model is initialised for images", "pass image_shape, or variables to start from")
    if len(image_shape) != 3:
        raise UserError(f"image_shape={image_shape}", "pass (height, width, channels), without the batch")
    # Compiled for a single call: without optimising, that takes a quarter of the time on a CPU. Only the outermost
    # jit may have options, so not under the caller's own jit or eval_shape.
    outermost = jax.default_backend() == "cpu" and not isinstance(key, jax.core.Tracer)
    options = {"xla_backend_optimization_level": 0} if outermost else None
    init = jax.jit(partial(model.init, train=False), compiler_options=options)
    return init(key, jnp.zeros((1, *image_shape), jnp.float32))


def _copy(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def _widen(leaf: jax.Array) -> jax.Array:
    """A copy in float32 at least: in half precision a thousandth of a step would be lost in rounding."""
    return jnp.array(leaf, jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32, copy=True)


def _to_state_dict(state: TrainState) -> dict[str, Any]:
    """Flax's, with the typed random key as the integers it is made of, which msgpack can write."""
    plain = {name: getattr(state, name) for name in _SERIALIZED} | {"key": jax.random.key_data(state.key)}
    return {name: serialization.to_state_dict(value) for name, value in plain.items()}


def _from_state_dict(state: TrainState, values: Mapping[str, Any]) -> TrainState:
    if set(values) != set(_SERIALIZED):
        raise UserError(f"a TrainState has {', '.join(_SERIALIZED)}, the bytes have {', '.join(values)}")
    names = [name for name in _SERIALIZED if name != "key"]
    restored = {n: serialization.from_state_dict(getattr(state, n), values[n], name=n) for n in names}
    key = jax.random.wrap_key_data(jnp.asarray(values["key"]), impl=jax.random.key_impl(state.key))
    return state.replace(**restored, key=key)


_SERIALIZED = ("step", "params", "batch_stats", "opt_state", "key", "ema_params", "ema_batch_stats")
serialization.register_serialization_state(TrainState, _to_state_dict, _from_state_dict, override=True)
