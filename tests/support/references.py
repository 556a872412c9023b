"""Which models without figures in `tests/fixtures` are held to which installed net (`parity`), and at which images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zoo
from tests.support import layouts, live
from tests.support.proof import Distance
from zoo.models.layout import Layout


@dataclass(frozen=True)
class Reference:
    """An installed net.

    Attributes:
      source: `"timm/resnext101_32x4d"`; if composed, the library whose layers and blocks it is made of.
      images: `(N, H, W)`.
      layout: the naming of its state dict.
      composed: no library has it as published: it is that of `tests/support/composed.py`.
      slow: whether a comparison takes minutes.
      compiled: for `live.compare`.
    """

    source: str
    images: tuple[int, int, int]
    layout: str | Layout = "torchvision"
    composed: bool = False
    slow: bool = False
    compiled: bool = True

    def make(self, name: str) -> Callable[[], Any]:
        """A function that makes the untrained net that the model `name` is held to."""
        if not self.composed:
            return live.reference(self.source)
        from tests.support import composed

        return composed.NETS[name]


def compare(name: str) -> list[Distance]:
    """Asserts that the model is its reference, and returns all distances."""
    reference = REFERENCES[name]
    shape = (*reference.images, zoo.variant(name).channels)
    return live.compare(reference.make(name), name, shape, layout=reference.layout, compiled=reference.compiled)


def installed(library: str, *names: str, layout: str = "torchvision") -> dict[str, Reference]:
    return {name: Reference(f"{library}/{name}", (2, 96, 96), layout, slow=True) for name in names}


def composed(library: str, images: tuple[int, int, int], *names: str, **fields: Any) -> dict[str, Reference]:
    return {name: Reference(library, images, composed=True, **fields) for name in names}


CONVNET = Layout(((r"^conv(\d_\d)\.0$", r"conv\1"), (r"^bn(\d)\.(\d)$", r"bn\1_\2")), flattened=("fc1",))
FLATTENED = Layout(flattened=("fc1",))
CIFAR, DEEP = (3, 27, 36), {"slow": True, "compiled": False}
HE = ("preresnet34", "preresnet101", "preresnet152", "preresnet200")
HE_CIFAR = ("preresnet56", "preresnet110")

REFERENCES = {
    **installed("torchvision", "resnet34", "resnet152", "resnext101_64x4d", "wide_resnet101_2"),
    **installed("torchvision", "densenet161", "densenet201", "vgg13", "vgg13_bn", "vgg19_bn"),
    **installed("timm", "resnext101_32x4d"),
    **installed("timm", "resnetv2_101", "resnetv2_152", layout="timm"),
    **{
        name: Reference(f"pytorchcv/{name}_cifar10", (2, 32, 32), layouts.PYTORCHCV_DENSENET_CIFAR, slow=True)
        for name in ("densenet190_k40_bc", "densenet250_k24_bc")
    },
    **composed("torch", (3, 32, 32), "mlp", layout=FLATTENED),
    **composed("torch", (3, 32, 32), "convnet", "convnet_bn", layout=CONVNET),
    **composed("torch", (3, 32, 32), "lenet5", "lenet5_relu"),
    **composed("torch", (2, 227, 227), "alexnet_2012", slow=True),
    **composed("torch", CIFAR, "densenet40_k12", slow=True),
    **composed("torchvision", (2, 224, 224), "googlenet_2014", slow=True),
    **composed("torchvision", (2, 65, 97), "densenet264", slow=True),
    **composed("torchvision", CIFAR, "resnet20"),
    **composed("torchvision", CIFAR, "resnet32", "resnet44", "resnet56", "resnet110", **DEEP),
    **composed("pytorchcv", (2, 17, 24), "resnext29_8x64d", layout=layouts.PYTORCHCV_RESNEXT_CIFAR),
    **composed("pytorchcv", (2, 17, 24), "resnext29_16x64d", layout=layouts.PYTORCHCV_RESNEXT_CIFAR, slow=True),
    **composed("pytorchcv", (2, 97, 65), *HE, layout=layouts.PYTORCHCV_PRERESNET, **DEEP),
    **composed("pytorchcv", CIFAR, *HE_CIFAR, layout=layouts.PYTORCHCV_PRERESNET_CIFAR, **DEEP),
    **composed("pytorchcv", (2, 12, 16), "preresnet1001", layout=layouts.PYTORCHCV_PRERESNET_CIFAR, **DEEP),
}
