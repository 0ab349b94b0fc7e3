"""The offline transaction record, OTR version 1, 128 bytes, as columns (record-formats.md, section 1).

Records are a NumPy structured array over the very bytes of the file: `records["amount_fen"]` is
the column, nothing is copied and no Python object stands for a tap. Numbers of digits stay bytes
(`u1` sub-arrays) until somebody asks for them through the helpers below.
"""

from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.records import bcd
from libs.records.crc import crc32_rows
from libs.records.errors import LengthInvalid

OTR_LENGTH = 128
OTR_FORMAT = 1

OTR = np.dtype(
    [
        ("format", "u1"),
        ("kind", "u1"),
        ("card_class", "u1"),
        ("algorithm", "u1"),
        ("key_version", "u1"),
        ("key_index", "u1"),
        ("issuer", "u1", (8,)),
        ("card_number", "u1", (10,)),
        ("card_city", "u1", (2,)),
        ("card_main_type", "u1"),
        ("card_sub_type", "u1"),
        ("acquirer", "u1", (8,)),
        ("accepting_city", "u1", (2,)),
        ("industry", ">u2"),
        ("operator", ">u4"),
        ("terminal_number", "u1", (6,)),
        ("psam_number", "u1", (10,)),
        ("terminal_seq", ">u4"),
        ("card_counter", ">u2"),
        ("tti", "u1"),
        ("balance_before_fen", ">i4"),
        ("amount_fen", ">u4"),
        ("list_price_fen", ">u4"),
        ("time", "u1", (7,)),
        ("tac", "u1", (4,)),
        ("device_number", ">u4"),
        ("device_seq", ">u4"),
        ("line", "u1", (3,)),
        ("station", ">u2"),
        ("direction", "u1"),
        ("staff_number", ">u4"),
        ("discount_rule", ">u2"),
        ("flags", "u1"),
        ("blacklist_version", ">u2"),
        ("parameter_version", ">u2"),
        ("reserved", "u1", (9,)),
        ("crc", ">u4"),
    ]
)
assert OTR.itemsize == OTR_LENGTH, "the dtype must be the record, byte for byte"

Records = npt.NDArray[np.void]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


class Flag(IntFlag):
    """Bits of `flags`; the two highest are reserved and zero."""

    TEST = 1
    GREY = 2
    CARD_LOCKED = 4
    TRANSFER_DISCOUNT = 8
    OVERDRAFT_USED = 16
    BLACKLIST_HIT = 32


class FormatFault(IntEnum):
    """Why acceptance test 1 failed (record-formats.md, section 4); every one of them is result code 10."""

    NONE = 0
    CRC = 1
    FORMAT = 2
    KIND = 3
    CARD_CLASS = 4
    DIGITS = 5
    INSTITUTION = 6
    TIME = 7
    RESERVED = 8
    FLAGS = 9


# Bytes 71-74, 66, 44-49, 60-63, 79-85: amount, TTI, terminal number, terminal seq, time (section 1).
_TAC_ORDER = np.r_[71:75, 66, 44:50, 60:64, 79:86]
# Card number, card city, accepting city, terminal and PSAM number, line. Time and institutions are judged apart.
_DIGITS = np.r_[14:24, 24:26, 36:38, 44:60, 98:101]
_RESERVED = slice(115, 124)
_FLAGS_OFFSET = 110
_CARD_CLASSES = np.zeros(256, dtype=np.bool_)
_CARD_CLASSES[[0x01, 0x03, 0x07]] = True
_METER_READ = 0x0A
_BLOCK_ROWS = 4096

_BYTE = np.arange(256)
_HIGH_DIGIT, _LOW_DIGIT = _BYTE >> 4 <= 9, _BYTE & 15 <= 9
# An institution id is digits, then F to the end. A byte is two digits (0), a digit and F (1), FF (2), or wrong (3).
_PADDING = np.select(
    [_HIGH_DIGIT & _LOW_DIGIT, _HIGH_DIGIT & (_BYTE & 15 == 15), _BYTE == 255], [0, 1, 2], default=3
).astype(np.uint8)


def read_records(buffer: bytes | bytearray | memoryview) -> Records:
    """Look at a buffer as records, without a copy; read-only if the buffer is.

    Raises:
        LengthInvalid: Not a whole number of 128-byte records. Nothing else is judged here: see `check_format`.
    """
    view = memoryview(buffer)
    if view.nbytes % OTR_LENGTH:
        raise LengthInvalid(length=view.nbytes, record_length=OTR_LENGTH)
    return np.frombuffer(view, dtype=OTR)


def write_records(records: Records) -> bytes:
    """The bytes of the records, 128 each, as they stand; `seal` them first."""
    assert records.dtype == OTR, "only records of this layout can be written"
    return records.tobytes()


def new_records(count: int) -> Records:
    """`count` writable records of zeros with format 01: fill the columns, then `seal`."""
    records = np.zeros(count, dtype=OTR)
    records["format"] = OTR_FORMAT
    return records


def raw(records: Records) -> U8:
    """The same memory as (n, 128) bytes."""
    return np.ascontiguousarray(records).view(np.uint8).reshape(-1, OTR_LENGTH)


