"""A ResNet-50 training step with zoo's layers and with flax's in their place: images a second, one run.

taskset -c 0 python benchmarks/train_step.py
"""

import statistics
import time
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import zoo
from zoo.models import resnet

BATCH, SIZE, STEPS = 8, 224, 4


class FlaxNorm(nn.BatchNorm):
    """flax's normalisation under the calls of ours."""

    momentum: float = 0.9

    def __call__(self, x, *, train):
        return super().__call__(x, use_running_average=not train)


def flax_conv(features, kernel_size, stride=1, *, padding=0, feature_group_count=1, name):
    size, edges = (kernel_size, kernel_size), ((padding, padding),) * 2
    return nn.Conv(features, size, stride, edges, feature_group_count=feature_group_count, use_bias=False, name=name)


CONTESTANTS = {
    "zoo": {},
    "flax's convolution": {"Conv": flax_conv},
    "flax's normalisation": {"BatchNorm": FlaxNorm},
    "both flax's": {"Conv": flax_conv, "BatchNorm": FlaxNorm},
}


def compiled(layers):
    """A step of the net with `layers` put in the place of ours, already compiled; it keeps its own state."""
    with mock.patch.multiple(resnet, **({"Conv": resnet.Conv} | layers)):
        state = zoo.create_train_state(zoo.create("resnet50"), jax.random.key(0), optax.sgd(0.1), (64, 64, 3))
        images = jax.random.normal(jax.random.key(1), (BATCH, SIZE, SIZE, 3))
        batch = {"image": images, "label": jnp.arange(BATCH)}
        step = zoo.make_train_step(zoo.losses.softmax_cross_entropy)
        states = [step(state, batch)[0]]

    def run():
        states[0], metrics = step(states[0], batch)
        jax.block_until_ready(metrics)

    return run


def main():
    steps = {name: compiled(layers) for name, layers in CONTESTANTS.items()}
    times = {name: [] for name in steps}
    for _ in range(STEPS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    print("| layers | images/s |\n|---|---:|")
    for name, values in times.items():
        print(f"| {name} | {BATCH / statistics.median(values):.2f} |")


if __name__ == "__main__":
    main()
