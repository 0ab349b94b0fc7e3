"""Header extensions by file type: bytes 58 to 123 of a header (record-formats.md, section 2)."""

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Self

from libs.records.errors import FileCode
from libs.records.numbers import institution_bytes, institution_text

EXTENSION_LENGTH = 66


@dataclass(frozen=True, slots=True)
class ResultExtension:
    """Extension of an RS header: which file is answered, and how.

    Attributes:
        file_result: Verdict on the whole file; any but PROCESSED comes with no records.
        original_batch_number: Of the answered file; 0 if its header could not be read.
        original_sender: Digits of the institution id.
        accepted: Records with codes 00 24 25 26.
        rejected: Records with the other final codes, 01 included.
        pending: Records with codes that are not final.
        accepted_amount_fen: Settled amounts of the accepted records.
    """

    LAYOUT: ClassVar[Struct] = Struct(">HI8sIIIQ")

    file_result: FileCode
    original_batch_number: int
    original_sender: str
    accepted: int
    rejected: int
    pending: int
    accepted_amount_fen: int

    def pack(self) -> bytes:
        """Write the 34 bytes that are not padding."""
        return self.LAYOUT.pack(
            self.file_result, self.original_batch_number, institution_bytes(self.original_sender),
            self.accepted, self.rejected, self.pending, self.accepted_amount_fen,
        )  # fmt: skip

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote.

        Raises:
            NumberInvalid: The original sender is no institution id.
            ValueError: The file result is not one of the file codes.
        """
        code, batch, sender, accepted, rejected, pending, amount = cls.LAYOUT.unpack(packed)
        return cls(FileCode(code), batch, institution_text(sender), accepted, rejected, pending, amount)


@dataclass(frozen=True, slots=True)
class ListExtension:
    """Extension of a BL or BI header.

    Attributes:
        version: List version after this file.
        base_version: Version that a BI file applies to; 0 in a BL file.
    """

    LAYOUT: ClassVar[Struct] = Struct(">II")

    version: int
    base_version: int

    def pack(self) -> bytes:
        """Write the 8 bytes that are not padding."""
        return self.LAYOUT.pack(self.version, self.base_version)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote."""
        return cls(*cls.LAYOUT.unpack(packed))


@dataclass(frozen=True, slots=True)
class VersionExtension:
    """Extension of a PM or FT header: the version that the file brings."""

    LAYOUT: ClassVar[Struct] = Struct(">I")

    version: int

    def pack(self) -> bytes:
        """Write the 4 bytes that are not padding."""
        return self.LAYOUT.pack(self.version)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote."""
        return cls(*cls.LAYOUT.unpack(packed))


Extension = ResultExtension | ListExtension | VersionExtension
