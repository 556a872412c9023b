"""Batch statistics against running statistics: compare them layer by layer, or replace the running ones by exact ones.

A batch is the dict of `zoo.train`: `image [N, H, W, C]` and optionally `mask [N]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.batch_norm import BatchNorm, batch_norm_options
from zoo.normalise import align_mask, batch_norm, count_valid

Batch = Mapping[str, Any]


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


def compare_statistics(model: nn.Module, variables: Mapping[str, Any], batch: Batch) -> list[LayerStatistics]:
    """One row for every normalisation, in the order in which the model calls them.

    The model normalises with the batch, as a training step does: these are the statistics that training would blend
    into the running ones. Epsilon is added to both variances, so that a dead channel does not stand out.

    Raises:
      ValueError: the model has no batch normalisation, or the batch has not one valid row.
    """
    measured = _measure(model, "batch")(variables, batch)
    if not measured:
        raise ValueError(f"{type(model).__name__} has no batch normalisation: there is nothing to compare.")
    return [_compare(name, values, _at(variables["batch_stats"], name)) for name, values in measured.items()]


def _compare(name: str, measured: Mapping[str, Any], running: Mapping[str, Any]) -> LayerStatistics:
    if not measured["count"]:
        raise ValueError("the batch's mask leaves no row: there is nothing to compare.")
    epsilon = measured["epsilon"]
    shift = np.abs(measured["mean"] - running["mean"]) / np.sqrt(running["var"] + epsilon)
    ratio = (measured["var"] + epsilon) / (np.asarray(running["var"]) + epsilon)
    return LayerStatistics(
        name,
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


def plot_statistics(rows: Sequence[LayerStatistics]) -> Any:
    """A matplotlib `Figure`: both distances and the range of the variance ratio, layer by layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.25 * len(rows) + 2), 6), layout="constrained")
    means, variances = figure.subplots(2, 1, sharex=True)
    layers = range(len(rows))
    means.plot(layers, [row.distance for row in rows], "o-", label="root mean square over channels")
    means.plot(layers, [row.max_distance for row in rows], ".:", label="largest channel")
    means.set_ylabel("batch mean − running mean\n[running deviations]")
    means.legend()
    variances.fill_between(
        layers, [r.min_ratio for r in rows], [r.max_ratio for r in rows], alpha=0.3, label="all channels"
    )
    variances.plot(layers, [row.variance_ratio for row in rows], "o-", label="geometric mean")
    variances.axhline(1, color="black", linewidth=0.8)
    variances.set_yscale("log")
    variances.set_ylabel("batch variance / running variance")
    variances.set_xticks(layers, [row.layer for row in rows], rotation=90, fontsize="small")
    variances.legend()
    return figure


def recalibrate(
    model: nn.Module, variables: Mapping[str, Any], batches: Iterable[Batch], *, tolerance: float = 1e-6
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
      ValueError: there is no valid row, or the model has no batch normalisation.
    """
    if iter(batches) is batches:
        raise TypeError("recalibrate goes through the batches many times: pass list(batches), not a generator.")
    measure = _measure(model, "running")
    stats = jax.tree.map(np.asarray, variables.get("batch_stats", {}))
    for _ in range(len(jax.tree.leaves(stats)) // 2 + 1):
        population: dict[str, tuple[Any, Any, Any]] = {}
        for batch in batches:
            for name, new in measure({**variables, "batch_stats": stats}, batch).items():
                values = float(new["count"]), np.float64(new["mean"]), np.float64(new["var"])
                population[name] = _merge(population[name], values) if name in population else values
        if not population or not all(count for count, _, _ in population.values()):
            raise ValueError("nothing to recalibrate: no batch normalisation, no batch, or no valid row in any.")
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


def _merge(a, b):
    """Count, mean and biased variance of two sets together (Chan, Golub and LeVeque 1983)."""
    count = a[0] + b[0]
    share = b[0] / max(count, 1)
    mean = a[1] + share * (b[1] - a[1])
    var = (1 - share) * a[2] + share * b[2] + share * (1 - share) * np.square(b[1] - a[1])
    return count, mean, var


def _measure(model, statistics):
    """A function of variables and batch: count, mean, biased variance and epsilon of each normalisation's input."""
    epsilons: dict[str, float] = {}  # in the order of the calls, which a jitted function's dict would lose

    @jax.jit
    def moments(variables, image, mask):
        seen = {}

        def look(call, args, kwargs, context):
            module = context.module
            if isinstance(module, BatchNorm) and context.method_name == "__call__":
                name = "/".join(module.path)
                if name in seen:
                    raise ValueError(f"{name} is called twice: its two inputs have no common statistics to measure.")
                _, mean, var = batch_norm(args[0], None, None, where=mask)
                count = count_valid(align_mask(mask, args[0].shape), args[0].shape, None, mean.dtype)
                seen[name] = {"count": count, "mean": mean, "var": var}
                epsilons[name] = module.epsilon
            return call(*args, **kwargs)

        with batch_norm_options(statistics=statistics, where=mask), nn.intercept_methods(look):
            model.apply(variables, image, train=False)
        return seen

    def measure(variables, batch):
        values = jax.device_get(moments(variables, batch["image"], batch.get("mask")))
        return {name: values[name] | {"epsilon": epsilons[name]} for name in epsilons}

    return measure


def _at(tree, path):
    for key in path.split("/") if path else ():
        tree = tree[key]
    return tree
