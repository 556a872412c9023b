"""How a training step is compiled: on a CPU by options of XLA that make it faster, where this XLA has them."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError

from zoo.training.state import TrainState

Batch = Mapping[str, jax.Array | np.ndarray]  # image, label and perhaps mask, see `zoo.training.step`
Metrics = dict[str, jax.Array]

# jaxlib gives all convolutions to YNNPACK, whose gradients of kernels are up to three times as slow as XLA's own.
# Sums and products stay with it.
OWN_CONVOLUTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
}
WIDE = 32  # input channels from which on XLA's own convolutions are the faster ones
MOST = 0.95  # of the weights of a net's kernels


class TrainStep:
    """A jitted `(state, batch) -> (state, metrics)` that donates the state it is given.

    It is compiled by the options that suit the net, but within another transformation (`jit`, `scan`, `vmap`), which
    compiles all of itself in one way.
    """

    def __init__(self, step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]) -> None:
        functools.update_wrapper(self, step)
        self._plain: Any = jax.jit(step, donate_argnums=0)
        self._fast: Any = jax.jit(step, donate_argnums=0, compiler_options=OWN_CONVOLUTIONS)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self._choose(state)(state, batch)

    def lower(self, state: TrainState, batch: Batch) -> jax.stages.Lowered:
        return self._choose(state).lower(state, batch)

    def _cache_size(self) -> int:
        return self._plain._cache_size() + self._fast._cache_size()

    def _choose(self, state: TrainState) -> Any:
        leaves = jax.tree.leaves(state)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or not runs_on_cpu(leaves):
            return self._plain
        return self._fast if has_wide_kernels(state.params) and accepts_options() else self._plain


def runs_on_cpu(leaves: list[Any]) -> bool:
    """Whether the arrays are on a CPU; shapes alone are where JAX computes by default."""
    devices = {device.platform for leaf in leaves if isinstance(leaf, jax.Array) for device in leaf.devices()}
    return (devices or {jax.default_backend()}) == {"cpu"}


def has_wide_kernels(params: Any) -> bool:
    """Whether nearly all weights of the kernels larger than 1x1 have many input channels: not so in ResNeXt."""
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 4 and leaf.shape[:2] != (1, 1)]
    wide = sum(math.prod(shape) for shape in kernels if shape[2] >= WIDE)
    return wide > MOST * sum(map(math.prod, kernels))


@functools.cache
def accepts_options() -> bool:
    """Whether this version of XLA knows them: they are experimental."""
    try:
        jax.jit(lambda x: x, compiler_options=OWN_CONVOLUTIONS).lower(0.0).compile()
    except JaxRuntimeError:
        return False
    return True
