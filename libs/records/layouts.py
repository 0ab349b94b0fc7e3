"""The types of batch files and how their records look (record-formats.md, section 2)."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from libs.records.blacklist_file import LIST_ENTRY, check_entries
from libs.records.dispute import DISPUTE, check_disputes
from libs.records.extension import Extension, ListExtension, ResultExtension, VersionExtension
from libs.records.fare_record import FARE, check_fares
from libs.records.otr import OTR
from libs.records.parameter import PARAMETER, check_parameters
from libs.records.result import RESULT, check_results
from libs.records.rows import Rows, exact_sum
from libs.records.statement import STATEMENT_LINE, check_statement


class FileType(Enum):
    """What a file carries; the value is the two letters of the header."""

    TX = "TX"
    RS = "RS"
    BL = "BL"
    BI = "BI"
    PM = "PM"
    FT = "FT"
    ST = "ST"
    DS = "DS"

    @property
    def layout(self) -> "Layout":
        """Record layout of the type."""
        return LAYOUTS[self]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the records of one file type look.

    Attributes:
        encoding: Code in byte 7 of the header.
        dtype: One record.
        total_field: Field that the header's total sums up; None where the total is 0.
        extension: Class of the header extension; None where it is all zero.
    """

    encoding: int
    dtype: np.dtype[np.void]
    total_field: str | None = None
    extension: type[ResultExtension | ListExtension | VersionExtension] | None = None

    @property
    def record_length(self) -> int:
        """Bytes of one record."""
        return self.dtype.itemsize


LAYOUTS: Final = {
    FileType.TX: Layout(1, OTR, "amount_fen"),
    FileType.RS: Layout(2, RESULT, "settled_fen", ResultExtension),
    FileType.BL: Layout(3, LIST_ENTRY, None, ListExtension),
    FileType.BI: Layout(3, LIST_ENTRY, None, ListExtension),
    FileType.PM: Layout(4, PARAMETER, None, VersionExtension),
    FileType.FT: Layout(5, FARE, None, VersionExtension),
    FileType.ST: Layout(6, STATEMENT_LINE, "gross_fen"),
    FileType.DS: Layout(7, DISPUTE),
}


def total_of(file_type: FileType, records: Rows) -> int:
    """The total that a header of this type must show for these records, in fen."""
    field = file_type.layout.total_field
    return 0 if field is None else exact_sum(records[field])


def check_records(file_type: FileType, extension: Extension | None, records: Rows) -> None:
    """Refuse the records of a file of any type but TX if one of them is malformed.

    TX records are judged one by one by the centre (`otr.check_format`), so a bad one does not stop a file.

    Raises:
        RecordMalformed: Names the row, the offset and the fault; index -1 where the header's extension is at fault.
    """
    if isinstance(extension, ResultExtension):
        check_results(records, extension)
    elif isinstance(extension, ListExtension):
        check_entries(records, extension, full=file_type is FileType.BL)
    elif file_type is not FileType.TX:
        _CHECKS[file_type](records)


_CHECKS: Final = {
    FileType.PM: check_parameters,
    FileType.FT: check_fares,
    FileType.ST: check_statement,
    FileType.DS: check_disputes,
}
