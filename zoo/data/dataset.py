"""Labelled images, in memory or in files, and the two splits of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from zoo.data.preprocessing import Box, Preprocessing, prepare_pixels, resize_and_crop
from zoo.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Split(ABC):
    """One split of a data set, a `Dataset` or `PictureFiles`. Its images have rows, from 0.

    Attributes:
      labels: `[N]` int32 in `[0, num_classes)`.
      num_classes: of both splits.
      preprocessing: what a net sees of the images.
      class_names: one for each class, if they have names.
    """

    labels: np.ndarray
    num_classes: int
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def resize(self, size: int) -> Self:
        """The same images, given to the net as `size` x `size`."""
        return replace(self, preprocessing=replace(self.preprocessing, size=size))

    @abstractmethod
    def read_image(self, row: int, box: Box | None = None) -> np.ndarray:
        """An image as bytes `[height, width, C]` of the preprocessing: its middle, or a `box` of it, resized."""

    @abstractmethod
    def picture_size(self, row: int) -> tuple[int, int]:
        """Height and width of an image as it is stored, upright; of which a `box` is a part."""


@dataclass(frozen=True, kw_only=True)
class Dataset(Split):
    """A split in memory: `images [N, h, w, C]` uint8."""

    images: np.ndarray

    def read_image(self, row: int, box: Box | None = None) -> np.ndarray:
        from PIL import Image

        channels = (Image.fromarray(channel) for channel in np.moveaxis(self.images[row], -1, 0))
        return np.concatenate([resize_and_crop(channel, self.preprocessing, box) for channel in channels], -1)

    def picture_size(self, row: int) -> tuple[int, int]:
        height, width, _ = self.images[row].shape
        return height, width


@dataclass(frozen=True, kw_only=True)
class PictureFiles(Split):
    """A split of picture files, which are read when they are asked for.

    Attributes:
      paths: of the N files.
      sizes: `[N, 2]` int32, height and width of each picture, upright.
    """

    paths: tuple[Path, ...]
    sizes: np.ndarray

    def read_image(self, row: int, box: Box | None = None) -> np.ndarray:
        return prepare_pixels(self.paths[row], self.preprocessing, box)

    def picture_size(self, row: int) -> tuple[int, int]:
        height, width = self.sizes[row].tolist()
        return height, width


class Splits(NamedTuple):
    """Images to learn from and images to be tested on, of the same kind, classes and preprocessing."""

    train: Split
    test: Split


def make_splits(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    class_names: Sequence[str] | None = None,
) -> Splits:
    """The splits of your own arrays: what `zoo.fit(config, folder, splits=...)` takes.

    Both are standardised with the mean and the deviation of the training images.

    Args:
      train_images, test_images: `[N, h, w, C]` bytes of one height, width and number of channels.
      train_labels, test_labels: `[N]` integers 0, 1, ..., K-1; every class has a training image.
      class_names: K names.

    Raises:
      UserError: the arrays do not fit together, or all training images are of one colour.

    >>> images, labels = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8), np.arange(8) % 2
    >>> make_splits(images, labels, images, labels).train.num_classes
    2
    """
    train_images, train_labels = np.asarray(train_images), np.asarray(train_labels)
    test_images, test_labels = np.asarray(test_images), np.asarray(test_labels)
    for name, images, labels in (("train", train_images, train_labels), ("test", test_images, test_labels)):
        if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
            raise UserError(f"{name} images must be [N, h, w, C] bytes, got {images.dtype} {images.shape}")
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"{len(images)} {name} images need as many integer labels, got {labels.dtype} {labels.shape}"
            )
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(f"train images are {train_images.shape[1:]}, test images {test_images.shape[1:]}", "resize one")
    present = np.unique(train_labels)
    top = int(present[-1])
    if present[0] < 0 or len(present) != top + 1:
        absent = np.flatnonzero(present != np.arange(len(present)))[0]
        detail = f"the smallest is {present[0]}" if present[0] < 0 else f"there is none of class {absent}"
        raise UserError(f"a train label is {top}, but {detail}", "labels are 0, 1, ..., K-1")
    if test_labels.min() < 0 or test_labels.max() > top:
        wrong = test_labels.max() if test_labels.max() > top else test_labels.min()
        raise UserError(f"a test label is {wrong}, but the train labels are 0 to {top}")
    if train_images.min() == train_images.max():
        raise UserError(f"all train images are of one grey, {train_images.min()}", "there is nothing to learn")
    if class_names is not None and len(class_names) != top + 1:
        raise UserError(f"{len(class_names)} class names for {top + 1} classes", "pass one for each class")
    pixels = [train_images[..., channel] for channel in range(train_images.shape[3])]
    mean = tuple(float(values.mean()) / 255 for values in pixels)
    std = tuple(max(float(values.std()), 1.0) / 255 for values in pixels)  # a channel may be constant
    preprocessing = Preprocessing(train_images.shape[1:3], None, mean, std)
    names = None if class_names is None else tuple(class_names)

    def make(images: np.ndarray, labels: np.ndarray) -> Dataset:
        labels = labels.astype(np.int32)
        return Dataset(
            images=images, labels=labels, num_classes=top + 1, preprocessing=preprocessing, class_names=names
        )

    return Splits(make(train_images, train_labels), make(test_images, test_labels))
