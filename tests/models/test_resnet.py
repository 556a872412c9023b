"""Members and sizes of the ResNets that no fixture has, against the installed torch implementations.

CIFAR's are in `tests/support/references.py`.
"""

import pytest

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
        "timm/seresnet50",
        "timm/resnet50d",
        *(
            pytest.param(source, marks=pytest.mark.slow)
            for source in (
                "torchvision/resnet152",
                "torchvision/resnext101_64x4d",
                "torchvision/wide_resnet101_2",
                "timm/resnext101_32x4d",
                "timm/seresnext50_32x4d",
            )
        ),
    ],
)
def test_resnets_equal_the_installed_reference(source):
    compare(reference(source, **TEN), source.split("/")[1], SHAPE, fields=TEN)
