"""What a picture goes through before a net sees it: resize, crop, scale, standardise.

It belongs to trained weights, not to a net: published weights, data sets and run folders carry a `Preprocessing`
each, and a file of weights carries it as JSON in its metadata.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import jax
import numpy as np

from zoo.data.pictures import Picture, check_size, name_picture, read_picture
from zoo.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST = 4096  # side of what a net sees
Pixels = TypeVar("Pixels", np.ndarray, jax.Array)


class Box(NamedTuple):
    """A part of a picture, in its own pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are prepared, by default as by torchvision for ImageNet.

    Attributes:
      size: height and width of what the net sees; an int stands for both.
      crop: share of the resized picture's height and width that is cut out of its middle, which keeps the picture's
        proportions; None stretches the whole picture to `size` instead.
      mean, std: subtracted and divided by, one number per channel, in units of [0, `scale`]. One channel makes
        pictures grey, three make them RGB.
      scale: value of white: 1.0 or 255.0.
      interpolation: `"bilinear"` or `"bicubic"`, low-pass filtered where a picture shrinks.

    Raises:
      UserError: an impossible value; the message says what is possible.
    """

    size: tuple[int, int] | int = 224
    crop: float | None = 0.875
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    scale: float = 1.0
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        size = self.size if isinstance(self.size, tuple | list) else (self.size, self.size)
        for name, value in (("size", tuple(size)), ("mean", tuple(self.mean)), ("std", tuple(self.std))):
            object.__setattr__(self, name, value)
        numbers = (*size, *self.mean, *self.std, self.scale, *([] if self.crop is None else [self.crop]))
        rules = {
            "finite numbers": all(type(n) in (int, float) and math.isfinite(n) for n in numbers),
            "a mean and a std for each channel": len(self.mean) == len(self.std) >= 1,
            "interpolation bilinear or bicubic": self.interpolation in ("bilinear", "bicubic"),
            f"size from 1 to {LARGEST}": len(size) == 2 and all(type(n) is int and 1 <= n <= LARGEST for n in size),
            "crop above 0.1, up to 1": self.crop is None or (numbers and 0.1 < self.crop <= 1),
            "scale and std above 0": min(self.scale, *self.std, math.inf) > 0,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise UserError(f"a preprocessing needs {broken[0]}, got {self}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the net sees."""
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        return height, width, len(self.mean)

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which a picture is resized before the crop.

        The shorter side, measured against `size`, decides; the other is rounded to the nearest pixel, where
        torchvision cuts off the fraction.
        """
        if self.crop is None:
            return self.image_shape[:2]
        target = [round(side / self.crop) for side in self.image_shape[:2]]
        factor = max(target[0] / height, target[1] / width)
        if target[0] / height == factor:
            return target[0], round(width * target[0] / height)
        return round(height * target[1] / width), target[1]


PRESETS = {
    "torchvision": Preprocessing(),
    "caffe": Preprocessing(
        crop=224 / 256, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0), scale=255.0, interpolation="bicubic"
    ),
    "inception": Preprocessing(299, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic"),
}


def prepare_picture(picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
    """A picture as the net's input `[height, width, C]`, float32, by Pillow, as torchvision's transforms make it.

    What it makes of transparency and of other numbers than bytes is said at `read_picture`.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the picture cannot be read or is a mere point or line, or the net takes neither grey nor RGB.
    """
    return standardise(prepare_pixels(picture, preprocessing), preprocessing)


def prepare_pixels(picture: Picture, preprocessing: Preprocessing, box: Box | None = None) -> np.ndarray:
    """A picture as `[height, width, C]` bytes, which `standardise` makes the net's input.

    Args:
      picture: a path, or a `PIL.Image.Image`.
      preprocessing: says the size, the channels and how much of the middle is cut out.
      box: the part of the upright picture that is cut out instead, and resized to the whole size.

    Raises:
      FileNotFoundError, UserError: as `prepare_picture`.
    """
    channels = len(preprocessing.mean)
    if channels not in (1, 3):
        raise UserError(f"pictures have 1 or 3 channels, the preprocessing has {channels}")
    read = read_picture(picture)
    check_size(read.height, read.width, name_picture(picture))
    return resize_and_crop(read.convert("L" if channels == 1 else "RGB"), preprocessing, box)


def resize_and_crop(picture: "Image.Image", preprocessing: Preprocessing, box: Box | None = None) -> np.ndarray:
    """The bytes `[height, width, C]` of a picture, whose mode decides C, or of its `box`."""
    from PIL import Image

    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    if box is None:
        height, width = preprocessing.resized_shape(picture.height, picture.width)
        pixels = np.asarray(picture.resize((width, height), resampling))
        return _crop(pixels.reshape(height, width, -1), preprocessing)
    height, width, _ = preprocessing.image_shape
    edges = (box.left, box.top, box.left + box.width, box.top + box.height)
    part = picture.crop(edges)  # `resize(box=edges)` would look beyond them
    return np.asarray(part.resize((width, height), resampling)).reshape(height, width, -1)


def prepare_images(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """A batch of bytes `[N, h, w, C]` as the net's input `[N, height, width, C]`, float32: `prepare_picture` of each.

    Equal to it up to the rounding of Pillow's resized bytes, which there is none of here.

    Raises:
      UserError: the images are not bytes, or have other channels than the preprocessing.
    """
    return standardise(resize_images(images, preprocessing), preprocessing)


def resize_images(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """`prepare_images` before the scale, mean and deviation: float32 from 0 to 255, bicubic a little beyond."""
    channels = len(preprocessing.mean)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
        raise UserError(f"images must be [N, h, w, {channels}] bytes, got {images.dtype} {images.shape}")
    shape = preprocessing.resized_shape(*images.shape[1:3])
    pixels = images.astype(np.float32)
    if images.shape[1:3] != shape:
        method = {"bilinear": "linear", "bicubic": "cubic"}[preprocessing.interpolation]
        resized = jax.image.resize(pixels, (len(images), *shape, images.shape[3]), method, antialias=True)
        pixels = np.asarray(resized)
    return _crop(pixels, preprocessing)


def _crop(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The middle of `[..., h, w, C]`."""
    height, width, _ = preprocessing.image_shape
    top, left = round((pixels.shape[-3] - height) / 2), round((pixels.shape[-2] - width) / 2)
    return pixels[..., top : top + height, left : left + width, :]


