"""Which layer feeds which, read off a trace of the model: nothing is typed, nothing is computed.

The trace is a jaxpr, a list of equations. Those of a layer carry its path in their name stack, those of a pool or an
activation the function that wrote them in their traceback. Equations that belong together become a node, and an array
that one node makes and another reads becomes an edge. What does not depend on the images is left out.
"""

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import zoo
from zoo.layers import Linear, pair
from zoo.layers.interception import intercept_calls, path_of
from zoo.models import Net

SOURCE = str(Path(zoo.__file__).parent)
IMAGES = "images"
FUNCTIONS = {  # of zoo, each a node of its own: kind, label
    "max_pool": ("pool", "max pool"),
    "avg_pool": ("pool", "avg pool"),
    "adaptive_avg_pool": ("pool", "avg pool"),
    "global_avg_pool": ("pool", "global average"),
    "local_response_norm": ("norm", "response norm"),
    "scaled_tanh": ("activation", "scaled tanh"),
    "relu6": ("activation", "ReLU6"),
    "pad_shortcut": ("pool", "subsample and pad"),
}
JITTED = {"relu": ("activation", "ReLU")}
PRIMITIVES = {"add": ("add", "add"), "concatenate": ("concat", "concatenate"), "mul": ("scale", "scale")}
PRIMITIVES |= {"logistic": ("activation", "sigmoid")}
UNCHANGED = ("reshape", "squeeze", "transpose", "convert_element_type", "materialise", "copy", "broadcast_in_dim")


@dataclass
class Node:
    """A layer, a pool, an activation, a sum: one box of a figure.

    Attributes:
      name: unique in the graph; of a layer, its path.
      path: of the layer, or of the block in which the operation stands, `"layer2_0/conv1"`.
      kind: images, conv, dense, norm, activation, pool, concat, add, scale or other.
      label: what the box says, `"3×3 conv, stride 2"`.
      shape: of its output for one image.
      inputs: names of the nodes that it reads, in the order of its arguments.
      stage: the first endpoint that needs it, or `"logits"`.
      params, macs: its parameters; multiply-adds for one image.
    """

    name: str
    path: str
    kind: str
    label: str
    shape: tuple[int, ...] = ()
    inputs: list[str] = field(default_factory=list)
    stage: str = ""
    params: int = 0
    macs: int = 0


@dataclass
class Graph:
    """A net's nodes in the order in which they are computed.

    Attributes:
      nodes: by name.
      classes: `{path of a module: name of its class}`.
      stages: `{endpoint: name of the node that makes it}`, from the first to the logits.
    """

    nodes: dict[str, Node]
    classes: dict[str, str]
    stages: dict[str, str]

    @property
    def auxiliary(self) -> set[str]:
        """The endpoints that nothing of the net reads: the heads of training."""
        pairs = ((node, self.nodes[name]) for node in self.nodes.values() for name in node.inputs)
        read = {source.stage for node, source in pairs if source.stage != node.stage}
        return self.stages.keys() - read - {"logits"}

    def block(self, *paths: str) -> dict[str, Node]:
        """The nodes inside some modules, after one for what they read."""
        return self._cut(lambda node: any(f"{node.path}/".startswith(f"{path}/") for path in paths))

    def stage(self, *names: str) -> dict[str, Node]:
        """The nodes that the endpoints need, beyond those of earlier endpoints, after one for what they read."""
        return self._cut(lambda node: node.stage in names)

    def _cut(self, inside: Callable[[Node], bool]) -> dict[str, Node]:
        kept = {name: node for name, node in self.nodes.items() if inside(node) and node.kind != IMAGES}
        outside = dict.fromkeys(name for node in kept.values() for name in node.inputs if name not in kept)
        sources = {
            name: Node(name, "", IMAGES, "image" if name == IMAGES else "input", self.nodes[name].shape)
            for name in outside
        }
        return sources | kept


@functools.cache
def trace(name: str) -> Graph:
    """The graph of a variant at its native size."""
    row = zoo.variant(name)
    shape = (row.image_size, row.image_size, row.channels)
    return trace_model(zoo.create(name), shape, (*row.endpoints, *row.aux_heads))


