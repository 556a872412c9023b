"""Fine-tuning layer by layer: which parameters stay as they are, and how fast each layer of the others learns."""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zoo.errors import UserError
from zoo.models import registry
from zoo.training.checkpoint import list_leaves
from zoo.weights.inspection import find_image_shape


def freeze(tx: optax.GradientTransformation, patterns: Sequence[str]) -> optax.GradientTransformation:
    """The optimiser for the parameters that no pattern fits: the others keep their bits, and need no memory in it.

    A pattern fits the path of a parameter, `layer1_0/conv1/kernel`, or of a module that holds it, `layer1_0`.

    Raises:
      UserError: from `init`: a pattern fits no parameter, or nothing is left to train.
    """
    if not patterns:
        return tx

    def label(params: Any) -> Any:
        names = [name for name, _ in list_leaves(params)]
        frozen = find_fitting(names, patterns, "parameter")
        if len(frozen) == len(names):
            raise UserError(
                f"freeze={tuple(patterns)} leaves nothing to train", "leave the head out", code="all-frozen"
            )
        labels = ["frozen" if name in frozen else "trained" for name in names]
        return jax.tree.unflatten(jax.tree.structure(params), labels)

    return optax.partition({"trained": tx, "frozen": optax.stateless(_keep)}, label)


def _keep(updates: Any, _params: Any) -> Any:
    """Minus zeros, because adding 0 would make a 0 of -0."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, -0.0), updates)


def find_fitting(names: Iterable[str], patterns: Iterable[str], kind: str) -> set[str]:
    """The names of `kind` that fit one of the shell patterns, themselves or in a module that does.

    Raises:
      UserError: a pattern fits none, and would silently do nothing; the message has the nearest names.
    """
    names, found = list(names), set()
    for pattern in patterns:
        fitting = {n for n in names if fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(n, f"{pattern}/*")}
        if not fitting:
            raise UserError(f"no {kind} fits {pattern!r}", _name_near(names, pattern) or f"the net has no {kind}")
        found |= fitting
    return found


def _name_near(names: Iterable[str], pattern: str) -> str:
    """The paths, and those of the modules around them, that are most like a pattern; else what there is."""
    paths = [name.split("/") for name in names]
    known = dict.fromkeys("/".join(path[:i]) for path in paths for i in range(1, len(path) + 1))
    if near := difflib.get_close_matches(pattern, known, n=3, cutoff=0.5):
        return f"near are {', '.join(near)}"
    modules = list(dict.fromkeys(path[0] for path in paths))
    return f"there are {', '.join(modules[:5])}{' and more' * (len(modules) > 5)}" if modules else ""


def find_scales(name: str, params: Any, *, head: float, decay: float) -> Any:
    """The share of the learning rate that each parameter gets, in the structure of `params`.

    The heads, those of auxiliary classifiers included, get `head`; the layer before the main one gets `decay`, that
    before it `decay^2`, and so on (Clark et al. 2020, arXiv:2003.10555).
    """
    layers, heads = _list_layers(name), registry.variant(name).heads
    depths = {module: depth for depth, modules in enumerate(reversed(layers), start=1) for module in modules}

    def scale(path: str) -> float:
        if any(f"{path}/".startswith(f"{one}/") for one in heads):
            return head
        return decay ** depths.get(path.partition("/")[0], 0)

    scales = [scale(path) for path, _ in list_leaves(params)]
    return jax.tree.unflatten(jax.tree.structure(params), scales)


@cache
def _list_layers(name: str) -> list[list[str]]:
    """The modules of a net in the order of its call, without heads: one with a kernel and those without after it.

    A block is one module, and a normalisation belongs to the convolution before it.
    """
    model, heads = registry.create(name), registry.variant(name).heads
    layers: list[list[str]] = []

    def init(key: jax.Array) -> None:
        params = model.init(key, jnp.zeros((1, *find_image_shape(name))), train=False)["params"]
        for module, tree in params.items():  # as they were made; outside of the trace JAX sorts them
            if any(f"{one}/".startswith(f"{module}/") for one in heads):
                continue
            if not layers or any(path.endswith("kernel") for path, _ in list_leaves(tree)):
                layers.append([])
            layers[-1].append(module)

    jax.eval_shape(init, jax.random.key(0))
    return layers
