"""zoo's nets, with its own layers and with Flax's, in the step that zoo makes."""

import inspect
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
from zoo.bench.roofline import count_work, measure_matrix_rate
from zoo.layers import choose_compiler_options
from zoo.losses import softmax_cross_entropy
from zoo.models.net import Net
from zoo.norm import fold
from zoo.training import TrainState, create_train_state, make_train_step


def make_zoo(job: Job) -> Contestant:
    """What a user of `zoo train` gets, or the model with its normalisations folded where that is possible."""
    model, state, images = _prepare(job, models)
    if job.mode == "train":
        contestant = compile_step(make_train_step(softmax_cross_entropy), state, _batch(images, model.num_classes))
    else:
        shape = job.size, job.size, images.shape[-1]
        inference = fold(model, state.variables, keep=["*"], image_shape=shape)
        options = choose_compiler_options(inference.variables)
        apply = jax.jit(inference.apply, compiler_options=options)
        contestant = compile_inference(apply, inference.variables, images)
    if jax.default_backend() == "cpu":
        return contestant
    return replace(contestant, work=count_work(job), matrix_rate=measure_matrix_rate(job.dtype))


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
