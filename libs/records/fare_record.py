"""FT records: the fare table that terminals charge by, 32 bytes (record-formats.md, section 2).

A table of a metro has a row per pair of stations, so it stays columns: fill `np.zeros(n, FARE)`, then `seal_fares`.
"""

import numpy as np

from libs.records import bcd
from libs.records.rows import Rows, crc_is_right, is_zero, refuse_first, seal_rows

FARE = np.dtype(
    [
        ("line", "u1", (3,)),
        ("from_stop", ">u2"),
        ("to_stop", ">u2"),
        ("card_main_type", "u1"),
        ("fare_fen", ">u4"),
        ("discount_rule", ">u2"),
        ("trip_minutes_max", ">u2"),
        ("first_day", "u1", (4,)),
        ("last_day", "u1", (4,)),
        ("zero", "u1", (4,)),
        ("crc", ">u4"),
    ]
)
assert FARE.itemsize == 32, "the dtype must be the record, byte for byte"


def seal_fares(rows: Rows) -> Rows:
    """Fill the CRC-32 of every row in place, and return the same array.

    Raises:
        RecordMalformed: A row was filled with something that no decoder would take.
    """
    seal_rows(rows)
    check_fares(rows)
    return rows


def check_fares(rows: Rows) -> None:
    """Refuse malformed FT records.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    first, last = bcd.dates_to_epoch_days(rows["first_day"]), bcd.dates_to_epoch_days(rows["last_day"])
    refuse_first(
        rows,
        (
            ("CRC", "crc", crc_is_right(rows)),
            ("DIGITS", "line", bcd.is_bcd(rows["line"])),
            ("DATE", "first_day", bcd.dates_are_real(rows["first_day"])),
            ("DATE", "last_day", bcd.dates_are_real(rows["last_day"])),
            ("DATE_ORDER", "last_day", first <= last),
            ("RESERVED", "zero", is_zero(rows["zero"])),
        ),
    )
