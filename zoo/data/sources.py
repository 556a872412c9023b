"""Sources of labelled images, and the batches a step eats. Pure numpy.

A source is named by a string: `digits` is shipped with the package (`datasets/LICENSE.digits`), `idx:FOLDER`
reads the four files of MNIST and of the sets that copied its format (Fashion-MNIST, Kuzushiji-MNIST, EMNIST).
"""

import difflib
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

SOURCES = ("digits", "idx:FOLDER")


@dataclass(frozen=True)
class Preparation:
    """From a picture to the input of a net: resize to `height` x `width`, scale to [0, 1], standardise.

    `mean` and `std` hold one number per channel, in units of the [0, 1] scale.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.height, self.width, len(self.mean)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[N, h, w, C]` bytes to `[N, height, width, C]` float32."""
        pixels = resize(images.astype(np.float32) / np.float32(255), (self.height, self.width))
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)


@dataclass(frozen=True)
class Dataset:
    """One split of a source: `images [N, h, w, C]` uint8, `labels [N]` int32 in `[0, num_classes)`."""

    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    prepare: Preparation

    def __len__(self) -> int:
        return len(self.labels)

    def resized(self, size: int) -> "Dataset":
        """The same images, given to the net as `size` x `size`."""
        return replace(self, prepare=replace(self.prepare, height=size, width=size))


class Splits(NamedTuple):
    """The two halves of a source. Both are standardised with the mean and the deviation of `train`."""

    train: Dataset
    test: Dataset


def load(source: str) -> Splits:
    """The training and the test images of a source: `"digits"` or `"idx:FOLDER"`.

    Raises:
      ValueError: the source is unknown, or a file is damaged or inconsistent; the message names it.
      FileNotFoundError: the folder, or a file in it, does not exist.

    >>> train, test = load("digits")
    >>> train.images.shape, len(test), test.num_classes
    ((1442, 8, 8, 1), 355, 10)
    """
    kind, colon, folder = source.partition(":")
    if source == "digits":
        return _digits()
    if kind == "idx" and folder:
        return _idx(Path(folder).expanduser())
    near = difflib.get_close_matches(kind if colon else source, ("digits", "idx"), n=1)
    guess = {"digits": " Did you mean 'digits'?", "idx": f" Did you mean 'idx:{folder or 'FOLDER'}'?"}
    raise ValueError(
        f"Unknown data {source!r}.{guess[near[0]] if near else ''} Known: {', '.join(SOURCES)}, where FOLDER"
        " holds files of the MNIST format."
    )


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
      max_shift: each image moves by up to so many of its own pixels, up or down and left or right,
        drawn uniformly; what comes in from outside is black.

    Yields:
      `image [B, H, W, C]` float32, `label [B]` int32, `mask [B]` bool.

    >>> first = next(batches(load("digits").test, 64, seed=0, epoch=0))
    >>> {name: (array.dtype.name, array.shape) for name, array in first.items()}
    {'image': ('float32', (64, 8, 8, 1)), 'label': ('int32', (64,)), 'mask': ('bool', (64,))}
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1.")
    if max_shift < 0:
        raise ValueError(f"max_shift is {max_shift}: it counts pixels, 0 for none.")
    return _batches(dataset, batch_size, np.random.default_rng((seed, epoch)), shuffle, max_shift)


def _batches(dataset, batch_size, random, shuffle, max_shift):
    n = len(dataset)
    order = random.permutation(n) if shuffle else np.arange(n)
    shifts = random.integers(-max_shift, max_shift + 1, (n, 2))
    for start in range(0, n, batch_size):
        rows = order[start : start + batch_size]
        empty = batch_size - len(rows)
        image = dataset.prepare(_shift(dataset.images[rows], shifts[start : start + batch_size], max_shift))
        yield {
            "image": np.pad(image, ((0, empty), (0, 0), (0, 0), (0, 0))),
            "label": np.pad(dataset.labels[rows], (0, empty)),
            "mask": np.arange(batch_size) < len(rows),
        }


