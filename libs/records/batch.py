"""Batch files: header, records, trailer (record-formats.md, section 2).

`decode_batch` either gives a whole, checked file or raises `BatchRefused` with the file code, the
offset and what was expected there. It copies nothing, so a file larger than memory is decoded from
an `mmap`; `BatchWriter` makes one.
"""

import hashlib
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import BinaryIO, Final, NoReturn, Self

import numpy as np

from libs.records.errors import BatchRefused, FileCode, RecordMalformed
from libs.records.extension import Extension, ListExtension, ResultExtension, VersionExtension
from libs.records.header import (
    HEADER_LENGTH,
    TRAILER_LENGTH,
    TRAILER_MAGIC,
    Header,
    Trailer,
    decode_header,
    decode_trailer,
    file_name,
    malformed,
    refused,
)
from libs.records.layouts import LAYOUTS, FileType, Layout, check_records, total_of
from libs.records.rows import Rows

# What a user of files needs, in one place.
__all__ = [
    "LAYOUTS",
    "Batch",
    "BatchRefused",
    "BatchWriter",
    "Extension",
    "FileCode",
    "FileType",
    "Header",
    "Layout",
    "ListExtension",
    "ResultExtension",
    "VersionExtension",
    "decode_batch",
    "decode_header",
    "encode_batch",
    "file_name",
]

_READ_BYTES: Final = 1 << 20
_EXTENSION_OFFSET: Final = 58


@dataclass(frozen=True, slots=True)
class Batch:
    """A file that passed every test of a file.

    Attributes:
        header: As decoded.
        records: (n,) structured array over the given buffer, nothing copied.
        sha256: Of the whole file, 64 lower-case hex digits: the name under which it is stored.
    """

    header: Header
    records: Rows
    sha256: str


def encode_batch(
    file_type: FileType,
    records: Rows,
    *,
    sender: str,
    receiver: str,
    batch_number: int,
    created: datetime,
    business_date: date,
    extension: Extension | None = None,
) -> bytes:
    """Make a whole file in memory; count, total, checksums and digest are computed.

    Args:
        file_type: What the file is.
        records: Sealed records of the type's dtype. TX records are sent as they stand, even with a wrong
            checksum: judging them is the receiver's business. All others must be decodable.
        sender: Digits of the institution id.
        receiver: Digits of the institution id.
        batch_number: 1 to 999,999.
        created: Aware.
        business_date: Of the content.
        extension: `ResultExtension` for RS, `ListExtension` for BL and BI, `VersionExtension` for PM and FT.

    Raises:
        RecordMalformed: The records of a type other than TX would be refused by `decode_batch`.
        InvalidInput: A header field cannot be written.
    """
    assert records.dtype == file_type.layout.dtype, "records must have the layout of the file type"
    header = Header(
        file_type, sender, receiver, batch_number, created, business_date, len(records),
        total_of(file_type, records), extension,
    )  # fmt: skip
    head = header.pack()
    check_records(file_type, extension, records)
    body = head + records.tobytes()
    trailer = Trailer(header.record_count, header.total_fen, hashlib.sha256(body).digest(), batch_number)
    return body + trailer.pack()


def decode_batch(buffer: bytes | bytearray | memoryview, expect: FileType | None = None) -> Batch:
    """Read a file from untrusted bytes.

    The tests run in this order and the first that fails decides the file code: header (10), length and
    trailer against the header (10, 40, 41), digest (42), total of the records (41), records of a type
    other than TX (10). Records of a TX file are judged one by one later (`otr.check_format`).

    Args:
        buffer: The whole file; may be an `mmap`'s memoryview.
        expect: Refuse any other type.

    Raises:
        BatchRefused: With the file code, a fault name and facts (offset, expected, found).
    """
    view = memoryview(buffer).cast("B")
    header = decode_header(view, expect)
    record_length = header.file_type.layout.record_length
    expected = HEADER_LENGTH + header.record_count * record_length + TRAILER_LENGTH
    if len(view) != expected:
        _refuse_length(view, header, expected)
    body = view[: expected - TRAILER_LENGTH]
    trailer = decode_trailer(view[expected - TRAILER_LENGTH :], len(body))
    if trailer.batch_number != header.batch_number:
        raise malformed("TRAILER_BATCH_NUMBER", len(body) + 48, header.batch_number, trailer.batch_number)
    if trailer.record_count != header.record_count:
        raise refused(
            FileCode.COUNT_MISMATCH, "TRAILER_COUNT", len(body) + 4, header.record_count, trailer.record_count
        )
    if trailer.total_fen != header.total_fen:
        raise refused(FileCode.SUM_MISMATCH, "TRAILER_TOTAL", len(body) + 8, header.total_fen, trailer.total_fen)
    # One pass serves both digests: that of the body, and, continued, that of the file.
    digest = hashlib.sha256(body)
    if digest.digest() != trailer.digest:
        raise refused(FileCode.DIGEST_MISMATCH, "DIGEST", len(body) + 16, digest.hexdigest(), trailer.digest.hex())
    records = np.frombuffer(body[HEADER_LENGTH:], dtype=header.file_type.layout.dtype)
    total = total_of(header.file_type, records)
    if total != header.total_fen:
        raise refused(FileCode.SUM_MISMATCH, "TOTAL", 45, total, header.total_fen)
    try:
        check_records(header.file_type, header.extension, records)
    except RecordMalformed as wrong:
        raise BatchRefused(FileCode.MALFORMED, "RECORD", **_record_facts(wrong, record_length)) from wrong
    digest.update(view[len(body) :])
    return Batch(header, records, digest.hexdigest())