def trace_model(model: Net, image_shape: tuple[int, int, int], endpoints: tuple[str, ...]) -> Graph:
    """The graph of a net for one image, at inference.

    `init` is traced, not `apply`: it makes all parameters on the way and calls every layer, so that once is enough.
    """
    layers: dict[str, Node] = {}
    classes: dict[str, str] = {}

    def record(module: nn.Module, _: Any, call: Callable[[], Any]) -> Any:
        output, path = call(), path_of(module)
        classes[path] = type(module).__name__
        own = [leaf for leaf in module.variables.get("params", {}).items() if hasattr(leaf[1], "shape")]
        if own:
            layers[path] = _describe(module, path, dict(own), output.shape)
        return output

    def run(images: jax.Array) -> Any:
        return model.init_with_output(jax.random.key(0), images, train=False, endpoints=endpoints)[0]

    with intercept_calls(nn.Module, record):
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        closed, shapes = jax.make_jaxpr(run, return_shape=True)(images)
    reader = _Reader(layers, image_shape)
    made = reader.read(closed.jaxpr, [IMAGES], "")
    answer = jax.tree.unflatten(jax.tree.structure(shapes), made)
    logits, ends = answer if endpoints else (answer, {})
    return _divide(reader.nodes, classes, ends, logits)


def _describe(module: nn.Module, path: str, own: dict[str, jax.Array], shape: tuple[int, ...]) -> Node:
    """The node of a layer; every weight of a kernel is used once for each pixel of the output."""
    kind, label = "other", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(module).__name__).lower()
    if hasattr(module, "kernel_size"):
        height, width = pair(module.kernel_size)
        kind, label = "conv", f"{height}×{width} conv"
        if module.feature_group_count > 1:
            label += f", {module.feature_group_count} groups"
        if module.stride > 1:
            label += f", stride {module.stride}"
    elif isinstance(module, zoo.BatchNorm):
        kind, label = "norm", "batch norm"
    elif isinstance(module, Linear):
        kind, label = "dense", "dense"
    macs = own["kernel"].size * math.prod(shape[:-1]) if "kernel" in own else 0
    return Node(path, path, kind, label, params=sum(leaf.size for leaf in own.values()), macs=macs)


