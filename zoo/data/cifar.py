"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), as cs.toronto.edu/~kriz/cifar.html publishes them.

The archives for Python and the binary ones are read, packed or unpacked; those for Matlab are not. A folder may hold
the archive, what it unpacks to, or the files themselves; the archive itself may be named too. Of several the first is
taken in the order of `LAYOUTS`. CIFAR-100's classes are the 100 fine ones.
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.data.dataset import Splits, make_splits
from zoo.errors import UserError

SIDE = 32
PIXELS = 3 * SIDE * SIDE  # of an image: 1024 red, then green, then blue


class Layout(NamedTuple):
    """The names in an archive, and what stands before the pixels of a binary image."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: int = 0  # bytes of labels before an image of a binary file, of which the last is the class; 0: pickled


LAYOUTS = {
    "cifar10": (
        Layout(
            "cifar-10-python.tar.gz",
            "cifar-10-batches-py",
            tuple(f"data_batch_{i}" for i in range(1, 6)),
            "test_batch",
            "batches.meta",
        ),
        Layout(
            "cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test_batch.bin",
            "batches.meta.txt",
            labels=1,
        ),
    ),
    "cifar100": (
        Layout("cifar-100-python.tar.gz", "cifar-100-python", ("train",), "test", "meta"),
        Layout(
            "cifar-100-binary.tar.gz", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", labels=2
        ),
    ),
}
# What the pickled arrays of the archives, old and rewritten, are made of: nothing else in them is called.
ALLOWED = {
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read_cifar(name: str, place: Path) -> Splits:
    """The 50,000 training and 10,000 test images `[32, 32, 3]` of `"cifar10"` or `"cifar100"`.

    Raises:
      FileNotFoundError: the place, or a file in it, does not exist.
      UserError: a file is damaged, or not one of CIFAR's.
    """
    layout, files = _find_files(name, place)
    wanted = (*layout.train, layout.test)
    for file in wanted:
        if file not in files:
            raise FileNotFoundError(f"no {file} in {str(place)!r}: {name} has the files {', '.join(wanted)}.")
    read = {file: _read_batch(files[file], layout, f"{file} of {place}") for file in wanted}
    images, labels = (np.concatenate(arrays) for arrays in zip(*(read[file] for file in layout.train), strict=True))
    names = _read_names(files[layout.names], layout, f"{layout.names} of {place}") if layout.names in files else None
    try:
        return make_splits(images, labels, *read[layout.test], names)
    except UserError as error:
        raise UserError(f"{place}: {error.problem}", error.remedy) from None


def _find_files(name: str, place: Path) -> tuple[Layout, dict[str, bytes]]:
    """The layout of what is there, and the content of its files."""
    for layout in LAYOUTS[name]:
        wanted = (*layout.train, layout.test, layout.names)
        for folder in (place, place / layout.folder):
            if any((folder / file).is_file() for file in (*layout.train, layout.test)):
                return layout, {file: (folder / file).read_bytes() for file in wanted if (folder / file).is_file()}
        for archive in (place, place / layout.archive):
            if archive.is_file() and (files := _unpack(archive, layout.folder, wanted)):
                return layout, files
    archives = " or ".join(layout.archive for layout in LAYOUTS[name])
    raise FileNotFoundError(f"no {name} at {str(place)!r}: {name}:FOLDER names the folder that holds {archives}.")


def _unpack(archive: Path, folder: str, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The content of the wanted files of `folder` in an archive, into memory."""
    try:
        with tarfile.open(archive) as tar:
            members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
            found = {file: members[f"{folder}/{file}"] for file in wanted if f"{folder}/{file}" in members}
            return {file: opened.read() for file, member in found.items() if (opened := tar.extractfile(member))}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{archive} cannot be unpacked ({reason})", "fetch it again") from error


def _read_batch(content: bytes, layout: Layout, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The images `[N, 32, 32, 3]` and the labels `[N]` of a file."""
    if layout.labels:
        length = layout.labels + PIXELS
        if not content or len(content) % length:
            raise UserError(f"{name} has {len(content)} bytes, not a multiple of {length}", "fetch it again")
        rows = np.frombuffer(content, np.uint8).reshape(-1, length)
        pixels, labels = rows[:, layout.labels :], rows[:, layout.labels - 1].astype(np.int32)
    else:
        batch = _unpickle(content, name)
        pixels, labels = _to_array(batch.get(b"data")), _to_array(batch.get(b"labels", batch.get(b"fine_labels")))
        if pixels.dtype != np.uint8 or pixels.shape != (*labels.shape, PIXELS) or labels.ndim != 1:
            raise UserError(f"{name} does not hold images of {PIXELS} bytes and their labels", "fetch it again")
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def _to_array(values: Any) -> np.ndarray:
    return np.asarray(values if isinstance(values, list | np.ndarray) else [])


def _read_names(content: bytes, layout: Layout, name: str) -> list[str]:
    if layout.labels:
        return content.decode(errors="replace").split()
    meta = _unpickle(content, name)
    names = meta.get(b"label_names", meta.get(b"fine_label_names"))
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise UserError(f"{name} does not hold the names of the classes", "fetch it again")
    return [name.decode(errors="replace") for name in names]


class _Unpickler(pickle.Unpickler):
    """Of a pickle, which can call anything, arrays and what Python itself is made of."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return super().find_class(module, name)


def _unpickle(content: bytes, name: str) -> Mapping[bytes, Any]:
    try:
        values = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except MemoryError:  # which is no fault of the file's
        raise
    except Exception as error:  # damaged bytes can make it raise anything
        raise UserError(f"{name} is not a file of CIFAR's ({error})", "fetch it again") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{name} is not a file of CIFAR's", "fetch it again")
    return values
