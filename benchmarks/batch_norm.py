"""Batch normalisation of zoo, flax.linen and torch side by side: time and temporary memory, one run, one thread count.

    taskset -c 0 python benchmarks/batch_norm.py            # one core
    taskset -c 0,1 python benchmarks/batch_norm.py          # two

The contestants take turns, so that whatever else the machine does meets all of them; times are medians.
"""

import math
import os
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.normalise import batch_norm

SHAPES = (
    (8, 56, 56, 256),
    (8, 56, 56, 64),
    (8, 28, 28, 512),
    (8, 14, 14, 1024),
    (8, 7, 7, 2048),
    (128, 32, 32, 16),
    (128, 8, 8, 64),
)
SECONDS = 3.0


def ours(x, scale, bias):
    return batch_norm(x, scale, bias)[0]


def flax(x, scale, bias):
    stats = {"mean": jnp.zeros_like(scale), "var": jnp.ones_like(scale)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    norm = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    return norm.apply(variables, x, mutable=["batch_stats"])[0]


def jax_step(norm, shape, backward, relu):
    """A compiled call without arguments, and its temporary bytes."""
    keys = jax.random.split(jax.random.key(0), 4)
    x, dout = (jax.random.normal(key, shape) for key in keys[:2])
    scale, bias = (jax.random.normal(key, shape[-1:]) for key in keys[2:])

    def forward(x, scale, bias):
        y = norm(x, scale, bias)
        return nn.relu(y) if relu else y

    def both(x, scale, bias, dout):
        y, back = jax.vjp(forward, x, scale, bias)
        return y, back(dout)

    args = (x, scale, bias, dout) if backward else (x, scale, bias)
    compiled = jax.jit(both if backward else forward).lower(*args).compile()
    return lambda: jax.block_until_ready(compiled(*args)), compiled.memory_analysis().temp_size_in_bytes


def torch_step(shape, backward, relu):
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rng = np.random.default_rng(0)
    layout = {"memory_format": torch.channels_last}  # NHWC in memory, as ours
    x, dout = (torch.tensor(rng.normal(size=shape), dtype=torch.float32).permute(0, 3, 1, 2) for _ in range(2))
    x, dout = x.contiguous(**layout).requires_grad_(backward), dout.contiguous(**layout)
    scale, bias = (torch.randn(shape[-1], requires_grad=backward) for _ in range(2))

    def step():
        y = torch.nn.functional.batch_norm(x, None, None, scale, bias, training=True)
        y = torch.relu(y) if relu else y
        return torch.autograd.grad(y, (x, scale, bias), dout) if backward else y

    return step


def row(shape, backward, relu):
    """Median milliseconds of each contestant, and temporary megabytes of the two of JAX."""
    (zoo_step, zoo_bytes), (flax_step, flax_bytes) = (jax_step(n, shape, backward, relu) for n in (ours, flax))
    steps = {"zoo": zoo_step, "flax": flax_step}
    try:
        steps["torch"] = torch_step(shape, backward, relu)
    except ImportError:
        print("torch is not installed: its column is missing")
    times = {name: [] for name in steps}
    end = time.perf_counter() + SECONDS
    rounds = 0
    while time.perf_counter() < end or rounds < 8:
        rounds += 1
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    medians = {name: 1e3 * statistics.median(values[2:]) for name, values in times.items()}
    return medians, zoo_bytes / 2**20, flax_bytes / 2**20


def main():
    cores = len(os.sched_getaffinity(0))
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, {cores} core(s)\n")
    for title, backward, relu in (
        ("forward", False, False),
        ("forward + backward", True, False),
        ("forward + backward + ReLU", True, True),
    ):
        print(f"### {title}\n")
        print(
            "| shape | zoo [ms] | flax [ms] | torch [ms] | flax / zoo | torch / zoo | zoo temp [MB] | flax temp [MB] |"
        )
        print("|---|---|---|---|---|---|---|---|")
        ratios = []
        for shape in SHAPES:
            ms, zoo_mb, flax_mb = row(shape, backward, relu)
            ratios.append(ms["flax"] / ms["zoo"])
            torch_ms, torch_ratio = (f"{ms['torch']:.2f}", f"{ms['torch'] / ms['zoo']:.2f}") if "torch" in ms else "--"
            print(
                f"| {'x'.join(map(str, shape))} | {ms['zoo']:.2f} | {ms['flax']:.2f} | {torch_ms} "
                f"| {ratios[-1]:.2f} | {torch_ratio} | {zoo_mb:.1f} | {flax_mb:.1f} |",
                flush=True,
            )
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        print(f"\nflax / zoo: geometric mean {mean:.2f}, smallest {min(ratios):.2f}\n")


if __name__ == "__main__":
    main()
