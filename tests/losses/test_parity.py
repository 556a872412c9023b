"""The installed torch, live, on other numbers than the committed figures."""

import json

import pytest
from numpy.testing import assert_allclose

from tests.losses.test_golden import FIGURES, assert_agrees
from tests.losses.torch_figures import arrays, figures
from tests.support import live
from zoo import losses

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("seed", range(1, 4))
def test_every_loss_agrees_with_torch_on_fresh_numbers(seed, float64):
    for entry in figures(seed).values():
        assert_agrees(entry)


def test_the_committed_figures_are_what_torch_says_today():
    today = json.loads(json.dumps(figures(0)))
    assert set(today) == set(FIGURES)
    for name, entry in today.items():
        assert {**entry, "value": 0, "gradient": 0} == {**FIGURES[name], "value": 0, "gradient": 0}
        assert_allclose(entry["value"], FIGURES[name]["value"], rtol=1e-13)
        assert_allclose(entry["gradient"], FIGURES[name]["gradient"], rtol=1e-13)


def test_focal_loss_is_torchvisions(float64):
    """The function that the formula in the figures stands for."""
    import torch

    entry = FIGURES["focal"]
    (logits, labels), options = arrays(entry)
    function = live.torchvision_of_cpu().ops.sigmoid_focal_loss
    assert_allclose(function(torch.tensor(logits), torch.tensor(labels), **options), entry["value"], rtol=1e-12)
    assert_allclose(losses.focal(logits, labels, **options), entry["value"], rtol=1e-11)
