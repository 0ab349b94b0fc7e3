"""CRC-32C of one buffer (Castagnoli: reflected, polynomial 1EDC6F41, first and last FFFFFFFF), for chunks of uploads."""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]

_POLYNOMIAL: Final = 0x82F63B78
_BLOCK_BYTES: Final = 32
# Registers joined into one at each floor of the tree.
_JOIN: Final = 8
# Below this the byte-wise loop is faster.
_COLUMNS_BYTES_MIN: Final = 2048


def _byte_table() -> U32:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
    return table


_BYTE: Final = _byte_table()
_BYTE_LIST: Final = _BYTE.tolist()


def _after_zero(registers: U32) -> U32:
    """The registers after one zero byte more."""
    return (registers >> np.uint32(8)) ^ _BYTE[registers & np.uint32(0xFF)]


def _block_tables() -> list[U32]:
    """What a byte at each position of a block leaves in the register at the block's end."""
    tables = [_BYTE]
    for _ in range(_BLOCK_BYTES - 1):
        tables.append(_after_zero(tables[-1]))
    return tables[::-1]


_BLOCK: Final = _block_tables()


@lru_cache(maxsize=16)
def _shift_tables(floor: int) -> list[list[U32]]:
    """For each place among `_JOIN` registers: four tables, one a byte, that carry a register to the end of the group.

    Args:
        floor: 0 for the registers of blocks; one more for each joining.
    """
    # A register is 4 bytes and the shift is linear: what each byte alone becomes, exclusive-ored.
    unit = [np.arange(256, dtype=np.uint32) << np.uint32(8 * byte) for byte in range(4)]
    places = [unit]
    for _ in range(_JOIN - 1):
        places.append([_shifted(table, floor) for table in places[-1]])
    return places[::-1]


def _shifted(registers: U32, floor: int) -> U32:
    if floor:
        # One group of the floor below is as long as `_JOIN` of its registers.
        below = registers
        for _ in range(_JOIN):
            below = _shifted(below, floor - 1)
        return below
    for _ in range(_BLOCK_BYTES):
        registers = _after_zero(registers)
    return registers


def _padded(values: npt.NDArray[np.generic], multiple: int) -> npt.NDArray[np.generic]:
    # Zeros in front of a register of zero change nothing.
    missing = -values.shape[0] % multiple
    return np.concatenate([np.zeros(missing, dtype=values.dtype), values]) if missing else values


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C of any number of bytes; `crc32c(b"123456789") == 0xE3069283`.

    The sum is linear: every byte's share depends on its distance from the end only. The shares of a block are looked
    up column by column for all blocks at once, then the blocks' registers are joined eight by eight. Measured at some
    300 MiB/s for 1 MiB, where the byte-wise loop makes 10.
    """
    if len(data) < _COLUMNS_BYTES_MIN:
        register = 0xFFFFFFFF
        for byte in bytes(data):
            register = (register >> 8) ^ _BYTE_LIST[(register ^ byte) & 0xFF]
        return register ^ 0xFFFFFFFF
    values = np.frombuffer(data, dtype=np.uint8).copy()
    # A first register of FFFFFFFF is the same as the first four bytes inverted.
    values[:4] ^= np.uint8(0xFF)
    blocks = _padded(values, _BLOCK_BYTES).reshape(-1, _BLOCK_BYTES)
    registers = _BLOCK[0].take(blocks[:, 0])
    for position in range(1, _BLOCK_BYTES):
        registers ^= _BLOCK[position].take(blocks[:, position])
    floor = 0
    while registers.shape[0] > 1:
        groups = _padded(registers, _JOIN).astype("<u4").view(np.uint8).reshape(-1, _JOIN, 4)
        tables = _shift_tables(floor)
        registers = np.zeros(groups.shape[0], dtype=np.uint32)
        for place in range(_JOIN):
            for byte in range(4):
                registers ^= tables[place][byte].take(groups[:, place, byte])
        floor += 1
    return int(registers[0]) ^ 0xFFFFFFFF
