"""ResNet v2 in all three forms against timm and pytorchcv, at sizes and depths that no fixture has."""

import pytest

from tests.support import layouts
from tests.support.live import compare, compare_structure, reference

TEN = {"num_classes": 10}
slow = pytest.mark.slow


def he(source: str, **fields):
    """pytorchcv's net without what it adds to He's: a second activation before the first block, a fixed last pool."""

    def make():
        from torch import nn

        net = reference(source, **fields)()
        net.features.final_pool = nn.AdaptiveAvgPool2d(1)
        net.features.stage1.unit1.body.conv1.bn = nn.Identity()
        return net

    return make


def he_cifar(depth: int, *, bottleneck: bool):
    """pytorchcv's CIFAR net with He's shortcut (basic blocks) or He's stride (bottlenecks)."""

    def make():
        from pytorchcv.models.preresnet_cifar import get_preresnet_cifar
        from torch import nn

        class Padded(nn.Module):
            def forward(self, x):
                return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))

        net = get_preresnet_cifar(10, depth, bottleneck)
        net.features.final_pool = nn.AdaptiveAvgPool2d(1)
        for stage in (net.features.stage2, net.features.stage3):
            if bottleneck:
                stage.unit1.body.conv1.conv.stride, stage.unit1.body.conv2.conv.stride = (2, 2), (1, 1)
            else:
                stage.unit1.identity_conv = Padded()
        return net

    return make


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
        pytest.param("preresnet34", "preresnet34", marks=slow),
        pytest.param("preresnet101b", "preresnet101", marks=slow),
        pytest.param("preresnet152b", "preresnet152", marks=slow),
        pytest.param("preresnet200b", "preresnet200", marks=slow),
    ],
)
def test_preresnet_equals_pytorchcv_without_its_second_activation(source, name):
    make = he(f"pytorchcv/{source}", **TEN)
    compare(make, name, (2, 97, 65, 3), layout=layouts.PYTORCHCV_PRERESNET, fields=TEN)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "depth", "bottleneck", "fields"),
    [
        ("preresnet20", 20, False, {}),
        ("preresnet164", 20, True, {"depths": (2, 2, 2)}),
        pytest.param("preresnet56", 56, False, {}, marks=slow),
        pytest.param("preresnet110", 110, False, {}, marks=slow),
        pytest.param("preresnet164", 164, True, {}, marks=slow),
    ],
)
def test_cifar_preresnet_equals_pytorchcv_with_the_papers_shortcut_and_stride(name, depth, bottleneck, fields):
    make = he_cifar(depth, bottleneck=bottleneck)
    compare(make, name, (3, 27, 36, 3), layout=layouts.PYTORCHCV_PRERESNET_CIFAR, fields=fields)


@pytest.mark.parity
def test_preresnet1001_has_pytorchcvs_structure():
    make = reference("pytorchcv/preresnet1001_cifar10")
    compare_structure(make, "preresnet1001", layouts.PYTORCHCV_PRERESNET_CIFAR)
