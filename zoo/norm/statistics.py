"""Batch statistics against running statistics: compare them layer by layer, or replace the running ones by exact ones.

A batch is the dict of `zoo.training`: `image [N, H, W, C]` and optionally `mask [N]`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.layers.interception import intercept_calls, path_of
from zoo.norm.forward_and_backward import align_mask, batch_norm, count_valid
from zoo.norm.module import BatchNorm
from zoo.norm.options import Statistics, batch_norm_options

Batch = Mapping[str, Any]  # image, and perhaps mask
Variables = Mapping[str, Any]


@dataclass(frozen=True)
class LayerStatistics:
    """How far a batch is from the running statistics of one normalisation.

    Attributes:
      layer: path of the layer, `"layer1_0/bn1"`.
      channels: number of channels.
      distance, max_distance: of the means, in running deviations: root mean square and largest over the channels.
      variance_ratio, min_ratio, max_ratio: batch over running variance: geometric mean, smallest and largest.
    """

    layer: str
    channels: int
    distance: float
    max_distance: float
    variance_ratio: float
    min_ratio: float
    max_ratio: float


def compare_statistics(model: nn.Module, variables: Variables, batch: Batch) -> list[LayerStatistics]:
    """One row for every normalisation, in the order in which the model calls them.

    The model normalises with the batch, as a training step does: these are the statistics that training would blend
    into the running ones. Epsilon is added to both variances, so that a dead channel does not stand out.

    Raises:
      UserError: the model has no batch normalisation, or the batch has not one valid row.
    """
    measured = _measure(model, "batch", variables, batch)
    if not measured:
        raise UserError(f"{type(model).__name__} has no batch normalisation", "there is nothing to compare")
    stats = jax.device_get(variables["batch_stats"])
    return [_compare(layer, _at(stats, layer.name)) for layer in measured]


def _compare(measured: "_Measured", running: Mapping[str, np.ndarray]) -> LayerStatistics:
    if not measured.count:
        raise UserError("the batch's mask leaves no row", "there is nothing to compare")
    shift = np.abs(measured.mean - running["mean"]) / np.sqrt(running["var"] + measured.epsilon)
    ratio = (measured.var + measured.epsilon) / (running["var"] + measured.epsilon)
    return LayerStatistics(
        measured.name,
        shift.size,
        float(np.sqrt(np.mean(np.square(shift)))),
        float(shift.max()),
        float(np.exp(np.mean(np.log(ratio)))),
        float(ratio.min()),
        float(ratio.max()),
    )


def format_statistics(rows: Sequence[LayerStatistics]) -> str:
    """The rows as a table of plain text.

    >>> print(format_statistics([LayerStatistics("bn1", 64, 0.25, 1.5, 0.9, 0.5, 2.0)]))
    layer  channels  mean off by  at most  variance times    from      to
    bn1          64        0.250    1.500           0.900   0.500   2.000
    """
    width = max(len("layer"), *(len(row.layer) for row in rows))
    lines = [f"{'layer':<{width}}  channels  mean off by  at most  variance times    from      to"]
    for row in rows:
        means = f"{row.distance:11.3f}  {row.max_distance:7.3f}"
        ratios = f"{row.variance_ratio:14.3f}  {row.min_ratio:6.3f}  {row.max_ratio:6.3f}"
        lines.append(f"{row.layer:<{width}}  {row.channels:8}  {means}  {ratios}")
    return "\n".join(lines)


def recalibrate(
    model: nn.Module, variables: Variables, batches: Iterable[Batch], *, tolerance: float = 1e-6
) -> dict[str, Any]:
    """`variables` with the exact population statistics of the batches as running statistics ("precise BN").

    Exact means: with the new running statistics in use, every normalisation sees inputs of just that mean and that
    (unbiased) variance over all valid rows of all batches. These statistics exist, are unique, and do not depend on
    how the rows are ordered or batched. (Normalising with each batch while measuring, as is often done, does.)

    A pass over the batches measures all layers and makes exact those whose predecessors already were, so it takes as
    many passes as the longest chain of normalisations, one more to see that nothing changes, and usually fewer: it
    stops when no mean moves by more than `tolerance` deviations and no variance by more than that share.

    Args:
      batches: can be gone through many times: a list, not a generator. Another shape compiles another time.

    Raises:
      TypeError: batches is a generator.
      UserError: there is no valid row, or the model has no batch normalisation.
    """
    if iter(batches) is batches:
        raise TypeError("recalibrate goes through the batches many times: pass list(batches), not a generator.")
    stats = jax.tree.map(np.asarray, variables.get("batch_stats", {}))
    for _ in range(len(jax.tree.leaves(stats)) // 2 + 1):
        population: dict[str, Moments] = {}
        for batch in batches:
            for new in _measure(model, "running", {**variables, "batch_stats": stats}, batch):
                values = float(new.count), np.asarray(new.mean, float), np.asarray(new.var, float)
                population[new.name] = _merge(population[new.name], values) if new.name in population else values
        if not population or not all(count for count, _, _ in population.values()):
            raise UserError("nothing to recalibrate", "no batch normalisation, no batch, or no valid row in any")
        change = 0.0
        for name, (count, mean, var) in population.items():
            old = _at(stats, name)
            unbiased = var * count / max(count - 1, 1)
            deviation = np.sqrt(unbiased + np.finfo(np.float32).tiny)
            moved = np.abs(mean - old["mean"]) / deviation
            scaled = np.abs(unbiased - old["var"]) / (unbiased + np.finfo(np.float32).tiny)
            change = max(change, float(moved.max()), float(scaled.max()))
            old["mean"], old["var"] = mean.astype(old["mean"].dtype), unbiased.astype(old["var"].dtype)
        if change <= tolerance:
            break
    return {**variables, "batch_stats": jax.tree.map(jnp.asarray, stats)}


Moments = tuple[float, np.ndarray, np.ndarray]  # count, mean and biased variance of one normalisation's input


def _merge(a: Moments, b: Moments) -> Moments:
    """Count, mean and biased variance of two sets together (Chan, Golub and LeVeque 1983)."""
    count = a[0] + b[0]
    share = b[0] / max(count, 1)
    mean = a[1] + share * (b[1] - a[1])
    var = (1 - share) * a[2] + share * b[2] + share * (1 - share) * np.square(b[1] - a[1])
    return count, mean, var


@flax.struct.dataclass
class _Measured:
    """Count, mean and biased variance of one normalisation's input."""

    name: str = flax.struct.field(pytree_node=False)
    epsilon: float = flax.struct.field(pytree_node=False)
    count: jax.Array
    mean: jax.Array
    var: jax.Array


