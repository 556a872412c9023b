"""Which of Keras's applications our models are, and with which fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from zoo.data.preprocessing import PRESETS, Preprocessing
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.models.residual import pool_as_keras, pool_as_tensorflow
from zoo.models.resnet import Bottleneck
from zoo.models.resnet_v2 import Bottleneck as PreactivatedBottleneck
from zoo.models.separable import pad_after, pad_as_tensorflow
from zoo.models.vgg import D, E
from zoo.weights import keras_names


@dataclass(frozen=True)
class Application:
    """One of `keras.applications`.

    Attributes:
      name: there.
      rename: from the path of our layer to Keras's name, None where it has none and is numbered; with the name of the
        array (`block2_sepconv1/pointwise_kernel`) where two of our layers are one of Keras's.
      fields: of our net, with which it is the application.
      preprocessing: what `preprocess_input` does.
      bgr: what `preprocess_input` gives has blue first.
      pointwise: our dense layers that are 1x1 convolutions there.
    """

    name: str
    rename: Callable[[str], str | None]
    preprocessing: Preprocessing
    fields: Mapping[str, Any] = field(default_factory=dict)
    bgr: bool = False
    pointwise: tuple[str, ...] = ()


BIASED: dict[str, Any] = {"use_bias": True, "epsilon": 1.001e-5}
V1 = {"block": partial(Bottleneck, stride_in_1x1=True, **BIASED), **BIASED}
V2 = {
    "block": partial(PreactivatedBottleneck, **BIASED),
    **{"stride_in_last": True, "pool": pool_as_keras, **BIASED},
}
HEADLESS = {"auxiliary": False, "count_include_pad": False, "use_scale": False}
MOBILE = {"epsilon": 1e-3, "pad": pad_as_tensorflow}
CAFFE, TORCH, TF = PRESETS["caffe"], PRESETS["torchvision"], PRESETS["inception"]


def _v1(depth: int) -> Application:
    return Application(f"ResNet{depth}", keras_names.name_resnet, CAFFE, V1, bgr=True)


APPLICATIONS = {
    "vgg16": Application("VGG16", partial(keras_names.name_vgg, depths=D), CAFFE, bgr=True),
    "vgg19": Application("VGG19", partial(keras_names.name_vgg, depths=E), CAFFE, bgr=True),
    "resnet50_v1": _v1(50),
    **{f"resnet{depth}": _v1(depth) for depth in (50, 101, 152)},
    **{
        f"resnetv2_{depth}": Application(f"ResNet{depth}V2", keras_names.name_resnet_v2, replace(TF, size=224), V2)
        for depth in (50, 101, 152)
    },
    **{
        f"densenet{depth}": Application(
            f"DenseNet{depth}", keras_names.name_densenet, TORCH, {"epsilon": BIASED["epsilon"]}
        )
        for depth in (121, 169, 201)
    },
    "inception_v3": Application("InceptionV3", keras_names.name_inception_v3, TF, HEADLESS),
    "inception_resnet_v2": Application(
        "InceptionResNetV2", keras_names.name_inception_resnet_v2, TF, {"use_scale": False}
    ),
    "xception": Application("Xception", keras_names.name_xception, TF, {"epsilon": 1e-3, "pool": pool_as_tensorflow}),
    "mobilenet_v1": Application(
        "MobileNet",
        keras_names.name_mobilenet_v1,
        replace(TF, size=224),
        {"epsilon": 1e-3, "stem_pad": pad_as_tensorflow, "pad": pad_after},
        pointwise=("classifier",),
    ),
    "mobilenet_v2": Application("MobileNetV2", keras_names.name_mobilenet_v2, replace(TF, size=224), MOBILE),
}


def find_application(name: str) -> Application:
    """The application that the model is with other fields.

    Raises:
      UserError: there is none; the message has all.
    """
    if name not in APPLICATIONS:
        raise UserError(f"Keras has no {name}", f"its applications here are {', '.join(APPLICATIONS)}")
    return APPLICATIONS[name]


def make_model(name: str) -> Net:
    """The model with the fields that make it Keras's application."""
    return registry.create(name, **find_application(name).fields)
