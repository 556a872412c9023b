"""JAX's operations in ONNX's words, each `(graph, equation, its inputs) -> its output`."""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from zoo.errors import UserError
from zoo.weights.onnx_graph import FIRST, LAST, Graph, Value, reorder, shape_of, type_of


def refuse(equation: JaxprEqn) -> UserError:
    """The error of a net whose operations are not all here."""
    return UserError(
        f"the operation {equation.primitive.name!r} is not written as ONNX here", "export it as .stablehlo"
    )


def _node(kind: str) -> Callable[..., Value]:
    return lambda graph, _, *values: graph.add(kind, [graph.name(value) for value in values])


def _max(graph: Graph, _: JaxprEqn, x: Value, y: Value) -> Value:
    if isinstance(y, np.ndarray) and not y.any():
        return graph.add("Relu", [graph.name(x)])
    return graph.add("Max", [graph.name(x), graph.name(y)])


def _power(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    exponent = np.asarray(equation.params.get("y", 2), type_of(equation.outvars[0]))
    return graph.add("Pow", [graph.name(x), graph.name(exponent)])


def _rsqrt(graph: Graph, _: JaxprEqn, x: Value) -> Value:
    return graph.add("Reciprocal", [graph.add("Sqrt", [graph.name(x)])])


def _cast(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    from onnx import helper

    old, new = type_of(equation.invars[0]), equation.params["new_dtype"]
    return x if old == new else graph.add("Cast", [graph.name(x)], to=helper.np_dtype_to_tensor_dtype(np.dtype(new)))


def _broadcast(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    """Axes of length one, where JAX repeats a constant too: ONNX repeats by itself what meets larger maps."""
    axes, shape = equation.params["broadcast_dimensions"], equation.params["shape"]
    sizes = shape_of(equation.invars[0])
    thin = [sizes[axes.index(axis)] if axis in axes else 1 for axis in range(len(shape))]
    if isinstance(x, np.ndarray):
        return x.reshape(thin)
    if thin != [*shape]:
        raise refuse(equation)
    return _reshape(graph, equation, x)


def _convolve(graph: Graph, equation: JaxprEqn, x: Value, kernel: Value) -> Value:
    params, numbers = equation.params, equation.params["dimension_numbers"]
    plain = numbers.lhs_spec == numbers.out_spec == FIRST and params["batch_group_count"] == 1
    if not plain or isinstance(kernel, str) or set(params["lhs_dilation"]) != {1}:
        raise refuse(equation)
    return graph.add(
        "Conv",
        [graph.name(x), graph.store(kernel, numbers.rhs_spec)],
        strides=params["window_strides"],
        pads=_pads(params["padding"]),
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )


def _pads(edges: Sequence[tuple[int, int]]) -> list[int]:
    """ONNX's order: all that is before, then all that is behind."""
    return [int(edge[side]) for side in (0, 1) for edge in edges]


def _pool(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    """Largest values, and sums: a mean times the size of its window, over channels a product with a band of ones."""
    params, largest = equation.params, equation.primitive.name == "reduce_window_max"
    (_, *window, across), (_, *strides, _), (_, *edges, rim) = (
        params[name] for name in ("window_dimensions", "window_strides", "padding")
    )
    if across == 1 and (largest or math.prod(window) > 1):
        shape: dict[str, Any] = {"kernel_shape": window, "strides": strides, "pads": _pads(edges)}
        if largest:
            return graph.add("MaxPool", [graph.name(x)], **shape)
        means = graph.add("AveragePool", [graph.name(x)], count_include_pad=1, **shape)
        return graph.add("Mul", [means, graph.name(np.asarray(math.prod(window), np.float32))])
    channels = shape_of(equation.invars[0])[-1]
    if largest or math.prod(window) > 1 or sum(rim) != across - 1:
        raise refuse(equation)
    made, seen = np.indices((channels, channels))
    band = (seen - made + rim[0] >= 0) & (seen - made + rim[0] < across)
    return graph.add("Conv", [graph.name(x), graph.store(band.astype(np.float32)[..., None, None], (0, 1, 2, 3))])


def _pad(graph: Graph, equation: JaxprEqn, x: Value, fill: Value) -> Value:
    edges = equation.params["padding_config"]
    if any(low < 0 or high < 0 or inner for low, high, inner in edges):
        raise refuse(equation)
    if not any(low or high for low, high, _ in edges):
        return x
    return graph.add("Pad", [graph.name(x), graph.integers(_pads(reorder(edges))), graph.name(fill)])


def _concatenate(graph: Graph, equation: JaxprEqn, *values: Value) -> Value:
    axes = range(len(shape_of(equation.outvars[0])))
    axis = reorder(axes).index(equation.params["dimension"])
    return graph.add("Concat", [graph.name(value) for value in values], axis=axis)


def _slice(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    params, shape = equation.params, shape_of(equation.invars[0])
    strides = params["strides"] or (1,) * len(shape)
    cuts = reorder([*zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)])
    cut = [axis for axis, (start, limit, stride, size) in enumerate(cuts) if (start, limit, stride) != (0, size, 1)]
    starts, limits, steps = ([cuts[axis][part] for axis in cut] for part in range(3))
    return graph.add("Slice", [graph.name(x), *map(graph.integers, (starts, limits, cut, steps))])


def _reshape(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    before, after = (shape_of(v) for v in (equation.invars[0], equation.outvars[0]))
    x = graph.add("Transpose", [graph.name(x)], perm=LAST) if len(before) == 4 else graph.name(x)
    y = graph.add("Reshape", [x, graph.integers([n if isinstance(n, int) else -1 for n in after])])
    return graph.add("Transpose", [y], perm=FIRST) if len(after) == 4 else y


def _sum(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    axes, rank = equation.params["axes"], len(shape_of(equation.invars[0]))
    order = reorder(range(rank))
    kept = [axis for axis in order if axis not in axes]
    if kept != sorted(kept):
        raise refuse(equation)
    return graph.add("ReduceSum", [graph.name(x), graph.integers([order.index(a) for a in axes])], keepdims=0)


def _multiply(graph: Graph, equation: JaxprEqn, x: Value, y: Value) -> Value:
    """A product of two matrices, or any other product by its letters."""
    (contracted, batched), letters = equation.params["dimension_numbers"], iter(string.ascii_lowercase)
    ranks = [len(shape_of(v)) for v in equation.invars]
    if ranks == [2, 2] and contracted == ((1,), (0,)):
        return graph.add("MatMul", [graph.name(x), graph.name(y)])
    left = [next(letters) for _ in range(ranks[0])]
    shared = {theirs: left[ours] for pairs in (contracted, batched) for ours, theirs in zip(*pairs, strict=True)}
    right = [shared.get(axis) or next(letters) for axis in range(ranks[1])]
    both = [left[axis] for axis in batched[0]]
    free = [letter for letter in left if letter not in shared.values()] + [c for c in right if c not in left]
    terms = ["".join(reorder(term)) for term in (left, right, [*both, *free])]
    return graph.add("Einsum", [graph.name(x), graph.name(y)], equation=f"{terms[0]},{terms[1]}->{terms[2]}")


def _transpose(graph: Graph, equation: JaxprEqn, x: Value) -> Value:
    axes = equation.params["permutation"]
    order = reorder(range(len(axes)))
    return graph.add("Transpose", [graph.name(x)], perm=[order.index(axis) for axis in reorder(axes)])


PIXELWISE: dict[str, Callable[..., Value]] = {
    "add": _node("Add"),
    "sub": _node("Sub"),
    "mul": _node("Mul"),
    "div": _node("Div"),
    "pow": _node("Pow"),
    "neg": _node("Neg"),
    "max": _max,
    "min": _node("Min"),
    "tanh": _node("Tanh"),
    "logistic": _node("Sigmoid"),
    "exp": _node("Exp"),
    "log": _node("Log"),
    "sqrt": _node("Sqrt"),
    "rsqrt": _rsqrt,
    "square": _power,
    "integer_pow": _power,
    "convert_element_type": _cast,
    "broadcast_in_dim": _broadcast,
}
OPERATIONS: dict[str, Callable[..., Value]] = {
    "conv_general_dilated": _convolve,
    "reduce_window_max": _pool,
    "reduce_window_sum": _pool,
    "pad": _pad,
    "concatenate": _concatenate,
    "slice": _slice,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "reduce_sum": _sum,
    "dot_general": _multiply,
    "transpose": _transpose,
}
