"""A ResNet-50 training step with zoo's layers and with others in their place: images a second, one run.

taskset -c 0 python benchmarks/train_step.py
"""

from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import prototype
from side_by_side import medians, print_head, print_machine, print_row

import zoo
from zoo.models import resnet

BATCH, SIZE = 8, 224


class FlaxNorm(nn.BatchNorm):
    """flax's normalisation under the calls of ours."""

    momentum: float = 0.9

    def __call__(self, x, *, train):
        return super().__call__(x, use_running_average=not train)


def flax_conv(features, kernel_size, stride=1, *, padding=0, feature_group_count=1, name):
    size, edges = (kernel_size, kernel_size), ((padding, padding),) * 2
    return nn.Conv(features, size, stride, edges, feature_group_count=feature_group_count, use_bias=False, name=name)


def flax_max_pool(x, window, stride, padding=0):
    return nn.max_pool(x, (window, window), (stride, stride), ((padding, padding),) * 2)


def prototype_conv(features, kernel_size, stride=1, *, name, **options):
    if kernel_size == 1:
        return prototype.PointwiseConv(features, stride, name=name)
    return flax_conv(features, kernel_size, stride, name=name, **options)


FLAX = {"Conv": flax_conv, "BatchNorm": FlaxNorm, "max_pool": flax_max_pool}
CONTESTANTS = {
    "zoo's": {},
    "zoo's but the prototype's normalisation": {"BatchNorm": prototype.BatchNorm},
    "zoo's but flax's normalisation": {"BatchNorm": FlaxNorm},
    "zoo's but flax's convolutions": {"Conv": flax_conv},
    "zoo's but flax's max pool": {"max_pool": flax_max_pool},
    "flax's but the prototype's normalisation and 1x1 convolutions": FLAX
    | {"Conv": prototype_conv, "BatchNorm": prototype.BatchNorm},
    "flax's": FLAX,
}


def compiled(layers):
    """A step of the net with `layers` put in the place of ours, already compiled; it keeps its own state."""
    with mock.patch.multiple(resnet, **({"Conv": resnet.Conv} | layers)):
        state = zoo.create_train_state(zoo.create("resnet50"), jax.random.key(0), optax.sgd(0.1), (64, 64, 3))
        images = jax.random.normal(jax.random.key(1), (BATCH, SIZE, SIZE, 3))
        batch = {"image": images, "label": jnp.arange(BATCH)}
        step = zoo.make_train_step(zoo.losses.softmax_cross_entropy).lower(state, batch).compile()
    states = [state]

    def call():
        states[0], metrics = step(states[0], batch)
        jax.block_until_ready(metrics)

    return call, step.memory_analysis().temp_size_in_bytes / 2**20


def main():
    print_machine()
    steps = {name: compiled(layers) for name, layers in CONTESTANTS.items()}
    times = medians({name: call for name, (call, _) in steps.items()})
    print_head("layers", "images/s", "temp [MiB]")
    for name, (_, memory) in steps.items():
        print_row(name, 1e3 * BATCH / times[name], memory)


if __name__ == "__main__":
    main()
