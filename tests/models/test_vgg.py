"""VGG: table 1 of the paper, and members and sizes that no fixture has."""

import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


@pytest.mark.parametrize(("depth", "millions"), [(11, 133), (13, 133), (16, 138), (19, 144)])
def test_weight_layers_and_parameters_are_those_of_tables_1_and_2(depth, millions):
    name = f"vgg{depth}"
    layers = summary.layers(zoo.create(name), (224, 224, 3))
    assert len(layers) == depth
    assert round(zoo.variant(name).params / 1e6) == millions
    sides = [layer.shape[0] for layer in layers if layer.type == "Conv"]
    assert sorted(set(sides), reverse=True) == [224, 112, 56, 28, 14]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "size"),
    [("vgg13_bn", (65, 97)), *(pytest.param(n, (47, 64), marks=pytest.mark.slow) for n in ("vgg13", "vgg19_bn"))],
)
def test_other_members_and_sizes_equal_torchvision(name, size):
    compare(reference(f"torchvision/{name}", **TEN), name, (2, *size, 3), fields=TEN)


@pytest.mark.parity
def test_timm_s_naming_is_timm_s():
    """It writes the first two dense layers as convolutions. The same as torchvision's at 224 and below."""
    compare(reference("timm/vgg11", **TEN), "vgg11", (2, 64, 96, 3), layout="timm", fields=TEN)
