"""Packed decimal digits (BCD) and local times: one value, and whole columns of them.

Times of cards and records are local time of Asia/Shanghai, UTC+8 without daylight saving
(docs/domain/README.md, notation), so the shift is a constant and columns need no time zone table.
"""

from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.records.errors import TimeInvalid

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LOCAL_TIME = timezone(timedelta(hours=8), "Asia/Shanghai")
LOCAL_OFFSET_S = 8 * 3600

_BYTE = np.arange(256, dtype=np.uint8)
# 0xFF marks a byte that is not two digits: no packed byte has that value, so one table answers both questions.
_VALUE = np.where((_BYTE >> 4 <= 9) & (_BYTE & 15 <= 9), (_BYTE >> 4) * 10 + (_BYTE & 15), 255).astype(np.uint8)
_IS_BCD = _VALUE != 255
_PACKED = np.array([(value // 10) << 4 | value % 10 for value in range(100)], dtype=np.uint8)
_ASCII_PAIRS = np.frombuffer("".join(f"{byte:02X}" for byte in range(256)).encode(), dtype="S2")
_DAYS_BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0], dtype=np.int64)
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0, 0, 0], dtype=np.int64)
_DAYS_TO_1970 = 719_162


def is_bcd(column: npt.NDArray[np.uint8]) -> Bools:
    """Tell which rows of an (n, k) byte column are digits only; (n,) booleans."""
    good: Bools = _IS_BCD[column[:, 0]]
    for position in range(1, column.shape[1]):
        good &= _IS_BCD[column[:, position]]
    return good


def bcd_to_uint(column: npt.NDArray[np.uint8]) -> U64:
    """Turn an (n, k) column of packed digits, k <= 9, into (n,) uint64 decimal values.

    Rows that are not digits give a meaningless number; ask `is_bcd` first.
    """
    assert column.shape[1] <= 9, "twenty digits do not fit 64 bits; use two columns"
    total: U64 = _VALUE[column[:, 0]].astype(np.uint64)
    for position in range(1, column.shape[1]):
        total *= np.uint64(100)
        total += _VALUE[column[:, position]]
    return total


def uint_to_bcd(values: npt.NDArray[Any], width: int) -> U8:
    """Pack (n,) unsigned decimals into (n, width) bytes; digits beyond the width are cut off."""
    rest = np.asarray(values).astype(np.uint64)
    packed = np.empty((rest.shape[0], width), dtype=np.uint8)
    for position in range(width - 1, -1, -1):
        rest, pair = np.divmod(rest, np.uint64(100))
        packed[:, position] = _PACKED[pair]
    return packed


def bytes_to_uint(column: npt.NDArray[np.uint8]) -> U64:
    """Read an (n, k) byte column, k <= 8, as (n,) big-endian uint64: a key for any bytes, digits or not."""
    assert column.shape[1] <= 8, "more than 8 bytes do not fit 64 bits"
    wide = np.zeros((column.shape[0], 8), dtype=np.uint8)
    wide[:, 8 - column.shape[1] :] = column
    return wide.view(">u8")[:, 0].astype(np.uint64)


def hex_texts(column: npt.NDArray[np.uint8]) -> npt.NDArray[np.bytes_]:
    """Write an (n, k) byte column as (n,) ASCII texts of 2k upper-case hex digits (dtype `S2k`)."""
    pairs = _ASCII_PAIRS[np.ascontiguousarray(column)]
    return pairs.view(f"S{2 * column.shape[1]}")[:, 0]


def _days(column: npt.NDArray[np.uint8]) -> tuple[I64, Bools]:
    """Days since 1970-01-01 of an (n, 4+) column YYYYMMDD, and which rows are real dates of years 1-9999."""
    good = is_bcd(column[:, :4])
    year = _VALUE[column[:, 0]].astype(np.int64) * 100 + _VALUE[column[:, 1]]
    month = np.minimum(_VALUE[column[:, 2]], 13).astype(np.int64)
    day = _VALUE[column[:, 3]].astype(np.int64)
    leap = ((year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))).astype(np.int64)
    good &= (year >= 1) & (day >= 1) & (day <= _DAYS_IN_MONTH[month] + leap * (month == 2))
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - _DAYS_TO_1970
    return days + _DAYS_BEFORE_MONTH[month] + leap * (month > 2) + day - 1, good


