"""The pure function of batch normalisation and its derivative (Ioffe & Szegedy 2015, arXiv:1502.03167).

This is the fast one. `zoo.norm.six_steps` has the classic steps forward and backward that it is tested against.
"""

import functools
import math
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from zoo.errors import UserError
from zoo.layers.parameters import wide_dtype

AxisName = str | tuple[str, ...] | None  # axes of `shard_map` or `pmap`
Moments = tuple[Array, Array]  # mean and biased variance, [C]
Sums = TypeVar("Sums", Array, tuple[Array, Array])


def batch_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    epsilon: float = 1e-5,
    where: Array | None = None,
    axis_name: AxisName = None,
    group_size: int | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise every channel over all other axes, then scale and shift it.

    Differentiable to any order and in both modes, in `mean` and `var` too; backward needs only `x` and `[C]`s.

    Args:
      x: `[N, ..., C]` floating-point, rank 2 or more.
      scale: `[C]`, or None for ones.
      bias: `[C]`, or None for zeros.
      epsilon: added to the variance.
      where: booleans whose axes are the first axes of `x` (`[N]` for padded rows). What is False counts for
        nothing, whatever it holds, comes out as zero and gets zero gradient.
      axis_name: axes of `shard_map` or `pmap` over which the statistics are joined.
      group_size: normalise each group of so many consecutive examples by itself (ghost batch normalisation,
        Hoffer et al. 2017, arXiv:1705.08741). Groups do not cross devices.

    Returns:
      `y` like `x`; the mean and the biased variance `[C]` of all that counts, joined over groups and devices,
      in float32 (float64 for float64); infinite where that type cannot hold the variance.

    >>> import jax.numpy as jnp
    >>> y, mean, var = batch_norm(jnp.array([[1.0], [3.0]]), None, None)
    >>> y.round(2).tolist(), mean.tolist(), var.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    check_input(x, epsilon, scale=scale, bias=bias)
    dtype, channels = wide_dtype(x), x.shape[-1:]
    scale = jnp.ones(channels, dtype) if scale is None else scale.astype(dtype)
    bias = jnp.zeros(channels, dtype) if bias is None else bias.astype(dtype)
    where = align_mask(where, x.shape)
    if group_size is None:
        return _normalise_jitted(x, scale, bias, where, float(epsilon), axis_name)
    if group_size < 1 or x.shape[0] % group_size:
        raise UserError(f"group_size={group_size} does not divide the batch of {x.shape[0]}", "pass a divisor of it")

    mask = jnp.ones((1,) * x.ndim, bool) if where is None else where
    mask = jnp.broadcast_to(mask, (x.shape[0], *mask.shape[1:]))
    groups = x.shape[0] // group_size
    x_groups, mask = (v.reshape(groups, group_size, *v.shape[1:]) for v in (x, mask))
    y, means, variances = jax.vmap(lambda x, where: _normalise(x, scale, bias, where, float(epsilon), None))(
        x_groups, mask
    )
    counts = jax.vmap(lambda where: count_valid(where, x_groups.shape[1:], None, dtype))(mask).reshape(groups, 1)
    shares = counts / jnp.maximum(_join(jnp.sum(counts), axis_name), 1)
    mean = _join(jnp.sum(shares * means, 0), axis_name)
    spread = variances + jnp.square(means - _row(mean, means))
    return y.reshape(x.shape), mean, _join(jnp.sum(shares * spread, 0), axis_name)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _normalise(
    x: Array, scale: Array, bias: Array, where: Array | None, epsilon: float, axis_name: AxisName
) -> tuple[Array, Array, Array]:
    mean, var = _moments(x, where, axis_name)
    y = affine(x, mean, scale * lax.rsqrt(var + epsilon), bias)
    return keep(where, y), mean, var


