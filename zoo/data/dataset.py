"""Labelled images in memory, and the two splits of a data set."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from zoo.data.preprocessing import Preprocessing
from zoo.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """One split: `images [N, h, w, C]` uint8, `labels [N]` int32 in `[0, num_classes)`, and what a net sees of them."""

    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.labels)

    def resize(self, size: int) -> "Dataset":
        """The same images, given to the net as `size` x `size`."""
        return replace(self, preprocessing=replace(self.preprocessing, size=size))


class Splits(NamedTuple):
    """Images to learn from and images to be tested on, both standardised with the mean and deviation of `train`."""

    train: Dataset
    test: Dataset


def make_splits(
    train_images: np.ndarray, train_labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray
) -> Splits:
    """The splits of your own arrays: what `zoo.fit(config, folder, splits=...)` takes.

    Args:
      train_images, test_images: `[N, h, w, C]` bytes of one height, width and number of channels.
      train_labels, test_labels: `[N]` integers 0, 1, ..., K-1; every class has a training image.

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
    pixels = [train_images[..., channel] for channel in range(train_images.shape[3])]
    mean = tuple(float(values.mean()) / 255 for values in pixels)
    std = tuple(max(float(values.std()), 1.0) / 255 for values in pixels)  # a channel may be constant
    preprocessing = Preprocessing(train_images.shape[1:3], None, mean, std)
    return Splits(
        Dataset(train_images, train_labels.astype(np.int32), top + 1, preprocessing),
        Dataset(test_images, test_labels.astype(np.int32), top + 1, preprocessing),
    )
