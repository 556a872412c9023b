"""Random changes of training images: which, how strong, and where they are made.

Each is a function `(key, images [N, H, W, C] floats from 0 to 1, strength) -> images` of the same shape and range, that
changes every image in its own way, gives the same bits for the same key, and nothing new at strength 0. `Augmentation`
says how strong each is; `batches` does what needs the picture's own pixels, `make_augment` the rest inside the step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data.colour import colour_jitter
from zoo.data.crops import cutout, random_erasing, random_resized_crop
from zoo.data.dataset import Dataset, Split
from zoo.data.mixing import cutmix, mixup
from zoo.data.preprocessing import standardise
from zoo.data.randaugment import randaugment
from zoo.errors import UserError

Augment: TypeAlias = Callable[[jax.Array, Mapping[str, Any]], dict[str, Any]]
Images = TypeVar("Images", np.ndarray, jax.Array)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly training images are changed, by default not at all.

    Raises:
      UserError: a number that makes no sense.
    """

    max_shift: int = 0
    """Images are moved by up to so many of their own pixels; what comes in is black."""
    crop_area: float = 1.0
    """Smallest share of the area that a random resized crop keeps: 0.08 for ImageNet."""
    flip: float = 0.0
    """Share of the images that are mirrored: 0.5 where left and right are alike."""
    randaugment: float = 0.0
    """Magnitude, 0 to 10, of two operations of RandAugment."""
    colour: float = 0.0
    """Range of the factors of brightness, contrast and saturation: 0.4 for 0.6 to 1.4."""
    hue: float = 0.0
    """Largest turn of the hue, 0 to 0.5."""
    erase: float = 0.0
    """Share of the images with a box of noise."""
    cutout: int = 0
    """Side, in pixels, of a square of the mean colour in every image."""
    mixup: float = 0.0
    """Alpha of mixup, 0.1 to 1; together with cutmix, every image gets one of the two."""
    cutmix: float = 0.0
    """Alpha of cutmix, usually 1."""

    def __post_init__(self) -> None:
        highest = {"crop_area": 1.0, "flip": 1.0, "randaugment": 10.0, "hue": 0.5, "erase": 1.0}
        for name in (field.name for field in fields(Augmentation)):
            value, top = getattr(self, name), highest.get(name, math.inf)
            if not (0 <= value <= top and math.isfinite(value)):
                allowed = f"from 0 to {top}" if name in highest else "0 or more"
                raise UserError(f"{name} is {value}", f"it must be {allowed}")

    @property
    def on_device(self) -> bool:
        """Whether something is left to do for `make_augment`: then `batches` gives bytes."""
        return any(getattr(self, f.name) != f.default for f in fields(Augmentation) if f.name != "max_shift")


