"""Numpy's scalars as options compute what Python's do: under x64 they would widen everything that they meet."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Conv, Linear, adaptive_avg_pool, avg_pool, dropout, local_response_norm, max_pool
from zoo.norm import BatchNorm, batch_norm, from_torch_momentum


class Dropout(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x):
        return dropout(x, self.rate, train=True)


def update(norm, *, train):
    def step(x):
        variables = norm.init(jax.random.key(0), x, train=False)
        return norm.apply(variables, x, train=train, mutable=["batch_stats"])

    return step


def initialise(layer):
    return lambda x: layer.init_with_output({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x)


CALLS = {  # of a type of integers and one of floats
    "momentum, epsilon": lambda i, f: update(BatchNorm(momentum=f(0.9), epsilon=f(1e-5)), train=True),
    "running statistics": lambda i, f: update(BatchNorm(momentum=f(0.9), epsilon=f(1e-5)), train=False),
    "torch's momentum": lambda i, f: update(BatchNorm(from_torch_momentum(f(0.1)), group_size=i(2)), train=True),
    "batch_norm": lambda i, f: partial(batch_norm, scale=None, bias=None, epsilon=f(1e-5), group_size=i(2)),
    "response norm": lambda i, f: partial(local_response_norm, size=i(5), alpha=f(1e-4), beta=f(0.75), k=f(1)),
    "dropout": lambda i, f: initialise(Dropout(f(0.5))),
    "avg_pool": lambda i, f: lambda x: avg_pool(x, i(3), i(2), i(1)),
    "avg_pool, true pixels": lambda i, f: lambda x: avg_pool(x, i(3), i(2), i(1), count_include_pad=False),
    "adaptive_avg_pool": lambda i, f: lambda x: adaptive_avg_pool(x, i(3)),
    "max_pool": lambda i, f: jax.grad(lambda x: jnp.sum(max_pool(x, i(3), i(2), i(1), ceil=True))),
    "conv": lambda i, f: initialise(Conv(i(4), i(3), i(2), padding=i(1), use_bias=True)),
    "conv 1x1": lambda i, f: initialise(Conv(i(4), i(1), i(2), padding=(i(0), i(1)))),
    "linear": lambda i, f: initialise(Linear(i(4))),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_s_scalars_compute_what_python_s_do(name, float64):
    x = jnp.ones((2, 8, 8, 4), jnp.float32)
    ours, outputs = jax.make_jaxpr(CALLS[name](np.int64, np.float64), return_shape=True)(x)
    theirs = jax.make_jaxpr(CALLS[name](int, float))(x)
    ours, theirs = (re.sub(r"np\.int64\((\d+)\)", r"\1", str(jaxpr)) for jaxpr in (ours, theirs))
    assert ours == theirs
    assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {"float32"}
