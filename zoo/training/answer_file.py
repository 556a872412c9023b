"""What a net has said of images so far, in a file: a test that was interrupted goes on where it stopped."""

import hashlib
import time
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.data import Dataset, PictureFiles, Split
from zoo.errors import UserError
from zoo.weights.files import read, read_metadata, write_arrays
from zoo.weights.key_maps import Variables

SECONDS = 30.0  # between two writes


class AnswerFile:
    """Arrays of answers, in the order in which they are given; appended to, and written now and then.

    Attributes:
      arrays: by name; all of one length.
    """

    def __init__(self, path: Path | None, question: str) -> None:
        """Reads the answers that are there.

        Args:
          path: a .safetensors file, which need not exist; None keeps them in memory alone.
          question: what is answered, see `identify_question`.

        Raises:
          UserError: the file is damaged, or answers something else.
        """
        self.path, self.question, self.written = path, question, time.monotonic()
        self.arrays: dict[str, np.ndarray] = {}
        if path and path.suffix != ".safetensors":
            raise UserError(f"{path}: answers are written as .safetensors")
        if path and path.exists():
            if read_metadata(path).get("question") != question:
                other = "of another net, other pictures, another preprocessing or batch size"
                raise UserError(f"{path} holds answers {other}", "name another file, or remove this one")
            self.arrays = read(path)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()), ()))

    def append(self, arrays: dict[str, np.ndarray]) -> None:
        """Adds rows to every array; they are in the file within half a minute."""
        self.arrays = {
            name: np.concatenate([self.arrays[name], rows]) if self.arrays else rows for name, rows in arrays.items()
        }
        if time.monotonic() - self.written > SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        if self.path and self.arrays:
            write_arrays(self.path, self.arrays, {"question": self.question})
        self.written = time.monotonic()


def identify_question(variables: Variables, split: Split, *details: object) -> str:
    """A digest of weights, labelled pictures and details; of files their paths, lengths and times of change."""
    digest = hashlib.sha256(repr((split.preprocessing, split.num_classes, *details)).encode())
    for path, leaf in sorted(flatten_dict(jax.device_get(variables)).items()):
        digest.update(repr((path, leaf.dtype, leaf.shape)).encode())
        digest.update(_view_bytes(leaf))
    digest.update(_view_bytes(split.labels))
    if isinstance(split, Dataset):
        digest.update(_view_bytes(split.images))
    if isinstance(split, PictureFiles):
        for file in split.paths:
            status = file.stat()
            digest.update(repr((str(file.resolve()), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _view_bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array of any type, bfloat16 included."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
