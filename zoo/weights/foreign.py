"""Nets of others that are ours with other fields: a table of them, and what their layers are called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from zoo.data.preprocessing import Preprocessing
from zoo.errors import UserError
from zoo.layers import Conv, Linear
from zoo.layers.interception import intercept_calls, path_of
from zoo.models import registry
from zoo.models.net import Net
from zoo.norm import BatchNorm
from zoo.weights.inspection import Arrays, find_image_shape, init


@dataclass(frozen=True)
class ForeignNet:
    """One of them.

    Attributes:
      rename: from the paths of our layers, in the order of their calls, to theirs.
      preprocessing: of their published weights, with red first.
      fields: of our net, with which it is theirs.
    """

    rename: Callable[[list[str]], list[str]]
    preprocessing: Preprocessing
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where nets come from.

    Attributes:
      name: what a converted file notes, `"tf_slim"`.
      title: what people call it.
      nets: by our names.
      name_as_ours: from a model's name and arrays by their names to arrays by our paths and in our shapes.
    """

    name: str
    title: str
    nets: Mapping[str, Any]
    name_as_ours: Callable[[str, Arrays], Arrays]

    def find_net(self, name: str) -> Any:
        """The net that the model is with other fields.

        Raises:
          UserError: there is none; the message has all.
        """
        if name not in self.nets:
            raise UserError(f"{self.title} has no {name}", f"its nets here are {', '.join(self.nets)}")
        return self.nets[name]

    def make_model(self, name: str) -> Net:
        """The model with the fields that make it theirs."""
        return registry.create(name, **self.find_net(name).fields)


@dataclass(frozen=True)
class Leaf:
    """An array of ours: its path and shape, what its layer is called there, and the layer's type."""

    path: str
    shape: tuple[int, ...]
    layer: str
    kind: type

    @property
    def word(self) -> str:
        """Its own name, `"kernel"`."""
        return self.path.rpartition("/")[2]


def list_leaves(name: str, net: ForeignNet) -> list[Leaf]:
    """All arrays of the net, by layers in the order of their calls."""
    model = registry.create(name, num_classes=1, **net.fields)
    calls: dict[str, type] = {}

    def note(module: Any, _: Any, call: Callable[[], Any]) -> Any:
        calls[path_of(module)] = type(module)
        return call()

    with intercept_calls((Conv, Linear, BatchNorm), note):
        shapes = jax.eval_shape(partial(init, model, find_image_shape(name)), jax.random.key(0))
    layers = dict(zip(calls, net.rename([*calls]), strict=True))
    found: dict[str, list[Leaf]] = {path: [] for path in calls}
    for path, leaf in flatten_dict(shapes, sep="/").items():
        ours = path.partition("/")[2].rpartition("/")[0]
        found[ours].append(Leaf(path, leaf.shape, layers[ours], calls[ours]))
    return [leaf for leaves in found.values() for leaf in leaves]
