"""How everything here is measured: contestants take turns, each on arrays of its own, and the median of each is told.

So whatever else the machine does meets all of them, and all find the cache as somebody else has left it.
"""

import math
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

Call = Callable[..., object]


def compiled(function: Callable, *args: jax.Array, repeats: int = 1) -> tuple[Call, float]:
    """A call that computes the compiled function `repeats` times on copies of these arrays, and its temporary MiB.

    Results are written over the previous ones: fresh memory costs up to as much again, and when is a matter of chance.
    The call waits for them, once and not with `wait=False`: an accelerator computes while the host goes on.
    """
    args = tuple(map(jnp.copy, args))
    results = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, *args))
    jitted = jax.jit(lambda results, *args: function(*args), donate_argnums=0, keep_unused=True)
    step = jitted.lower(results, *args).compile()
    kept = [results]

    def call(*, wait: bool = True):
        for _ in range(repeats):
            kept[0] = step(kept[0], *args)
        if wait:
            jax.block_until_ready(kept[0])

    return call, step.memory_analysis().temp_size_in_bytes / 2**20


def forward_and_back(function: Callable, dout: jax.Array) -> Callable:
    """The function's value, and the gradients of all its arguments."""

    def both(*args):
        y, back = jax.vjp(function, *args)
        return y, back(dout)

    return both


def medians(calls: Mapping[str, Call], *, seconds: float = 4.0, rounds: int = 8) -> dict[str, float]:
    """Median milliseconds of each, over at least so many seconds and rounds; two rounds before that do not count.

    Who comes first changes from round to round, and so does who follows whom.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[order[0]]) < rounds + 2:
        shuffle(order)
        for name in order:
            start = time.perf_counter()
            calls[name]()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


@dataclass(frozen=True)
class Comparison:
    """A figure of zoo beside another one, in the same unit.

    Attributes:
      what: is compared.
      unit: "ms", "images/s", or "distance", which is held to what is allowed.
      ours, theirs: the two figures.
      rival: whose the other figure is.
      share: of what the machine could do at best, zoo's.
    """

    what: str
    unit: str
    ours: float
    rival: str
    theirs: float
    share: float | None = None

    @property
    def gain(self) -> float:
        """Above 1 it is zoo that is ahead, or within what is allowed."""
        better, worse = (self.ours, self.theirs) if self.unit == "images/s" else (self.theirs, self.ours)
        return better / worse if worse else math.inf

    @property
    def cells(self) -> list[str]:
        """Of the row of a table under `HEADINGS`."""
        ours, theirs = (
            f"{value:.1e}" if self.unit == "distance" else f"{value:,.3f}" for value in (self.ours, self.theirs)
        )
        share = "-" if self.share is None else f"{self.share:.0%}"
        return [self.what, self.unit, ours, self.rival, theirs, f"{self.gain:.2f}", share]


HEADINGS = ("what", "unit", "zoo", "rival", "the rival's", "gain", "roofline")


def print_machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "an unknown CPU")
    print(f"{time.strftime('%d %B %Y')}, jax {jax.__version__}, {len(os.sched_getaffinity(0))} core(s) of {cpu}\n")


def print_head(*headings: str):
    print("| " + " | ".join(headings) + " |")
    print("|---" + "|---:" * (len(headings) - 1) + "|")


def print_row(*cells: str | float):
    print("| " + " | ".join(cell if isinstance(cell, str) else f"{cell:.2f}" for cell in cells) + " |", flush=True)
