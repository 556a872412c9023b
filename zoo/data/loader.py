"""Batches of a data set: a function of the seed and the epoch alone, whatever reads them, and how many threads do."""

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import jax
import numpy as np

from zoo.data.augmentation import Augmentation, shift_images
from zoo.data.crops import draw_crop
from zoo.data.dataset import Dataset, Split
from zoo.data.preprocessing import resize_images, standardise
from zoo.errors import UserError

Item = TypeVar("Item")
Read = TypeVar("Read")

UNCHANGED = Augmentation()


def batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    start: int = 0,
    augmentation: Augmentation = UNCHANGED,
    threads: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """One epoch: every example exactly once, the order a function of `(seed, epoch)` alone.

    All batches have the same shape: the last one is filled up with rows whose `mask` is False. Of several processes
    each gets its own rows of every batch. Pictures in files are read by threads, up to two batches ahead of what is
    asked for, so that a step need not wait for them.

    Args:
      split: a split of a source.
      batch_size: rows of every batch, over all processes.
      seed: the run's.
      epoch: the same pair (seed, epoch) gives the same batches, on every machine.
      shuffle: False keeps the order of the source.
      start: batches left out at the beginning, whose pictures are not read: where an epoch goes on.
      augmentation: what is done to training images. Shifts are made here, and crops where pictures are in files; for
        all the rest images stay bytes, which `make_augment` takes up.
      threads: that read pictures, by default a few more than the processor has cores.

    Returns:
      An iterator over `image [B, H, W, C]`, float32 standardised, or uint8 if `augmentation` has work for the step;
      `label [B]` int32; `mask [B]` bool.

    Raises:
      UserError: `batch_size` or `start` is too small, or the processes cannot share a batch evenly.

    >>> from zoo.data import load
    >>> first = next(batches(load("digits").test, 64, seed=0, epoch=0))
    >>> {name: (array.dtype.name, array.shape) for name, array in first.items()}
    {'image': ('float32', (64, 8, 8, 1)), 'label': ('int32', (64,)), 'mask': ('bool', (64,))}
    """
    batch_size, start = operator.index(batch_size), operator.index(start)  # numpy's small ones wrap
    processes = jax.process_count()
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}", "it must be at least 1")
    if batch_size % processes:
        raise UserError(f"batch_size is {batch_size}", f"it must be a multiple of the {processes} processes")
    if start < 0:
        raise UserError(f"start is {start}", "it counts batches, 0 for none")
    random, n = np.random.default_rng((seed, epoch)), len(split)
    order = random.permutation(n) if shuffle else np.arange(n)
    max_shift = operator.index(augmentation.max_shift)
    shifts = random.integers(-max_shift, max_shift + 1, (n, 2))
    share = batch_size // processes
    firsts = range(start * batch_size + jax.process_index() * share, batch_size * -(-n // batch_size), batch_size)
    drawn = [slice(first, first + share) for first in firsts]
    if isinstance(split, Dataset):
        images: Iterator[np.ndarray] = (split.images[order[rows]] for rows in drawn)
    else:
        images = _read_pictures(split, [order[rows] for rows in drawn], (seed, epoch), augmentation.crop_area, threads)
    return (
        _make_batch(split, share, order[rows], shift_images(read, shifts[rows]), augmentation)
        for rows, read in zip(drawn, images, strict=True)
    )


def _read_pictures(
    split: Split, drawn: list[np.ndarray], seeds: tuple[int, int], crop_area: float, threads: int | None
) -> Iterator[np.ndarray]:
    """The images `[b, H, W, C]` of each batch's rows, prepared or cut out of their pictures at random."""

    def read(row: int) -> np.ndarray:
        if crop_area == 1:
            return split.read_image(row)
        random = np.random.default_rng((*seeds, row))  # its own, for any order of the threads
        return split.read_image(row, draw_crop(random, *split.picture_size(row), crop_area))

    rows = (int(row) for row in chain.from_iterable(drawn))
    images = read_ahead(read, rows, ahead=2 * max(map(len, drawn), default=0), threads=threads)
    for batch in drawn:
        none = np.empty((0, *split.preprocessing.image_shape), np.uint8)  # a process may have no row of the last batch
        yield np.stack([*islice(images, len(batch))]) if len(batch) else none


def read_ahead(
    read: Callable[[Item], Read], items: Iterable[Item], *, ahead: int, threads: int | None = None
) -> Iterator[Read]:
    """`map(read, items)` by threads that are up to `ahead` items in front of what is asked for."""
    with ThreadPoolExecutor(threads) as pool:
        reading: deque[Future[Read]] = deque()
        try:
            for item in items:
                reading.append(pool.submit(read, item))
                if len(reading) > ahead:
                    yield reading.popleft().result()
            while reading:
                yield reading.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)  # who stops early does not wait for the rest


def _make_batch(
    split: Split, size: int, rows: np.ndarray, images: np.ndarray, augmentation: Augmentation
) -> dict[str, np.ndarray]:
    """A batch of `size` rows, of the bytes of its first ones."""
    pixels = resize_images(images, split.preprocessing) if isinstance(split, Dataset) else images.astype(np.float32)
    if augmentation.on_device:
        image = np.rint(pixels).clip(0, 255).astype(np.uint8)
    else:
        image = standardise(pixels, split.preprocessing)
    padding = size - len(rows)
    return {
        "image": np.pad(image, ((0, padding), *[(0, 0)] * 3)),
        "label": np.pad(split.labels[rows], (0, padding)),
        "mask": np.arange(size) < len(rows),
    }
