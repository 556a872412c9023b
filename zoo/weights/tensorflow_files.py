"""TensorFlow's checkpoints, without TensorFlow: `model.ckpt` of before 2017, and `model.ckpt.index` with its data.

Both are tables of LevelDB's: blocks of sorted keys, each without what it shares with the one before, an index of the
blocks, and at the end a footer that says where the index is. In the older format the table has the numbers themselves,
in the newer one it says where in `model.ckpt.data-00000-of-00001` they are. Blocks and numbers have checksums,
which are compared with what is there.
(https://github.com/google/leveldb/blob/main/doc/table_format.md; tensor_bundle.proto, saved_tensor_slice.proto)
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.weights.checksums import is_intact
from zoo.weights.wire import (
    CUT_OFF,
    collect_fields,
    read_bytes,
    read_floats,
    read_text,
    read_varint,
)
from zoo.weights.wording import escape

INDEX_SUFFIX = ".index"
FOOTER, MAGIC = 48, (0xDB4775248B80FB57).to_bytes(8, "little")
TYPES: dict[int, Any] = {1: np.float32, 2: np.float64, 14: jnp.bfloat16, 19: np.float16}  # TensorFlow's numbers
OLD_TYPES = {1: (5, "<f4"), 2: (6, "<f8")}  # field of a TensorProto, and how its numbers are stored
TRAILER = 5  # bytes after a block: how it is compressed, and a checksum
DAMAGED = "it is damaged (a checksum in it says so); copy or fetch it again"
NOT_TENSORFLOW = "it is not a checkpoint of TensorFlow's"


def is_table(path: Path) -> bool:
    """Whether a file is a table: TensorFlow's older checkpoints are called .ckpt, as others' are."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - len(MAGIC), 0))
        return file.read() == MAGIC


def read_tensorflow(path: Path) -> dict[str, np.ndarray]:
    """`{"InceptionV3/Conv2d_1a_3x3/weights": array}`: the floating variables; counters of steps are left out.

    Raises:
      ValueError: it is no such file, damaged, or its data are not beside it.
    """
    try:
        table = dict(_read_table(memoryview(path.read_bytes())))
        header = table.pop(b"")
        return _read_new(path, header, table) if path.suffix == INDEX_SUFFIX else _read_old(header, table)
    except (KeyError, IndexError) as error:  # a field is missing
        raise ValueError(NOT_TENSORFLOW) from error


def _read_table(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """All keys and values."""
    if len(content) < FOOTER or content[-len(MAGIC) :] != MAGIC:
        raise ValueError(NOT_TENSORFLOW)
    footer = content[-FOOTER:]
    _, _, position = _read_handle(footer, 0)  # of a block about other things
    start, size, _ = _read_handle(footer, position)
    for _, handle in _read_block(content, start, size):
        start, size, _ = _read_handle(handle, 0)
        yield from _read_block(content, start, size)


def _read_handle(content: memoryview, position: int) -> tuple[int, int, int]:
    start, position = read_varint(content, position)
    size, position = read_varint(content, position)
    return start, size, position


def _read_block(content: memoryview, start: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    if start + size + TRAILER > len(content):
        raise ValueError(CUT_OFF)
    if not is_intact(content[start : start + size + 1], content[start + size + 1 : start + size + TRAILER]):
        raise ValueError(DAMAGED)
    if content[start + size]:
        raise ValueError("it is compressed, as TensorFlow's checkpoints are not")
    block = content[start : start + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        fresh, position = read_varint(block, position)
        length, position = read_varint(block, position)
        if shared > len(key) or fresh + length > end - position:
            raise ValueError(CUT_OFF)
        key = key[:shared] + bytes(block[position : position + fresh])
        position += fresh
        yield key, block[position : position + length]
        position += length


def _read_shape(messages: list[Any]) -> tuple[int, ...]:
    """Of a TensorShapeProto."""
    dimensions = collect_fields(read_bytes(messages[0])).get(2, []) if messages else []
    return tuple(int(collect_fields(read_bytes(dimension)).get(1, [0])[0]) for dimension in dimensions)


def _read_new(path: Path, header: memoryview, table: dict[bytes, memoryview]) -> dict[str, np.ndarray]:
    fields = collect_fields(header)
    shards = int(fields.get(1, [1])[0])
    if fields.get(2, [0])[0]:
        raise ValueError("its numbers are big-endian")
    arrays: dict[str, np.ndarray] = {}
    for key, entry in table.items():
        name = key.decode()
        fields = collect_fields(entry)
        kind = fields.get(1, [0])[0]
        if kind not in TYPES:
            continue
        if 7 in fields:
            raise ValueError(f"{escape(name)} is in it in parts")
        shard, start, size = (int(fields.get(number, [0])[0]) for number in (3, 4, 5))
        data = path.with_name(f"{path.name.removesuffix(INDEX_SUFFIX)}.data-{shard:05d}-of-{shards:05d}")
        if not data.is_file():
            raise ValueError(f"{data.name} is not beside it")
        shape, dtype = _read_shape(fields.get(2, [])), np.dtype(TYPES[kind])
        if size != prod(shape) * dtype.itemsize or start + size > data.stat().st_size:
            raise ValueError(f"{escape(name)} is not in {data.name} as it says")
        with data.open("rb") as file:
            file.seek(start)
            numbers = file.read(size)
        if not is_intact(numbers, fields.get(6, [bytes(4)])[0]):  # a checksum of 0 is not written
            raise ValueError(f"{escape(name)} is damaged in {data.name} (its checksum says so); copy or fetch it again")
        arrays[name] = np.frombuffer(numbers, dtype).reshape(shape)
    return arrays


def _read_old(header: memoryview, table: dict[bytes, memoryview]) -> dict[str, np.ndarray]:
    about: dict[str, tuple[int, tuple[int, ...]]] = {}
    for message in collect_fields(read_bytes(collect_fields(header).get(1, [b""])[0])).get(1, []):
        fields = collect_fields(read_bytes(message))
        name = read_text(fields[1][0])
        if len(fields.get(4, [])) > 1:
            raise ValueError(f"{escape(name)} is in it in parts")
        about[name] = int(fields.get(3, [0])[0]), _read_shape(fields.get(2, []))
    arrays: dict[str, np.ndarray] = {}
    for message in table.values():
        fields = collect_fields(read_bytes(collect_fields(message)[2][0]))
        name = read_text(fields[1][0])
        kind, shape = about[name]
        if kind in OLD_TYPES:
            number, dtype = OLD_TYPES[kind]
            numbers = read_floats(collect_fields(read_bytes(fields[3][0])).get(number, []), dtype)
            if numbers.size != prod(shape):
                raise ValueError(f"{escape(name)} has {numbers.size} numbers, not {prod(shape)}")
            arrays[name] = numbers.reshape(shape)
    return arrays
