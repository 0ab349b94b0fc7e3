"""A terminal's blacklist: whole lists and changes on top of them, look-up by card number.

Two kinds of files are taken: BL and BI of the interchange (record-formats.md, section 2), and the compact signed lists
of `libs.cardlist`, of which number ranges belong to the blacklist too. In memory all lie packed, at some three bytes a
card with the index.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from libs.cardlist import (
    ANY_GENERATION,
    ENTRY,
    MAGIC,
    SETTLED,
    Action,
    CardIndex,
    CardList,
    DeltaMisfit,
    Entries,
    Form,
    Found,
    NumberRange,
    Purpose,
    RangeList,
    Verifier,
    apply_delta,
)
from libs.cardlist.body import read_body, unpack
from libs.cardlist.columns import pack
from libs.cardlist.entries import keys, merge
from libs.cardlist.header import FORM_OFFSET, PURPOSE_OFFSET
from libs.cardlist.interchange import from_rows
from libs.errors import Refusal
from libs.records.batch import FileType, ListExtension, decode_batch
from libs.records.blacklist_file import ListReason, Mode


class FullListNeeded(Refusal):
    """An increment does not start at the version that the terminal has: it must ask for the whole list.

    Facts: `version`, `base_version`.
    """

    reason = "FULL_LIST_NEEDED"


class SignerUnknown(Refusal):
    """A compact list came to a terminal that was given no key to check it with."""

    reason = "LIST_SIGNER_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Listed:
    """One card on the list.

    Attributes:
        reason: Why.
        mode: What the terminal does with it: one that is refused at the exit only is refused there.
        effective: From when on; None: it was in force when the list was made.
        by_range: It is listed by its number range, not by an entry of its own.
    """

    reason: ListReason
    mode: Mode
    effective: datetime | None
    by_range: bool = False


class _Packed:
    """A list that came as BL and BI files, packed like the compact ones."""

    __slots__ = ("_body", "_index", "settled_until_s")

    def __init__(self, entries: Entries, settled_until_s: int) -> None:
        self._body = pack(entries, settled_until_s)
        self._index = CardIndex(read_body(np.frombuffer(self._body, dtype=np.uint8)))
        self.settled_until_s = settled_until_s

    def __len__(self) -> int:
        return self._index.count

    @property
    def memory_bytes(self) -> int:
        return len(self._body) + self._index.index_bytes

    def entries(self) -> Entries:
        return unpack(read_body(np.frombuffer(self._body, dtype=np.uint8)))

    def find(self, card_number: bytes, generation: int) -> Found | None:
        return self._index.find(card_number, generation)


class TerminalBlacklist:
    """The list at one version. It is replaced as a whole: a file that is refused leaves the old one in force.

    An entry that is in force when its file is made holds from then on, whatever the terminal's clock says; one to come
    waits for that clock.

    Args:
        verifier: Trusts the centre's keys; without one only BL and BI files are taken.
    """

    __slots__ = ("_held", "_ranges", "_verifier", "range_version", "version")

    def __init__(self, verifier: Verifier | None = None) -> None:
        self.version = 0
        self.range_version = 0
        self._verifier = verifier
        self._ranges: RangeList | None = None
        self._held: _Packed | CardList = _Packed(np.zeros(0, dtype=ENTRY), 0)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def memory_bytes(self) -> int:
        """What the list and its index take in memory."""
        held = self._held
        return len(held.data) + held.index_bytes if isinstance(held, CardList) else held.memory_bytes

    def load(self, content: bytes) -> None:
        """Take a BL or BI file, a compact list or delta, or a list of number ranges.

        An older version than the one held is taken too: the centre may have to go back.

        Raises:
            BatchRefused, ListRefused: The file is damaged, not signed by the centre, or of another type.
            FullListNeeded: Changes to another list than ours.
            SignerUnknown: A compact list, and no key to check it with.
        """
        if content[: len(MAGIC)] == MAGIC and content[PURPOSE_OFFSET : PURPOSE_OFFSET + 1] == bytes((Purpose.RANGES,)):
            if self._verifier is None:
                raise SignerUnknown
            self._ranges = RangeList(content, self._verifier)
            self.range_version = self._ranges.point.version
        elif content[: len(MAGIC)] == MAGIC:
            self._held, self.version = self._compact(content)
        else:
            self._held, self.version = self._interchange(content)

    def find(
        self, card_number: bytes, at: datetime, generation: int = ANY_GENERATION, *, at_exit: bool = True
    ) -> Listed | None:
        """What refuses a card at this time: its own entry, else the number range that it lies in; None for nothing.

        A card whose entry says to ignore it is let through, whatever its range says.

        Args:
            card_number: 10 bytes BCD.
            at: By the terminal's clock.
            generation: Of the card; 0 where the chip does not tell: then the latest generation listed counts.
            at_exit: False where a card is on its way in: some are refused on their way out only. A tap that is both,
                as in a shop, is a way out.
        """
        found: Found | NumberRange | None = self._held.find(card_number, generation)
        by_range = False
        if found is None or found.effective_s > at.timestamp():
            found, by_range = self._ranges.find(card_number) if self._ranges is not None else None, True
        if found is None or found.effective_s > at.timestamp() or found.action is Action.IGNORE:
            return None
        if found.action is Action.REFUSE_AT_EXIT and not at_exit:
            return None
        effective = None if found.effective_s == SETTLED else datetime.fromtimestamp(found.effective_s, UTC)
        mode = Mode.LOCK if found.action is Action.LOCK else Mode.REFUSE
        return Listed(ListReason(found.reason), mode, effective, by_range)

    def _compact(self, content: bytes) -> tuple[CardList, int]:
        if self._verifier is None:
            raise SignerUnknown
        if content[FORM_OFFSET : FORM_OFFSET + 1] != bytes((Form.DELTA,)):
            opened = CardList.open(content, self._verifier)
            return opened, opened.point.version
        if not isinstance(self._held, CardList):
            raise FullListNeeded(version=self.version, base_version="of a compact list")
        try:
            made = apply_delta(self._held, content, self._verifier)
        except DeltaMisfit as misfit:
            raise FullListNeeded(**misfit.facts) from misfit
        return made, made.point.version

    def _interchange(self, content: bytes) -> tuple[_Packed, int]:
        batch = decode_batch(content)
        extension = batch.header.extension
        if batch.header.file_type is not FileType.BL:
            # Any type but BI fails here with its own refusal.
            decode_batch(content, FileType.BI)
        assert isinstance(extension, ListExtension), "the decoder gives lists their extension"
        added, deleted = from_rows(batch.records)
        made_s = int(batch.header.created.timestamp())
        if batch.header.file_type is FileType.BL:
            return _Packed(added, made_s), extension.version
        base = self._held
        # A compact list knows generations, rows do not: a deletion could miss what it means.
        if extension.base_version != self.version or isinstance(base, CardList):
            raise FullListNeeded(version=self.version, base_version=extension.base_version)
        until_s = max(base.settled_until_s, made_s)
        before = base.entries()
        # A deletion of what is not there is done already.
        merged = merge(before, added, deleted[np.isin(keys(deleted), keys(before))])
        assert merged is not None, "only what is there is taken away"
        return _Packed(merged, until_s), extension.version
