"""An ONNX graph that is being written: nodes, and stored arrays.

Maps are [N, C, H, W] there: whatever has four axes in JAX has its channels second in the graph, constants included, so
that no transposition is left between two layers.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # transpositions of four axes: channels second, channels last
Value = np.ndarray | str  # a constant in JAX's order of axes, or the name of a value in the graph


class Graph:
    """Nodes and stored arrays, as far as they are written.

    Attributes:
      nodes, initialisers: ONNX's.
      titles: names of arrays by `id`; others are numbered.
    """

    def __init__(self, titles: Mapping[int, str]) -> None:
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self.titles = titles
        self._stored: dict[tuple[int, tuple[int, ...]], str] = {}
        self._kept: list[np.ndarray] = []  # an `id` belongs to one array as long as that is kept

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Writes a node and returns the name of its output."""
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def name(self, value: Value) -> str:
        """The name of a value; a constant is stored first, with its channels second."""
        if isinstance(value, str):
            return value
        return self.store(value, FIRST if value.ndim == 4 else tuple(range(value.ndim)))

    def store(self, array: np.ndarray, axes: tuple[int, ...]) -> str:
        """The name of a stored constant, transposed."""
        from onnx import numpy_helper

        key = (id(array), axes)
        if key not in self._stored:
            number = len(self.initialisers)
            name = self.titles.get(id(array), f"constant_{number}")
            name = f"{name}_{number}" if name in self._stored.values() else name
            transposed = np.ascontiguousarray(array.transpose(axes)).reshape([array.shape[axis] for axis in axes])
            self.initialisers.append(numpy_helper.from_array(transposed, name))
            self._stored[key] = name
            self._kept.append(array)
        return self._stored[key]

    def integers(self, values: Sequence[int]) -> str:
        """The name of stored int64s, which sizes and axes are."""
        return self.store(np.array(values, np.int64), (0,))


def reorder(per_axis: Sequence[Any]) -> list[Any]:
    """What belongs to each axis, in the graph's order.

    >>> reorder("NHWC"), reorder("NC")
    (['N', 'C', 'H', 'W'], ['N', 'C'])
    """
    return [per_axis[axis] for axis in FIRST] if len(per_axis) == 4 else list(per_axis)


def shape_of(variable: Any) -> tuple[Any, ...]:
    """The sizes of a variable or literal of a traced function, of which the number of images is no int."""
    return tuple(variable.aval.shape)


def type_of(variable: Any) -> np.dtype:
    """The type of its elements."""
    return np.dtype(variable.aval.dtype)