def _refuse_length(view: memoryview, header: Header, expected: int) -> NoReturn:
    """Tell a file that lost its end (10) from a whole one that holds another number of records (40)."""
    inner = len(view) - HEADER_LENGTH - TRAILER_LENGTH
    count, odd = divmod(inner, header.file_type.layout.record_length)
    if inner >= 0 and not odd:
        tail = bytes(view[-TRAILER_LENGTH:])
        if tail[:4] == TRAILER_MAGIC and zlib.crc32(tail[:-4]).to_bytes(4, "big") == tail[-4:]:
            raise refused(FileCode.COUNT_MISMATCH, "COUNT", 41, count, header.record_count)
    raise malformed("LENGTH", min(len(view), expected), expected, len(view))


def _record_facts(wrong: RecordMalformed, record_length: int) -> dict[str, object]:
    facts: dict[str, object] = {f"record_{key}": value for key, value in wrong.facts.items()}
    index, offset = int(wrong.facts["index"]), int(wrong.facts["offset"])
    # Faults of the header's counts, not of one record, have no index.
    facts["offset"] = HEADER_LENGTH + index * record_length + offset if index >= 0 else _EXTENSION_OFFSET
    return facts


class BatchWriter:
    """Writes a file whose records do not fit memory.

    Records go to the target as they come; `finish` writes header and trailer, reading the file once
    more for the digest, since the header comes first and holds the count. Records of types other than
    TX are not checked here, because some of their tests need the whole file.

        with path.open("w+b") as target:
            writer = BatchWriter(target, Header(FileType.TX, "11139901", "00009901", 1, now, today))
            for records in chunks:
                writer.write(records)
            sha256 = writer.finish()
    """

    def __init__(self, target: BinaryIO, header: Header) -> None:
        """Begin at the start of an empty, readable and seekable target; the header's count and total are ignored."""
        self._target = target
        self._header = replace(header, record_count=0, total_fen=0)
        target.seek(0)
        target.write(self._header.pack())

    @property
    def header(self) -> Header:
        """The header for what was written so far."""
        return self._header

    def write(self, records: Rows) -> Self:
        """Append sealed records of the type's dtype."""
        header = self._header
        assert records.dtype == header.file_type.layout.dtype, "records must have the layout of the file type"
        self._target.write(records.tobytes())
        self._header = replace(
            header,
            record_count=header.record_count + len(records),
            total_fen=header.total_fen + total_of(header.file_type, records),
        )
        return self

    def finish(self, extension: Extension | None = None) -> str:
        """Write header and trailer, and return the SHA-256 of the whole file (hex).

        Args:
            extension: Takes the place of the header's, where its counts are known only now.

        Raises:
            InvalidInput: Count or total cannot be written.
        """
        if extension is not None:
            self._header = replace(self._header, extension=extension)
        target, header = self._target, self._header
        target.seek(0)
        target.write(header.pack())
        target.seek(0)
        digest = hashlib.sha256()
        while chunk := target.read(_READ_BYTES):
            digest.update(chunk)
        trailer = Trailer(header.record_count, header.total_fen, digest.digest(), header.batch_number).pack()
        target.write(trailer)
        digest.update(trailer)
        target.flush()
        return digest.hexdigest()
