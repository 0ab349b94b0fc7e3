"""RS records: the centre's answer to each record of a file, 32 bytes (record-formats.md, section 2)."""

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.records import bcd, codes
from libs.records.errors import FileCode, RecordMalformed
from libs.records.extension import ResultExtension
from libs.records.rows import Rows, crc_is_right, exact_sum, is_date_or_zero, is_zero, refuse_first, seal_rows

RESULT = np.dtype(
    [
        ("index", ">u4"),
        ("terminal_number", "u1", (6,)),
        ("terminal_seq", ">u4"),
        ("code", ">u2"),
        ("settled_fen", ">u4"),
        ("settlement_date", "u1", (4,)),
        ("clearing_reference", ">u4"),
        ("crc", ">u4"),
    ]
)
assert RESULT.itemsize == 32, "the dtype must be the record, byte for byte"


def make_results(
    index: npt.ArrayLike,
    terminal_number: npt.NDArray[np.uint8],
    terminal_seq: npt.ArrayLike,
    code: npt.ArrayLike,
    settled_fen: npt.ArrayLike,
    settlement_date: date | npt.NDArray[np.uint8],
    clearing_reference: npt.ArrayLike,
) -> Rows:
    """Build sealed RS records from columns.

    Args:
        index: Place of each record in the original file, from 0.
        terminal_number: (n, 6) bytes, as in the record answered.
        terminal_seq: As in the record answered.
        code: Result codes as integers (`codes.ResultCode`).
        settled_fen: Amount paid with this answer; 0 for a record not settled.
        settlement_date: One day for all rows with a settled code, or an (n, 4) BCD column with zeros where not settled.
        clearing_reference: The centre's number of the record.

    With one day given, rows whose code pays nobody (neither accepted nor a positive amount) get 00000000.
    """
    places = np.asarray(index)
    rows = np.zeros(places.shape[0], dtype=RESULT)
    rows["index"] = places
    rows["terminal_number"] = terminal_number
    rows["terminal_seq"] = terminal_seq
    rows["code"] = code
    rows["settled_fen"] = settled_fen
    if isinstance(settlement_date, date):
        settled = codes.IS_ACCEPTED[rows["code"]] | (rows["settled_fen"] > 0)
        rows["settlement_date"][settled] = np.frombuffer(bcd.bcd_date(settlement_date), dtype=np.uint8)
    else:
        rows["settlement_date"] = settlement_date
    rows["clearing_reference"] = clearing_reference
    return seal_rows(rows)


def extension_for(rows: Rows, file_result: FileCode, original_batch_number: int, sender: str) -> ResultExtension:
    """The RS header extension that counts these rows."""
    accepted, pending, count = _counts(rows["code"])
    return ResultExtension(
        file_result=file_result,
        original_batch_number=original_batch_number,
        original_sender=sender,
        accepted=accepted,
        rejected=count - accepted - pending,
        pending=pending,
        accepted_amount_fen=exact_sum(rows["settled_fen"][codes.IS_ACCEPTED[rows["code"]]]),
    )


def check_results(rows: Rows, extension: ResultExtension) -> None:
    """Refuse RS records that are malformed or that their header does not count.

    Terminal numbers are not judged: a record with code 10 is answered with the bytes it had.

    Raises:
        RecordMalformed: Names the row, the offset and the fault.
    """
    known = rows["code"] < 100
    known &= codes.IS_RESULT_CODE[np.where(known, rows["code"], 99)]
    ascending = np.ones(rows.shape[0], dtype=np.bool_)
    ascending[1:] = rows["index"][1:] > rows["index"][:-1]
    undated = is_zero(rows["settlement_date"])
    refuse_first(
        rows,
        (
            ("CRC", "crc", crc_is_right(rows)),
            ("RESULT_CODE", "code", known),
            ("ORDER", "index", ascending),
            ("DATE", "settlement_date", is_date_or_zero(rows["settlement_date"])),
            ("PAID_WITHOUT_DATE", "settlement_date", ~undated | (rows["settled_fen"] == 0)),
            (
                "PAID_DUPLICATE",
                "settled_fen",
                (rows["code"] != codes.ResultCode.DUPLICATE) | (rows["settled_fen"] == 0),
            ),
        ),
    )
    if extension.file_result is not FileCode.PROCESSED and rows.shape[0]:
        raise RecordMalformed(index=0, offset=0, field="file_result", fault="REFUSED_FILE_WITH_RECORDS")
    counted = extension_for(rows, extension.file_result, extension.original_batch_number, extension.original_sender)
    if counted != extension:
        raise RecordMalformed(index=-1, offset=-1, field="extension", fault="COUNTS", expected=counted, found=extension)


def _counts(code: npt.NDArray[Any]) -> tuple[int, int, int]:
    accepted = int(np.count_nonzero(codes.IS_ACCEPTED[code]))
    return accepted, int(np.count_nonzero(codes.IS_PENDING[code])), int(code.shape[0])
