"""Members and sizes of the ResNets that no fixture has, against the installed torch implementations.

CIFAR's against torchvision's blocks with the paper's option A shortcut, and against pytorchcv's class.
"""

from functools import partial

import pytest

from tests.support import layouts
from tests.support.live import compare, reference

TEN = {"num_classes": 10}
SHAPE = (2, 65, 97, 3)  # odd, not square


@pytest.mark.parity
@pytest.mark.parametrize(
    "source",
    [
        "torchvision/resnet18",
        "torchvision/resnet50",
        "torchvision/resnet34",
        *(
            pytest.param(source, marks=pytest.mark.slow)
            for source in (
                "torchvision/resnet152",
                "torchvision/resnext101_64x4d",
                "torchvision/wide_resnet101_2",
                "timm/resnext101_32x4d",
            )
        ),
    ],
)
def test_resnets_equal_the_installed_reference(source):
    compare(reference(source, **TEN), source.split("/")[1], SHAPE, fields=TEN)


def padded_resnet(n: int):
    """Option A of the paper: torchvision's ResNet of basic blocks with a shortcut of zeros after the old channels."""
    reference("torchvision/resnet18")()  # declares what the import needs
    from torch import nn
    from torchvision.models.resnet import BasicBlock, ResNet

    class Padded(nn.Module):
        def forward(self, x):
            return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))

    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
    net.conv1, net.bn1, net.maxpool = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Identity()
    net.inplanes = 16
    for stage in range(3):
        width, stride = 16 * 2**stage, 2 if stage else 1
        first = BasicBlock(width // 2 if stage else 16, width, stride, Padded() if stage else None)
        setattr(net, f"layer{stage + 1}", nn.Sequential(first, *(BasicBlock(width, width) for _ in range(n - 1))))
    net.layer4, net.fc = nn.Identity(), nn.Linear(64, 10)
    return net


@pytest.mark.parity
@pytest.mark.parametrize(("name", "n"), [("resnet20", 3), pytest.param("resnet56", 9, marks=pytest.mark.slow)])
def test_resnet_equals_torchvisions_blocks_with_the_papers_shortcut(name, n):
    compare(partial(padded_resnet, n), name, (3, 27, 36, 3))


def pytorchcv_resnext(groups: int, base_width: int):
    from pytorchcv.models.resnext_cifar import get_resnext_cifar
    from torch import nn

    net = get_resnext_cifar(10, 29, groups, base_width)
    net.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return net


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "groups"),
    [("resnext29_8x64d", 8), pytest.param("resnext29_16x64d", 16, marks=pytest.mark.slow)],
)
def test_resnext_equals_pytorchcv(name, groups):
    make = partial(pytorchcv_resnext, groups, 64)
    compare(make, name, (2, 17, 24, 3), layout=layouts.PYTORCHCV_RESNEXT_CIFAR)
