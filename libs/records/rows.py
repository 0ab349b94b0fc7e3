"""Strict tests over columns of the small record types, shared by their modules."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.records import bcd
from libs.records.crc import crc32_rows
from libs.records.errors import RecordMalformed

Rows = npt.NDArray[np.void]
Bools = npt.NDArray[np.bool_]
Test = tuple[str, str, Bools]
"""Name of the fault, field that is wrong, and which rows are right."""


def refuse_first(rows: Rows, tests: Iterable[Test]) -> None:
    """Raise for the first test, in their order, that some row fails.

    Raises:
        RecordMalformed: With the index of the row, the fault and the offset of the field in the row.
    """
    for fault, field, good in tests:
        if not good.all():
            fields = rows.dtype.fields
            assert fields is not None, "rows are structured"
            raise RecordMalformed(index=int(np.argmin(good)), offset=fields[field][1], field=field, fault=fault)


def crc_is_right(rows: Rows) -> Bools:
    """Tell which rows carry the CRC-32 of all bytes before their last four."""
    good: Bools = crc32_rows(rows, rows.dtype.itemsize - 4) == rows["crc"]
    return good


def seal_rows(rows: Rows) -> Rows:
    """Fill the CRC-32 of every row in place, and return the same array."""
    rows["crc"] = crc32_rows(rows, rows.dtype.itemsize - 4)
    return rows


def is_zero(column: npt.NDArray[Any]) -> Bools:
    """Tell which rows of a reserved field are zero."""
    good: Bools = column == 0
    if good.ndim == 2:
        good = np.all(good, axis=1)
    return good


def is_date_or_zero(column: npt.NDArray[np.uint8]) -> Bools:
    """Tell which rows of an (n, 4) column are a real date, or 00000000 for none."""
    return bcd.dates_are_real(column) | is_zero(column)


def exact_sum(column: npt.NDArray[Any]) -> int:
    """The sum of an unsigned column of up to 8 bytes, as a Python integer: never wraps around."""
    wide = column.astype(np.uint64)
    high, low = int((wide >> np.uint64(32)).sum(dtype=np.uint64)), int((wide & np.uint64(0xFFFFFFFF)).sum())
    return (high << 32) + low
