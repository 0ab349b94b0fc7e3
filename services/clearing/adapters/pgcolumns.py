"""PostgreSQL's binary formats as NumPy columns: rows of fixed width go in and out without a Python object each.

In by COPY (PostgreSQL documentation, COPY, "Binary Format"): every field is a 4-byte length and its value, big-endian,
so that a structured array is the very stream. Out as one row of arrays, whose elements are a 4-byte length and a value
too: COPY TO would hand every row to Python as a message of its own. Questions about many keys take their keys as arrays
of the same form (`array`): a temporary table costs a COPY, a catalogue entry and a plan without statistics. Columns
here have no NULLs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_FORMATS = {"bool": "?", "int2": ">i2", "int4": ">i4", "int8": ">i8"}
# Number of dimensions, a flag for NULLs, element type; size and lower bound of the only dimension.
_ARRAY_HEADER = 20
# Object ids of bool[], bytea[], int2[], int4[] and int8[] (pg_type.dat); they never change.
_ARRAY_OIDS = (1000, 1001, 1005, 1007, 1016)
_BYTEA_OID, _INT4_OID, _INT8_OID = 17, 23, 20

Columns = Mapping[str, npt.NDArray[Any]]
Shape = Sequence[tuple[str, str]]
"""Name and type of each column: bool, int2, int4, int8, or `bytesN` for a bytea of exactly N bytes."""


def _value_type(kind: str) -> str:
    return f"V{kind[5:]}" if kind.startswith("bytes") else _FORMATS[kind]


def encode(shape: Shape, columns: Columns) -> bytes:
    """A whole COPY stream.

    Args:
        shape: The columns in the order of the COPY command.
        columns: Each of the same length; `bytesN` as `VN` or (n, N) uint8.
    """
    fields: list[tuple[str, str]] = [("#", ">i2")]
    for name, kind in shape:
        fields += [(f"#{name}", ">i4"), (name, _value_type(kind))]
    dtype = np.dtype(fields)
    rows = np.empty(len(columns[shape[0][0]]), dtype)
    # Counts and lengths are the same in every row: one row is laid over all.
    every = np.zeros(1, dtype)
    every["#"] = len(shape)
    for name, _ in shape:
        every[f"#{name}"] = dtype[name].itemsize
    rows.view(f"V{dtype.itemsize}")[:] = every.view(f"V{dtype.itemsize}")
    for name, _ in shape:
        rows[name] = _as_bytes(columns[name], dtype[name].itemsize)
    return _SIGNATURE + rows.tobytes() + _TRAILER


async def copy_in(connection: AsyncConnection[Any], table: str, shape: Shape, columns: Columns) -> None:
    """Append columns to a table."""
    names = ", ".join(name for name, _ in shape)
    command = f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)".encode()
    async with connection.cursor() as cursor, cursor.copy(command) as copy:
        await copy.write(encode(shape, columns))


class _Array:
    """One column as a parameter: the binary form of a one-dimensional array."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Bytes(_Array):
    __slots__ = ()


class _Int4s(_Array):
    __slots__ = ()


class _Int8s(_Array):
    __slots__ = ()


class _BytesDumper(Dumper):
    format = Format.BINARY
    oid = 1001

    def dump(self, obj: _Array) -> bytes:
        """The bytes as they are."""
        return obj.data


class _Int4sDumper(_BytesDumper):
    oid = 1007


class _Int8sDumper(_BytesDumper):
    oid = 1016


_DUMPERS: Sequence[tuple[type[_Array], type[Dumper]]] = (
    (_Bytes, _BytesDumper),
    (_Int4s, _Int4sDumper),
    (_Int8s, _Int8sDumper),
)


def array(kind: str, column: npt.NDArray[Any]) -> _Array:
    """A column as one parameter of `fetch_columns`, for `unnest`.

    Args:
        kind: int4, int8 or `bytesN`.
        column: (n,) values; `bytesN` as `VN` or (n, N) uint8.
    """
    values = np.dtype(_value_type(kind))
    elements = np.empty(len(column), np.dtype([("length", ">i4"), ("value", values)]))
    elements["length"] = values.itemsize
    elements["value"] = _as_bytes(column, values.itemsize)
    made, oid = (_Bytes, _BYTEA_OID) if kind.startswith("bytes") else _WHOLE[kind]
    # An empty array has no dimension; its header ends after the element type.
    head = [1, 0, oid, len(column), 1] if len(column) else [0, 0, oid]
    return made(np.array(head, ">i4").tobytes() + elements.tobytes())


_WHOLE: Mapping[str, tuple[type[_Array], int]] = {"int4": (_Int4s, _INT4_OID), "int8": (_Int8s, _INT8_OID)}


def _as_bytes(column: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """(n, N) bytes as (n,) `VN`; anything else as it is."""
    if column.ndim == 1:
        return column
    return np.ascontiguousarray(column, np.uint8).view(f"V{width}")[:, 0]


class _Raw(Loader):
    """Leaves an array in the binary form it came in."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """The bytes as they are."""
        return bytes(data)


async def fetch_columns(
    connection: AsyncConnection[Any], query: str, shape: Shape, parameters: Sequence[object] = ()
) -> npt.NDArray[np.void]:
    """The rows of a query as a structured array with the columns of `shape`, in the order of the query.

    Args:
        connection: The open transaction.
        query: Gives columns of the types of `shape`, in its order, without NULLs.
        shape: What the columns are called and what they are.
        parameters: For the `%s` of the query; columns made by `array`.
    """
    dtype = np.dtype([(name, _value_type(kind)) for name, kind in shape])
    names = ", ".join(f'"{name}"' for name, _ in shape)
    arrays = ", ".join(f'array_agg("{name}")' for name, _ in shape)
    text = f"SELECT {arrays} FROM ({query}) AS q ({names})"
    async with connection.cursor(binary=True) as cursor:
        for oid in _ARRAY_OIDS:
            cursor.adapters.register_loader(oid, _Raw)
        for made, dumper in _DUMPERS:
            cursor.adapters.register_dumper(made, dumper)
        row = await (await cursor.execute(text.encode(), parameters or None)).fetchone()
    assert row is not None, "an aggregate gives one row"
    if row[0] is None:
        return np.zeros(0, dtype)
    first = _elements(row[0], dtype[shape[0][0]])
    rows = np.empty(len(first), dtype)
    for place, (name, _) in enumerate(shape):
        rows[name] = first if place == 0 else _elements(row[place], dtype[name])
    return rows


def _elements(array: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a one-dimensional array of fixed width."""
    element = np.dtype([("length", ">i4"), ("value", dtype)])
    assert (len(array) - _ARRAY_HEADER) % element.itemsize == 0, "every element has the width of the shape"
    elements = np.frombuffer(array, element, offset=_ARRAY_HEADER)
    assert (elements["length"] == dtype.itemsize).all(), "no NULL, no other width"
    values: npt.NDArray[Any] = elements["value"]
    return values
