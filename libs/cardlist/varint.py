"""Columns of unsigned numbers as bytes: 7 bits a byte, highest group first, bit 7 set on all but the last.

The high group comes first so that the plain loop of a look-up needs one shift and no counter.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from libs.cardlist.errors import Fault, ListRefused

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

# Six groups are 42 bits: twelve digits and every second for thousands of years.
GROUPS_MAX: Final = 6
VALUE_MAX: Final = (1 << 7 * GROUPS_MAX) - 1


def encode(values: npt.NDArray[Any]) -> bytes:
    """Write (n,) numbers from 0 to `VALUE_MAX`."""
    numbers = np.asarray(values).astype(np.int64)
    assert not len(numbers) or (numbers.min() >= 0 and numbers.max() <= VALUE_MAX), "a number does not fit six groups"
    lengths = np.ones(len(numbers), dtype=np.int64)
    for group in range(1, GROUPS_MAX):
        lengths += numbers >= 1 << 7 * group
    ends = np.cumsum(lengths)
    packed = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for group in range(GROUPS_MAX):
        # Group 0 is the lowest and stands last.
        held = lengths > group
        bits = numbers[held] >> 7 * group & 0x7F
        packed[ends[held] - 1 - group] = bits | (0x80 if group else 0)
    return packed.tobytes()


def decode(packed: U8) -> tuple[I64, I64]:
    """Read all numbers of a stream: the (n,) numbers, and the (n,) offsets at which each ends.

    Raises:
        ListRefused: VARINT: the last number is cut, one is longer than six groups, or one is not written the short way.
    """
    last = packed < 0x80
    ends = np.flatnonzero(last).astype(np.int64) + 1
    if (ends[-1] if len(ends) else 0) != len(packed):
        raise ListRefused(Fault.VARINT, expected="a last byte below 80")
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1]
    lengths = ends - starts
    if len(ends) and (lengths.max() > GROUPS_MAX or (packed[starts[lengths > 1]] == 0x80).any()):
        raise ListRefused(Fault.VARINT, expected="at most six groups, no leading zero")
    numbers = np.zeros(len(ends), dtype=np.int64)
    for place in range(int(lengths.max(initial=0))):
        held = lengths > place
        numbers[held] = numbers[held] << 7 | packed[starts[held] + place] & 0x7F
    return numbers, ends
