"""Which model is held to which record of reference figures (`tests.support.proof`)."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support import layouts
from zoo import weights
from zoo.models import resnet_v2
from zoo.models.layout import Layout


@dataclass(frozen=True)
class Proof:
    """Which model is held to which record, and how the two name the same things.

    Attributes:
      source: of the record, e.g. `"torchvision/resnet18"`.
      name: of our model.
      layout: one of the model's own, or a `Layout` where only the tests need it.
      fields: of the model; dropout is always off.
      features: `{our endpoint: torch's module}` where the names differ, `{torch's module: ""}` where ours is not it.
      train: whether CI's everyday run does the training figures too; `slow` tests do all.
      evaluate: whether it does the evaluation; not where the weights take long to draw, or a twin is evaluated.
    """

    source: str
    name: str
    layout: str | Layout = "torchvision"
    fields: dict[str, Any] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)
    train: bool = False
    evaluate: bool = True

    @property
    def rules(self) -> Layout:
        """The layout itself."""
        return self.layout if isinstance(self.layout, Layout) else weights.layouts(self.name)[self.layout]


ALEXNET = {"pool1": "features.2", "pool2": "features.5", "pool5": "features.12", "features": "classifier.5"}
SQUEEZENET = {"stem": "features.1", "fires3": "features", "features": ""}
VGG = {"pool5": "features", "features": "classifier.4"}
GOOGLENET = {"stem": "maxpool2", "features": "avgpool"}
XCEPTION = {"stem": "act2", "middle": "block11", "exit": "block12", "features": "global_pool"}
MOBILENET_V1 = {"stem": "bn1", "features": "global_pool"} | {f"stage{i}": f"blocks.{i - 1}" for i in range(1, 6)}
MOBILENET_V2 = {"stem": "features.0", "features": ""} | {
    f"stage{i}": f"features.{n}" for i, n in enumerate((1, 3, 6, 10, 13, 16, 17), 1)
}
RESNET = {"stem": "maxpool", "features": "avgpool"}
TIMM_RESNET = {"stem": "maxpool", "features": "global_pool"}
INCEPTION_V3 = {"stem": "maxpool2", "features": "avgpool"}
INCEPTION_V4 = {"stem": "features.5", "inception_a": "features.9", "inception_b": "features.17"} | {
    "inception_c": "features.21",
    "features": "global_pool",
}
INCEPTION_RESNET_V2 = {"stem": "mixed_5b", "block35": "repeat", "block17": "repeat_1", "features": "global_pool"}
INCEPTION_RESNET_V1 = {"stem": "features.init_block", "block35": "features.stage1"} | {
    "block17": "features.stage2",
    "block8": "features.stage3",
    "features": "features.final_pool",
}
PREACTIVATED = {f"layer{i + 1}": f"stages.{i}" for i in range(4)} | {"features": "head.global_pool"}
PREACTIVATED |= {"norm": ""}  # timm's rectifies too
DENSENET = {f"denseblock{i}": f"features.denseblock{i}" for i in range(1, 5)} | {"stem": "features.pool0"}
DENSENET |= {"features": "global_pool"}
TORCHVISION_DENSENET = DENSENET | {"features.norm5": "features"}  # timm's rectifies too
PYTORCHCV = {"stem": "features.init_block", "features": "features.final_pool"} | {
    f"{stage}{i}": f"features.stage{i}" for stage in ("layer", "denseblock") for i in range(1, 5)
}
STRIDED_1X1 = {"block": partial(resnet_v2.Bottleneck, stride_in_1x1=True)}
STRIDED_3X3 = {"block": partial(resnet_v2.Bottleneck, stride_in_1x1=False)}
PROJECTED = {"block": resnet_v2.BasicBlock}
TWICE_ACTIVATED = {"first_preactivation": True}
PROOFS = [
    Proof("torchvision/alexnet", "alexnet", features=ALEXNET, train=True, evaluate=False),
    Proof("torchvision/squeezenet1_0", "squeezenet1_0", features=SQUEEZENET),
    Proof("torchvision/squeezenet1_1", "squeezenet1_1", features=SQUEEZENET, train=True, evaluate=False),
    Proof("torchvision/vgg11", "vgg11", features=VGG, evaluate=False),
    Proof("torchvision/vgg11_bn", "vgg11_bn", features=VGG, train=True, evaluate=False),
    Proof("torchvision/vgg16", "vgg16", features=VGG, evaluate=False),
    Proof("torchvision/vgg16_bn", "vgg16_bn", features=VGG, evaluate=False),
    Proof("torchvision/vgg19", "vgg19", features=VGG, evaluate=False),
    Proof("torchvision/googlenet", "googlenet", features=GOOGLENET, train=True),
    Proof("cadene/bninception", "inception_v2", "cadene", features={"stem": "pool2_3x3_s2"}, train=True),
    Proof("pytorchcv/bninception", "inception_v2", layouts.PYTORCHCV_BNINCEPTION, features=PYTORCHCV, evaluate=False),
    Proof("torchvision/resnet18", "resnet18", features=RESNET, train=True),
    Proof("torchvision/resnet50", "resnet50", features=RESNET, train=True),
    Proof("torchvision/resnet101", "resnet101", features=RESNET),
    Proof("torchvision/resnext50_32x4d", "resnext50_32x4d", features=RESNET, train=True),
    Proof("torchvision/resnext101_32x8d", "resnext101_32x8d", features=RESNET),
    Proof("torchvision/wide_resnet50_2", "wide_resnet50_2", features=RESNET),
    Proof("timm/legacy_xception", "xception", "timm", features=XCEPTION),
    Proof("timm/mobilenetv1_100", "mobilenet_v1", "timm", features=MOBILENET_V1, train=True, evaluate=False),
    Proof("torchvision/mobilenet_v2", "mobilenet_v2", features=MOBILENET_V2, train=True, evaluate=False),
    Proof("timm/seresnet50", "seresnet50", features=TIMM_RESNET, train=True),
    Proof("timm/seresnext50_32x4d", "seresnext50_32x4d", features=TIMM_RESNET),
    Proof("timm/resnet50d", "resnet50d", features=TIMM_RESNET, train=True),
    Proof("torchvision/inception_v3", "inception_v3", features=INCEPTION_V3, train=True),
    Proof("timm/inception_v4", "inception_v4", "timm", features=INCEPTION_V4, train=True),
    Proof("timm/inception_resnet_v2", "inception_resnet_v2", "timm", features=INCEPTION_RESNET_V2),
    Proof(
        "pytorchcv/inceptionresnetv1",
        "inception_resnet_v1",
        layouts.PYTORCHCV_INCEPTION_RESNET_V1,
        fields={"bottleneck": 512},
        features=INCEPTION_RESNET_V1,
        train=True,
    ),
    Proof("pytorchcv/resnet50", "resnet50_v1", layouts.PYTORCHCV_RESNET, features=PYTORCHCV),
    Proof("timm/resnetv2_18", "resnetv2_18", "timm", features=PREACTIVATED, train=True),
    Proof("timm/resnetv2_34", "resnetv2_34", "timm", features=PREACTIVATED),
    Proof("timm/resnetv2_50", "resnetv2_50", "timm", features=PREACTIVATED),
    Proof("pytorchcv/preresnet18", "preresnet18", layouts.PYTORCHCV_PRERESNET, TWICE_ACTIVATED, PYTORCHCV),
    Proof(
        "pytorchcv/preresnet50", "preresnet50", layouts.PYTORCHCV_PRERESNET, TWICE_ACTIVATED | STRIDED_1X1, PYTORCHCV
    ),
    Proof(
        "pytorchcv/preresnet20_cifar10", "preresnet20", layouts.PYTORCHCV_PRERESNET_CIFAR, PROJECTED, PYTORCHCV, True
    ),
    Proof(
        "pytorchcv/preresnet164bn_cifar10", "preresnet164", layouts.PYTORCHCV_PRERESNET_CIFAR, STRIDED_3X3, PYTORCHCV
    ),
    Proof("torchvision/densenet121", "densenet121", features=TORCHVISION_DENSENET, train=True),
    Proof("torchvision/densenet169", "densenet169", features=TORCHVISION_DENSENET),
    Proof("timm/densenet121", "densenet121", features=DENSENET),
    Proof(
        "pytorchcv/densenet100_k12_bc_cifar10",
        "densenet100_k12_bc",
        layouts.PYTORCHCV_DENSENET_CIFAR,
        features=PYTORCHCV,
    ),
]
