"""The file format of MNIST, which Fashion-MNIST, Kuzushiji-MNIST and EMNIST copied."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from zoo.data.dataset import Splits, make_splits
from zoo.errors import UserError


def read_idx_folder(folder: Path) -> Splits:
    """The four files `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, packed (`.gz`) or not.

    Raises:
      FileNotFoundError: the folder, or a file in it, does not exist.
      UserError: a file is damaged, or the files do not fit together; the message names it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: idx:FOLDER names the folder of the four files of MNIST.")
    train_images, train_labels = _read_pair(folder, "train")
    test_images, test_labels = _read_pair(folder, "t10k")
    try:
        return make_splits(train_images, train_labels, test_images, test_labels)
    except UserError as error:
        raise UserError(f"{folder}: {error.problem}", error.remedy) from None


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """The images `[N, h, w, 1]` and the labels `[N]` of one split."""
    images = _read_file(folder, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_file(folder, f"{prefix}-labels-idx1-ubyte", 1)
    if not images.size:
        raise UserError(f"{folder}: the {prefix} images hold no pixels, their shape is {images.shape}")
    if len(images) != len(labels):
        raise UserError(
            f"{folder}: {len(images)} {prefix} images but {len(labels)} {prefix} labels",
            "the files do not belong together, fetch both again",
        )
    return images[..., None], labels


def _read_file(folder: Path, name: str, rank: int) -> np.ndarray:
    """The byte array in `name` or `name.gz`."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"no {name} (or {name}.gz) in {str(folder)!r}: idx:FOLDER needs the four files of MNIST under their names,"
            " {train,t10k}-{images-idx3,labels-idx1}-ubyte."
        )
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} cannot be unpacked ({error})", "fetch it again") from error
    magic = bytes((0, 0, 8, rank))  # two zeros, 8 for unsigned bytes, the number of axes
    if content[:4] != magic:
        raise UserError(
            f"{path} starts with {content[:4].hex(' ')}, not {magic.hex(' ')}: it is not an IDX file of {rank} axes of"
            " bytes"
        )
    start = 4 + 4 * rank
    shape = tuple(np.frombuffer(content[4:start].ljust(4 * rank, b"\0"), ">u4").tolist())
    if len(content) != start + math.prod(shape):
        raise UserError(
            f"{path} has {len(content)} bytes, its header promises {start + math.prod(shape)}", "fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