def make_augment(augmentation: Augmentation, split: Split) -> Augment | None:
    """What the step does to a batch of bytes that `batches` drew of `split`; None where there is nothing to do.

    The order is crop, flip, RandAugment, colours, erasing, cutout, mixup or cutmix; then the images are standardised.

    Returns:
      `augment(key, batch) -> batch`: its `image` becomes `[N, H, W, C]` float32 as the net takes it; after mixup or
      cutmix its `label` is `[N, K]` probabilities. For `make_train_step(..., augment=augment)`.
    """
    if not augmentation.on_device:
        return None
    a, preprocessing, num_classes = augmentation, split.preprocessing, split.num_classes
    uncut = isinstance(split, Dataset)  # `batches` has cut what lies in files
    mean = np.asarray(preprocessing.mean, np.float32) / preprocessing.scale
    changes: list[tuple[bool, Callable[..., jax.Array]]] = [
        (uncut and a.crop_area < 1, partial(random_resized_crop, min_area=a.crop_area)),
        (a.flip > 0, partial(flip, probability=a.flip)),
        (a.randaugment > 0, partial(randaugment, magnitude=a.randaugment)),
        (a.colour > 0 or a.hue > 0, partial(colour_jitter, strength=a.colour, hue=a.hue)),
        (a.erase > 0, partial(random_erasing, probability=a.erase)),
        (a.cutout > 0, partial(cutout, size=a.cutout, fill=mean)),
    ]

    def augment(key: jax.Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        if batch["image"].dtype != np.uint8:
            raise TypeError(f"images are {batch['image'].dtype}, not bytes: draw the batches with the augmentation.")
        *keys, last = jax.random.split(key, len(changes) + 1)
        images = jnp.asarray(batch["image"]).astype(jnp.float32) / 255
        for one, (wanted, change) in zip(keys, changes, strict=True):
            images = change(one, images) if wanted else images
        labels = jnp.asarray(batch["label"])
        if a.mixup or a.cutmix:
            images, labels = _mix(last, images, jax.nn.one_hot(labels, num_classes), a, batch.get("mask"))
        return {**batch, "image": standardise(255 * images, preprocessing), "label": labels}

    return augment


def show_augmentations(images: np.ndarray, count: int = 12, seed: int = 0) -> dict[str, jax.Array]:
    """Each augmentation at a usual strength, by name: `count` times the first of `images [n, H, W, C]` bytes.

    Mixup and cutmix take all of the images, in turn.
    """
    pixels = images.astype(np.float32) / 255
    same, several = (jnp.asarray(pixels[np.arange(count) % n]) for n in (1, len(images)))
    labels, keys = jnp.zeros((count, 1)), iter(jax.random.split(jax.random.key(seed), 10))
    side = min(images.shape[1:3])
    return {
        "random resized crop, 8 to 100 % of the area": random_resized_crop(next(keys), same, 0.08),
        "flip, of one half": flip(next(keys), same, 0.5),
        "shift, by up to 1/8 of the side": shift(next(keys), same, side // 8),
        "brightness, contrast and saturation, 0.6 to 1.4": colour_jitter(next(keys), same, 0.4),
        "hue, turned by up to 0.1": colour_jitter(next(keys), same, 0.0, 0.1),
        "RandAugment, magnitude 5": randaugment(next(keys), same, 5),
        "random erasing, of one half": random_erasing(next(keys), same, 0.5),
        "cutout, half of the side": cutout(next(keys), same, side // 2, pixels[0].mean((0, 1))),
        "mixup, alpha 1": mixup(next(keys), several, labels, 1.0)[0],
        "cutmix, alpha 1": cutmix(next(keys), several, labels, 1.0)[0],
    }


def _mix(
    key: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augmentation, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Mixup or cutmix; where both are asked for, each with one half of the images."""
    first, second, choice = jax.random.split(key, 3)
    mixed = mixup(first, images, labels, augmentation.mixup, where)
    pasted = cutmix(second, images, labels, augmentation.cutmix, where)
    if not augmentation.mixup or not augmentation.cutmix:
        return mixed if augmentation.mixup else pasted
    chosen = jax.random.bernoulli(choice, 0.5, images.shape[:1])
    return jnp.where(chosen[:, None, None, None], mixed[0], pasted[0]), jnp.where(chosen[:, None], mixed[1], pasted[1])


def flip(key: jax.Array, images: jax.Array, probability: float) -> jax.Array:
    """Some of the images mirrored, left to right: torchvision's `RandomHorizontalFlip` (Krizhevsky et al. 2012)."""
    chosen = jax.random.bernoulli(key, probability, images.shape[:1])
    return jnp.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def shift(key: jax.Array, images: jax.Array, max_shift: int) -> jax.Array:
    """Each image moved by up to `max_shift` whole pixels; what comes in is black.

    As torchvision's `RandomCrop(size, padding=max_shift)`, of He et al. 2015, arXiv:1512.03385, 4.2, for CIFAR-10.
    """
    return shift_images(images, jax.random.randint(key, (len(images), 2), -max_shift, max_shift + 1))


def shift_images(images: Images, shifts: Images) -> Images:
    """Each of `images [N, h, w, C]` moved up and left by its `shifts [N, 2]`; what comes in is black."""
    n, height, width, _ = images.shape
    rows = np.arange(height).reshape(1, -1, 1) + shifts[:, :1, None]
    columns = np.arange(width).reshape(1, 1, -1) + shifts[:, 1:, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved = images[np.arange(n).reshape(-1, 1, 1), rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return moved * inside[..., None].astype(images.dtype)
