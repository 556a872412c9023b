"""Contestants of functions that JAX compiles."""

import time
from typing import Any

import jax

from zoo.bench.job import Contestant


def compile_step(step: Any, state: Any, *batch: Any) -> Contestant:
    """A contestant of a jitted `(state, *batch) -> (state, metrics)` that donates its state."""
    compiled, seconds = _compile(step, state, *batch)
    kept = [state]

    def call() -> None:
        kept[0], metrics = compiled(kept[0], *batch)
        jax.block_until_ready((kept, metrics))

    return _report(call, compiled, seconds)


def compile_inference(function: Any, *arguments: Any) -> Contestant:
    """A contestant of a jitted function of these arguments."""
    compiled, seconds = _compile(function, *arguments)
    return _report(lambda: jax.block_until_ready(compiled(*arguments)), compiled, seconds)


def _compile(function: Any, *arguments: Any) -> tuple[Any, float]:
    """The compiled function, and the seconds that tracing and compiling took."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def _report(call: Any, compiled: Any, seconds: float) -> Contestant:
    memory = compiled.memory_analysis().temp_size_in_bytes
    return Contestant(call, jax.devices()[0].device_kind, compile_seconds=seconds, memory=memory)
