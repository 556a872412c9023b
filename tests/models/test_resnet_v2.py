"""ResNet v2 in all three forms against timm and pytorchcv, at sizes and depths that no fixture has."""

from functools import partial

import pytest

from tests.support import layouts
from tests.support.live import compare, reference

TEN = {"num_classes": 10}
slow = pytest.mark.slow


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    ["resnetv2_18", "resnetv2_50", *(pytest.param(f"resnetv2_{depth}", marks=slow) for depth in (34, 101, 152))],
)
def test_resnetv2_equals_timm(name):
    compare(reference(f"timm/{name}", **TEN), name, (2, 65, 97, 3), layout="timm", fields=TEN, seed=1)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("preresnet18", "preresnet18"),
        ("preresnet50b", "preresnet50"),  # b: the stride in the 3x3
    ],
)
def test_preresnet_equals_pytorchcv_without_its_second_activation(source, name):
    from tests.support.composed import preresnet

    make = partial(preresnet, f"pytorchcv/{source}", 10)
    compare(make, name, (2, 97, 65, 3), layout=layouts.PYTORCHCV_PRERESNET, fields=TEN)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "depth", "bottleneck", "fields"),
    [
        ("preresnet20", 20, False, {}),
        ("preresnet164", 20, True, {"depths": (2, 2, 2)}),
        pytest.param("preresnet164", 164, True, {}, marks=slow),
    ],
)
def test_cifar_preresnet_equals_pytorchcv_with_the_papers_shortcut_and_stride(name, depth, bottleneck, fields):
    from tests.support.composed import cifar_preresnet

    make = partial(cifar_preresnet, depth, bottleneck=bottleneck)
    compare(make, name, (3, 27, 36, 3), layout=layouts.PYTORCHCV_PRERESNET_CIFAR, fields=fields)
