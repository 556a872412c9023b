"""A folder in the form of a hub's repository, as timm writes and reads it: `model.safetensors` and `config.json`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.data.preprocessing import Preprocessing, format_preprocessing
from zoo.models import registry
from zoo.models.net import Net
from zoo.weights.files import PREPROCESSING, save
from zoo.weights.hub import CARD, FILES
from zoo.weights.inspection import init_shapes
from zoo.weights.key_maps import Slot, Variables, layouts, slots
from zoo.weights.whole_files import write_whole

SHARED = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnet50d", "seresnet50", "seresnext50_32x4d"),
    *("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *("wide_resnet50_2", "wide_resnet101_2"),
    *(f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *("inception_v3", "inception_v4", "inception_resnet_v2"),
)
# timm's names of the nets that it has too.
TIMM = {name: name for name in SHARED} | {
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    "xception": "legacy_xception",
}
# What timm's constructors must be told beside the numbers of classes and channels.
ARGUMENTS = {"inception_v3": {"aux_logits": True}}


def write_repository(
    folder: Path,
    name: str,
    variables: Variables,
    *,
    model: Net,
    preprocessing: Preprocessing,
    class_names: Sequence[str] | None = None,
) -> None:
    """Writes the two files, which `zoo.load` reads and, of a net that is in `TIMM`, `timm.create_model` too.

    Args:
      folder: is made if it is not there.
      name: the model.
      variables: `params` and `batch_stats`.
      model: what they belong to.
      preprocessing: how its pictures are prepared.
      class_names: if its classes have names.

    Raises:
      UserError: the variables are not those of the model.
      OSError: they cannot be written; the message says why and what to do.
    """
    known = layouts(name)
    layout = "timm" if "timm" in known else next(iter(known))
    card = describe(name, model, preprocessing, class_names, layout)
    noted = {PREPROCESSING: format_preprocessing(preprocessing), "format": "pt"}
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / FILES[0], variables, name=name, model=model, layout=layout, metadata=noted)
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / CARD, lambda path: path.write_text(text, encoding="utf-8"))


def describe(
    name: str, model: Net, preprocessing: Preprocessing, class_names: Sequence[str] | None, layout: str
) -> dict[str, Any]:
    """What timm keeps of a model in `config.json`; the layout is one of `zoo.weights.layouts(name)`."""
    height, width, channels = preprocessing.image_shape
    crop, row = preprocessing.crop, registry.variant(name)
    wanted, other = (_find_slots(name, model, height, width, c, layout) for c in (channels, channels + 1))
    first = [key for key in wanted if wanted[key].torch_shape != other[key].torch_shape]
    heads = [key for key in wanted if wanted[key].module == row.head]
    card: dict[str, Any] = {"architecture": TIMM.get(name, name), "num_classes": model.num_classes}
    if class_names is not None:
        card["label_names"] = list(class_names)
    if name in ARGUMENTS:
        card["model_args"] = ARGUMENTS[name]
    return card | {
        "pretrained_cfg": {
            "input_size": [channels, height, width],
            "fixed_input_size": False,
            "interpolation": preprocessing.interpolation,
            "crop_pct": 1.0 if crop is None else _write_crop(crop, height),
            "crop_mode": "squash" if crop is None else "center",
            "mean": [value / preprocessing.scale for value in preprocessing.mean],
            "std": [value / preprocessing.scale for value in preprocessing.std],
            "num_classes": model.num_classes,
            "first_conv": first[0].removesuffix(".weight"),
            "classifier": heads[0].rpartition(".")[0] if heads else None,
            "custom_load": False,
        }
    }


def _write_crop(crop: float, height: int) -> float:
    """Of which timm makes the same height to resize to, although it cuts off the fraction that is rounded here."""
    resized = round(height / crop)
    return crop if math.floor(height / crop) == resized else height / (resized + 0.5)


def _find_slots(name: str, model: Net, height: int, width: int, channels: int, layout: str) -> dict[str, Slot]:
    return slots(init_shapes(model, (height, width, channels)), layouts(name)[layout])
