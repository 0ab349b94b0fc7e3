"""Where a terminal keeps its records until they are collected (record-formats.md, 5; purse-protocol.md, 3.2 and 3.4).

A tap goes through a journal in two steps: `write_ahead` keeps a grey record (灰记录) before the debit is sent, `finish`
puts the final one in its place, or `drop` takes it back because the card was not debited. Whatever happens in between,
the next start finds either the final record or the grey one, never nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from libs.errors import DataLost, Refusal
from libs.records.otr import OTR_LENGTH


@dataclass(frozen=True, slots=True)
class Kept:
    """One record of a journal.

    Attributes:
        device_seq: Its number in this device, from 1.
        record: 128 bytes.
    """

    device_seq: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The grey record of a tap under way, or of one that a power cut.

    Attributes:
        record: 128 bytes, kind 08.
        kind: Kind of the record that it should have become.
    """

    record: bytes
    kind: int


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a journal is.

    Attributes:
        used: Records that nobody has collected.
        records_max: Records that fit.
    """

    used: int
    records_max: int

    @property
    def near_full(self) -> bool:
        """Time to warn: four fifths are used [convention]; at the end the terminal stops."""
        return self.used * 5 >= self.records_max * 4

    @property
    def full(self) -> bool:
        """No further card is taken."""
        return self.used >= self.records_max


@dataclass(frozen=True, slots=True)
class Registers:
    """Running totals since the first record (审计寄存器): they let the centre find what the records alone do not tell.

    Attributes:
        last_seq: Device seq of the last finished record; the count, since numbers have no holes.
        amount_fen: Sum of the amounts of all of them, grey ones included.
    """

    last_seq: int
    amount_fen: int


class JournalFull(Refusal):
    """The ring is full of records that nobody collected; the terminal takes no card until it is emptied."""

    reason = "JOURNAL_FULL"


class JournalBusy(Refusal):
    """Another terminal program works on this journal. Fact: `file`."""

    reason = "JOURNAL_BUSY"


class JournalDamaged(DataLost):
    """The medium gave back something else than was written. The file is left as it is. Facts: `file`, `why`."""

    reason = "JOURNAL_DAMAGED"


class JournalFailed(Refusal):
    """The medium took no more writes (full, gone, read-only); nothing was debited for it. Facts: `file`, `why`."""

    reason = "JOURNAL_FAILED"


class Journal(Protocol):
    """The records of one device. One tap at a time: a slot is open from `write_ahead` to `finish` or `drop`."""

    def next_seq(self) -> int:
        """The device seq that the next record must carry."""
        ...

    def write_ahead(self, grey: bytes, kind: int) -> None:
        """Keep a grey record, made with `next_seq`, durably; `kind` is what it shall become.

        Raises:
            JournalFull: There is no room.
            JournalFailed: The medium does not take it.
        """
        ...

    def finish(self, record: bytes) -> None:
        """Put the final record in the place of the grey one, durably; a tap that wrote nothing ahead is appended.

        Raises:
            JournalFull: Nothing was written ahead, and there is no room.
            JournalFailed: The medium does not take it; a grey record stays where it is.
        """
        ...

    def drop(self) -> None:
        """Take the grey record back: the card was not debited, and its device seq is free again."""
        ...

    def opened(self) -> Opened | None:
        """The grey record whose slot is open, also over a power cut: whoever starts must `finish` or `drop` it."""
        ...

    def pending(self, limit: int) -> Sequence[Kept]:
        """The oldest records that are not acknowledged, at most `limit`, without the one of a tap under way."""
        ...

    def range(self, first: int, last: int) -> Sequence[Kept]:
        """Records by device seq, for a re-collection; those that the ring has overwritten are missing."""
        ...

    def acknowledge(self, device_seq: int) -> None:
        """The gateway has stored everything up to and with this number: it need not be sent again."""
        ...

    def fill(self) -> Fill:
        """How full it is."""
        ...

    def registers(self) -> Registers:
        """Running totals of finished records."""
        ...


# Terminals in service hold 24,000 to 26,000 records (record-formats.md, section 5).
RECORDS_MAX: Final = 24_000
_AMOUNT: Final = slice(71, 75)


def amount_of(record: bytes) -> int:
    """The amount of a record, in fen."""
    return int.from_bytes(record[_AMOUNT], "big")


class MemoryJournal:
    """A journal of a simulated terminal; it lives as long as the process."""

    __slots__ = ("_acknowledged", "_amount_fen", "_kind", "_open", "_records", "_records_max")

    def __init__(self, records_max: int = RECORDS_MAX) -> None:
        self._records: list[bytes] = []
        self._acknowledged = 0
        self._amount_fen = 0
        self._kind = 0
        self._open = False
        self._records_max = records_max

    def next_seq(self) -> int:
        """The device seq that the next record must carry."""
        return len(self._records) + (0 if self._open else 1)

    def write_ahead(self, grey: bytes, kind: int) -> None:
        """Keep a grey record; raises `JournalFull`."""
        assert len(grey) == OTR_LENGTH, "a record has 128 bytes"
        assert not self._open, "one tap at a time"
        self._demand_room()
        self._records.append(grey)
        self._open = True
        self._kind = kind

    def finish(self, record: bytes) -> None:
        """Put the final record in the place of the grey one."""
        assert len(record) == OTR_LENGTH, "a record has 128 bytes"
        if self._open:
            self._records[-1] = record
            self._open = False
        else:
            self._demand_room()
            self._records.append(record)
        self._amount_fen += amount_of(record)

    def drop(self) -> None:
        """Take the grey record back."""
        assert self._open, "there is no grey record to drop"
        self._records.pop()
        self._open = False

    def opened(self) -> Opened | None:
        """The slot that is open."""
        return Opened(self._records[-1], self._kind) if self._open else None

    def pending(self, limit: int) -> Sequence[Kept]:
        """The oldest records that are not acknowledged."""
        end = min(len(self._records) - self._open, self._acknowledged + limit)
        return [Kept(index + 1, self._records[index]) for index in range(self._acknowledged, end)]

    def range(self, first: int, last: int) -> Sequence[Kept]:
        """Records by device seq."""
        end = min(len(self._records) - self._open, last)
        return [Kept(index + 1, self._records[index]) for index in range(max(1, first) - 1, end)]

    def acknowledge(self, device_seq: int) -> None:
        """The gateway has stored everything up to and with this number."""
        assert device_seq <= len(self._records) - self._open, "only what was collected is acknowledged"
        self._acknowledged = max(self._acknowledged, device_seq)

    def fill(self) -> Fill:
        """How full it is."""
        return Fill(len(self._records) - self._acknowledged, self._records_max)

    def registers(self) -> Registers:
        """Running totals of finished records."""
        return Registers(len(self._records) - self._open, self._amount_fen)

    def _demand_room(self) -> None:
        if len(self._records) - self._acknowledged >= self._records_max:
            raise JournalFull(records_max=self._records_max)