def dates_are_real(column: npt.NDArray[np.uint8]) -> Bools:
    """Tell which rows of an (n, 4) BCD column YYYYMMDD are dates of the calendar."""
    return _days(column)[1]


def dates_to_epoch_days(column: npt.NDArray[np.uint8]) -> I64:
    """Turn an (n, 4) BCD column YYYYMMDD into days since 1970-01-01; rows that are no dates give nonsense."""
    return _days(column)[0]


def times_to_epoch_s(column: npt.NDArray[np.uint8]) -> I64:
    """Turn an (n, 7) BCD column of local times into epoch seconds (UTC); rows that are no times give nonsense."""
    return times_checked(column)[0]


def times_checked(column: npt.NDArray[np.uint8]) -> tuple[I64, Bools]:
    """Epoch seconds (UTC) of an (n, 7) BCD column of local times, and which rows are real times.

    Real means a date of the calendar and 00:00:00 to 23:59:59; there is no leap second on a terminal.
    """
    days, good = _days(column)
    hour, minute, second = (_VALUE[column[:, position]] for position in (4, 5, 6))
    good &= (hour <= 23) & (minute <= 59) & (second <= 59)
    seconds = days * 86_400 - LOCAL_OFFSET_S + hour * np.int64(3600) + minute * np.int64(60) + second
    return seconds, good


def epoch_s_to_times(seconds: npt.NDArray[Any]) -> U8:
    """Write (n,) epoch seconds (UTC) as an (n, 7) BCD column of local times."""
    local = np.asarray(seconds).astype(np.int64) + LOCAL_OFFSET_S
    days, of_day = np.divmod(local, 86_400)
    stamps = days.astype("datetime64[D]")
    months = stamps.astype("datetime64[M]")
    years = stamps.astype("datetime64[Y]").astype(np.int64) + 1970
    month = months.astype(np.int64) % 12 + 1
    day = (stamps - months.astype("datetime64[D]")).astype(np.int64) + 1
    digits = years * 10**10 + month * 10**8 + day * 10**6
    digits += of_day // 3600 * 10**4 + of_day // 60 % 60 * 100 + of_day % 60
    return uint_to_bcd(digits, 7)


def bcd_time(at: datetime) -> bytes:
    """Pack an aware time into 7 bytes `YYYYMMDDhhmmss`, local time of Asia/Shanghai.

    Fractions of a second are dropped: a terminal's clock has none.
    """
    assert at.tzinfo is not None, "a time without a zone says nothing"
    return bytes.fromhex(f"{at.astimezone(LOCAL_TIME):%Y%m%d%H%M%S}".rjust(14, "0"))


def time_of(packed: bytes) -> datetime:
    """Read 7 packed bytes as an aware local time.

    Raises:
        TimeInvalid: Not 7 bytes of digits, or not a real date and time.
    """
    digits = bytes(packed).hex()
    if len(digits) != 14 or not digits.isdecimal():
        raise TimeInvalid(digits=digits, expected="YYYYMMDDhhmmss")
    try:
        return datetime(
            int(digits[:4]), int(digits[4:6]), int(digits[6:8]), int(digits[8:10]), int(digits[10:12]),
            int(digits[12:]), tzinfo=LOCAL_TIME,
        )  # fmt: skip
    except ValueError:
        raise TimeInvalid(digits=digits, expected="a real date and time") from None


def bcd_date(day: date) -> bytes:
    """Pack a date into 4 bytes `YYYYMMDD`."""
    return bytes.fromhex(f"{day.year:04d}{day.month:02d}{day.day:02d}")


def date_of(packed: bytes) -> date:
    """Read 4 packed bytes as a date.

    Raises:
        TimeInvalid: Not 4 bytes of digits, or not a day of the calendar.
    """
    digits = bytes(packed).hex()
    if len(digits) != 8 or not digits.isdecimal():
        raise TimeInvalid(digits=digits, expected="YYYYMMDD")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise TimeInvalid(digits=digits, expected="a real date") from None
