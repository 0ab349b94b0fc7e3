"""Columns to PostgreSQL without a Python object per value: arrays as parameters, rows for COPY, both in binary form.

The forms are those of the PostgreSQL manual: array_send in `arrayfuncs.c` order (dimensions, null flag, element type,
length, lower bound, then length and bytes of each), and "Binary Format" on the page of COPY.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

Column = npt.NDArray[Any]

_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = b"\xff\xff"
# Microseconds from 1970 to 2000, where PostgreSQL counts moments from.
_EPOCH_SHIFT_US = 946_684_800_000_000


class PgArray(bytes):
    """An array parameter, ready for the wire."""

    __slots__ = ()


class Int2Array(PgArray):
    """smallint[]."""


class Int4Array(PgArray):
    """integer[]."""


class Int8Array(PgArray):
    """bigint[]."""


class ByteaArray(PgArray):
    """bytea[], all of one length."""


class MomentArray(PgArray):
    """timestamptz[]."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> Buffer | None:
        return bytes(obj)


def _register(kind: type[PgArray], array_oid: int) -> None:
    # For all connections to come: these types are ours alone.
    psycopg.adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": array_oid}))


# Type numbers of PostgreSQL's own types never change (pg_type.dat): element, array.
_INT2, _INT4, _INT8, _BYTEA, _MOMENT = 21, 23, 20, 17, 1184
_register(Int2Array, 1005)
_register(Int4Array, 1007)
_register(Int8Array, 1016)
_register(ByteaArray, 1001)
_register(MomentArray, 1185)


def int2_array(values: Column | Sequence[int]) -> Int2Array:
    """A column as smallint[]."""
    return Int2Array(_array(np.asarray(values, dtype=">i2"), _INT2))


def int4_array(values: Column | Sequence[int]) -> Int4Array:
    """A column as integer[]."""
    return Int4Array(_array(np.asarray(values, dtype=">i4"), _INT4))


def int8_array(values: Column | Sequence[int]) -> Int8Array:
    """A column as bigint[]."""
    return Int8Array(_array(np.asarray(values, dtype=">i8"), _INT8))


def bytea_array(table: Column) -> ByteaArray:
    """An (n, k) column of bytes as bytea[]."""
    return ByteaArray(_array(_as_bytes(table), _BYTEA))


def moment_array(seconds: Column) -> MomentArray:
    """Seconds since 1970 UTC as timestamptz[]."""
    return MomentArray(_array(pg_moments(seconds), _MOMENT))


def pg_moments(seconds: Column) -> Column:
    """Seconds since 1970 UTC as PostgreSQL sends moments: microseconds since 2000."""
    return (seconds.astype(np.int64) * 1_000_000 - _EPOCH_SHIFT_US).astype(">i8")


def copy_rows(columns: Sequence[Column]) -> bytes:
    """Rows for `COPY … FROM STDIN (FORMAT binary)`, none of them with nulls.

    Args:
        columns: One per field, of equal length and of the exact width of the field, big-endian: `>i4` for integer,
            `>i8` for bigint and timestamptz.
    """
    fields: list[tuple[str, Any]] = [("count", ">i2")]
    for number, column in enumerate(columns):
        fields += [(f"length{number}", ">i4"), (f"value{number}", column.dtype)]
    rows = np.empty(len(columns[0]), dtype=fields)
    rows["count"] = len(columns)
    for number, column in enumerate(columns):
        assert column.dtype.byteorder in (">", "|"), "PostgreSQL reads big-endian"
        rows[f"length{number}"] = column.dtype.itemsize
        rows[f"value{number}"] = column
    return _COPY_HEADER + rows.tobytes() + _COPY_END


def _as_bytes(table: Column) -> Column:
    contiguous = np.ascontiguousarray(table, dtype=np.uint8)
    return contiguous.view(f"V{table.shape[1]}").reshape(-1)


def _array(values: Column, element_oid: int) -> bytes:
    # An array without elements has no dimensions.
    dimensions = [1, 0, element_oid, len(values), 1] if len(values) else [0, 0, element_oid]
    elements = np.empty(len(values), dtype=[("length", ">i4"), ("value", values.dtype)])
    elements["length"] = values.dtype.itemsize
    elements["value"] = values
    return np.array(dimensions, dtype=">i4").tobytes() + elements.tobytes()
