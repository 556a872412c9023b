"""Agreement with torch, value and both gradients, to the digits of float64; `torch_figures.py` made the figures."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.losses.cases import value_and_both_gradients
from tests.losses.torch_figures import GOLDEN, arrays
from zoo import losses

FIGURES = json.loads(GOLDEN.read_text())


def assert_agrees(entry):
    """Value to eleven digits; gradients to eight, because torch's 1e-12 is a float32 one."""
    loss = getattr(losses, entry["loss"])
    (first, second), options = arrays(entry)
    value, automatic, closed = value_and_both_gradients(loss, **options)(first, second)
    assert value.dtype == jnp.float64
    assert_allclose(value, entry["value"], rtol=1e-11, atol=1e-12)
    assert_allclose(closed, entry["gradient"], rtol=1e-8, atol=1e-12)
    assert_allclose(automatic, entry["gradient"], rtol=1e-8, atol=1e-12)
    if "weighted mean" in entry:
        plain = loss(first, second, ignore_label=options["ignore_label"])
        counted = second != options["ignore_label"]
        mean = losses.reduce(plain, where=jnp.asarray(counted), weights=options["class_weights"][second])
        assert_allclose(mean, entry["weighted mean"], rtol=1e-11)


@pytest.mark.parametrize("name", FIGURES)
def test_loss_and_gradients_are_torchs(name, float64):
    assert_agrees(FIGURES[name])


def test_every_loss_has_figures():
    with_options = {entry["loss"] for entry in FIGURES.values()}
    assert with_options == {loss.__name__ for loss in losses.gradient_of} - {"logistic_loss"}


def test_the_loss_of_torchs_figures_is_finite():
    for entry in FIGURES.values():
        assert np.all(np.isfinite(np.array(entry["value"])))
        assert np.all(np.isfinite(np.array(entry["gradient"])))
