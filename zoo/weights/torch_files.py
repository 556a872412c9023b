"""Files of `torch.save`, of the present format and of the one before torch 1.6, read without torch.

Such a file is a pickle, which is a program that makes objects, and beside it the numbers of the tensors in it:

    now     a zip archive: NAME/data.pkl, and the numbers in NAME/data/0, NAME/data/1, ...
    before  five pickles (a magic number, a version, the machine, the object, the keys of its storages), and of each
            storage the count of its numbers and the numbers

Nothing in the pickle is run. It is read by an interpreter that knows containers, numbers, texts and tensors; all else
that it names, a class or a function, becomes a `Foreign`, which keeps its name and does nothing.
"""

import contextlib
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.weights.archives import open_archive

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")  # the last of model_best.pth.tar, which is no tar
MAGIC = 0x1950A86A20F9469CFC6C  # torch's, the first object of a file of the old format
LONGEST = 2**24  # bytes of pickle; DenseNet-201's with Adam's state has 0.4 million
NOT_TORCH, BIG_ENDIAN = "it is not a file of torch.save", "its numbers are big-endian"
UNKNOWN_OPERATION = "its pickle has an operation that is not carried out here"
UNKNOWN_NUMBERS = "numbers are stored in it in a way that is not known here"
UNTRUSTED = (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
TYPES = {  # of numbers, by torch's names of their storages
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Foreign:
    """What a pickle names and nobody here knows: a class, a function, or what would have been made with it.

    Attributes:
      name: `"argparse.Namespace"`.
      state: what the object would have been restored from, if it is one: of most objects their attributes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Any = None

    def __call__(self, *_: object, **__: object) -> "Foreign":
        return Foreign(self.name)

    def ignore(self, *_: object) -> None:
        """Takes what a list, a set or a dictionary is given."""

    append = extend = add = __setitem__ = ignore

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise TypeError(f"a file has it as {self.name}")


@dataclass(frozen=True, slots=True)
class Storage:
    """The numbers of one or more tensors: their key in the file, and their type."""

    key: str
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Tensor:
    """A part of a storage; the offset and the strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class TorchFile:
    """An open file.

    Attributes:
      content: what was saved, with a `Tensor` for each tensor and a `Foreign` for all that is unknown.
      foreign: names of the unknown.
      read: gives the bytes of the storage with a key.
    """

    content: Any
    foreign: tuple[str, ...]
    read: Callable[[str], bytes]

    def load(self, tensor: Tensor) -> np.ndarray:
        """The numbers of a tensor; NumPy refuses one that reaches beyond its storage."""
        dtype = tensor.storage.dtype
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype)
        strides = tuple(dtype.itemsize * stride for stride in tensor.strides)
        return np.ndarray(tensor.shape, dtype, self.read(tensor.storage.key), dtype.itemsize * tensor.offset, strides)


@contextlib.contextmanager
def open_torch_file(path: Path) -> Iterator[TorchFile]:
    """What `torch.save` wrote; numbers are read when they are asked for.

    Raises:
      ValueError: it is no such file; and whatever else Python raises over a damaged one.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            yield _read_old(file)
            return
    with open_archive(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(NOT_TORCH)
        root = pickles[0].removesuffix("data.pkl")
        if any(name.startswith(f"{root}code/") for name in names):
            raise UserError("it is a program in TorchScript", "torch.jit.load(FILE).state_dict() has its weights")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError(BIG_ENDIAN)
        if archive.getinfo(pickles[0]).file_size > LONGEST:
            raise ValueError(f"its pickle is longer than {LONGEST} bytes")
        reader = _Interpreter(BytesIO(archive.read(pickles[0])))
        content = reader.load()
        yield TorchFile(content, tuple(reader.foreign), cache(lambda key: archive.read(f"{root}data/{key}")))


def _read_old(file: BinaryIO) -> TorchFile:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = BytesIO(file.read(LONGEST))
    try:
        known = _Interpreter(head).load() == MAGIC
    except Exception:  # what is no pickle can raise anything
        known = False
    if not known:
        raise ValueError(NOT_TORCH)
    _version, machine = _Interpreter(head).load(), _Interpreter(head).load()
    if not machine["little_endian"]:
        raise ValueError(BIG_ENDIAN)
    reader = _Interpreter(head)
    content = reader.load()
    keys = _Interpreter(head).load()
    if not set(keys) <= set(reader.types):
        raise ValueError(UNKNOWN_NUMBERS)
    places, position = {}, head.tell()
    for key in keys:
        file.seek(position)
        length = reader.types[key].itemsize * int.from_bytes(file.read(8), "little")
        places[key] = position + 8, length
        position += 8 + length
    if position > size:
        raise ValueError("it is cut off")

    @cache
    def read(key: str) -> bytes:
        start, length = places[key]
        file.seek(start)
        return file.read(length)

    return TorchFile(content, tuple(reader.foreign), read)


def _rebuild_tensor(storage: Any, offset: int, shape: Any, strides: Any, *details: Any) -> Tensor | Foreign:
    """torch's: `details` are requires_grad, hooks and, of complex numbers' views, what is still to be done to them."""
    if not isinstance(storage, Storage) or any(details[2:]):
        return Foreign(getattr(storage, "name", "a view of complex numbers"))
    return Tensor(storage, offset, tuple(shape), tuple(strides))


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
    **{("torch", name): np.dtype(kind) for name, kind in TYPES.items()},
}
Unpickler: Any = pickle._Unpickler  # the one that is written in Python: of the other the operations cannot be replaced


class _Interpreter(Unpickler):
    """Python's own, but for what it makes: names mean what `KNOWN` says, and objects get no attributes.

    Attributes:
      foreign: names that mean nothing here.
      types: of the storages that the pickle mentions, by their keys.
    """

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file, encoding="utf-8")  # of texts that Python 2 wrote
        self.foreign: dict[str, None] = {}
        self.types: dict[str, np.dtype] = {}

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:
            raise ValueError(UNKNOWN_OPERATION) from error

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        self.foreign[f"{module}.{name}"] = None
        return Foreign(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        kind, what, *details = pid
        if kind == "module" or isinstance(what, Foreign):  # a class with its source, or numbers of an unknown type
            return what
        key, _device, _count, *view = details
        if kind != "storage" or not isinstance(what, np.dtype) or type(key) is not str or any(view):
            raise ValueError(UNKNOWN_NUMBERS)
        self.types[key] = what
        return Storage(key, what)

    def make(self) -> None:
        """An object of a class and its arguments."""
        arguments = self.stack.pop()
        self.stack[-1] = self.stack[-1](*arguments)

    def make_with_keywords(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = self.stack[-1](*arguments, **keywords)

    def restore(self) -> None:
        """An object from its state."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Foreign):
            self.stack[-1].state = state

    dispatch = {code: operation for code, operation in Unpickler.dispatch.items() if bytes([code]) not in UNTRUSTED} | {
        pickle.NEWOBJ[0]: make,
        pickle.NEWOBJ_EX[0]: make_with_keywords,
        pickle.BUILD[0]: restore,
    }
