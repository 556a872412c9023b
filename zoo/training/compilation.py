"""How a training step is compiled: on a CPU by options of XLA that make it faster, where this XLA has them."""

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.training.devices import find_mesh
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

    A state that lies on several devices comes back where it was. The step is compiled by the options that suit the net,
    but within another transformation (`jit`, `scan`, `vmap`), which compiles all of itself in one way.
    """

    def __init__(self, step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]) -> None:
        functools.update_wrapper(self, step)
        self._step = step
        self._jitted: dict[Hashable, Any] = {}

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self._choose(state)(state, batch)

    def lower(self, state: TrainState, batch: Batch) -> jax.stages.Lowered:
        return self._choose(state).lower(state, batch)

    def _cache_size(self) -> int:
        return sum(jitted._cache_size() for jitted in self._jitted.values())

    def _choose(self, state: TrainState) -> Any:
        leaves = jax.tree.leaves(state)
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        fast = not traced and runs_on_cpu(leaves) and has_wide_kernels(state.params) and accepts_options()
        mesh = None if traced else find_mesh(state)
        places = mesh and (jax.tree.structure(state), *(leaf.sharding for leaf in leaves))
        if (fast, places) not in self._jitted:
            options: dict[str, Any] = {"compiler_options": OWN_CONVOLUTIONS} if fast else {}
            if mesh is not None:
                options["out_shardings"] = _find_places(state, mesh)
            step: Any = self._step if mesh is None else functools.partial(_gather_and_step, self._step, mesh)
            self._jitted[fast, places] = jax.jit(step, donate_argnums=0, **options)
        return self._jitted[fast, places]


def _find_places(state: TrainState, mesh: Mesh) -> tuple[Any, NamedSharding]:
    """Where a step's results lie: the new state where the old one did, or it would not fit the compiled step."""
    return jax.tree.map(lambda leaf: leaf.sharding, state), NamedSharding(mesh, PartitionSpec())


def _gather_and_step(
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]], mesh: Mesh, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """The step with whole parameters on every device, wherever their parts lie: they are the same for all rows."""
    whole = jax.lax.with_sharding_constraint(state.params, NamedSharding(mesh, PartitionSpec()))
    return step(state.replace(params=whole), batch)


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
