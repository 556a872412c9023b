"""A net as an ONNX model: what JAX traces, translated operation by operation; what needs no images is computed here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from zoo.layers import Conv, add_bias
from zoo.layers.convolution import convolve, pair
from zoo.layers.interception import intercept_calls
from zoo.weights.onnx_graph import FIRST, Graph, Value, shape_of
from zoo.weights.onnx_operations import OPERATIONS, PIXELWISE, refuse

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 17, 8  # of 2022, which every runtime reads
FUNCTIONS = ("jit", "pjit", "closed_call", "custom_jvp_call")  # whose inside is translated
SAME = ("materialise", "name", "copy")  # what goes in comes out


def build_onnx(
    apply: Callable[[Any, jax.Array], jax.Array],
    arrays: Mapping[str, Any],
    images: jax.ShapeDtypeStruct,
    metadata: Mapping[str, str],
) -> "ModelProto":
    """`apply(arrays, images)` as an ONNX model from `images` to `logits`, with the arrays inside under their names.

    Args:
      apply: a net without batch statistics and dropout.
      arrays: `{name: array}`.
      images: `[N, H, W, C]`, of which N may be symbolic.
      metadata: noted in the model.

    Raises:
      UserError: an operation that has no translation here.
    """
    from onnx import checker, helper

    with intercept_calls(Conv, _convolve_once):
        traced = jax.make_jaxpr(apply)(dict(arrays), images)
    names = sorted(arrays)  # as JAX flattens a dict
    constants = [np.asarray(arrays[name]) for name in names]
    graph = Graph({id(constant): name for name, constant in zip(names, constants, strict=True)})
    values: list[Value] = [*constants, graph.add("Transpose", ["images"], perm=FIRST)]
    (logits,) = _translate(graph, traced.jaxpr, map(np.asarray, traced.consts), values)
    graph.add("Identity", [graph.name(logits)], output="logits")

    def describe(name: str, shape: Sequence[Any], dtype: Any) -> Any:
        sizes = [size if isinstance(size, int) else "N" for size in shape]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), sizes)

    (out,) = traced.out_avals
    inputs, outputs = [describe("images", images.shape, images.dtype)], [describe("logits", out.shape, out.dtype)]
    made = helper.make_graph(graph.nodes, "net", inputs, outputs, initializer=graph.initialisers)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, producer_name="zoo", opset_imports=opsets, ir_version=IR_VERSION)
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model)
    return model


def _convolve_once(module: Any, x: jax.Array, _: Callable[[], jax.Array]) -> jax.Array:
    """A convolution as one convolution, not as the products and chunks that are fast on a CPU under XLA."""
    kernel: jax.Array = module.get_variable("params", "kernel")
    padding = [(p, p) for p in pair(module.padding)]
    y = convolve(x, kernel.astype(x.dtype), module.stride, padding, module.feature_group_count)
    return add_bias(y, module.get_variable("params", "bias")) if module.use_bias else y


def _translate(graph: Graph, jaxpr: Jaxpr, constants: Iterable[Value], inputs: Iterable[Value]) -> list[Value]:
    """Writes what a traced function does, and returns its outputs."""
    known: dict[Var, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))

    def read(variable: Any) -> Value:
        return np.asarray(variable.val) if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        made = _translate_equation(graph, equation, [read(variable) for variable in equation.invars])
        known |= zip(equation.outvars, made, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _translate_equation(graph: Graph, equation: JaxprEqn, values: list[Value]) -> list[Value]:
    kind, params = equation.primitive.name, equation.params
    if kind == "platform_index":
        return [np.asarray(len(params["platforms"]) - 1)]  # the last is what stands for all platforms
    if kind == "cond" and isinstance(values[0], np.ndarray):
        branch = params["branches"][int(values[0])]
        return _translate(graph, branch.jaxpr, branch.consts, values[1:])
    if kind in FUNCTIONS:
        inner = params["call_jaxpr" if "call_jaxpr" in params else "jaxpr"]
        return _translate(graph, inner.jaxpr, inner.consts, values)
    if kind in SAME:
        return values
    shapes = [shape_of(variable) for variable in (*equation.invars, *equation.outvars)]
    if all(isinstance(value, np.ndarray) for value in values) and all(isinstance(n, int) for n in shapes[-1]):
        return [np.asarray(equation.primitive.bind(*map(jnp.asarray, values), **params))]
    if kind in PIXELWISE:
        return [PIXELWISE[kind](graph, equation, *values)]
    unrepeated = any(isinstance(v, np.ndarray) and v.shape != s for v, s in zip(values, shapes, strict=False))
    if kind not in OPERATIONS or unrepeated:
        raise refuse(equation)
    return [OPERATIONS[kind](graph, equation, *values)]