def _shift(images, shifts, margin):
    """Cuts every image out of its black frame of `margin` pixels, off the middle by its `shifts [N, 2]`."""
    n, height, width, _ = images.shape
    framed = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows = np.arange(height) + margin + shifts[:, :1]
    columns = np.arange(width) + margin + shifts[:, 1:]
    return framed[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of `[N, h, w, C]` floats, low-pass filtered when it shrinks (as Pillow does)."""
    for axis, length in zip((1, 2), size, strict=True):
        if images.shape[axis] != length:
            weights = _bilinear(images.shape[axis], length).astype(images.dtype)
            images = np.moveaxis(np.tensordot(images, weights, (axis, 1)), -1, axis)
    return images


def _bilinear(old: int, new: int) -> np.ndarray:
    """`[new, old]`: each new pixel as a weighted mean of the old ones; pixels are areas, not points."""
    scale = old / new
    centre = (np.arange(new)[:, None] + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - centre) / max(scale, 1))
    return weights / weights.sum(1, keepdims=True)


def _splits(train_images, train_labels, test_images, test_labels) -> Splits:
    """Byte images `[N, h, w, C]` and byte labels, all checked, to the two datasets."""
    _, height, width, channels = train_images.shape
    pixels = [train_images[..., channel] for channel in range(channels)]
    mean = tuple(float(values.mean()) / 255 for values in pixels)
    std = tuple(float(values.std()) / 255 for values in pixels)
    prepare = Preparation(height, width, mean, std)
    num_classes = int(train_labels.max()) + 1
    train = Dataset(train_images, train_labels.astype(np.int32), num_classes, prepare)
    return Splits(train, Dataset(test_images, test_labels.astype(np.int32), num_classes, prepare))


def _digits() -> Splits:
    packaged = resources.files("zoo.data") / "digits.npz"
    with packaged.open("rb") as file, np.load(file) as stored:
        arrays = dict(stored)
    for name in ("train_images", "test_images"):  # stored as 0..16, the scale of the source
        arrays[name] = (arrays[name] * 255.0 / 16).round().astype(np.uint8)
    return _splits(**arrays)


def _idx(folder: Path) -> Splits:
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {str(folder)!r}: give --data idx:FOLDER the folder of the four files.")
    train_images, train_labels = _read_pair(folder, "train")
    test_images, test_labels = _read_pair(folder, "t10k")
    classes = np.unique(train_labels)
    top = classes[-1]
    if len(classes) != top + 1:
        absent = np.setdiff1d(np.arange(top), classes)[0]
        raise ValueError(f"{folder}: a train label is {top}, but none is {absent}. Labels are 0, 1, ..., K-1.")
    if test_labels.max() > top:
        raise ValueError(f"{folder}: a t10k label is {test_labels.max()}, but the train labels end at {top}.")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"{folder}: train images of {train_images.shape[1:3]}, t10k images of {test_images.shape[1:3]}."
        )
    if train_images.min() == train_images.max():
        raise ValueError(f"{folder}: all train images are of one grey, {train_images.min()}: nothing to learn.")
    return _splits(train_images, train_labels, test_images, test_labels)


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """The images `[N, h, w, 1]` and the labels `[N]` of one split."""
    images = _read_idx(folder, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte", 1)
    if not images.size:
        raise ValueError(f"{folder}: the {prefix} images hold no pixels, their shape is {images.shape}.")
    if len(images) != len(labels):
        raise ValueError(
            f"{folder}: {len(images)} {prefix} images but {len(labels)} {prefix} labels: the files are not of"
            " one set, fetch both again."
        )
    return images[..., None], labels


def _read_idx(folder: Path, name: str, rank: int) -> np.ndarray:
    """The byte array in `name` or `name.gz`."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"No {name} (or {name}.gz) in {str(folder)!r}: --data idx:FOLDER wants the four files of MNIST"
            " under their names, {train,t10k}-{images-idx3,labels-idx1}-ubyte."
        )
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unpacked ({error}): fetch it again.") from error
    magic = bytes((0, 0, 8, rank))  # two zeros, 8 for unsigned bytes, the number of axes
    if content[:4] != magic:
        raise ValueError(
            f"{path} starts with {content[:4].hex(' ')}, not {magic.hex(' ')}: it is not an IDX file of"
            f" {rank} axes of bytes."
        )
    start = 4 + 4 * rank
    shape = tuple(np.frombuffer(content[4:start].ljust(4 * rank, b"\0"), ">u4").tolist())
    if len(content) != start + math.prod(shape):
        raise ValueError(
            f"{path} has {len(content)} bytes, its header promises {start + math.prod(shape)}: fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
