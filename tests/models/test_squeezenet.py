"""SqueezeNet: the paper's table of parameters, and torchvision's nets at sizes that no fixture has."""

from collections import Counter

import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


def test_parameters_are_those_of_table_1():
    """Before pruning; the modules are fire2 to fire9 there."""
    found: Counter[str] = Counter()
    for layer in summary.layers(zoo.create("squeezenet1_0"), (224, 224, 3)):
        found[layer.path.partition("/")[0]] += layer.params
    fires = [11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184]
    assert list(found.values()) == [14_208, *fires, 513_000]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "size"), [("squeezenet1_0", (21, 38)), ("squeezenet1_1", (17, 46))])
def test_squeezenet_equals_torchvision(name, size):
    compare(reference(f"torchvision/{name}", **TEN), name, (2, *size, 3), fields=TEN)
