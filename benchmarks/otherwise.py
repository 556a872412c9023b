"""What zoo leaves out on this platform, in the place of what it chooses: for whatever is traced inside these blocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import jax
from jax import lax
from jax.custom_derivatives import linear_call

from zoo.layers.materialise import _loop_never
from zoo.norm import forward_and_backward as norm


@contextmanager
def leave_out_guard() -> Iterator[None]:
    """The variance of one pass is taken as it is, and no loop is compiled."""
    with (
        mock.patch.object(norm, "_normalise_jitted", norm._normalise),  # what is jitted may be traced already
        mock.patch.object(lax, "while_loop", lambda _, __, state: state),
    ):
        yield


@contextmanager
def choose_otherwise() -> Iterator[None]:
    """`lax.platform_dependent` takes what it leaves out where JAX computes."""

    def choose(*args, cpu, default):
        return (default if jax.default_backend() == "cpu" else cpu)(*args)

    with mock.patch.object(lax, "platform_dependent", choose):
        yield


@contextmanager
def materialise_otherwise() -> Iterator[None]:
    """Arrays at the end of a block are made once by a loop on accelerators, and left to the compiler on a CPU."""

    def loop(_, x):
        return _loop_never(x, forward=True)

    def materialise(x):
        return x if jax.default_backend() == "cpu" else linear_call(loop, loop, (), x)

    with mock.patch("zoo.layers.addition.materialise", materialise):
        yield
