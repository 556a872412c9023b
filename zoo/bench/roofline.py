"""What an accelerator could do at best: the work of a step, and the rate of a product of large matrices."""

import time

import jax
import jax.numpy as jnp

from zoo.bench.job import Job
from zoo.models import registry, summary

SIDE, PRODUCTS = 8192, 20  # of the matrices


def count_work(job: Job) -> float:
    """Multiplications and additions of a step: a backward pass has twice those of the forward pass."""
    shape = (job.size, job.size, registry.variant(job.model).channels)
    layers = summary.layers(registry.create(job.model), shape)
    macs = sum(layer.macs for layer in layers if job.mode == "train" or not layer.auxiliary)
    return 2.0 * macs * job.batch * (3 if job.mode == "train" else 1)


def measure_matrix_rate(dtype: str) -> float:
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
