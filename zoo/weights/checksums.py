"""CRC-32C, with which LevelDB's tables and TensorFlow's checkpoints check what they hold.

A checksum is the remainder of the bytes as a polynomial, and linear in them: of many words at once each is moved on by
the same number of bytes, which is two look-ups in tables, and the sums are exclusive ors. NumPy does a row of words
at a time, and 200 MB in a second.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli's; here and below the lowest bit is the highest power
LONGEST = 12  # of rows, the logarithm of their words: they stay in the processor's cache
MASK = 0xA282EAD8  # LevelDB's


def compute_crc32c(content: bytes | memoryview) -> int:
    """The checksum of RFC 3720.

    >>> hex(compute_crc32c(b"123456789"))
    '0xe3069283'
    """
    words = np.frombuffer(content, "<u4", len(content) // 4)
    width = min(LONGEST, words.size.bit_length())
    first = words.size % (1 << width)
    state = np.zeros(1 << width, np.uint32)
    state[state.size - first :] = words[:first]  # zeros before them change nothing
    for row in words[first:].reshape(-1, state.size):
        state = _advance(state, width + 2) ^ row
    for fold in reversed(range(width)):
        left, right = np.split(state, 2)
        state = _advance(left, fold + 2) ^ right
    start = np.array([0xFFFFFFFF], np.uint32)
    for power in range(words.size.bit_length()):
        if words.size >> power & 1:
            start = _advance(start, power + 2)
    state = _advance(state, 2) ^ start
    for byte in content[4 * words.size :]:
        state = _advance(state ^ np.uint32(byte), 0)
    return int(state[0]) ^ 0xFFFFFFFF


def is_intact(content: bytes | memoryview, stored: bytes | memoryview) -> bool:
    """Whether the four bytes that LevelDB stores are the checksum of the content, turned by 15 bits and masked."""
    crc = compute_crc32c(content)
    turned = crc >> 15 | crc << 17
    return (turned + MASK) & 0xFFFFFFFF == int.from_bytes(stored, "little")


def _advance(state: np.ndarray, power: int) -> np.ndarray:
    """The remainders `[N]` after so many more bytes of zeros as 2 to the `power`."""
    low, high = _make_tables(power)
    return low[state & 0xFFFF] ^ high[state >> 16]


@cache
def _make_tables(power: int) -> tuple[np.ndarray, np.ndarray]:
    """What becomes of every lower half of a word, and of every upper half."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if power:
        images = _advance(_advance(bits, power - 1), power - 1)
    else:
        images = bits
        for _ in range(8):
            images = images >> 1 ^ np.where(images & 1, np.uint32(POLYNOMIAL), np.uint32(0))

    def combine(images: np.ndarray) -> np.ndarray:
        table = np.zeros(1, np.uint32)
        for image in images:
            table = np.concatenate([table, table ^ image])
        return table

    return combine(images[:16]), combine(images[16:])
