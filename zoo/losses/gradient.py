"""The derivatives of the losses in closed form: each is written directly under its loss and registered here.

`gradient_of[loss]` takes exactly what the loss takes, with the same defaults. It returns the derivative of each
example's own loss with respect to the first argument, in its shape and in the precision of the loss. Where a loss is
NaN because its example has no label, the derivative is 0.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")

gradient_of: dict[Callable[..., jax.Array], Callable[..., Any]] = {}


def derivative_of(
    loss: Callable[Inputs, jax.Array], prepare: Callable[..., object]
) -> Callable[[Callable[..., Result]], Callable[Inputs, Result]]:
    """Register the decorated formula as the derivative of `loss`.

    Args:
      loss: the loss directly above, whose signature and defaults the derivative has too.
      prepare: what the loss calls first, to check and cast its arguments. It gets the positional arguments of the loss,
        and those keyword-only options that it names. The formula gets what `prepare` returns, and those that it names.
    """
    signature = inspect.signature(loss)

    def register(formula: Callable[..., Result]) -> Callable[Inputs, Result]:
        @functools.wraps(formula)
        def gradient(*args: Inputs.args, **options: Inputs.kwargs) -> Result:
            call = signature.bind(*args, **options)
            call.apply_defaults()
            prepared = _call(prepare, call.args, call.kwargs)
            return _call(formula, prepared if isinstance(prepared, tuple) else (prepared,), call.kwargs)

        if formula.__name__ == "_":
            gradient.__name__ = gradient.__qualname__ = f"gradient_of[{loss.__name__}]"
            gradient.__doc__ = f"Return the derivative of `{loss.__name__}` with respect to its first argument."
        returned = inspect.signature(formula).return_annotation
        gradient.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
        gradient_of[loss] = gradient
        return gradient

    return register


def _call(function: Callable[..., Result], args: tuple[object, ...], options: dict[str, object]) -> Result:
    names = inspect.signature(function).parameters
    return function(*args, **{name: value for name, value in options.items() if name in names})
