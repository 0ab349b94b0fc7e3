"""Where a terminal keeps its records until they are collected (record-formats.md, 5; purse-protocol.md, 3.2 and 3.4).

A tap goes through a journal in two steps: `write_ahead` keeps a grey record (灰记录) before the debit is sent, `finish`
puts the final one in its place, or `drop` takes it back because the card was not debited. Whatever happens in between,
the next start finds either the final record or the grey one, never nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from libs.errors import Refusal
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


class JournalFull(Refusal):
    """The ring is full of records that nobody collected; the terminal takes no card until it is emptied."""

    reason = "JOURNAL_FULL"


class Journal(Protocol):
    """The records of one device. One tap at a time: a slot is open from `write_ahead` to `finish` or `drop`."""

    def next_seq(self) -> int:
        """The device seq that the next record must carry."""
        ...

    def write_ahead(self, grey: bytes) -> None:
        """Keep a grey record, made with `next_seq`, durably.

        Raises:
            JournalFull: There is no room.
        """
        ...

    def finish(self, record: bytes) -> None:
        """Put the final record in the place of the grey one, durably; a tap that wrote nothing ahead is appended."""
        ...

    def drop(self) -> None:
        """Take the grey record back: the card was not debited, and its device seq is free again."""
        ...

    def pending(self, limit: int) -> Sequence[Kept]:
        """The oldest records that are not acknowledged, at most `limit`, without the one of a tap under way."""
        ...

    def acknowledge(self, device_seq: int) -> None:
        """The gateway has stored everything up to and with this number: it need not be sent again."""
        ...


# Terminals in service hold 24,000 to 26,000 records (record-formats.md, section 5).
RECORDS_MAX = 24_000


class MemoryJournal:
    """A journal of a simulated terminal; it lives as long as the process."""

    __slots__ = ("_acknowledged", "_open", "_records", "_records_max")

    def __init__(self, records_max: int = RECORDS_MAX) -> None:
        self._records: list[bytes] = []
        self._acknowledged = 0
        self._open = False
        self._records_max = records_max

    def next_seq(self) -> int:
        """The device seq that the next record must carry."""
        return len(self._records) + (0 if self._open else 1)

    def write_ahead(self, grey: bytes) -> None:
        """Keep a grey record; raises `JournalFull`."""
        assert len(grey) == OTR_LENGTH, "a record has 128 bytes"
        assert not self._open, "one tap at a time"
        if len(self._records) - self._acknowledged >= self._records_max:
            raise JournalFull(records_max=self._records_max)
        self._records.append(grey)
        self._open = True

    def finish(self, record: bytes) -> None:
        """Put the final record in the place of the grey one."""
        assert len(record) == OTR_LENGTH, "a record has 128 bytes"
        if self._open:
            self._records[-1] = record
            self._open = False
        else:
            self._records.append(record)

    def drop(self) -> None:
        """Take the grey record back."""
        assert self._open, "there is no grey record to drop"
        self._records.pop()
        self._open = False

    def pending(self, limit: int) -> Sequence[Kept]:
        """The oldest records that are not acknowledged."""
        end = min(len(self._records) - self._open, self._acknowledged + limit)
        return [Kept(index + 1, self._records[index]) for index in range(self._acknowledged, end)]

    def acknowledge(self, device_seq: int) -> None:
        """The gateway has stored everything up to and with this number."""
        assert device_seq <= len(self._records) - self._open, "only what was collected is acknowledged"
        self._acknowledged = max(self._acknowledged, device_seq)
