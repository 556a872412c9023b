"""Call options for all normalisations of a model at once, so that no model needs to pass them on."""

import contextlib
import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Literal

import jax
from jax import Array

from zoo.errors import UserError
from zoo.norm.forward_and_backward import AxisName

Statistics = Literal["batch", "running"]  # what normalises
StatisticsByLayer = Statistics | Mapping[str, Statistics]  # for all layers, or by shell pattern of their paths


@dataclasses.dataclass(frozen=True)
class Options:
    """What `batch_norm_options` said; hashable, because it is part of the cache key of compiled functions.

    Attributes:
      statistics: `(pattern, "batch" or "running")`, the first pattern that fits a layer decides.
      mask: key of the mask in `_MASKS`; an array has no hash, and a key holds no array of a trace that is over.
      axis_name, group_size: as in `batch_norm`.
    """

    statistics: tuple[tuple[str, Statistics], ...] = ()
    mask: object = None
    axis_name: AxisName = None
    group_size: int | None = None

    def statistics_of(self, path: str) -> Statistics | None:
        """Which statistics normalise the layer at the path; None where nothing was said."""
        return next((which for pattern, which in self.statistics if fnmatch.fnmatchcase(path, pattern)), None)

    @property
    def where(self) -> Array | None:
        return _MASKS.get(self.mask)


_MASKS: dict[object, Array] = {}
_CONTEXT = jax.make_user_context(default_value=Options())  # jit caches are keyed by it


def current_options() -> Options:
    """The options of the innermost `batch_norm_options`."""
    return _CONTEXT.value


@contextlib.contextmanager
def batch_norm_options(
    *,
    statistics: StatisticsByLayer | None = None,
    where: Array | None = None,
    axis_name: AxisName = None,
    group_size: int | None = None,
) -> Iterator[None]:
    """Hand call options to every `BatchNorm` called inside, so that no model needs to pass them on.

    The options are those of `BatchNorm.__call__`, and `statistics` may also be a mapping from shell patterns of
    layers' paths, `{"layer1_*": "running"}`, whose first fitting pattern decides. They take precedence over what a
    call says itself, the innermost of nested ones over the outer ones; None says nothing.

    Functions compiled by `jax.jit` see the options around their call: they are compiled once for each combination of
    `statistics`, `axis_name` and `group_size`, and anew in every block with a `where`, which therefore belongs inside
    the compiled function.

    Raises:
      UserError: `statistics` is neither "batch" nor "running".

    >>> import jax, jax.numpy as jnp, zoo
    >>> norm, x = zoo.BatchNorm(), jnp.ones((4, 3))
    >>> variables = norm.init(jax.random.key(0), x, train=False)
    >>> with batch_norm_options(where=jnp.array([True, True, True, False])):  # the last row is padding
    ...     y, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    """
    outer, mask = _CONTEXT.value, None
    options: dict[str, object] = {}
    if statistics is not None:
        options["statistics"] = _by_pattern(statistics) + outer.statistics
    if where is not None:
        options["mask"] = mask = object()
        _MASKS[mask] = where
    if axis_name is not None:
        options["axis_name"] = axis_name
    if group_size is not None:
        options["group_size"] = group_size
    try:
        with _CONTEXT(dataclasses.replace(outer, **options)):
            yield
    finally:
        _MASKS.pop(mask, None)


def _by_pattern(statistics: StatisticsByLayer) -> tuple[tuple[str, Statistics], ...]:
    pairs = tuple(statistics.items()) if isinstance(statistics, Mapping) else (("*", statistics),)
    for _, which in pairs:
        check_statistics(which)
    return pairs


def check_statistics(which: object) -> None:
    """Raises `UserError` for anything but "batch" and "running"."""
    if which not in ("batch", "running"):
        raise UserError(f"statistics={which!r} is unknown", 'pass "batch" or "running"')
