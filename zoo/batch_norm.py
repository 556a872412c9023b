"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167): the function, its Linen module and its options."""

import contextlib
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

STATISTICS = ("batch", "running")


def batch_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    epsilon: float = 1e-5,
    where: Array | None = None,
    axis_name: str | tuple[str, ...] | None = None,
    group_size: int | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise every channel over all other axes, then scale and shift it.

    Args:
      x: `[..., C]` floating-point, rank 2 or more.
      scale: `[C]`, or None for ones.
      bias: `[C]`, or None for zeros.
      epsilon: added to the variance.
      where: booleans whose axes are the first axes of `x` (`[N]` for padded rows): what is False
        counts for nothing, comes out as zero and gets zero gradient.
      axis_name: axes of `shard_map` or `pmap` over which the statistics are joined.
      group_size: normalise each group of so many consecutive examples by itself (ghost batch
        normalisation, arXiv:1705.08741). Groups do not cross devices.

    Returns:
      `y` like `x`; the mean and the biased variance `[C]` over all that counts (over all groups
      and devices), float32, or float64 for a float64 `x`.
    """
    _check(x, scale, bias, epsilon)
    kind = _wide(x)
    channels = x.shape[-1]
    scale = jnp.ones(channels, kind) if scale is None else scale.astype(kind)
    bias = jnp.zeros(channels, kind) if bias is None else bias.astype(kind)
    where = _leading(where, x.shape)
    if group_size is None:
        return _normalise(x, scale, bias, where, epsilon, axis_name)
    if group_size < 1 or x.shape[0] % group_size:
        raise ValueError(
            f"group_size={group_size} does not divide the batch of {x.shape[0]}: choose a divisor."
        )
    groups = (x.shape[0] // group_size, group_size)
    grouped = jax.vmap(lambda x, where: _normalise(x, scale, bias, where, epsilon, None))
    mask = jnp.broadcast_to(True if where is None else where, x.shape[:-1] + (1,))
    mask = mask.reshape(groups + mask.shape[1:])
    y, _, _ = grouped(x.reshape(groups + x.shape[1:]), mask)
    mean, var = _moments(x.astype(kind), where, axis_name)
    return y.reshape(x.shape), mean, var


def _normalise(x, scale, bias, where, epsilon, axis_name):
    wide = x.astype(_wide(x))
    if where is not None:
        wide = jnp.where(where, wide, jnp.zeros((), wide.dtype))
    mean, var = _moments(wide, where, axis_name)
    lead = (1,) * (x.ndim - 1) + (-1,)
    factor = scale * lax.rsqrt(var + jnp.asarray(epsilon, var.dtype))
    y = (wide - mean.reshape(lead)) * factor.reshape(lead) + bias.reshape(lead)
    if where is not None:
        y = jnp.where(where, y, jnp.zeros((), y.dtype))
    return y.astype(x.dtype), mean, var


def _moments(x, where, axis_name):
    axes = tuple(range(x.ndim - 1))
    total = jnp.maximum(_count(where, x.shape, axis_name).astype(x.dtype), 1)

    def average(value):
        summed = jnp.sum(value, axes, where=where)
        return (summed if axis_name is None else lax.psum(summed, axis_name)) / total

    mean = average(x)
    return mean, average(jnp.square(x - mean.reshape((1,) * len(axes) + (-1,))))


def _wide(x):
    """The type in which statistics are kept: float32, or float64 for float64."""
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


def _count(where, shape, axis_name):
    """Number of elements per channel that count, over all devices."""
    if where is None:
        count = jnp.asarray(jnp.prod(jnp.asarray(shape[:-1])), jnp.float32)
    else:
        count = jnp.sum(jnp.broadcast_to(where, (*shape[:-1], 1)), dtype=jnp.float32)
    return count if axis_name is None else lax.psum(count, axis_name)


def _leading(where: Array | None, shape: tuple[int, ...]) -> Array | None:
    """`where` with its axes put first and the rest, channels included, as ones."""
    if where is None:
        return None
    where = jnp.asarray(where)
    if where.dtype != jnp.bool_:
        raise TypeError(f"where must be boolean, not {where.dtype}: compare first, e.g. where=mask > 0.")
    fits = where.ndim < len(shape) and all(w in (1, s) for w, s in zip(where.shape, shape, strict=False))
    if not fits:
        raise ValueError(f"where of shape {where.shape} does not match the first axes of x, {shape[:-1]}.")
    return where.reshape(where.shape + (1,) * (len(shape) - where.ndim))


def _check(x, scale, bias, epsilon):
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"batch_norm needs floating-point input, not {x.dtype}: use x.astype(jnp.float32).")
    if x.ndim < 2:
        raise ValueError(
            f"batch_norm needs [..., channels] of rank 2 or more, not {x.shape}: add a batch axis."
        )
    for name, value in (("scale", scale), ("bias", bias)):
        if value is not None and value.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} has shape {value.shape} but x {x.shape} has {x.shape[-1]} channels (last axis)."
            )
    if not epsilon > 0:
        raise ValueError(f"epsilon={epsilon} must be positive: it keeps constant channels finite.")


class BatchNorm(nn.Module):
    """Batch normalisation with running statistics."""

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    axis_name: str | tuple[str, ...] | None = None
    group_size: int | None = None
    param_dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        train: bool,
        statistics: str | None = None,
        where: Array | None = None,
        axis_name: str | tuple[str, ...] | None = None,
        group_size: int | None = None,
    ) -> Array:
        if not 0 <= self.momentum <= 1:
            raise ValueError(
                f"momentum={self.momentum} must lie in [0, 1]: the share of the old value that is kept."
            )
        if statistics not in (None, *STATISTICS):
            raise ValueError(f"statistics={statistics!r} is unknown: use one of {STATISTICS}.")
        if statistics is None:
            statistics = "batch" if train else "running"
        _check(x, None, None, self.epsilon)
        channels = x.shape[-1:]
        scale = self.param("scale", self.scale_init, channels, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, channels, self.param_dtype) if self.use_bias else None
        kind = _wide(x)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if statistics == "running":
            return _apply_running(x, scale, bias, running_mean.value, running_var.value, self.epsilon)
        writes = train and not self.is_initializing()
        if writes and not self.is_mutable_collection("batch_stats"):
            raise ValueError(
                f"BatchNorm {self.path} with train=True writes its running statistics: "
                'pass mutable=["batch_stats"] to apply, or statistics="batch" with train=False to write nothing.'
            )
        axis_name = self.axis_name if axis_name is None else axis_name
        if self.is_initializing():
            axis_name = None
        group_size = self.group_size if group_size is None else group_size
        y, mean, var = batch_norm(
            x, scale, bias, epsilon=self.epsilon, where=where, axis_name=axis_name, group_size=group_size
        )
        if writes:
            count = _count(_leading(where, x.shape), x.shape, axis_name).astype(kind)
            mean = jnp.where(count > 0, mean, running_mean.value.astype(kind))
            unbiased = var * (count / jnp.maximum(count - 1, 1))
            var = jnp.where(count > 1, unbiased, running_var.value.astype(kind))
            for variable, new in ((running_mean, mean), (running_var, var)):
                new = lax.stop_gradient(new).astype(variable.value.dtype)
                variable.value = self.momentum * variable.value + (1 - self.momentum) * new
        return y


def _apply_running(x, scale, bias, mean, var, epsilon):
    kind = _wide(x)
    factor = lax.rsqrt(var.astype(kind) + jnp.asarray(epsilon, kind))
    if scale is not None:
        factor = factor * scale.astype(kind)
    lead = (1,) * (x.ndim - 1) + (-1,)
    y = (x.astype(kind) - mean.astype(kind).reshape(lead)) * factor.reshape(lead)
    if bias is not None:
        y = y + bias.astype(kind).reshape(lead)
    return y.astype(x.dtype)


@contextlib.contextmanager
def batch_norm_options(**options: Any) -> Iterator[None]:
    """Hand call options to every `BatchNorm` called inside: where, axis_name, group_size, statistics.

    >>> with batch_norm_options(where=mask):  # doctest: +SKIP
    ...     logits, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
    """
    unknown = set(options) - {"where", "axis_name", "group_size", "statistics"}
    if unknown:
        raise TypeError(f"unknown options {sorted(unknown)}: use where, axis_name, group_size or statistics.")

    def hand_over(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            kwargs = options | kwargs
        return call(*args, **kwargs)

    with nn.intercept_methods(hand_over):
        yield


def from_torch_momentum(momentum: float) -> float:
    """The share of the old value that is kept, from torch's share of the new one: 0.1 is 0.9 here."""
    if momentum is None or not 0 <= momentum <= 1:
        raise ValueError(
            f"torch momentum={momentum} must be a number in [0, 1]; None (cumulative) has no equivalent."
        )
    return 1.0 - momentum
