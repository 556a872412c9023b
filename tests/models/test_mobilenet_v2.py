"""MobileNet v2: the paper's tables, and torchvision's and timm's nets at sizes that no fixture has."""

import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


def test_maps_and_costs_are_those_of_the_paper():
    """Table 2's inputs of the stages; table 4 says 3.4 M parameters, 300 M multiply-adds."""
    row = zoo.variant("mobilenet_v2")
    assert (row.macs // 10**6, row.params // 10**5) == (300, 35)
    layers = summary.layers(zoo.create("mobilenet_v2"), (224, 224, 3))
    depthwise = [layer.shape for layer in layers if layer.type == "Conv" and layer.params == 9 * layer.shape[-1]]
    sides = [112, 56, 56, 28, 28, 28, *[14] * 7, *[7] * 4]
    assert [shape[0] for shape in depthwise] == sides
    widths = [32, 96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3]
    assert [shape[-1] for shape in depthwise] == widths


@pytest.mark.parity
@pytest.mark.parametrize(
    ("source", "layout"), [("torchvision/mobilenet_v2", "torchvision"), ("timm/mobilenetv2_100", "timm")]
)
def test_mobilenet_v2_equals_torchvision_s_and_timm_s(source, layout):
    compare(reference(source, **TEN), "mobilenet_v2", (2, 65, 97, 3), layout=layout, fields=TEN)
