"""The file format of MNIST, which Fashion-MNIST, Kuzushiji-MNIST and EMNIST copied.

The names that are read; `NAME-` may stand before each, `.` in the place of the last but one `-`, `.gz` behind:

    training images   train-images-idx3-ubyte
    training labels   train-labels-idx1-ubyte
    test images       t10k-images-idx3-ubyte or test-images-idx3-ubyte
    test labels       t10k-labels-idx1-ubyte or test-labels-idx1-ubyte

Files of EMNIST (Cohen et al. 2017, arXiv:1702.05373), `NAME` of which begins with `emnist`, hold each image with rows
and columns exchanged; it is read upright. Labels that begin at 1, as those of `emnist-letters`, are counted from 0.
"""

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.data.dataset import Splits, make_splits
from zoo.errors import UserError

FILE = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images(?=.idx3)|labels(?=.idx1))[-.]idx\d-ubyte(?:\.gz)?")
FILES = "{train,t10k}-{images-idx3,labels-idx1}-ubyte"


def read_idx_folder(source: Path) -> Splits:
    """The four files of a folder, or of `FOLDER/NAME` those of several that `NAME` begins.

    Raises:
      FileNotFoundError: the folder, or a file in it, does not exist.
      UserError: a file is damaged, the files do not fit together, or there are those of several names.
    """
    folder, name = (source, None) if source.is_dir() else (source.parent, source.name)
    found = _find_files(folder)
    if name is None and len(found) > 1 and "" not in found:
        raise UserError(f"{folder} holds {', '.join(found)}", f"name one of them, idx:{folder / next(iter(found))}")
    if not folder.is_dir() or name not in (None, *found):
        raise FileNotFoundError(f"no folder {str(source)!r}: idx:FOLDER names the folder of the four files of MNIST.")
    name = next(iter(found), "") if name is None else name
    files = found.get(name, {})
    train_images, train_labels = _read_pair(folder, name, "train", files)
    test_images, test_labels = _read_pair(folder, name, "test" if name else "t10k", files)
    if train_labels.min() == 1 <= test_labels.min():
        train_labels, test_labels = train_labels - 1, test_labels - 1
    try:
        return make_splits(train_images, train_labels, test_images, test_labels)
    except UserError as error:
        raise UserError(f"{folder}: {error.problem}", error.remedy) from None


def _find_files(folder: Path) -> dict[str, dict[tuple[bool, str], Path]]:
    """The files of each name, by whether they are for training and what they hold; the unpacked goes first."""
    found: dict[str, dict[tuple[bool, str], Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (match := FILE.fullmatch(path.name)) and path.is_file():
            found.setdefault(match[1] or "", {}).setdefault((match[2] == "train", match[3]), path)
    return dict(sorted(found.items()))


def _read_pair(
    folder: Path, name: str, split: str, files: Mapping[tuple[bool, str], Path]
) -> tuple[np.ndarray, np.ndarray]:
    """The images `[N, h, w, 1]` and the labels `[N]` of one split."""
    arrays = []
    for what, rank in (("images", 3), ("labels", 1)):
        path = files.get((split == "train", what))
        if path is None:
            wanted = f"{name}{'-' if name else ''}{split}-{what}-idx{rank}-ubyte"
            raise FileNotFoundError(
                f"no {wanted} (or {wanted}.gz) in {str(folder)!r}: idx:FOLDER needs the four files of MNIST under their"
                f" names, {FILES}."
            )
        arrays.append(_read_file(path, rank))
    images, labels = arrays
    if not images.size:
        raise UserError(f"{folder}: the {split} images hold no pixels, their shape is {images.shape}")
    if len(images) != len(labels):
        raise UserError(
            f"{folder}: {len(images)} {split} images but {len(labels)} {split} labels",
            "the files do not belong together, fetch both again",
        )
    upright = images.swapaxes(1, 2) if name.startswith("emnist") else images
    return upright[..., None], labels.astype(np.int32)


def _read_file(path: Path, rank: int) -> np.ndarray:
    """The byte array in a file."""
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