def _measure(model: nn.Module, statistics: Statistics, variables: Variables, batch: Batch) -> list[_Measured]:
    """What each normalisation sees, on the host and in the order of the calls."""
    return jax.device_get(_measure_on_device(model, statistics, variables, batch["image"], batch.get("mask")))


@partial(jax.jit, static_argnums=(0, 1))  # here, not in each call: compiled once for a model and its shapes
def _measure_on_device(
    model: nn.Module, statistics: Statistics, variables: Variables, image: jax.Array, mask: jax.Array | None
) -> list[_Measured]:
    seen: dict[str, _Measured] = {}

    def look(module: nn.Module, x: jax.Array, call: Callable[[], jax.Array]) -> jax.Array:
        name = path_of(module)
        if name in seen:
            raise UserError(f"{name} is called twice", "its two inputs have no common statistics to measure")
        _, mean, var = batch_norm(x, None, None, where=mask)
        count = count_valid(align_mask(mask, x.shape), x.shape, None, mean.dtype)
        seen[name] = _Measured(name, float(module.epsilon), count, mean, var)
        return call()

    with batch_norm_options(statistics=statistics, where=mask), intercept_calls(BatchNorm, look):
        model.apply(variables, image, train=False)
    return list(seen.values())


def _at(tree: Mapping[str, Any], path: str) -> Any:
    for key in path.split("/") if path else ():
        tree = tree[key]
    return tree
