"""The wire format of protocol buffers, as far as files of weights have it.

A message is a row of fields, each a key, which is the field's number and how its value is stored, and the value.
(https://protobuf.dev/programming-guides/encoding)
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

Field = int | memoryview
CUT_OFF = "it is cut off in the middle of a number or a field"
SIZES = {1: 8, 5: 4}  # bytes of what is stored as so many, by kind


def read_fields(message: memoryview) -> Iterator[tuple[int, Field]]:
    """`(number, value)` of each field: an integer, or the bytes of a text, a message, an array or a fixed number.

    Raises:
      ValueError: it is no message.
    """
    position = 0
    while position < len(message):
        key, position = read_varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = read_varint(message, position)
            yield number, value
            continue
        if kind == 2:
            size, position = read_varint(message, position)
        elif kind in SIZES:
            size = SIZES[kind]
        else:
            raise ValueError("it has a field of a kind that protocol buffers do not have")
        if size > len(message) - position:
            raise ValueError(CUT_OFF)
        yield number, message[position : position + size]
        position += size


def collect_fields(message: memoryview) -> dict[int, list[Any]]:
    """The values of each field, in their order."""
    fields: dict[int, list[Any]] = {}
    for number, value in read_fields(message):
        fields.setdefault(number, []).append(value)
    return fields


def read_varint(content: memoryview, position: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            raise ValueError(CUT_OFF)
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("it has a number of more than 64 bits")


def read_text(value: Field) -> str:
    """A text.

    Raises:
      ValueError: it is none.
    """
    return str(read_bytes(value), "utf-8")


def read_bytes(value: Field) -> memoryview:
    """The bytes of a text, message or array.

    Raises:
      ValueError: the field is a number.
    """
    if isinstance(value, int):
        raise ValueError("it has a number where there should be an array, a text or a message")
    return value


def read_floats(values: list[Field], dtype: str = "<f4") -> np.ndarray:
    """A repeated field of floats, packed or one by one."""
    if len(values) == 1:
        return np.frombuffer(read_bytes(values[0]), dtype)
    return np.frombuffer(b"".join(map(read_bytes, values)), dtype)


def read_integers(values: list[Field]) -> list[int]:
    """A repeated field of integers, packed or one by one."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        position = 0
        while position < len(value):
            number, position = read_varint(value, position)
            found.append(number)
    return found
