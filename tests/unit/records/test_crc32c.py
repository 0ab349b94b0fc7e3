"""CRC-32C: the published check value, and the columns against the bit-by-bit definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.records.crc32c import crc32c


def by_bits(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # The check value of the algorithm's name, and the examples of RFC 3720, appendix B.4.
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_known_answers(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@given(st.binary(max_size=64), st.integers(0, 70_000))
def test_long_buffers_are_summed_like_short_ones(seed: bytes, length: int) -> None:
    data = (seed or b"\0") * (length // max(len(seed), 1) + 1)
    assert crc32c(data[:length]) == crc32c(bytearray(data[:length])) == crc32c(memoryview(data)[:length])


@pytest.mark.parametrize("length", [2047, 2048, 2049, 4095, 8192, 16_391])
def test_the_columns_say_what_the_bits_say(length: int) -> None:
    data = bytes((index * 7 + index // 251) & 0xFF for index in range(length))
    assert crc32c(data) == by_bits(data)
