"""Header, trailer and name of a batch file (record-formats.md, section 2)."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from struct import Struct
from typing import Final, TypeVar

from libs.errors import InvalidInput
from libs.records import bcd
from libs.records.errors import BatchRefused, FileCode, NumberInvalid, TimeInvalid
from libs.records.extension import EXTENSION_LENGTH, Extension
from libs.records.layouts import FileType, Layout
from libs.records.numbers import institution_bytes, institution_text

HEADER_LENGTH: Final = 128
TRAILER_LENGTH: Final = 128
BATCH_NUMBER_MAX: Final = 999_999
TRAILER_MAGIC: Final = b"YKTE"

_HEADER = Struct(">4s2sBB8s8sI7s4sHIQ4sB66sI")
_TRAILER = Struct(">4sIQ32sI72sI")
_MAGIC, _VERSION = b"YKTB", 1
_T = TypeVar("_T")


class BatchNotWritable(InvalidInput):
    """A header field is out of range; facts: `field`, `value`, `expected`."""

    reason = "BATCH_NOT_WRITABLE"


def _in_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BatchNotWritable(field=field, value=value, expected=f"{low} to {high}")


@dataclass(frozen=True, slots=True)
class Header:
    """What the first 128 bytes say.

    Attributes:
        file_type: Of the file; fixes record encoding and length.
        sender: Digits of the institution id, as is `receiver`.
        batch_number: 1 to 999,999, growing by one per sender and type.
        created: Aware; whole seconds.
        business_date: The sender's own day of the content (营业日).
        record_count: Records in the file.
        total_fen: Sum that the type asks for (`Layout.total_field`).
        extension: As the type asks for.
    """

    file_type: FileType
    sender: str
    receiver: str
    batch_number: int
    created: datetime
    business_date: date
    record_count: int = 0
    total_fen: int = 0
    extension: Extension | None = None

    def pack(self) -> bytes:
        """Write the 128 bytes.

        Raises:
            InvalidInput: An institution, the batch number, the count or the total cannot be written.
        """
        layout = self.file_type.layout
        assert type(self.extension) is (layout.extension or type(None)), "the type of file fixes its extension"
        _in_range("batch_number", self.batch_number, 1, BATCH_NUMBER_MAX)
        _in_range("record_count", self.record_count, 0, (1 << 32) - 1)
        _in_range("total_fen", self.total_fen, 0, (1 << 64) - 1)
        body = _HEADER.pack(
            _MAGIC,
            self.file_type.value.encode(),
            _VERSION,
            layout.encoding,
            institution_bytes(self.sender),
            institution_bytes(self.receiver),
            self.batch_number,
            bcd.bcd_time(self.created),
            bcd.bcd_date(self.business_date),
            layout.record_length,
            self.record_count,
            self.total_fen,
            bytes(4),
            0,
            b"" if self.extension is None else self.extension.pack(),
            0,
        )[:-4]
        return body + zlib.crc32(body).to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the last 128 bytes say.

    Attributes:
        digest: SHA-256 of header and records, 32 bytes.
    """

    record_count: int
    total_fen: int
    digest: bytes
    batch_number: int

    def pack(self) -> bytes:
        """Write the 128 bytes."""
        body = _TRAILER.pack(TRAILER_MAGIC, self.record_count, self.total_fen, self.digest, self.batch_number, b"", 0)[
            :-4
        ]
        return body + zlib.crc32(body).to_bytes(4, "big")


def file_name(header: Header) -> str:
    """The conventional name `TX_11139901_00009901_20250102_000001.ykt`; only the header counts."""
    institutions = "_".join(institution_bytes(each).hex()[:8] for each in (header.sender, header.receiver))
    return f"{header.file_type.value}_{institutions}_{header.business_date:%Y%m%d}_{header.batch_number:06d}.ykt"


def refused(code: FileCode, fault: str, offset: int, expected: object, found: object) -> BatchRefused:
    """The refusal of a file for what stands at an offset, counted from the start of the file."""
    return BatchRefused(code, fault, offset=offset, expected=expected, found=found)


def malformed(fault: str, offset: int, expected: object, found: object) -> BatchRefused:
    """A refusal with file code 10."""
    return refused(FileCode.MALFORMED, fault, offset, expected, found)


