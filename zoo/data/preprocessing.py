"""From a picture to what a trained net was shown in training: `prepare`, as the weights' `Weights` say.

How images are prepared is a property of trained weights: a converted file carries it as JSON in its metadata.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.models.variant import Weights

KEY = "preprocessing"  # in the metadata of a .safetensors file
RESULTS = ("source", "top1", "top5")  # fields of `Weights` that say nothing about images
LARGEST = 4096  # side of a prepared image
ELONGATED = 100  # long side over short side; what is resized is as long
CAFFE_MEAN = (123.68, 116.779, 103.939)

PRESETS: dict[str, Callable[..., Weights]] = {
    "torchvision": Weights,
    "caffe": partial(
        Weights, crop=224 / 256, mean=CAFFE_MEAN, std=(1.0, 1.0, 1.0), scale=255.0, interpolation="bicubic"
    ),
    "inception": partial(Weights, size=299, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"),
}


def prepare(picture: Any, weights: Weights) -> np.ndarray:
    """A picture as the net's input `[1, size, size, 3]`, float32, as torchvision's transforms make it.

    The short side is resized to `size / crop`, the middle is cut out, the pixels are standardised. The long side is
    rounded to the nearest pixel, where torchvision cuts off the fraction.

    Args:
      picture: path of a picture file, or a `PIL.Image.Image`.
      weights: how.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no picture, a damaged one, or a mere line.
    """
    from PIL import Image

    image = picture if isinstance(picture, Image.Image) else _opened(Path(picture))
    if max(image.size) > ELONGATED * min(image.size):
        raise ValueError(f"a picture of {image.size[0]}x{image.size[1]} is too elongated: cut out a part of it.")
    short = round(weights.size / weights.crop)
    width, height = (round(short * side / min(image.size)) for side in image.size)
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[weights.interpolation]
    image = image.convert("RGB").resize((width, height), resample)
    left, top = (round((side - weights.size) / 2) for side in (width, height))
    image = image.crop((left, top, left + weights.size, top + weights.size))
    pixels = np.asarray(image, np.float32) * np.float32(weights.scale / 255)
    return ((pixels - np.asarray(weights.mean, np.float32)) / np.asarray(weights.std, np.float32))[None]


def _opened(path: Path):
    from PIL import Image

    if not path.is_file():
        raise FileNotFoundError(f"no picture at {path}.")
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # a damaged file can make its decoder raise anything
        raise ValueError(f"{path} cannot be read as a picture: {error}.") from error


def described(weights: Weights) -> str:
    """The preprocessing as JSON, for the metadata of a file."""
    return json.dumps({name: value for name, value in asdict(weights).items() if name not in RESULTS})


def preprocessing(text: str, source: str) -> Weights:
    """What `described` wrote, or the name of one of `PRESETS`, for the weights from `source`.

    Raises:
      ValueError: neither, or an impossible number.

    >>> preprocessing("caffe", "hf:org/name").scale
    255.0
    >>> preprocessing('{"size": 32, "crop": 1}', "hf:org/name").size
    32
    """
    if text in PRESETS:
        return PRESETS[text](source)
    try:
        given = json.loads(text)
        known = {field.name: field.default for field in fields(Weights) if field.name not in RESULTS}
        if not isinstance(given, Mapping) or set(given) - set(known):
            raise ValueError(f"the fields are {', '.join(known)}")
        tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        weights = Weights(source, **tuples)
        _check(weights)
    except (ValueError, TypeError) as error:
        presets = ", ".join(PRESETS)
        raise ValueError(f"{source}: {text!r} is no preprocessing ({error}): use {presets} or JSON.") from error
    return weights


def _check(weights: Weights) -> None:
    numbers = (weights.size, weights.crop, weights.scale, *weights.mean, *weights.std)
    rules = {
        "numbers": all(type(n) in (int, float) and math.isfinite(n) for n in numbers),
        "three channels": len(weights.mean) == len(weights.std) == 3,
        "interpolation bilinear or bicubic": weights.interpolation in ("bilinear", "bicubic"),
        f"size from 1 to {LARGEST}": type(weights.size) is int and 1 <= weights.size <= LARGEST,
        "crop above 0.1, up to 1": 0.1 < weights.crop <= 1,
        "scale and std above 0": min(weights.scale, *weights.std) > 0,
    }
    if broken := [rule for rule, holds in rules.items() if not holds]:
        raise ValueError(f"it needs {broken[0]}")


def class_names(path: str | Path, count: int) -> list[str]:
    """The names of `count` classes: a JSON list or object `{"0": name}`, or text with one name a line.

    Raises:
      ValueError: not a list of names, or not as many as there are classes.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        names = json.loads(text) if Path(path).suffix == ".json" else text.splitlines()
        names = [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is no list of class names: {error!r}.") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)) or len(names) != count:
        raise ValueError(f"{path} has no list of {count} names, one for each class.")
    return names
