"""Where a training's arrays lie: the state on all devices of a mesh, the rows of each batch shared out among them.

Nothing else has to know: `jit` sees one batch and one net, and XLA puts the sums over the devices where they belong.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zoo.errors import UserError
from zoo.training.state import TrainState

AXIS = "batch"
LARGE = 2**16  # elements, from which on an array is worth being cut up


def make_mesh(devices: int | None = None) -> Mesh | None:
    """One axis over the devices of all processes; None where that is a single device, which needs no mesh.

    Args:
      devices: so many of each process. By default all, but where `jax.default_device` names one, it alone.

    Raises:
      UserError: there are not so many.
    """
    own, processes, config = jax.local_device_count(), jax.process_count(), cast("Any", jax.config)
    if devices is not None and not 1 <= devices <= own:
        raise UserError(f"devices is {devices}", f"it must be from 1 to {own}, the devices that are here")
    if devices is None and processes == 1 and config.jax_default_device is not None:
        return None
    chosen = [jax.local_devices(process)[: devices or own] for process in range(processes)]
    flat = [device for ones in chosen for device in ones]
    return Mesh(np.array(flat), (AXIS,), axis_types=(AxisType.Auto,)) if len(flat) > 1 else None


def find_mesh(tree: Any) -> Mesh | None:
    """The mesh on whose devices the arrays of a tree lie; None where they are on a single device."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
            sharding = leaf.sharding
            if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh) and sharding.mesh.size > 1:
                return sharding.mesh
    return None


def place_state(state: TrainState, mesh: Mesh, *, shard_parameters: bool = False) -> TrainState:
    """The state on all devices of the mesh: a copy on each, or large arrays cut into as many parts.

    Cut are parameters, their averages and what the optimiser keeps of each, by one rule (`choose_spec`). The step
    brings the parameters together where it computes with them.
    """

    def place(leaf: jax.Array) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        values = np.asarray(leaf)
        spec = choose_spec(leaf.shape, mesh.size) if shard_parameters else PartitionSpec()
        return jax.make_array_from_callback(leaf.shape, NamedSharding(mesh, spec), lambda part: values[part].copy())

    return jax.tree.map(place, state)


def choose_spec(shape: tuple[int, ...], devices: int) -> PartitionSpec:
    """The longest axis that the devices divide is cut, the last of equal ones; small arrays stay whole.

    >>> tuple(choose_spec((3, 3, 256, 512), 8)), tuple(choose_spec((512,), 8))
    ((None, None, None, 'batch'), ())
    """
    axes = [axis for axis, length in enumerate(shape) if length % devices == 0]
    if math.prod(shape) < LARGE or not axes:
        return PartitionSpec()
    longest = max(axes, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*[None] * longest, AXIS)


def replicate(tree: Any) -> Any:
    """The tree with a copy of every array on each device of its mesh; as it is where it has none."""
    mesh = find_mesh(tree)
    if mesh is None or all(leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))(tree)


def share_batch(batch: Mapping[str, Any], mesh: Mesh | None) -> dict[str, Any]:
    """The rows that this process read, as its part of one batch on the mesh; without a mesh, the batch as it is.

    Where the devices do not divide them, they are filled up with rows that the mask leaves out.
    """
    if mesh is None:
        return dict(batch)
    rows, own = len(batch["image"]), sum(one.process_index == jax.process_index() for one in mesh.devices.flat)
    missing = -rows % own
    if missing:
        batch = {"mask": np.ones(rows, bool), **batch}
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    def share(values: Any) -> jax.Array:
        filled = np.pad(values, [(0, missing), *[(0, 0)] * (np.ndim(values) - 1)]) if missing else np.asarray(values)
        return jax.make_array_from_process_local_data(sharding, filled)

    return {name: share(values) for name, values in batch.items()}


def check_groups(batch_size: int, group_size: int | None, mesh: Mesh | None) -> None:
    """Raises `UserError` where a batch would have to be filled up, and its groups would not be those of the recipe."""
    if mesh is not None and group_size is not None and batch_size % mesh.size:
        problem = f"batch_size is {batch_size}, on {mesh.size} devices and with groups of {group_size}"
        raise UserError(problem, "it must be a multiple of the devices, or use fewer")
