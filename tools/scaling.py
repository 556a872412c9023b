"""What data parallelism costs: the bytes of a step and, by arithmetic, its time on 8, 256 and 4,096 chips.

    python -m tools.scaling [MODEL] [--images N] [--step-ms MS] [--link-gbit GBIT]

prints the table of docs/many_devices.md. Nothing here is measured on many chips: the time of a step is that of one
device, the rest is division. Of n devices each sends and receives every byte almost twice, 2 (n - 1) / n times, and a
tree of them makes 2 log2(n) hops for every message. There is one message for all gradients, and two for each
normalisation, forward and backward, which cannot wait for one another.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp

import zoo

CHIPS = (8, 256, 4096)
HOP = 5e-6  # seconds from one device to another, assumed


@dataclass(frozen=True)
class Setting:
    """A device and its link.

    Attributes:
      name: of the two.
      images: on each device in a step.
      seconds: of a step on one device.
      bytes_per_second: of a device's link, in one direction.
      source: where the numbers are from.
    """

    name: str
    images: int
    seconds: float
    bytes_per_second: float
    source: str


SETTINGS = (
    Setting("CPU core, 10 Gbit/s Ethernet", 8, 1.243, 10e9 / 8, "measured: benchmarks/README.md"),
    Setting("chip, 400 Gbit/s network", 256, 0.1, 400e9 / 8, "assumed: 2,560 images/s on one chip"),
    Setting("chip, 100 Gbit/s network", 256, 0.1, 100e9 / 8, "assumed: 2,560 images/s on one chip"),
)


@dataclass(frozen=True)
class Exchange:
    """What a step hands over: bytes of gradients and of the sums of normalisations, and in how many messages."""

    gradients: int
    sums: int
    messages: int


def count_exchange(name: str) -> Exchange:
    """Of a net in float32, as tests/training/test_devices.py counts it in a compiled step."""
    model, row = zoo.create(name), zoo.variant(name)
    images = jnp.zeros((1, row.image_size, row.image_size, row.channels))
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    statistics = jax.tree.leaves(shapes.get("batch_stats", {}))  # a mean and a variance of each
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    return Exchange(4 * parameters, 4 * 2 * sum(leaf.size for leaf in statistics), 1 + len(statistics))


def time_exchange(exchange: Exchange, devices: int, bytes_per_second: float) -> float:
    """Seconds of all messages, one after another.

    >>> round(time_exchange(Exchange(10**9, 0, 1), 2, 1e9), 3)
    1.0
    """
    size, hops = exchange.gradients + exchange.sums, 2 * math.ceil(math.log2(devices))
    return 2 * (devices - 1) / devices * size / bytes_per_second + exchange.messages * hops * HOP


def tabulate(name: str, settings: tuple[Setting, ...]) -> Iterator[str]:
    """The table in Markdown. The link is taken to be idle while a device computes: the worst case."""
    exchanged = count_exchange(name)
    yield "| each device | devices | batch | step on one | exchange | step | images/s | efficiency |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for setting in settings:
        for chips in CHIPS:
            exchange = time_exchange(exchanged, chips, setting.bytes_per_second)
            step = setting.seconds + exchange
            cells = (
                setting.name,
                f"{chips:,}",
                f"{chips * setting.images:,}",
                f"{1e3 * setting.seconds:,.0f} ms",
                f"{1e3 * exchange:,.1f} ms",
                f"{1e3 * step:,.0f} ms",
                f"{chips * setting.images / step:,.0f}",
                f"{setting.seconds / step:.1%}",
            )
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="resnet50")
    parser.add_argument("--images", type=int, help="on each device in a step")
    parser.add_argument("--step-ms", type=float, help="of one device, as `zoo bench MODEL` measures it")
    parser.add_argument("--link-gbit", type=float, default=100.0, help="per second")
    given = parser.parse_args()
    settings = SETTINGS
    if given.step_ms:
        link = f"{given.link_gbit:g} Gbit/s"
        own = Setting(link, given.images or 1, given.step_ms / 1e3, given.link_gbit * 1e9 / 8, "given")
        settings = (own,)
    exchanged = count_exchange(given.model)
    print(f"gradients {exchanged.gradients:,} bytes, sums of normalisations {exchanged.sums:,}, ", end="")
    print(f"in {exchanged.messages} messages\n")
    print(*tabulate(given.model, settings), sep="\n")


if __name__ == "__main__":
    main()
