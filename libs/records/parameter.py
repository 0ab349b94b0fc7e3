"""PM records: named terminal parameters, 32 bytes (record-formats.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from libs.records import bcd
from libs.records.errors import RecordMalformed
from libs.records.rows import Rows, is_zero, refuse_first

PARAMETER = np.dtype([("name", "u1", (16,)), ("value", ">u8"), ("effective", "u1", (7,)), ("zero", "u1")])
assert PARAMETER.itemsize == 32, "the dtype must be the record, byte for byte"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        name: 1 to 16 printable ASCII characters without blanks.
        value: Unsigned, 8 bytes; its unit belongs to the name (amounts are fen).
        effective: From when on it holds; seconds.
    """

    name: str
    value: int
    effective: datetime


def encode_parameters(parameters: Sequence[Parameter]) -> Rows:
    """Build PM records.

    Raises:
        RecordMalformed: A name is empty, too long or not printable ASCII, or a value does not fit.
    """
    rows = np.zeros(len(parameters), dtype=PARAMETER)
    for index, parameter in enumerate(parameters):
        if not (parameter.name.isascii() and len(parameter.name) <= 16):
            raise RecordMalformed(index=index, offset=0, field="name", fault="NAME", found=parameter.name)
        if not 0 <= parameter.value < 1 << 64:
            raise RecordMalformed(index=index, offset=16, field="value", fault="RANGE", found=parameter.value)
        rows[index]["name"] = np.frombuffer(parameter.name.encode().ljust(16, b"\0"), dtype=np.uint8)
        rows[index]["value"] = parameter.value
        rows[index]["effective"] = np.frombuffer(bcd.bcd_time(parameter.effective), dtype=np.uint8)
    check_parameters(rows)
    return rows


def decode_parameters(rows: Rows) -> list[Parameter]:
    """Read PM records, in the order of the file.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    check_parameters(rows)
    return [
        Parameter(
            row["name"].tobytes().rstrip(b"\0").decode(), int(row["value"]), bcd.time_of(row["effective"].tobytes())
        )
        for row in rows
    ]


def check_parameters(rows: Rows) -> None:
    """Refuse malformed PM records.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    name = rows["name"]
    printable = (name > 0x20) & (name < 0x7F)
    # Once padding has begun nothing may follow it.
    whole = (printable | (name == 0)).all(axis=1) & (printable[:, :-1] | ~printable[:, 1:]).all(axis=1)
    refuse_first(
        rows,
        (
            ("NAME", "name", whole & printable[:, 0]),
            ("TIME", "effective", bcd.times_checked(rows["effective"])[1]),
            ("RESERVED", "zero", is_zero(rows["zero"])),
        ),
    )
