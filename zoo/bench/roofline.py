"""What an accelerator could do at best: the work of a step, and the rates of a large product and a large copy."""

import time
from typing import Any

import jax
import jax.numpy as jnp

from zoo.bench.job import Job
from zoo.models import registry, summary

SIDE = 8192  # of the matrices
COPIED = 2**30  # bytes
CALLS = 20  # that are timed together


def count_work(job: Job) -> float:
    """Multiplications and additions of a step: a backward pass has twice those of the forward pass."""
    shape = (job.size, job.size, registry.variant(job.model).channels)
    layers = summary.layers(registry.create(job.model), shape)
    macs = sum(layer.macs for layer in layers if job.mode == "train" or not layer.auxiliary)
    return 2.0 * macs * job.batch * (3 if job.mode == "train" else 1)


def measure_matrix_rate(dtype: str, side: int = SIDE) -> float:
    """Multiplications and additions a second in products of large matrices."""
    keys = jax.random.split(jax.random.key(0))
    x, matrix = (jax.random.normal(key, (side, side), dtype) / side**0.5 for key in keys)
    return 2 * side**3 / _time_each(jax.jit(jnp.dot), x, matrix)


def measure_bandwidth(size: int = COPIED) -> float:
    """Bytes a second that are read and written, together, by maps of a large array."""
    x = jnp.zeros(size // 4, jnp.float32)
    return 2 * x.nbytes / _time_each(jax.jit(jnp.negative, donate_argnums=0), x)


def _time_each(function: Any, x: jax.Array, *others: jax.Array) -> float:
    """Seconds of one out of a chain of calls, each on the result of the one before."""
    x = jax.block_until_ready(function(x, *others))
    start = time.perf_counter()
    for _ in range(CALLS):
        x = function(x, *others)
    jax.block_until_ready(x)
    return (time.perf_counter() - start) / CALLS
