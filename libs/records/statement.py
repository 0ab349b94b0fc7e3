"""ST records: lines of a settlement statement, 96 bytes (record-formats.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from libs.records import bcd
from libs.records.errors import NumberInvalid, RecordMalformed
from libs.records.numbers import institution_bytes, institution_text
from libs.records.rows import Rows, crc_is_right, is_zero, refuse_first, seal_rows

STATEMENT_LINE = np.dtype(
    [
        ("settlement_date", "u1", (4,)),
        ("issuer", "u1", (8,)),
        ("acquirer", "u1", (8,)),
        ("operator", ">u4"),
        ("industry", ">u2"),
        ("kind", "u1"),
        ("card_main_type", "u1"),
        ("count", ">u4"),
        ("gross_fen", ">u8"),
        ("subsidy_fen", ">i8"),
        ("fee_fen", ">i8"),
        ("adjustment_fen", ">i8"),
        ("net_fen", ">i8"),
        ("payout_date", "u1", (4,)),
        ("statement_number", ">u4"),
        ("zero", "u1", (12,)),
        ("crc", ">u4"),
    ]
)
assert STATEMENT_LINE.itemsize == 96, "the dtype must be the record, byte for byte"

_AMOUNT_LIMIT = 1 << 60
"""Amounts stay below 2^60 fen, so that net = gross + subsidy - fee + adjustment never leaves 64 bits."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a statement.

    Attributes:
        settlement_date: Day on which the centre took the records (清算日).
        issuer: Digits of the institution id.
        acquirer: Digits of the institution id.
        operator: Unit of settlement.
        industry: 2-byte industry code (card-files.md, section 8).
        kind: Kind of record, 0 for all.
        card_main_type: 0 for all.
        count: Records in the line.
        gross_fen: Sum of what cards paid.
        subsidy_fen: Signed, as are the next two.
        fee_fen: Paid by the acquirer to the centre.
        adjustment_fen: Corrections settled on this day.
        payout_date: Working day on which the bank pays.
        statement_number: The centre's number of the statement.
    """

    settlement_date: date
    issuer: str
    acquirer: str
    operator: int
    industry: int
    kind: int
    card_main_type: int
    count: int
    gross_fen: int
    subsidy_fen: int
    fee_fen: int
    adjustment_fen: int
    payout_date: date
    statement_number: int

    @property
    def net_fen(self) -> int:
        """What the acquirer receives: gross + subsidy - fee + adjustment."""
        return self.gross_fen + self.subsidy_fen - self.fee_fen + self.adjustment_fen


_PLAIN = ("operator", "industry", "kind", "card_main_type", "count", "gross_fen", "subsidy_fen", "fee_fen")
_INTEGERS = (*_PLAIN, "adjustment_fen", "statement_number")


def encode_statement(lines: Sequence[StatementLine]) -> Rows:
    """Build sealed ST records.

    Raises:
        RecordMalformed: A number does not fit its field.
        NumberInvalid: An institution id is not one.
    """
    rows = np.zeros(len(lines), dtype=STATEMENT_LINE)
    for index, line in enumerate(lines):
        row = rows[index]
        row["settlement_date"] = np.frombuffer(bcd.bcd_date(line.settlement_date), dtype=np.uint8)
        row["payout_date"] = np.frombuffer(bcd.bcd_date(line.payout_date), dtype=np.uint8)
        row["issuer"] = np.frombuffer(institution_bytes(line.issuer), dtype=np.uint8)
        row["acquirer"] = np.frombuffer(institution_bytes(line.acquirer), dtype=np.uint8)
        for field in (*_INTEGERS, "net_fen"):
            value = getattr(line, field)
            try:
                row[field] = value
            except OverflowError:
                raise RecordMalformed(index=index, field=field, fault="RANGE", found=value) from None
    check_statement(seal_rows(rows))
    return rows


def decode_statement(rows: Rows) -> list[StatementLine]:
    """Read ST records, in the order of the file.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    check_statement(rows)
    return [
        StatementLine(
            settlement_date=bcd.date_of(row["settlement_date"].tobytes()),
            issuer=institution_text(row["issuer"].tobytes()),
            acquirer=institution_text(row["acquirer"].tobytes()),
            payout_date=bcd.date_of(row["payout_date"].tobytes()),
            **{field: int(row[field]) for field in _INTEGERS},
        )
        for row in rows
    ]


def check_statement(rows: Rows) -> None:
    """Refuse malformed ST records, and lines whose net is not what the other amounts make.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    refuse_first(
        rows,
        (
            ("CRC", "crc", crc_is_right(rows)),
            ("DATE", "settlement_date", bcd.dates_are_real(rows["settlement_date"])),
            ("DATE", "payout_date", bcd.dates_are_real(rows["payout_date"])),
            ("KIND", "kind", rows["kind"] <= 0x0A),
            ("RESERVED", "zero", is_zero(rows["zero"])),
            ("RANGE", "gross_fen", rows["gross_fen"] < _AMOUNT_LIMIT),
            *(
                ("RANGE", field, (rows[field] < _AMOUNT_LIMIT) & (rows[field] > -_AMOUNT_LIMIT))
                for field in ("subsidy_fen", "fee_fen", "adjustment_fen")
            ),
        ),
    )
    net = rows["gross_fen"].astype(np.int64) + rows["subsidy_fen"] - rows["fee_fen"] + rows["adjustment_fen"]
    refuse_first(rows, (("NET", "net_fen", net == rows["net_fen"]),))
    for index, row in enumerate(rows):
        for field in ("issuer", "acquirer"):
            try:
                institution_text(row[field].tobytes())
            except NumberInvalid:
                offset = 4 if field == "issuer" else 12
                raise RecordMalformed(index=index, offset=offset, field=field, fault="INSTITUTION") from None
