"""MobileNet: the paper's tables, and timm's net at a size that no fixture has."""

import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


def test_where_the_computation_goes_is_what_table_2_says():
    """Shares in percent of multiply-adds and parameters: 1x1, depthwise 3x3, the first convolution, dense layer."""
    layers = summary.layers(zoo.create("mobilenet_v1"), (224, 224, 3))

    def shares(measure):
        kinds = dict.fromkeys(("conv_pw", "conv_dw", "conv_stem", "classifier"), 0)
        for layer in layers:
            kind = layer.path.rpartition("/")[2]
            if kind in kinds:
                kinds[kind] += measure(layer)
        return [round(100 * value / sum(kinds.values()), 2) for value in kinds.values()]

    assert shares(lambda layer: layer.macs) == [94.86, 3.06, 1.91, 0.18]  # 1.19 there, with which they do not add up
    assert shares(lambda layer: layer.params) == pytest.approx([74.59, 1.06, 0.02, 24.33], abs=0.05)
    row = zoo.variant("mobilenet_v1")
    assert (round(row.macs / 1e6), round(row.params / 1e6, 1)) == (569, 4.2)  # table 4


@pytest.mark.parity
def test_mobilenet_v1_equals_timm_s():
    compare(reference("timm/mobilenetv1_100", **TEN), "mobilenet_v1", (2, 65, 97, 3), layout="timm", fields=TEN)