def decode_header(buffer: bytes | bytearray | memoryview, expect: FileType | None = None) -> Header:
    """Read only the first 128 bytes, for instance to learn whom to answer that the rest is refused.

    Args:
        buffer: At least the header; what follows is not looked at.
        expect: Refuse any other type.

    Raises:
        BatchRefused: File code 10, with fault, offset, expected and found.
    """
    view = memoryview(buffer).cast("B")
    if len(view) < HEADER_LENGTH:
        raise malformed("HEADER_TRUNCATED", len(view), HEADER_LENGTH, len(view))
    packed = bytes(view[:HEADER_LENGTH])
    (
        magic, letters, version, encoding, sender, receiver, batch_number, created, business_date,
        record_length, record_count, total, reserved, compression, extension, crc,
    ) = _HEADER.unpack(packed)  # fmt: skip
    if magic != _MAGIC:
        raise malformed("HEADER_MAGIC", 0, _MAGIC.hex(), magic.hex())
    if crc != zlib.crc32(packed[:-4]):
        raise malformed("HEADER_CRC", 124, f"{zlib.crc32(packed[:-4]):08X}", f"{crc:08X}")
    file_type = next((each for each in FileType if each.value.encode() == letters), None)
    if file_type is None or (expect is not None and file_type is not expect):
        wanted = "a known type" if expect is None else expect.value
        raise malformed("HEADER_TYPE", 4, wanted, letters.hex())
    layout = file_type.layout
    for fault, offset, expected, found in (
        ("HEADER_VERSION", 6, _VERSION, version),
        ("HEADER_ENCODING", 7, layout.encoding, encoding),
        ("HEADER_RECORD_LENGTH", 39, layout.record_length, record_length),
        ("HEADER_RESERVED", 53, bytes(4).hex(), reserved.hex()),
        ("HEADER_COMPRESSION", 57, 0, compression),
    ):
        if expected != found:
            raise malformed(fault, offset, expected, found)
    if not 1 <= batch_number <= BATCH_NUMBER_MAX:
        raise malformed("HEADER_BATCH_NUMBER", 24, f"1 to {BATCH_NUMBER_MAX}", batch_number)
    return Header(
        file_type=file_type,
        sender=_read(institution_text, sender, "HEADER_SENDER", 8),
        receiver=_read(institution_text, receiver, "HEADER_RECEIVER", 16),
        batch_number=batch_number,
        created=_read(bcd.time_of, created, "HEADER_CREATED", 28),
        business_date=_read(bcd.date_of, business_date, "HEADER_BUSINESS_DATE", 35),
        record_count=record_count,
        total_fen=total,
        extension=_decode_extension(layout, extension),
    )


def _read(decode: Callable[[bytes], _T], packed: bytes, fault: str, offset: int) -> _T:
    try:
        return decode(packed)
    except (NumberInvalid, TimeInvalid) as wrong:
        expected = wrong.facts["expected"]
        raise malformed(fault, offset, expected, packed.hex().upper()) from wrong


def _decode_extension(layout: Layout, packed: bytes) -> Extension | None:
    used = 0 if layout.extension is None else layout.extension.LAYOUT.size
    if any(packed[used:]):
        raise malformed(
            "HEADER_EXTENSION_RESERVED", 58 + used, bytes(EXTENSION_LENGTH - used).hex(), packed[used:].hex()
        )
    if layout.extension is None:
        return None
    try:
        return layout.extension.unpack(packed[:used])
    except (NumberInvalid, ValueError) as wrong:
        raise malformed("HEADER_EXTENSION", 58, layout.extension.__name__, packed[:used].hex()) from wrong


def decode_trailer(view: memoryview, offset: int) -> Trailer:
    """Read the last 128 bytes of a file.

    Args:
        view: Exactly the trailer.
        offset: Where it begins in the file, for the facts of a refusal.

    Raises:
        BatchRefused: File code 10, with fault, offset, expected and found.
    """
    packed = bytes(view)
    magic, record_count, total, digest, batch_number, zero, crc = _TRAILER.unpack(packed)
    if magic != TRAILER_MAGIC:
        raise malformed("TRAILER_MAGIC", offset, TRAILER_MAGIC.hex(), magic.hex())
    if crc != zlib.crc32(packed[:-4]):
        raise malformed("TRAILER_CRC", offset + 124, f"{zlib.crc32(packed[:-4]):08X}", f"{crc:08X}")
    if any(zero):
        raise malformed("TRAILER_RESERVED", offset + 52, bytes(72).hex(), zero.hex())
    return Trailer(record_count, total, digest, batch_number)
