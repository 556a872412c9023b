"""Memory for time: blocks whose inside is computed once more in the backward pass instead of being kept."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from zoo.layers.interception import intercept_calls


def rematerialise(*classes: type[nn.Module]) -> AbstractContextManager:
    """Every module of these classes that is called inside keeps only its input for the backward pass.

    What `flax.linen.remat(Block)` is meant to do, which makes of the keyword `train` an array that nothing can branch
    on: here keywords stay as they are, and no model needs to be built anew. Variables, outputs and gradients are the
    same. Of classes within each other the outermost counts. It belongs inside the function that is differentiated; a
    compiled function keeps what stood around its first call. (XLA merges the two computations again on a CPU, and
    keeps them apart on GPU and TPU. A whole net is `jax.checkpoint` of a function that calls it.)

    >>> import jax, jax.numpy as jnp, zoo
    >>> from zoo.models.resnet import BasicBlock
    >>> model, images = zoo.create("resnet20"), jnp.ones((2, 8, 8, 3))
    >>> variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    >>> def loss(params):
    ...     with zoo.layers.rematerialise(BasicBlock):
    ...         logits, _ = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
    ...     return logits.sum()
    """
    inside = False

    def recompute(module: nn.Module, _: jax.Array, call: partial[Any]) -> Any:
        nonlocal inside
        if inside:
            return call()
        inside = True
        try:
            return nn.remat(lambda module, *args: module(*args, **call.keywords))(module, *call.args)
        finally:
            inside = False

    return intercept_calls(classes, recompute)