def checksums(records: Records) -> U32:
    """CRC-32 of bytes 0-123 of every record, (n,) uint32."""
    return crc32_rows(np.ascontiguousarray(records), OTR_LENGTH - 4)


def seal(records: Records) -> Records:
    """Fill the CRC-32 of every record in place, and return the same array."""
    records["crc"] = checksums(records)
    return records


def tac_data(records: Records) -> U8:
    """What the TAC of every record signs, (n, 22) bytes: amount, TTI, terminal number, terminal seq, time."""
    return raw(records)[:, _TAC_ORDER]


def terminal_numbers(records: Records) -> U64:
    """Terminal numbers of 12 digits as (n,) uint64; with `terminal_seq` the key U1."""
    return bcd.bcd_to_uint(records["terminal_number"])


def terminal_keys(records: Records) -> npt.NDArray[np.bytes_]:
    """Terminal number and sequence, the key U1, as (n,) `S10` big-endian bytes, for sorting and set operations."""
    return np.ascontiguousarray(raw(records)[:, np.r_[44:50, 60:64]]).view("S10")[:, 0]


def card_keys(records: Records) -> npt.NDArray[np.bytes_]:
    """Card class and number as (n,) `S11` bytes, for sorting and set operations.

    The class is mapped to the scheme (0 CJ, 1 JT), so that an M1 and a CPU card of one number are one
    card. NumPy drops trailing zero bytes of such texts when it shows one, never when it compares
    columns of one width; use `card_texts` to show.
    """
    keys = np.empty((records.shape[0], 11), dtype=np.uint8)
    keys[:, 0] = records["card_class"] == 0x07
    keys[:, 1:] = records["card_number"]
    return keys.view("S11")[:, 0]


def card_numbers(records: Records) -> tuple[U64, U64]:
    """The 20 digits of every card as two (n,) uint64 columns: the first 4 digits and the other 16."""
    number = records["card_number"]
    return bcd.bcd_to_uint(number[:, :2]), bcd.bcd_to_uint(number[:, 2:])


def card_texts(records: Records) -> npt.NDArray[np.bytes_]:
    """Canonical texts of the cards, (n,) `S23` ASCII such as `b"jt-0310…"`; `.astype("U")` makes str."""
    texts = np.empty((records.shape[0], 23), dtype=np.uint8)
    texts[:, :3] = np.where(
        (records["card_class"] == 0x07)[:, None], np.frombuffer(b"jt-", np.uint8), np.frombuffer(b"cj-", np.uint8)
    )
    texts[:, 3:] = bcd.hex_texts(records["card_number"]).view(np.uint8).reshape(-1, 20)
    return texts.view("S23")[:, 0]


def times_epoch_s(records: Records) -> I64:
    """Transaction times as (n,) epoch seconds (UTC), local time of Asia/Shanghai in the record.

    Only for records that passed `check_format`; others give nonsense, never an error.
    """
    return bcd.times_to_epoch_s(records["time"])


def check_format(records: Records) -> U8:
    """Acceptance test 1 for every record: (n,) uint8 of `FormatFault`, 0 where it passes.

    The first fault in the order of the enum is told: after a wrong checksum nothing else means
    anything. Terminal numbers are held to be digits like PSAM numbers [convention]. A meter read
    (kind 0A) belongs to no card: there, and only there, card class 00 passes too [convention].
    """
    faults = np.empty(records.shape[0], dtype=np.uint8)
    for start in range(0, records.shape[0], _BLOCK_ROWS):
        block = np.ascontiguousarray(records[start : start + _BLOCK_ROWS])
        faults[start : start + block.shape[0]] = _check_block(block)
    return faults


def _check_block(records: Records) -> U8:
    # Byte positions as rows: every test below then runs over contiguous memory that fits the cache.
    columns = np.ascontiguousarray(raw(records).T)
    flags = columns[_FLAGS_OFFSET]
    meter = (columns[1] == _METER_READ) & (columns[2] == 0)
    # Written from the last to the first, so that the first fault is what stays.
    faults = np.zeros(records.shape[0], dtype=np.uint8)
    faults[flags > 0x3F] = FormatFault.FLAGS
    faults[columns[_RESERVED].any(axis=0)] = FormatFault.RESERVED
    faults[~bcd.times_checked(columns[79:86].T)[1]] = FormatFault.TIME
    faults[~(_institutions_are_good(columns[6:14]) & _institutions_are_good(columns[28:36]))] = FormatFault.INSTITUTION
    faults[~bcd.is_bcd(columns[_DIGITS].T)] = FormatFault.DIGITS
    faults[~(_CARD_CLASSES[columns[2]] | meter)] = FormatFault.CARD_CLASS
    faults[(columns[1] == 0) | (columns[1] > _METER_READ)] = FormatFault.KIND
    faults[columns[0] != OTR_FORMAT] = FormatFault.FORMAT
    faults[checksums(records) != records["crc"]] = FormatFault.CRC
    return faults


def _institutions_are_good(columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    state = _PADDING[columns[0]]
    # Byte 0 must hold a digit; after the first F only FF may follow.
    good: npt.NDArray[np.bool_] = state < 2
    for position in range(1, 8):
        following = _PADDING[columns[position]]
        good &= (following < 3) & ((state == 0) | (following == 2))
        state = following
    return good
