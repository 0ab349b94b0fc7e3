"""Files of an application as shared, immutable descriptions (card-files.md, sections 2 and 3).

A card stores only contents that differ from the description, so that a city of cards shares one copy of the rest.
A cyclic file is one byte string, newest record first; a record file is a tuple of records.
"""

from dataclasses import dataclass
from enum import Enum, auto

Content = bytes | tuple[bytes, ...]


class FileKind(Enum):
    """How a file is addressed."""

    TRANSPARENT = auto()
    RECORDS = auto()
    CYCLIC = auto()
    PURSE = auto()


class Update(Enum):
    """Who may write a file outside of a purse transaction."""

    FREE = auto()
    MAC = auto()
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One elementary file.

    Attributes:
        fid: File id, two bytes as an integer.
        sfi: Short file identifier (短文件标识符), 1 to 30.
        kind: Structure.
        initial: Content of a fresh card.
        update: Protection of writes.
        record_size: Of a cyclic file, in bytes.
        record_count: Most records of a cyclic file.
        identifier_offset: Which byte of a record is the identifier that UPDATE CAPP DATA CACHE names.
        capp: Whether a complex purchase may write it.
    """

    fid: int
    sfi: int
    kind: FileKind
    initial: Content = b""
    update: Update = Update.NEVER
    record_size: int = 0
    record_count: int = 0
    identifier_offset: int = 0
    capp: bool = False

    def append(self, content: Content, record: bytes) -> bytes:
        """A cyclic file's content with one more record; the oldest falls out."""
        assert isinstance(content, bytes), "a cyclic file is one byte string"
        return (record + content)[: self.record_size * self.record_count]

    def record(self, content: Content, number: int) -> bytes | None:
        """Record `number`, from 1; of a cyclic file 1 is the newest."""
        if isinstance(content, tuple):
            return content[number - 1] if 1 <= number <= len(content) else None
        found = content[(number - 1) * self.record_size : number * self.record_size] if number else b""
        return found or None

    def number_of(self, content: Content, identifier: int) -> int:
        """Number of the first record with that identifier byte; 0 when there is none."""
        if isinstance(content, tuple):
            for number, record in enumerate(content, 1):
                if record[self.identifier_offset] == identifier:
                    return number
        return 0
