"""Fields as values, hashable and equal to their copies: `jax.jit` compiles once for a model and all its equals."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import flax.linen as nn


class Partial(functools.partial):
    """A `functools.partial` that is equal to another of the same parts; the standard one is equal to itself only."""

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.func, self.args, frozenset(self.keywords.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partial) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


@dataclass(frozen=True)
class Table(Mapping[str, Any]):
    """A dictionary that can be hashed, and whose order counts, as that of an Inception's branches does."""

    rows: tuple[tuple[str, Any], ...]

    def __getitem__(self, name: str) -> Any:
        return dict(self.rows)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def freeze(value: Any) -> Any:
    """The same as a value: tuples for lists, `Table` for mappings, `Partial` for partials, all the way down."""
    if isinstance(value, functools.partial):
        return Partial(value.func, *freeze(value.args), **{name: freeze(item) for name, item in value.keywords.items()})
    if isinstance(value, Mapping):
        return Table(tuple((name, freeze(item)) for name, item in value.items()))
    return tuple(map(freeze, value)) if type(value) in (list, tuple) else value


def freeze_fields(instance: Any) -> None:
    """`freeze` for every field of a dataclass, in its `__post_init__`."""
    for field in fields(instance):
        object.__setattr__(instance, field.name, freeze(getattr(instance, field.name)))


class ValueModule(nn.Module):
    """A module whose fields are values, whatever it was made with."""

    def __post_init__(self) -> None:
        freeze_fields(self)
        super().__post_init__()
