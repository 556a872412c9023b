"""Which engine convolves on a CPU: XLA's own convolutions, or those of YNNPACK, to which jaxlib gives them all."""

import functools
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.errors import JaxRuntimeError

# Sums and products stay with YNNPACK.
OWN_CONVOLUTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
}
WIDE = 32  # input channels from which on XLA's own convolutions are the faster ones
MOST = 0.95  # of the weights of a net's kernels
INTEL = "GenuineIntel"


def choose_compiler_options(variables: Mapping[str, Any], *, train: bool = False) -> dict[str, str] | None:
    """The options of `jax.jit` with which a net computes fastest, by its kernels and by the processor.

    XLA's own convolutions are chosen for training, where YNNPACK's gradients of kernels are up to three times as slow,
    and on Intel's processors for inference: but not where most kernels have few input channels, as in ResNet-20 or
    ResNeXt, for which they win on Intel's processors and in training alone. `benchmarks/README.md` has the figures.

    ```
    apply = jax.jit(zoo.fold(model, variables), compiler_options=zoo.layers.choose_compiler_options(variables))
    ```

    Args:
      variables: of the net, `params` among them: arrays, or shapes, which are where JAX computes by default.
      train: whether gradients are computed.

    Returns:
      None where JAX's defaults stay: on other platforms, with an XLA that does not know the options, and for arrays
      that are being traced, because only the outermost `jit` may have options.
    """
    leaves = jax.tree.leaves(variables)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or not (_is_on_cpu(leaves) and accepts_options()):
        return None
    wide, intel = has_wide_kernels(variables.get("params", {})), is_intel()
    return OWN_CONVOLUTIONS if (wide or intel if train else wide and intel) else None


def has_wide_kernels(params: Any) -> bool:
    """Whether nearly all weights of the kernels larger than 1x1 have many input channels: not so in ResNeXt."""
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 4 and leaf.shape[:2] != (1, 1)]
    wide = sum(math.prod(shape) for shape in kernels if shape[2] >= WIDE)
    return wide > MOST * sum(map(math.prod, kernels))


@functools.cache
def is_intel() -> bool:
    """Whether the processor says that it is Intel's: in a file on Linux, in its name on Windows, not on a Mac."""
    try:
        return INTEL in Path("/proc/cpuinfo").read_text()
    except OSError:
        return INTEL in platform.processor()


@functools.cache
def accepts_options() -> bool:
    """Whether this version of XLA knows them: they are experimental."""
    try:
        jax.jit(lambda x: x, compiler_options=OWN_CONVOLUTIONS).lower(0.0).compile()
    except JaxRuntimeError:
        return False
    return True


def _is_on_cpu(leaves: list[Any]) -> bool:
    """Whether the arrays are on a CPU; shapes alone are where JAX computes by default."""
    devices = {device.platform for leaf in leaves if isinstance(leaf, jax.Array) for device in leaf.devices()}
    return (devices or {jax.default_backend()}) == {"cpu"}
