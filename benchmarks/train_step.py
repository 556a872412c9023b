"""A ResNet-50 training step with zoo's layers and with others in their place: images a second, one run.

taskset -c 0 python benchmarks/train_step.py
"""

import jax
import jax.numpy as jnp
import optax
import prototype
from side_by_side import medians, print_head, print_machine, print_row

import zoo
from zoo.bench import flax_layers

BATCH, SIZE = 8, 224


def prototype_conv(features, kernel_size, stride=1, *, name, **options):
    if kernel_size == 1:
        return prototype.PointwiseConv(features, stride, name=name)
    return flax_layers.conv(features, kernel_size, stride, name=name, **options)


FLAX = flax_layers.LAYERS
CONTESTANTS = {
    "zoo's": {},
    "zoo's but the prototype's normalisation": {"BatchNorm": prototype.BatchNorm},
    "zoo's but flax's normalisation": {"BatchNorm": flax_layers.BatchNorm},
    "zoo's but flax's convolutions": {"Conv": flax_layers.conv},
    "zoo's but flax's max pool": {"max_pool": flax_layers.max_pool},
    "flax's but the prototype's normalisation and 1x1 convolutions": FLAX
    | {"Conv": prototype_conv, "BatchNorm": prototype.BatchNorm},
    "flax's": FLAX,
}


def compiled(layers):
    """A step of the net with `layers` put in the place of ours, already compiled; it keeps its own state."""
    model = flax_layers.models_of(layers).create("resnet50")
    state = zoo.create_train_state(model, jax.random.key(0), optax.sgd(0.1), (64, 64, 3))
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