class _Reader:
    """Walks through a jaxpr and knows of each array the node that made it; None where no image had a part."""

    def __init__(self, layers: dict[str, Node], image_shape: tuple[int, ...]) -> None:
        self.layers = layers
        self.nodes = {IMAGES: Node(IMAGES, "", IMAGES, "image", image_shape)}
        self.calls: dict[str, tuple[str, str]] = {}  # {node: (the module, the call) in which it was written}

    def read(self, jaxpr: Any, inputs: list[str | None], scope: str) -> list[str | None]:
        """The makers of a jaxpr's results, from those of its arguments."""
        makers = dict(zip(jaxpr.invars, inputs, strict=True))

        def maker(atom: Any) -> str | None:
            return None if hasattr(atom, "val") else makers.get(atom)

        for equation in jaxpr.eqns:
            read = list(map(maker, equation.invars))
            if any(read):
                results = self._read_equation(equation, read, scope)
                makers.update(zip(equation.outvars, results, strict=True))
        return list(map(maker, jaxpr.outvars))

    def _read_equation(self, equation: Any, read: list[str | None], scope: str) -> list[str | None]:
        path = "/".join(filter(None, (scope, _path(equation))))
        name, inner = equation.primitive.name, _called(equation)
        function, call = _function(equation)
        jitted = JITTED.get(equation.params.get("name", ""))
        inputs = list(dict.fromkeys(filter(None, read)))
        if layer := self._find_layer(path):
            node = self.nodes.setdefault(layer.name, layer)
        elif function:
            begun = (self.nodes[name] for name in inputs if self.calls.get(name) == (path, call))
            node = next(begun, None) or self._add(path, *FUNCTIONS[function])
            self.calls[node.name] = path, call
        elif jitted:
            node = self._add(path, *jitted)
        elif inner is not None:
            return self.read(inner, read, path)
        elif len(inputs) == 1 and name in UNCHANGED:
            return inputs * len(equation.outvars)
        else:
            kind, label = PRIMITIVES.get(name, ("other", name))
            if kind == "scale" and (factors := [atom.val for atom in equation.invars if hasattr(atom, "val")]):
                label = f"× {float(factors[0]):.3g}"
            node = self._add(path, kind, label)
        self._extend(node, equation, inputs)
        return [node.name] * len(equation.outvars)

    def _find_layer(self, path: str) -> Node | None:
        """The layer at a path or around it."""
        parts = path.split("/")
        around = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((self.layers[prefix] for prefix in around if prefix in self.layers), None)

    def _add(self, path: str, kind: str, label: str) -> Node:
        node = Node(f"{path}#{len(self.nodes)}", path, kind, label)
        self.nodes[node.name] = node
        return node

    def _extend(self, node: Node, equation: Any, inputs: list[str]) -> None:
        """Counts an equation to a node."""
        node.inputs += [name for name in inputs if name != node.name and name not in node.inputs]
        node.shape = equation.outvars[0].aval.shape[1:]
        if node.kind in ("pool", "other") and (window := next(_windows(equation), None)):
            size, stride = window
            node.kind = "pool"
            node.label = f"{size[1]}×{size[2]} {node.label}" + (f", stride {stride[1]}" if stride[1] > 1 else "")
        if node.kind == "other" and equation.primitive.name == "conv_general_dilated":
            height, width = equation.invars[1].aval.shape[:2]
            node.kind, node.label = "conv", f"{height}×{width} {node.label}"


def _path(equation: Any) -> str:
    """The module in which an equation was written; the scopes of the net itself and of its methods have no name."""
    _, *scopes = str(equation.source_info.name_stack).split("/")
    return "/".join(scope for scope in scopes if "." not in scope)


def _function(equation: Any) -> tuple[str, str]:
    """Which of `FUNCTIONS` wrote an equation, and where that was called; empty if none did."""
    frames = equation.source_info.traceback.frames
    for frame, caller in itertools.pairwise(frames):
        if frame.function_name in FUNCTIONS and frame.file_name.startswith(SOURCE):
            return frame.function_name, f"{frame.function_name} {caller.file_name}:{caller.line_num}"
    return "", ""


def _called(equation: Any) -> Any:
    """The jaxpr that an equation stands for, if it is a call of one."""
    if equation.primitive.name not in ("custom_jvp_call", "custom_vjp_call", "jit", "pjit"):
        return None
    return next(value.jaxpr for value in equation.params.values() if hasattr(value, "jaxpr"))


def _windows(equation: Any) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Sizes and strides of all windows that an equation reduces, however deep inside."""
    if "window_dimensions" in equation.params:
        yield equation.params["window_dimensions"], equation.params["window_strides"]
    for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda value: hasattr(value, "jaxpr")):
        if hasattr(value, "jaxpr"):
            for inner in value.jaxpr.eqns:
                yield from _windows(inner)


def _divide(nodes: dict[str, Node], classes: dict[str, str], ends: dict[str, str | None], logits: str | None) -> Graph:
    """The nodes that the net's results need, each in the stage of the first endpoint that needs it."""
    needed = {name: _ancestors(nodes, node) for name, node in {**ends, "logits": logits}.items() if node}
    order = sorted(needed, key=lambda name: len(needed[name]))
    for name in reversed(order):
        for node in needed[name]:
            nodes[node].stage = name
    kept = {name: node for name, node in nodes.items() if node.stage}
    return Graph(kept, classes, {name: ends.get(name) or logits or "" for name in order})


def _ancestors(nodes: dict[str, Node], name: str) -> set[str]:
    found, todo = set(), [name]
    while todo:
        if (current := todo.pop()) not in found:
            found.add(current)
            todo += nodes[current].inputs
    return found
