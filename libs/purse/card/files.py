"""Files of an application as shared, immutable descriptions (card-files.md, sections 2 and 3).

A card stores only contents that differ from the description, so that a city of cards shares one copy of the rest.
A cyclic file is one byte string, newest record first; other record files are tuples of records.
"""

from dataclasses import dataclass
from enum import Enum, auto

Content = bytes | tuple[bytes, ...]

RIGHT_ALWAYS = 0xF0


class FileKind(Enum):
    """How a file is addressed."""

    TRANSPARENT = auto()
    FIXED = auto()  # records of one length
    RECORDS = auto()  # records of any length, each with an identifier byte
    CYCLIC = auto()
    PURSE = auto()  # only purse commands reach it
    KEY = auto()  # only WRITE KEY reaches it, and nothing reads it


RECORD_KINDS = frozenset({FileKind.FIXED, FileKind.RECORDS, FileKind.CYCLIC})


class Update(Enum):
    """How a file is written outside of a purse transaction."""

    FREE = auto()
    MAC = auto()
    CIPHER = auto()  # enciphered, and with MAC
    NEVER = auto()


class Read(Enum):
    """How a file is read."""

    FREE = auto()
    MAC = auto()  # the command carries a MAC, and the answer another
    CIPHER = auto()  # as MAC, and the answer is enciphered


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One elementary file.

    Attributes:
        fid: File id, two bytes as an integer.
        sfi: Short file identifier (短文件标识符), 1 to 30; 0 for a file that has none.
        kind: Structure.
        initial: Content of a fresh card.
        update: Protection of writes.
        record_size: Of a fixed or cyclic file, in bytes.
        record_count: Most records of a fixed or cyclic file.
        identifier_offset: Which byte of a record is the identifier that UPDATE CAPP DATA CACHE names.
        capp: Whether a complex purchase may write it.
        read: Protection of reads.
        read_right: Security states that may read, XY: from Y to X; F0 is any (`permits`).
        update_right: Security states that may write, likewise.
        size_max: Room of a variable record file, in bytes; 0 is the size of its initial content.
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
    read: Read = Read.FREE
    read_right: int = RIGHT_ALWAYS
    update_right: int = RIGHT_ALWAYS
    size_max: int = 0

    def __post_init__(self) -> None:
        by_number = self.kind in (FileKind.FIXED, FileKind.RECORDS)
        assert isinstance(self.initial, tuple) == by_number, "record files hold tuples, all others one byte string"
        assert bool(self.record_size) == (self.kind in (FileKind.FIXED, FileKind.CYCLIC)), "records of one length"

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

    def replaced(self, content: Content, number: int, record: bytes) -> Content:
        """The content with record `number`, which exists, replaced by one of the same length."""
        if isinstance(content, tuple):
            return (*content[: number - 1], record, *content[number:])
        return content[: (number - 1) * self.record_size] + record + content[number * self.record_size :]

    def number_of(self, content: Content, identifier: int) -> int:
        """Number of the first record with that identifier byte; 0 when there is none."""
        if isinstance(content, tuple):
            for number, record in enumerate(content, 1):
                if record[self.identifier_offset] == identifier:
                    return number
        return 0

    def has_room(self, content: Content, record: bytes) -> bool:
        """Whether one more record fits; a cyclic file always makes room."""
        if not isinstance(content, tuple):
            return True
        if self.kind is FileKind.FIXED:
            return len(content) < self.record_count
        assert isinstance(self.initial, tuple), "see __post_init__"
        room = self.size_max or sum(map(len, self.initial))
        return sum(map(len, content)) + len(record) <= room


def permits(right: int, state: int) -> bool:
    """Whether a security state, 0 to F, lies in a right XY: from Y to X; an inverted pair permits nobody."""
    return right & 15 <= state <= right >> 4
