"""How the steps are compiled: by the options of XLA that suit the net, and so that a state stays where it lies."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.layers import choose_compiler_options
from zoo.training.devices import find_mesh
from zoo.training.state import TrainState

Batch = Mapping[str, jax.Array | np.ndarray]  # image, label and perhaps mask, see `zoo.training.step`
Metrics = dict[str, jax.Array]
Result = TypeVar("Result")


class _Step(Generic[Result]):
    """A function of a state and a batch, jitted once for each way in which it is compiled."""

    def __init__(self, step: Callable[[TrainState, Batch], Result]) -> None:
        functools.update_wrapper(self, step)
        self._step = step
        self._jitted: dict[Hashable, Any] = {}

    def __call__(self, state: TrainState, batch: Batch) -> Result:
        return self._choose(state)(state, batch)

    def lower(self, state: TrainState, batch: Batch) -> jax.stages.Lowered:
        return self._choose(state).lower(state, batch)

    def _cache_size(self) -> int:
        return sum(jitted._cache_size() for jitted in self._jitted.values())

    def _choose(self, state: TrainState) -> Any:
        raise NotImplementedError


class TrainStep(_Step[tuple[TrainState, Metrics]]):
    """A jitted `(state, batch) -> (state, metrics)` that donates the state it is given.

    A state that lies on several devices comes back where it was. The step is compiled by the options that suit the net
    (`zoo.layers.choose_compiler_options`), but within another transformation (`jit`, `scan`, `vmap`), which compiles
    all of itself in one way.
    """

    def _choose(self, state: TrainState) -> Any:
        leaves = jax.tree.leaves(state)
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        chosen = choose_compiler_options(state.variables, train=True)
        mesh = None if traced else find_mesh(state)
        places = mesh and (jax.tree.structure(state), *(leaf.sharding for leaf in leaves))
        if (key := (chosen is None, places)) not in self._jitted:
            options: dict[str, Any] = {"compiler_options": chosen}
            if mesh is not None:
                options["out_shardings"] = _find_places(state, mesh)
            step: Any = self._step if mesh is None else functools.partial(_gather_and_step, self._step, mesh)
            self._jitted[key] = jax.jit(step, donate_argnums=0, **options)
        return self._jitted[key]


class EvalStep(_Step[Metrics]):
    """A jitted `(state, batch) -> sums`, compiled by the options that suit the net, as a `TrainStep` is."""

    def _choose(self, state: TrainState) -> Any:
        chosen = choose_compiler_options(state.variables)
        if (key := chosen is None) not in self._jitted:
            self._jitted[key] = jax.jit(self._step, compiler_options=chosen)
        return self._jitted[key]


def _find_places(state: TrainState, mesh: Mesh) -> tuple[Any, NamedSharding]:
    """Where a step's results lie: the new state where the old one did, or it would not fit the compiled step."""
    return jax.tree.map(lambda leaf: leaf.sharding, state), NamedSharding(mesh, PartitionSpec())


def _gather_and_step(
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]], mesh: Mesh, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """The step with whole parameters on every device, wherever their parts lie: they are the same for all rows."""
    whole = jax.lax.with_sharding_constraint(state.params, NamedSharding(mesh, PartitionSpec()))
    return step(state.replace(params=whole), batch)
