"""1x1 convolution and max pool, forward and backward, beside flax's: time and temporary memory.

taskset -c 0 python benchmarks/layers.py
"""

from functools import partial

import flax.linen as nn
import jax
from side_by_side import compiled, forward_and_back, medians, print_head, print_machine, print_row

from zoo.layers import Conv, max_pool

CONVOLUTIONS = (  # shape, features: the two of a bottleneck in each stage of ResNet-50
    ((8, 56, 56, 64), 256),
    ((8, 56, 56, 256), 64),
    ((8, 28, 28, 128), 512),
    ((8, 28, 28, 512), 128),
    ((8, 14, 14, 256), 1024),
    ((8, 14, 14, 1024), 256),
    ((8, 7, 7, 512), 2048),
    ((8, 7, 7, 2048), 512),
)
POOLS = (  # shape, window, stride, padding
    ((8, 112, 112, 64), 3, 2, 1),  # ResNet's
    ((8, 56, 56, 128), 2, 2, 0),  # VGG's
    ((8, 28, 28, 256), 3, 1, 1),  # GoogLeNet's, in every block
)


def print_pair(label, ours, theirs, *args, out_shape):
    dout = jax.random.normal(jax.random.key(1), out_shape)
    contestants = {"zoo": ours, "flax": theirs}
    both = {name: compiled(forward_and_back(f, dout), *args) for name, f in contestants.items()}
    ms = medians({name: call for name, (call, _) in both.items()})
    print_row(label, ms["zoo"], ms["flax"], ms["flax"] / ms["zoo"], *(memory for _, memory in both.values()))


def main():
    print_machine()
    print_head("layer, forward + backward", "zoo [ms]", "flax [ms]", "flax / zoo", "zoo temp [MiB]", "flax temp [MiB]")
    for shape, features in CONVOLUTIONS:
        x = jax.random.normal(jax.random.key(0), shape)
        ours, theirs = Conv(features, 1), nn.Conv(features, (1, 1), use_bias=False)
        variables = ours.init(jax.random.key(0), x)
        label = f"1x1 convolution, {'x'.join(map(str, shape))} to {features}"
        print_pair(
            label,
            lambda kernel, x, layer=ours: layer.apply({"params": {"kernel": kernel}}, x),
            lambda kernel, x, layer=theirs: layer.apply({"params": {"kernel": kernel}}, x),
            variables["params"]["kernel"],
            x,
            out_shape=(*shape[:-1], features),
        )
    for shape, window, stride, padding in POOLS:
        x = nn.relu(jax.random.normal(jax.random.key(0), shape))
        edges = ((padding, padding),) * 2
        ours = partial(max_pool, window=window, stride=stride, padding=padding)
        theirs = partial(nn.max_pool, window_shape=(window, window), strides=(stride, stride), padding=edges)
        label = f"max pool {window}x{window} / {stride}, {'x'.join(map(str, shape))}"
        print_pair(label, ours, theirs, x, out_shape=ours(x).shape)


if __name__ == "__main__":
    main()