def standardise(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """Float32 `pixels [..., C]` from 0 to 255 as the net takes them, by NumPy or, under `jit`, by JAX."""
    shape = (1,) * (pixels.ndim - 1) + (-1,)
    mean, std = (np.asarray(values, np.float32).reshape(shape) for values in (preprocessing.mean, preprocessing.std))
    return (pixels * np.float32(preprocessing.scale / 255) - mean) / std


def format_preprocessing(preprocessing: Preprocessing) -> str:
    """JSON, for the metadata of a file."""
    return json.dumps(asdict(preprocessing))


def parse_preprocessing(text: str) -> Preprocessing:
    """What `format_preprocessing` wrote, or the name of one of `PRESETS`.

    Raises:
      UserError: neither, or an impossible value.

    >>> parse_preprocessing("caffe").scale
    255.0
    >>> parse_preprocessing('{"size": 32, "crop": 1}').image_shape
    (32, 32, 3)
    """
    if text in PRESETS:
        return PRESETS[text]
    try:
        return preprocessing_of_fields(json.loads(text))
    except (ValueError, TypeError) as error:
        problem = f"{text!r} is not a preprocessing ({str(error).rstrip('.')})"
        raise UserError(problem, f"pass {', '.join(PRESETS)} or JSON") from error


def preprocessing_of_fields(values: Mapping[str, Any]) -> Preprocessing:
    """A `Preprocessing` of the fields that a JSON object has, with the defaults for the others.

    Raises:
      UserError: not a mapping, an unknown field or an impossible value.
    """
    known = [field.name for field in fields(Preprocessing)]
    if not isinstance(values, Mapping) or set(values) - set(known):
        raise UserError(f"a preprocessing has the fields {', '.join(known)}, got {values!r}")
    tuples: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Preprocessing(**tuples)
