"""CRC-32 of many rows at once (zlib/IEEE: reflected, polynomial 04C11DB7, first and last FFFFFFFF)."""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]

_BLOCK_ROWS = 4096


def crc32_rows(rows: npt.NDArray[Any], covered: int) -> U32:
    """CRC-32 of the first `covered` bytes of every row; (n,) uint32.

    Args:
        rows: (n,) structured array, contiguous, of any row length >= `covered`.
        covered: Bytes of a row that the checksum protects.
    """
    body = np.dtype({"names": ["body"], "formats": [f"V{covered}"], "offsets": [0], "itemsize": rows.dtype.itemsize})
    bodies = rows.view(body)["body"]
    result = np.empty(rows.shape[0], dtype=np.uint32)
    # One short-lived bytes object per row, a block at a time, and zlib called from C by map: measured at 1.6 times the
    # table-per-position sum in NumPy and twice a loop over memoryview slices. The block keeps the objects in the cache.
    for start in range(0, rows.shape[0], _BLOCK_ROWS):
        block = bodies[start : start + _BLOCK_ROWS].tolist()
        result[start : start + len(block)] = np.fromiter(map(zlib.crc32, block), dtype=np.uint32, count=len(block))
    return result
