"""A look at layers while a model runs, without the model knowing."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import flax.linen as nn

Handle = Callable[[nn.Module, Any, partial[Any]], Any]  # (module, its input, the call itself) -> its output


def intercept_calls(classes: type | tuple[type, ...], handle: Handle) -> AbstractContextManager:
    """Hand every call of a module of these classes to `handle(module, x, call)`.

    `x` is the module's first argument and `call()` what the module would have returned; what `handle` returns goes on
    in its place.
    """

    def intercept(
        method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        if context.method_name != "__call__" or not isinstance(context.module, classes):
            return method(*args, **kwargs)
        x = args[0] if args else next(iter(kwargs.values()))
        return handle(context.module, x, partial(method, *args, **kwargs))

    return nn.intercept_methods(intercept)


def path_of(module: nn.Module) -> str:
    """The path of a bound module in the tree of variables, `"layer1_0/bn1"`."""
    return "/".join(module.path)
