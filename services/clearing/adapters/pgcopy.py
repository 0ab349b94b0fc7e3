"""PostgreSQL's binary COPY as NumPy columns: rows of fixed width go in and out without a Python object each.

Format: PostgreSQL documentation, COPY, "Binary Format". Every field is a 4-byte length and its value, big-endian;
columns here have no NULLs, so that all rows are of one width and a structured array is the very stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_FORMATS = {"bool": "?", "int2": ">i2", "int4": ">i4", "int8": ">i8"}

Columns = Mapping[str, npt.NDArray[Any]]
Shape = Sequence[tuple[str, str]]
"""Name and type of each column: bool, int2, int4, int8, or `bytesN` for a bytea of exactly N bytes."""


def _row_type(shape: Shape) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("#", ">i2")]
    for name, kind in shape:
        fields += [(f"#{name}", ">i4"), (name, f"V{kind[5:]}" if kind.startswith("bytes") else _FORMATS[kind])]
    return np.dtype(fields)


def encode(shape: Shape, columns: Columns) -> bytes:
    """A whole COPY stream.

    Args:
        shape: The columns in the order of the COPY command.
        columns: Each of the same length; `bytesN` as `VN` or (n, N) uint8.
    """
    dtype = _row_type(shape)
    rows = np.zeros(len(columns[shape[0][0]]), dtype)
    rows["#"] = len(shape)
    for name, _ in shape:
        column = columns[name]
        width = dtype[name].itemsize
        rows[f"#{name}"] = width
        if column.ndim == 2:
            column = np.ascontiguousarray(column, np.uint8).view(f"V{width}")[:, 0]
        rows[name] = column
    return _SIGNATURE + rows.tobytes() + _TRAILER


def decode(shape: Shape, stream: bytes) -> npt.NDArray[np.void]:
    """The rows of a COPY stream as a structured array with the columns of `shape`."""
    dtype = _row_type(shape)
    count, odd = divmod(len(stream) - len(_SIGNATURE) - len(_TRAILER), dtype.itemsize)
    assert not odd, "every row has the width of the shape: a NULL or another type would break it"
    rows = np.frombuffer(stream, dtype, count, len(_SIGNATURE))
    assert not count or (rows["#"] == len(shape)).all(), "every row has the columns of the shape"
    return rows


async def copy_in(connection: AsyncConnection[Any], table: str, shape: Shape, columns: Columns) -> None:
    """Append columns to a table."""
    names = ", ".join(name for name, _ in shape)
    command = f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)".encode()
    async with connection.cursor() as cursor, cursor.copy(command) as copy:
        await copy.write(encode(shape, columns))


async def copy_out(connection: AsyncConnection[Any], query: str, shape: Shape) -> npt.NDArray[np.void]:
    """The rows of a query as columns; the query's columns are cast to the types of `shape` and hold no NULL."""
    command = f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode()
    async with connection.cursor() as cursor, cursor.copy(command) as copy:
        blocks = [bytes(block) async for block in copy]
    return decode(shape, b"".join(blocks))
