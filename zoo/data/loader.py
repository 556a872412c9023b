"""Batches of a data set: a function of the seed and the epoch alone."""

import operator
from collections.abc import Iterator

import numpy as np

from zoo.data.augmentation import shift_images
from zoo.data.dataset import Dataset
from zoo.data.preprocessing import prepare_images
from zoo.errors import UserError


def batches(
    dataset: Dataset, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True, max_shift: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """One epoch: every example exactly once, the order a function of `(seed, epoch)` alone.

    All batches have the same shape: the last one is filled up with rows whose `mask` is False.

    Args:
      dataset: a split of a source.
      batch_size: rows of every batch.
      seed: the run's.
      epoch: the same pair (seed, epoch) gives the same batches, on every machine.
      shuffle: False keeps the order of the source.
      max_shift: each image moves by up to so many of its own pixels, up or down and left or right, drawn uniformly;
        what comes in from outside is black.

    Returns:
      An iterator over `image [B, H, W, C]` float32, `label [B]` int32, `mask [B]` bool.

    Raises:
      UserError: `batch_size` or `max_shift` is too small.

    >>> from zoo.data import load
    >>> first = next(batches(load("digits").test, 64, seed=0, epoch=0))
    >>> {name: (array.dtype.name, array.shape) for name, array in first.items()}
    {'image': ('float32', (64, 8, 8, 1)), 'label': ('int32', (64,)), 'mask': ('bool', (64,))}
    """
    batch_size, max_shift = operator.index(batch_size), operator.index(max_shift)  # numpy's small ones wrap
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}", "it must be at least 1")
    if max_shift < 0:
        raise UserError(f"max_shift is {max_shift}", "it counts pixels, 0 for none")
    random = np.random.default_rng((seed, epoch))
    return _draw(dataset, batch_size, random, shuffle=shuffle, max_shift=max_shift)


def _draw(
    dataset: Dataset, batch_size: int, random: np.random.Generator, *, shuffle: bool, max_shift: int
) -> Iterator[dict[str, np.ndarray]]:
    n = len(dataset)
    order = random.permutation(n) if shuffle else np.arange(n)
    shifts = random.integers(-max_shift, max_shift + 1, (n, 2))
    for start in range(0, n, batch_size):
        rows = order[start : start + batch_size]
        padding = batch_size - len(rows)
        shifted = shift_images(dataset.images[rows], shifts[start : start + batch_size], max_shift)
        images = prepare_images(shifted, dataset.preprocessing)
        yield {
            "image": np.pad(images, ((0, padding), *[(0, 0)] * 3)),
            "label": np.pad(dataset.labels[rows], (0, padding)),
            "mask": np.arange(batch_size) < len(rows),
        }
