"""A terminal's blacklist: a full list, increments on top, look-up by card number (record-formats.md, section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from libs.errors import Refusal
from libs.records import bcd
from libs.records.batch import Batch, FileType, ListExtension, decode_batch
from libs.records.blacklist_file import Action, ListReason, Mode


class FullListNeeded(Refusal):
    """An increment does not start at the version that the terminal has: it must ask for the whole list.

    Facts: `version`, `base_version`.
    """

    reason = "FULL_LIST_NEEDED"


@dataclass(frozen=True, slots=True)
class Listed:
    """One card on the list.

    Attributes:
        reason: Why.
        mode: What the terminal does with it.
        effective: From when on.
    """

    reason: ListReason
    mode: Mode
    effective: datetime


class TerminalBlacklist:
    """The list at one version. It is replaced as a whole: a file that is refused leaves the old one in force."""

    __slots__ = ("_entries", "version")

    def __init__(self) -> None:
        self.version = 0
        self._entries: Mapping[bytes, Listed] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, content: bytes) -> None:
        """Take a BL or BI file.

        Raises:
            BatchRefused: The file is damaged, or of another type.
            FullListNeeded: An increment to another version than ours.
        """
        batch = decode_batch(content)
        extension = batch.header.extension
        if batch.header.file_type is FileType.BL:
            assert isinstance(extension, ListExtension), "the decoder gives lists their extension"
            entries: dict[bytes, Listed] = {}
        else:
            # Any other type fails here with its own refusal.
            decode_batch(content, FileType.BI)
            assert isinstance(extension, ListExtension), "the decoder gives lists their extension"
            if extension.base_version != self.version:
                raise FullListNeeded(version=self.version, base_version=extension.base_version)
            entries = dict(self._entries)
        _apply(batch, entries)
        self._entries = entries
        self.version = extension.version

    def find(self, card_number: bytes, at: datetime) -> Listed | None:
        """The entry of a card if it is in force at this time, else None; `card_number` is 10 bytes BCD."""
        listed = self._entries.get(card_number)
        return listed if listed is not None and listed.effective <= at else None


def _apply(batch: Batch, entries: dict[bytes, Listed]) -> None:
    for row in batch.records:
        number = row["card_number"].tobytes()
        if row["action"] == Action.DELETE:
            entries.pop(number, None)
        else:
            effective = bcd.time_of(row["effective"].tobytes())
            entries[number] = Listed(ListReason(int(row["reason"])), Mode(int(row["mode"])), effective)
