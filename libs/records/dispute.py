"""DS records: what a participant or holder contests, 64 bytes (record-formats.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum

import numpy as np

from libs.records import bcd
from libs.records.errors import RecordMalformed
from libs.records.numbers import terminal_bytes, terminal_text
from libs.records.rows import Rows, crc_is_right, is_date_or_zero, is_zero, refuse_first, seal_rows

DISPUTE = np.dtype(
    [
        ("index", ">u4"),
        ("terminal_number", "u1", (6,)),
        ("terminal_seq", ">u4"),
        ("card_number", "u1", (10,)),
        ("claimed_fen", ">u4"),
        ("reason", "u1"),
        ("request", "u1"),
        ("time", "u1", (7,)),
        ("settlement_date", "u1", (4,)),
        ("dispute_number", ">u8"),
        ("zero", "u1", (7,)),
        ("zero_too", "u1", (4,)),
        ("crc", ">u4"),
    ]
)
assert DISPUTE.itemsize == 64, "the dtype must be the record, byte for byte"


class DisputeReason(IntEnum):
    """What is said to have gone wrong."""

    DEBITED_TWICE = 1
    WRONG_AMOUNT = 2
    UPLOADED_NOT_DEBITED = 3
    GREY_CLAIM = 4
    RECORD_MISSING = 5
    REJECTED_WRONGLY = 6
    HOLDER_COMPLAINT = 7


class DisputeRequest(IntEnum):
    """What is asked for."""

    PAY_ACQUIRER = 1
    GIVE_BACK_TO_CARD = 2
    CORRECT_AMOUNT = 3


@dataclass(frozen=True, slots=True)
class Dispute:
    """One claim.

    Attributes:
        index: Place in the file.
        terminal_number: 12 digits.
        terminal_seq: Of the record contested.
        card_number: 10 bytes BCD; the record that is named tells the scheme.
        claimed_fen: Amount in question.
        reason: What went wrong.
        request: What is asked for.
        time: When the claim was made.
        settlement_date: Of the original record; None if it never settled (reason RECORD_MISSING).
        dispute_number: The claimant's number.
    """

    index: int
    terminal_number: str
    terminal_seq: int
    card_number: bytes
    claimed_fen: int
    reason: DisputeReason
    request: DisputeRequest
    time: datetime
    settlement_date: date | None
    dispute_number: int


def encode_disputes(disputes: Sequence[Dispute]) -> Rows:
    """Build sealed DS records.

    Raises:
        RecordMalformed: A number does not fit its field, or the card number is not 10 bytes of digits.
        NumberInvalid: A terminal number is not 12 digits.
    """
    rows = np.zeros(len(disputes), dtype=DISPUTE)
    for index, dispute in enumerate(disputes):
        if len(dispute.card_number) != 10:
            raise RecordMalformed(index=index, offset=14, field="card_number", fault="DIGITS")
        row = rows[index]
        day = bytes(4) if dispute.settlement_date is None else bcd.bcd_date(dispute.settlement_date)
        row["terminal_number"] = np.frombuffer(terminal_bytes(dispute.terminal_number), dtype=np.uint8)
        row["card_number"] = np.frombuffer(dispute.card_number, dtype=np.uint8)
        row["time"] = np.frombuffer(bcd.bcd_time(dispute.time), dtype=np.uint8)
        row["settlement_date"] = np.frombuffer(day, dtype=np.uint8)
        for field in ("index", "terminal_seq", "claimed_fen", "reason", "request", "dispute_number"):
            value = getattr(dispute, field)
            try:
                row[field] = value
            except OverflowError:
                raise RecordMalformed(index=index, field=field, fault="RANGE", found=value) from None
    check_disputes(seal_rows(rows))
    return rows


def decode_disputes(rows: Rows) -> list[Dispute]:
    """Read DS records, in the order of the file.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    check_disputes(rows)
    return [
        Dispute(
            index=int(row["index"]),
            terminal_number=terminal_text(row["terminal_number"].tobytes()),
            terminal_seq=int(row["terminal_seq"]),
            card_number=row["card_number"].tobytes(),
            claimed_fen=int(row["claimed_fen"]),
            reason=DisputeReason(int(row["reason"])),
            request=DisputeRequest(int(row["request"])),
            time=bcd.time_of(row["time"].tobytes()),
            settlement_date=bcd.date_of(row["settlement_date"].tobytes()) if row["settlement_date"].any() else None,
            dispute_number=int(row["dispute_number"]),
        )
        for row in rows
    ]


def check_disputes(rows: Rows) -> None:
    """Refuse malformed DS records.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    refuse_first(
        rows,
        (
            ("CRC", "crc", crc_is_right(rows)),
            ("DIGITS", "terminal_number", bcd.is_bcd(rows["terminal_number"])),
            ("DIGITS", "card_number", bcd.is_bcd(rows["card_number"])),
            ("REASON", "reason", (rows["reason"] >= 1) & (rows["reason"] <= len(DisputeReason))),
            ("REQUEST", "request", (rows["request"] >= 1) & (rows["request"] <= len(DisputeRequest))),
            ("TIME", "time", bcd.times_checked(rows["time"])[1]),
            ("DATE", "settlement_date", is_date_or_zero(rows["settlement_date"])),
            ("RESERVED", "zero", is_zero(rows["zero"])),
            ("RESERVED", "zero_too", is_zero(rows["zero_too"])),
        ),
    )
