"""Strict settings for every test: 8 virtual CPU devices, no silent promotion of types or ranks."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)  # before any device is touched
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture
def float64():
    """Double precision inside the test: references hold to the digits that were stored."""
    with jax.enable_x64(True):
        yield
