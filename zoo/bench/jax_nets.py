"""zoo's nets, with its own layers and with Flax's, in the step that zoo makes."""

import inspect
import time
from dataclasses import replace
from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp
import optax

from zoo import models
from zoo.bench.compiled import compile_inference, compile_step
from zoo.bench.flax_layers import models_of
from zoo.bench.job import LEARNING_RATE, MOMENTUM, Contestant, Job
from zoo.losses import softmax_cross_entropy
from zoo.models import registry, summary
from zoo.models.net import Net
from zoo.norm import fold
from zoo.training import TrainState, create_train_state, make_train_step

SIDE, PRODUCTS = 8192, 20  # of the matrices whose products show what an accelerator can do


def make_zoo(job: Job) -> Contestant:
    """What a user gets: `make_train_step`, or the model with its normalisations folded where that is possible."""
    model, state, images = _prepare(job, models)
    if job.mode == "train":
        contestant = compile_step(make_train_step(softmax_cross_entropy), state, _batch(images, model.num_classes))
    else:
        inference = fold(model, state.variables, keep=["*"], image_shape=images.shape[1:])
        contestant = compile_inference(jax.jit(inference.apply), inference.variables, images)
    if jax.default_backend() == "cpu":
        return contestant
    return replace(contestant, work=_count_work(job), matrix_rate=_measure_matrix_rate(job.dtype))


def make_flax(job: Job) -> Contestant:
    """The same net of Flax's layers in the same step, compiled as JAX does by default; Flax folds nothing."""
    model, state, images = _prepare(job, models_of())
    if job.mode == "train":
        step = jax.jit(inspect.unwrap(make_train_step(softmax_cross_entropy)), donate_argnums=0)
        return compile_step(step, state, _batch(images, model.num_classes))
    return compile_inference(jax.jit(partial(model.apply, train=False)), state.variables, images)


def _prepare(job: Job, nets: ModuleType) -> tuple[Net, TrainState, jax.Array]:
    """The model of `nets`, its first state, and images."""
    model, shape = nets.create(job.model, dtype=job.dtype), (job.size, job.size, nets.variant(job.model).channels)
    state = create_train_state(model, jax.random.key(0), optax.sgd(LEARNING_RATE, MOMENTUM), shape)
    return model, state, jax.random.normal(jax.random.key(1), (job.batch, *shape))


def _batch(images: jax.Array, num_classes: int) -> dict[str, jax.Array]:
    return {"image": images, "label": jnp.arange(len(images)) % num_classes}


def _count_work(job: Job) -> float:
    """Multiplications and additions of a step: a backward pass has twice those of the forward pass."""
    shape = (job.size, job.size, registry.variant(job.model).channels)
    layers = summary.layers(registry.create(job.model), shape)
    macs = sum(layer.macs for layer in layers if job.mode == "train" or not layer.auxiliary)
    return 2.0 * macs * job.batch * (3 if job.mode == "train" else 1)


def _measure_matrix_rate(dtype: str) -> float:
    """Multiplications and additions a second in products of large matrices."""
    keys = jax.random.split(jax.random.key(0))
    x, matrix = (jax.random.normal(key, (SIDE, SIDE), dtype) / SIDE**0.5 for key in keys)
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(x, matrix))
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        x = product(x, matrix)
    jax.block_until_ready(x)
    return PRODUCTS * 2 * SIDE**3 / (time.perf_counter() - start)
