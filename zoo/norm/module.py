"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167): the Linen module around `zoo.batch_norm`.

Conventions here, and what others mean by the same words:

| | momentum of the old value | epsilon | running variance | scale |
|---|---|---|---|---|
| zoo | 0.9 | 1e-5 | unbiased | yes |
| torch | 0.9 (written `momentum=0.1`) | 1e-5 | unbiased | yes |
| flax.linen, flax.nnx | 0.99 | 1e-5 | biased | yes |
| Keras | 0.99 | 1e-3 | biased | yes |
| TF-slim, Inception | 0.9997 | 1e-3 | unbiased when fused | no |
| TF-slim, ResNet | 0.997 | 1e-5 | unbiased when fused | yes |

A batch is always normalised with its biased variance (divided by n); unbiased means divided by n - 1.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from zoo.errors import UserError
from zoo.layers.interception import path_of
from zoo.layers.parameters import stored_dtype, wide_dtype
from zoo.norm.forward_and_backward import (
    AxisName,
    affine,
    align_mask,
    batch_norm,
    check_input,
    count_valid,
    keep,
)
from zoo.norm.options import Statistics, check_statistics, current_options


class BatchNorm(nn.Module):
    """`batch_norm` with its parameters and its running statistics.

    `train` says who owns the running statistics, `statistics` what normalises, and by default follows `train`:

    | call | normalised with | `batch_stats` |
    |---|---|---|
    | `init` | either | created: mean 0, var 1 |
    | `train=False` | running | read only |
    | `train=True`, collection mutable | this batch | blended: `momentum * old + (1 - momentum) * new` |
    | `train=True`, collection immutable | | `ValueError` |
    | `train=False, statistics="batch"` | this batch | untouched |
    | `train=True, statistics="running"` | running (frozen, for fine-tuning) | untouched |

    The running variance is unbiased, over the elements that count on all devices and in all groups; one element has
    no such variance and leaves the running one as it is, and no element leaves the mean too. `batch_norm_options`
    takes precedence over the call.

    Attributes:
      momentum: share of the old value that is kept, in [0, 1] (see `from_torch_momentum`).
      epsilon, axis_name, group_size: as in `batch_norm`; the call's own `axis_name` and `group_size` take precedence.
      use_scale, use_bias: whether the parameters `scale` (ones) and `bias` (zeros) exist, in the type of
        `zoo.layers.stored_dtype`. Statistics are float32, or float64 with float64 parameters.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    axis_name: AxisName = None
    group_size: int | None = None
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        train: bool,
        statistics: Statistics | None = None,
        where: Array | None = None,
        axis_name: AxisName = None,
        group_size: int | None = None,
    ) -> Array:
        if not 0 <= self.momentum <= 1:
            raise UserError(f"momentum={self.momentum} must lie in [0, 1]", "it is the share of the old value kept")
        momentum, epsilon = float(self.momentum), float(self.epsilon)  # numpy's own scalars would widen what they meet
        check_input(x, epsilon)
        options, name = current_options(), path_of(self)
        statistics = options.statistics_of(name) or statistics or ("batch" if train else "running")
        check_statistics(statistics)
        where = where if options.where is None else options.where
        axis_name = options.axis_name or axis_name or self.axis_name
        group_size = options.group_size or group_size or self.group_size
        channels = x.shape[-1:]
        dtype = stored_dtype(self)
        stored = jnp.float64 if dtype == jnp.float64 else jnp.float32
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, stored)
        var = self.variable("batch_stats", "var", jnp.ones, channels, stored)
        if mean.value.shape != channels:
            raise UserError(
                f"BatchNorm {name!r} was made for {mean.value.shape[0]} channels, but x {x.shape} has {channels[0]}"
            )
        scale = self.param("scale", self.scale_init, channels, dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, channels, dtype) if self.use_bias else None
        if statistics == "running":
            wide = wide_dtype(x)
            factor = lax.rsqrt(var.value.astype(wide) + epsilon)
            factor = factor if scale is None else factor * scale.astype(wide)
            bias = jnp.zeros(channels, wide) if bias is None else bias.astype(wide)
            where = align_mask(where, x.shape)
            return keep(where, affine(keep(where, x), mean.value.astype(wide), factor, bias))
        writes = train and not self.is_initializing()
        if writes and not self.is_mutable_collection("batch_stats"):
            raise UserError(
                f"BatchNorm {name!r} with train=True writes its running statistics",
                'pass mutable=["batch_stats"] to apply, or train=False, statistics="batch" to write nothing',
            )
        axis_name = None if self.is_initializing() else axis_name  # init runs outside shard_map
        y, batch_mean, batch_var = batch_norm(
            x, scale, bias, epsilon=epsilon, where=where, axis_name=axis_name, group_size=group_size
        )
        if writes:
            count = count_valid(align_mask(where, x.shape), x.shape, axis_name, batch_mean.dtype)
            unbiased = batch_var * (count / jnp.maximum(count - 1, 1))
            for old, new, least in ((mean, batch_mean, 1), (var, unbiased, 2)):
                new = lax.stop_gradient(new).astype(old.value.dtype)
                blended = momentum * old.value + (1 - momentum) * new
                old.value = jnp.where(count >= least, blended, old.value)
        return y


def from_torch_momentum(momentum: float) -> float:
    """The share of the old value that is kept, from torch's share of the new one.

    >>> from_torch_momentum(0.1)
    0.9
    """
    if momentum is None or not 0 <= momentum <= 1:
        raise UserError(f"torch momentum={momentum} must lie in [0, 1]", "None, a cumulative mean, has no equivalent")
    return 1 - float(momentum)
