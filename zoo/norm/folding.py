"""Fold normalisations into the layers before them, for inference.

With running statistics, normalising is `factor * y + shift` per channel, and the convolution or dense layer that made
`y` can make `factor * y` itself: `fold` multiplies its kernel and bias, and what is left of the normalisation is one
addition.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from zoo.errors import UserError
from zoo.layers import Conv, Linear
from zoo.layers.interception import intercept_calls, path_of
from zoo.norm.module import BatchNorm

FOLDABLE = (Conv, Linear, nn.Conv, nn.Dense)  # their kernel's last axis is the channels that they make
SHOWN = 3  # normalisations that a message names


@dataclass(frozen=True, eq=False)  # hashed by identity: jax.jit(folded) works
class Folded:
    """A model for inference with its normalisations folded; call it like `model.apply` without the variables.

    Attributes:
      model: the unbound module, as it was.
      variables: those of the model with scaled kernels, and `shifts`: `{normalisation: [channels]}`, what is left of
        the folded ones.
      layers: `{normalisation: layer it is folded into}`.
    """

    model: nn.Module
    variables: dict[str, Any]
    layers: dict[str, str]

    def __call__(self, images: jax.Array, **options: Any) -> Any:
        return self.apply(self.variables, images, **options)

    def apply(self, variables: Mapping[str, Any], images: jax.Array, **options: Any) -> Any:
        """`model.apply(variables, images, train=False, **options)` for the folded variables; pure, to be jitted."""

        def shift_only(module: nn.Module, x: jax.Array, call: Callable[[], jax.Array]) -> jax.Array:
            if path_of(module) not in self.layers:
                return call()
            shift = variables["shifts"][path_of(module)].astype(x.dtype)
            return x + shift.reshape((1,) * (x.ndim - 1) + shift.shape)

        with intercept_calls(BatchNorm, shift_only):
            return self.model.apply(variables, images, train=False, **options)


def fold(
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    keep: Sequence[str] = (),
    image_shape: tuple[int, int, int] = (224, 224, 3),
) -> Folded:
    """Fold every normalisation into the convolution or dense layer whose output it takes.

    Args:
      model: called as `model.apply(variables, images, train=False)`.
      variables: `params` and `batch_stats`; unchanged.
      keep: shell patterns of the paths of normalisations that stay as they are: the ones that cannot be folded in
        nets that normalise sums or concatenations (`keep=["*bn1"]`), or all such with `keep=["*"]`. What can be
        folded always is.
      image_shape: `(height, width, channels)` that the model accepts, for finding out which layer feeds which.

    Returns:
      A `Folded`, whose outputs equal the model's to rounding.

    Raises:
      UserError: a normalisation that is not kept follows something else than a convolution or dense layer, or
        somebody else uses that layer's output too; the message names the first of them.
    """
    feeds, unfoldable = _trace(model, variables, image_shape)
    refused = {n: why for n, why in unfoldable.items() if not any(fnmatch.fnmatch(n, pattern) for pattern in keep)}
    if refused:
        reasons = [f"{name} {why}" for name, why in refused.items()]
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        problem = f"cannot fold every normalisation: {'; '.join(reasons[:SHOWN])}{more}"
        raise UserError(problem, 'pass keep=["*"] to leave as they are those that cannot be folded')
    params = jax.tree.map(lambda leaf: leaf, variables["params"])  # new dicts, the same arrays
    shifts = {}
    for name, (layer, epsilon) in feeds.items():
        norm, running = _at(params, name, {}), _at(variables["batch_stats"], name)
        scale, bias = (jnp.asarray(norm.get(k, v), running["var"].dtype) for k, v in (("scale", 1), ("bias", 0)))
        factor = scale / jnp.sqrt(running["var"] + epsilon)
        made = _at(params, layer)
        for key, value in made.items():
            wide = value.astype(factor.dtype) * factor.reshape((1,) * (value.ndim - 1) + (-1,))
            made[key] = wide.astype(value.dtype)
        shifts[name] = bias - running["mean"] * factor
    layers = {name: layer for name, (layer, _) in feeds.items()}
    return Folded(model, {**variables, "params": params, "shifts": shifts}, layers)


def _trace(
    model: nn.Module, variables: Mapping[str, Any], image_shape: tuple[int, int, int]
) -> tuple[dict[str, tuple[str, float]], dict[str, str]]:
    """What feeds each normalisation, `{norm: (layer, epsilon)}`, and `{norm: why it cannot be folded}`.

    Outputs of layers and inputs of normalisations get names in the model's jaxpr: there every other use shows.
    """
    epsilons: dict[str, float] = {}

    def tag(module: nn.Module, x: jax.Array, call: Callable[[], jax.Array]) -> jax.Array:
        name = path_of(module)
        if not isinstance(module, BatchNorm):
            return checkpoint_name(call(), f"layer:{name}")
        epsilons[name] = module.epsilon
        return checkpoint_name(x, f"norm:{name}")

    with intercept_calls((BatchNorm, *FOLDABLE), tag):
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, images)
    feeds: dict[str, str] = {}
    unfoldable: dict[str, str] = {}
    _search(jaxpr.jaxpr, feeds, unfoldable)
    for norm, layer in feeds.items():
        if list(feeds.values()).count(layer) > 1:
            unfoldable[norm] = f"follows {layer}, which is called twice"
    return {norm: (layer, epsilons[norm]) for norm, layer in feeds.items() if norm not in unfoldable}, unfoldable


def _search(jaxpr: Jaxpr, feeds: dict[str, str], unfoldable: dict[str, str]) -> None:
    """Adds what feeds each tagged normalisation, and why some cannot be folded, functions inside included."""
    makers: dict[Var, JaxprEqn] = {}
    users: dict[Var, list[JaxprEqn]] = {}
    for equation in jaxpr.eqns:
        for variable in equation.invars:
            if not isinstance(variable, Literal):
                users.setdefault(variable, []).append(equation)
        makers |= dict.fromkeys(equation.outvars, equation)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner: Any = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                _search(inner, feeds, unfoldable)
    for equation in jaxpr.eqns:
        tag, _, norm = str(equation.params.get("name", "")).partition(":")
        if equation.primitive.name != "name" or tag != "norm":
            continue
        source: Any = equation.invars[0]
        maker = makers.get(source)
        tag, _, layer = str(maker.params.get("name", "") if maker else "").partition(":")
        if norm in feeds or norm in unfoldable:
            unfoldable[norm] = "is called twice"
        elif tag != "layer":
            what = _operation(maker) if maker else "an input"
            unfoldable[norm] = f"follows {what}, which is not a convolution or dense layer"
        elif len(users[source]) > 1 or source in jaxpr.outvars:
            unfoldable[norm] = f"is not alone in using the output of {layer}"
        else:
            feeds[norm] = layer


def _operation(equation: JaxprEqn) -> str:
    """Name of the last operation, under the names of jit, of custom derivatives and of a choice by platform."""
    *_, default = equation.params.get("branches", [None])
    inner: Any = equation.params.get("call_jaxpr", equation.params.get("jaxpr", default))
    return _operation(inner.eqns[-1]) if getattr(inner, "eqns", None) else equation.primitive.name


def _at(tree: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """What is at the path; a normalisation without scale and bias has no parameters, and gets the default."""
    for key in path.split("/") if path else ():
        tree = tree[key] if default is None else tree.get(key, default)
    return tree