@_normalise.defjvp
def _normalise_jvp(
    epsilon: float, axis_name: AxisName, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    x, scale, bias, where = primals
    y, mean, var = _normalise(x, scale, bias, where, epsilon, axis_name)
    count = jnp.maximum(count_valid(where, x.shape, axis_name, mean.dtype), 1)
    inverse = lax.rsqrt(var + epsilon)
    # Rematerialised: the residuals are the known arguments, and nothing of the size of x besides x is kept.
    tangent = jax.checkpoint(functools.partial(_tangent, axis_name=axis_name), prevent_cse=False)
    return (y, mean, var), tangent(x, where, mean, inverse, scale, count, *tangents[:3])


# Traced and lowered once per shape, however many layers share it: Inception v3 has 94 layers of 25 shapes.
_normalise_jitted = jax.jit(_normalise, static_argnums=(4, 5))


def _tangent(
    x: Array,
    where: Array | None,
    mean: Array,
    inverse: Array,
    scale: Array,
    count: Array,
    dx: Array,
    dscale: Array,
    dbias: Array,
    *,
    axis_name: AxisName,
) -> tuple[Array, Array, Array]:
    """The six steps' tangent with the sums over x taken out, so that JAX's transpose of it is the simplified backward.

    With a = scale * inverse: dy = a dx + x * per_x + per_channel, where the last two are `[C]`. Their cotangents are
    the two channel sums, of dout * x and of dout, and everything else is one pass:
    dx = a (dout - sum(dout) / n - normalised * inverse * sum(dout * centred) / n).
    The sum is taken of dout * x and centred as a `[C]`: XLA's CPU reductions multiply two arrays as they read them,
    but would write down the centred one. The variance moves by its root, the deviation: inverse**2 may underflow.
    """
    axes = tuple(range(x.ndim - 1))
    wide = keep(where, x.astype(mean.dtype))
    normalised = keep(where, (wide - _row(mean, x)) * _row(inverse, x))
    dx_wide = keep(where, dx.astype(mean.dtype))
    dmean = _join(jnp.sum(dx_wide, axes), axis_name) / count
    ddeviation = _join(jnp.sum(normalised * dx_wide, axes), axis_name) / count
    factor = scale * inverse
    per_x = inverse * (dscale - factor * ddeviation)
    per_channel = dbias - factor * dmean - mean * per_x
    dy = dx_wide * _row(factor, x) + wide * _row(per_x, x) + _row(per_channel, x)
    return keep(where, dy).astype(x.dtype), dmean, 2 * ddeviation / inverse


def _moments(x: Array, where: Array | None, axis_name: AxisName) -> Moments:
    """Mean and biased variance in one pass over x; another, around that mean, where the first lost its digits.

    It does where E[x^2] - E[x]^2 cancels, and where the sum of the squares overflows though the variance would not.
    The second pass therefore sums shares.
    """
    axes, dtype = tuple(range(x.ndim - 1)), wide_dtype(x)
    count = jnp.maximum(count_valid(where, x.shape, axis_name, dtype), 1)

    def first_pass() -> Moments:
        kept = keep(where, x.astype(dtype))
        sums = _join((jnp.sum(kept, axes), jnp.sum(jnp.square(kept), axes)), axis_name)
        mean, square = (total / count for total in sums)
        return mean, jnp.maximum(square - jnp.square(mean), 0)

    def second_pass(shift: Array) -> Moments:
        shifted = keep(where, x.astype(dtype) - _row(shift, x))
        sums = jnp.sum(shifted / count, axes), jnp.sum(jnp.square(shifted * lax.rsqrt(count)), axes)
        mean, square = _join(sums, axis_name)
        return shift + mean, jnp.maximum(square - jnp.square(mean), 0)

    def lost(state: tuple[Array, Array, Array | bool]) -> Array:
        mean, var, once = state
        return once & ~jnp.all((CANCELLED * jnp.square(mean) <= var) & (var < jnp.inf))

    mean, var, _ = lax.while_loop(lost, lambda state: (*second_pass(state[0]), False), (*first_pass(), True))
    return mean, var


CANCELLED = 0.01  # of the squared mean: a smaller variance has lost two of float32's seven digits


def affine(x: Array, mean: Array, factor: Array, bias: Array) -> Array:
    """`(x - mean) * factor + bias` per channel, in the type of x."""
    centred = x.astype(mean.dtype) - _row(mean, x)  # not x * factor - mean * factor: that cancels
    return (centred * _row(factor, x) + _row(bias, x)).astype(x.dtype)


def _row(value: Array, x: Array) -> Array:
    """`[C]` as `[1, ..., 1, C]`, of the rank of x."""
    return value.reshape((1,) * (x.ndim - 1) + value.shape)


def keep(where: Array | None, value: Array) -> Array:
    """Zero where nothing counts; a selection, because a product with zero lets NaN through."""
    return value if where is None else jnp.where(where, value, jnp.zeros((), value.dtype))


def _join(value: Sums, axis_name: AxisName) -> Sums:
    """Sums over the devices of the axes."""
    return value if axis_name is None else lax.psum(value, axis_name)


def count_valid(where: Array | None, shape: tuple[int, ...], axis_name: AxisName, dtype: jnp.dtype) -> Array:
    """Number of elements of each channel that count, over all devices."""
    size = math.prod(shape[:-1])
    count = jnp.asarray(size, dtype) if where is None else jnp.sum(where, dtype=dtype) * (size // max(where.size, 1))
    return _join(count, axis_name)


def align_mask(where: Array | None, shape: tuple[int, ...]) -> Array | None:
    """`where` with ones for the axes it does not name."""
    if where is None:
        return None
    where = jnp.asarray(where)
    if where.dtype != jnp.bool_:
        raise TypeError(f"where must be boolean, not {where.dtype}: compare first, as in where=mask > 0.")
    if where.ndim >= len(shape) or any(w not in (1, s) for w, s in zip(where.shape, shape, strict=False)):
        raise UserError(f"where of shape {where.shape} does not match the first axes of x, {shape[:-1]}")
    return where.reshape(where.shape + (1,) * (len(shape) - where.ndim))


def check_input(x: Array, epsilon: float, **per_channel: Array | None) -> None:
    """Raises `TypeError` or `UserError` for what cannot be normalised."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"batch normalisation needs floating-point input, not {x.dtype}: use x.astype(jnp.float32).")
    if x.ndim < 2:
        raise UserError(f"batch normalisation needs [N, ..., C], rank 2 or more, not {x.shape}", "add a batch axis")
    for name, value in per_channel.items():
        if value is not None and value.shape != x.shape[-1:]:
            raise UserError(f"{name} has shape {value.shape}, but x {x.shape} has {x.shape[-1]} channels (last axis)")
    if not epsilon > 0:
        raise UserError(f"epsilon={epsilon} must be positive", "it keeps constant channels finite")
