"""CRC-32C against the examples of RFC 3720 and a byte-by-byte version of it."""

import numpy as np
import pytest

from zoo.weights.checksums import LONGEST, compute_crc32c, is_intact


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(32))[::-1], 0x113FDB5C),
        (b"", 0),
    ],
)
def test_examples_of_rfc_3720(content, expected):
    assert compute_crc32c(content) == expected


def compute_bit_by_bit(content: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in content:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


ROW = 4 << LONGEST  # bytes


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 63, 1000, ROW - 1, ROW, ROW + 4, 2 * ROW + 7])
def test_any_number_of_bytes_of_any_alignment_is_as_bit_by_bit(size):
    content = np.random.default_rng(size).bytes(size + 3)
    for start in (0, 3):
        part = memoryview(content)[start : start + size]
        assert compute_crc32c(part) == compute_bit_by_bit(bytes(part))


def test_leveldb_s_masked_checksum_is_told_from_the_plain_one():
    """`crc32c::Mask` of the checksum of "foo": its own test says that it differs, here is what it gives."""
    crc = compute_bit_by_bit(b"foo")
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert is_intact(b"foo", masked.to_bytes(4, "little"))
    assert not is_intact(b"foo", crc.to_bytes(4, "little"))
    assert not is_intact(b"fop", masked.to_bytes(4, "little"))
