"""Batch normalisation of zoo, flax.linen, a prototype by hand and torch: time and temporary memory.

    taskset -c 0 python benchmarks/batch_norm.py            # one core
    taskset -c 0,1 python benchmarks/batch_norm.py          # two

torch's results cannot be told where to go, and pay for fresh memory; so do the temporary arrays of all. With
MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483647 in the environment, glibc keeps what is freed.
"""

import os
import statistics
from importlib.util import find_spec

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import prototype
from side_by_side import (
    compiled,
    forward_and_back,
    medians,
    print_head,
    print_machine,
    print_row,
)

from zoo.norm import batch_norm

SHAPES = (
    (8, 56, 56, 256),
    (8, 56, 56, 64),
    (8, 28, 28, 512),
    (8, 14, 14, 1024),
    (8, 7, 7, 2048),
    (128, 32, 32, 16),
    (128, 8, 8, 64),
)
RIVALS = ("flax", "prototype", "torch") if find_spec("torch") else ("flax", "prototype")


def zoo_norm(x, scale, bias):
    y, *statistics = batch_norm(x, scale, bias)
    return y, statistics


def flax_norm(x, scale, bias):
    stats = {"mean": jnp.zeros_like(scale), "var": jnp.ones_like(scale)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    norm = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    y, updates = norm.apply(variables, x, mutable=["batch_stats"])
    return y.astype(x.dtype), updates


def prototype_norm(x, scale, bias):
    y, *statistics = prototype.batch_norm(x, scale, bias)
    return y, statistics


def jax_calls(shape, backward, relu):
    """A call of every contestant written in JAX, and the temporary MiB of each.

    Forward alone returns the statistics too, as a training step's does; they would be temporary otherwise.
    """
    keys = jax.random.split(jax.random.key(0), 4)
    x, dout = (jax.random.normal(key, shape) for key in keys[:2])
    scale, bias = (jax.random.normal(key, shape[-1:]) for key in keys[2:])
    calls, memory = {}, {}
    for name, norm in {"zoo": zoo_norm, "flax": flax_norm, "prototype": prototype_norm}.items():

        def activation(*args, norm=norm):
            y, _ = norm(*args)
            return nn.relu(y) if relu else y

        function = forward_and_back(activation, dout) if backward else norm
        calls[name], memory[name] = compiled(function, x, scale, bias)
    return calls, memory


def torch_call(shape, backward, relu):
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rng = np.random.default_rng(0)
    layout = {"memory_format": torch.channels_last}  # NHWC in memory, as ours
    x, dout = (torch.tensor(rng.normal(size=shape), dtype=torch.float32).permute(0, 3, 1, 2) for _ in range(2))
    x, dout = x.contiguous(**layout).requires_grad_(backward), dout.contiguous(**layout)
    scale, bias = (torch.randn(shape[-1], requires_grad=backward) for _ in range(2))

    def call():
        y = torch.nn.functional.batch_norm(x, None, None, scale, bias, training=True)
        y = torch.relu(y) if relu else y
        return torch.autograd.grad(y, (x, scale, bias), dout) if backward else y

    return call


def print_table(backward, relu):
    print_head(
        *("shape", "zoo [ms]", *(f"{rival} [ms]" for rival in RIVALS)),
        *(*(f"{rival} / zoo" for rival in RIVALS), "zoo temp [MiB]", "flax temp [MiB]"),
    )
    ratios: dict[str, list[float]] = {rival: [] for rival in RIVALS}
    for shape in SHAPES:
        calls, memory = jax_calls(shape, backward, relu)
        if "torch" in RIVALS:
            calls["torch"] = torch_call(shape, backward, relu)
        ms = medians(calls)
        for rival in RIVALS:
            ratios[rival].append(ms[rival] / ms["zoo"])
        print_row(
            "x".join(map(str, shape)), *ms.values(), *(r[-1] for r in ratios.values()), memory["zoo"], memory["flax"]
        )
    for rival, values in ratios.items():
        print(f"\n{rival} / zoo: geometric mean {statistics.geometric_mean(values):.2f}, smallest {min(values):.2f}")
    print()


def main():
    print_machine()
    for title, backward, relu in (
        ("forward", False, False),
        ("forward + backward", True, False),
        ("forward + backward + ReLU", True, True),
    ):
        print(f"### {title}\n")
        print_table(backward, relu)


if __name__ == "__main__":
    main()
