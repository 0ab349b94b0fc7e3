"""BL and BI records: the blacklist, full and incremental, 24 bytes an entry (record-formats.md, section 2)."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from libs.records import bcd
from libs.records.errors import NumberInvalid, RecordMalformed
from libs.records.extension import ListExtension
from libs.records.numbers import Scheme, card_text
from libs.records.rows import Rows, refuse_first

LIST_ENTRY = np.dtype(
    [
        ("card_number", "u1", (10,)),
        ("action", "u1"),
        ("reason", "u1"),
        ("effective", "u1", (7,)),
        ("mode", "u1"),
        ("sequence", ">u4"),
    ]
)
assert LIST_ENTRY.itemsize == 24, "the dtype must be the record, byte for byte"


class Action(IntEnum):
    """What an entry does to the list."""

    ADD = 1
    DELETE = 2


class ListReason(IntEnum):
    """Why a card is listed."""

    LOST = 1
    REPLACED = 2
    RETURNED = 3
    COUNTERFEIT = 4
    ARREARS = 5
    EXPIRED_TYPE = 6
    COURT_OR_POLICE = 7
    STOLEN_STOCK = 8


class Mode(IntEnum):
    """What a terminal does with a listed card."""

    LOCK = 1
    REFUSE = 2


def make_entries(
    card_number: npt.NDArray[np.uint8],
    action: npt.ArrayLike,
    reason: npt.ArrayLike,
    effective: npt.NDArray[np.uint8],
    mode: npt.ArrayLike,
) -> Rows:
    """Build entries in the order that the file wants: ascending by card number, numbered from 1.

    Args:
        card_number: (n, 10) BCD.
        action: `Action` values.
        reason: `ListReason` values.
        effective: (n, 7) BCD local times from which the entry is in force.
        mode: `Mode` values.
    """
    rows = np.zeros(card_number.shape[0], dtype=LIST_ENTRY)
    rows["card_number"] = card_number
    rows["action"] = action
    rows["reason"] = reason
    rows["effective"] = effective
    rows["mode"] = mode
    rows = rows[np.argsort(number_keys(rows), kind="stable")]
    rows["sequence"] = np.arange(1, rows.shape[0] + 1)
    return rows


def number_keys(rows: Rows) -> npt.NDArray[np.bytes_]:
    """Card numbers as (n,) `S10` bytes, for sorting and look-up."""
    return np.ascontiguousarray(rows["card_number"]).view("S10")[:, 0]


def listed_card(number: bytes) -> str:
    """Canonical text of a listed card.

    An entry does not say the scheme, and need not: 16 digits leave the first two bytes of a CJ number
    zero, while a JT number starts 031.

    Raises:
        NumberInvalid: Not 10 bytes of digits, or a number of neither scheme.
    """
    if number[:2] == bytes(2):
        return card_text(Scheme.CJ, number)
    if number[:1] == b"\x03" and number[1] >> 4 == 1:
        return card_text(Scheme.JT, number)
    raise NumberInvalid(number=number.hex(), what="listed card number", expected="0000… (CJ) or 031… (JT)")


def check_entries(rows: Rows, extension: ListExtension, *, full: bool) -> None:
    """Refuse a list that is malformed, unsorted, names a card twice, or deletes from a full list.

    Args:
        rows: Of the file.
        extension: Its header extension.
        full: True for BL, False for BI.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    keys = number_keys(rows)
    ascending = np.ones(rows.shape[0], dtype=np.bool_)
    ascending[1:] = keys[1:] > keys[:-1]
    refuse_first(
        rows,
        (
            ("DIGITS", "card_number", bcd.is_bcd(rows["card_number"])),
            ("ORDER", "card_number", ascending),
            ("ACTION", "action", (rows["action"] == Action.ADD) | ((rows["action"] == Action.DELETE) & (not full))),
            ("REASON", "reason", (rows["reason"] >= 1) & (rows["reason"] <= len(ListReason))),
            ("TIME", "effective", bcd.times_checked(rows["effective"])[1]),
            ("MODE", "mode", (rows["mode"] >= 1) & (rows["mode"] <= len(Mode))),
            ("SEQUENCE", "sequence", rows["sequence"] == np.arange(1, rows.shape[0] + 1)),
        ),
    )
    right_base = extension.base_version == 0 if full else extension.base_version < extension.version
    if not right_base:
        raise RecordMalformed(index=-1, offset=-1, field="base_version", fault="VERSION", found=extension)
