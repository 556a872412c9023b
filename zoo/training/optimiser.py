"""The optimiser of a recipe: its learning rate step by step, its update, and what each parameter gets of it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zoo.errors import UserError
from zoo.losses import kernel_mask
from zoo.training.freezing import find_scales
from zoo.training.recipe import TrainConfig


def make_schedule(config: TrainConfig, num_images: int) -> optax.Schedule:
    """The learning rate by the number of updates, of which there is one every `accumulate` steps.

    From 0 it rises linearly to `lr` during `warmup_epochs`; then it falls along a cosine to 0, is multiplied by
    `step_factor` at every milestone, or stays.

    Raises:
      UserError: the run is too short for a single update.
    """
    steps = config.epochs * math.ceil(num_images / config.batch_size)
    updates = steps // config.accumulate
    if not updates:
        raise UserError(f"accumulate is {config.accumulate}", f"it must be at most {steps}, the steps of the whole run")
    share = 0.1 if config.warmup_epochs is None else config.warmup_epochs / config.epochs
    warmup = int(share * updates)
    if config.schedule == "cosine":
        schedule = optax.warmup_cosine_decay_schedule(0.0, config.lr, warmup, updates)
    else:
        marks = config.milestones if config.schedule == "step" else ()
        drops = {round(mark * updates) - warmup: config.step_factor for mark in marks}
        after = optax.piecewise_constant_schedule(config.lr, drops)
        rise = optax.linear_schedule(0.0, config.lr, max(warmup, 1))
        schedule = optax.join_schedules([rise, after], [warmup])

    def of_float_step(step: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        return schedule(jnp.asarray(step, jnp.float32))  # optax would mix int32 with float32 under strict promotion

    return of_float_step


def make_optimizer(config: TrainConfig, num_images: int) -> optax.GradientTransformation:
    """Clipping, the optimiser with weight decay of the kernels alone, each layer's share, and accumulation.

    The decay of SGD and LARS is added to the gradient, that of AdamW and LAMB to the update (Loshchilov & Hutter 2019,
    arXiv:1711.05101). `accumulate` averages the gradients of so many batches (`optax.MultiSteps`): the update is that
    of one batch as many times as large, but every small batch is normalised by itself, and the running statistics are
    blended after each. With 2 times 32 images, batch normalisation is that of 32.

    Raises:
      UserError: the run is too short for a single update.
    """
    tx = OPTIMISERS[config.optimizer](config, make_schedule(config, num_images))
    if config.clip_norm is not None:
        tx = optax.chain(optax.clip_by_global_norm(config.clip_norm), tx)
    if (config.head_lr_scale, config.layer_decay) != (1, 1):
        tx = optax.chain(tx, optax.stateless(partial(_scale, config)))
    if config.accumulate > 1:
        tx = optax.MultiSteps(tx, config.accumulate).gradient_transformation()
    return tx


def _sgd(config: TrainConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Nesterov's momentum (Sutskever et al. 2013)."""
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, kernel_mask),
        optax.sgd(schedule, config.momentum, nesterov=True),
    )


def _adamw(config: TrainConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(schedule, config.momentum, weight_decay=config.weight_decay, mask=kernel_mask)


def _lamb(config: TrainConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """You et al. 2020, arXiv:1904.00962."""
    return optax.lamb(schedule, config.momentum, weight_decay=config.weight_decay, mask=kernel_mask)


def _lars(config: TrainConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """You et al. 2017, arXiv:1708.03888: the trust ratio, as the decay, is for kernels alone."""
    return optax.lars(
        schedule, config.weight_decay, kernel_mask, trust_ratio_mask=kernel_mask, momentum=config.momentum
    )


def _scale(config: TrainConfig, updates: Any, _params: Any) -> Any:
    """Updates times the share of the learning rate that their layer gets."""
    scales = find_scales(config.model, updates, head=config.head_lr_scale, decay=config.layer_decay)
    return jax.tree.map(lambda update, scale: update * scale, updates, scales)


OPTIMISERS: dict[str, Callable[[TrainConfig, optax.Schedule], optax.GradientTransformation]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "lamb": _lamb,
    "lars": _lars,
}
