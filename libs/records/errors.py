"""What untrusted bytes can be refused for; each error names the fact that was wrong."""

from enum import IntEnum

from libs.errors import InvalidInput


class NumberInvalid(InvalidInput):
    """A card, institution, terminal or PSAM number is not one; facts: `number`, `what`, `expected`."""

    reason = "NUMBER_INVALID"


class TimeInvalid(InvalidInput):
    """Packed digits are not a real date or time; facts: `digits`, `expected`."""

    reason = "TIME_INVALID"


class LengthInvalid(InvalidInput):
    """A buffer is not a whole number of records; facts: `length`, `record_length`."""

    reason = "LENGTH_INVALID"


class RecordMalformed(InvalidInput):
    """One record of an RS, BL, BI, PM, FT, ST or DS file is malformed; facts: `index`, `offset`, `fault`.

    TX records never raise this: each gets result code 10 of its own (`otr.check_format`).
    """

    reason = "RECORD_MALFORMED"


class FileCode(IntEnum):
    """Verdict on a whole file (record-formats.md, section 3); texts are in `codes.FILE_CODES`."""

    PROCESSED = 0
    MALFORMED = 10
    SENDER_UNKNOWN = 30
    COUNT_MISMATCH = 40
    SUM_MISMATCH = 41
    DIGEST_MISMATCH = 42
    BATCH_NUMBER_REUSED = 43
    SYSTEM_ERROR = 90


class BatchRefused(InvalidInput):
    """A whole batch file is refused and none of its records judged (record-formats.md, sections 2 and 3).

    Attributes:
        file_code: What the RS header answers.
        fault: Stable name of what was wrong, such as `HEADER_CRC`. The facts give the byte
            offset in the file and what was expected and found there.
    """

    reason = "BATCH_REFUSED"

    def __init__(self, file_code: FileCode, fault: str, **facts: object) -> None:
        super().__init__(file_code=f"{file_code:02d}", fault=fault, **facts)
        self.file_code = file_code
        self.fault = fault

    def __reduce__(self) -> tuple[object, ...]:
        varying = {name: value for name, value in self.facts.items() if name not in ("file_code", "fault")}
        return (_refused_again, (self.file_code, self.fault, varying))


def _refused_again(file_code: FileCode, fault: str, facts: dict[str, str]) -> BatchRefused:
    return BatchRefused(file_code, fault, **facts)
