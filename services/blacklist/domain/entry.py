"""What the list knows of one card, and what a fact about it changes.

A card can be listed for two causes that know nothing of each other: the holder's loss report, which arrives as events
of the card service in any order, and an officer's decision. It is listed while at least one of them stands.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Final, Self

from services.blacklist.domain.errors import EntryUnknown, PeriodEmpty

_FIRST_DIGITS: Final = {"cj": "0000", "jt": "031"}
_NAME: Final = re.compile(r"(cj|jt)-([0-9]{20})\.([1-9][0-9]{0,8})", re.ASCII)


class ListReason(IntEnum):
    """Why a card is listed (record-formats.md, section 2, BL / BI)."""

    LOST = 1
    REPLACED = 2
    RETURNED = 3
    COUNTERFEIT = 4
    ARREARS = 5
    EXPIRED_TYPE = 6
    COURT = 7
    STOLEN_STOCK = 8


class ListMode(IntEnum):
    """What a terminal does on sight of a listed card: the modes of the interchange file and two that it does not know.

    LOCK and REFUSE are of record-formats.md, section 2, BL / BI. REFUSE_AT_EXIT lets a card in and not out; in those
    files it is REFUSE. IGNORE lets it through, also where a number range would not; those files leave it out. 3 is the
    action of staff lists.
    """

    LOCK = 1
    REFUSE = 2
    REFUSE_AT_EXIT = 4
    IGNORE = 5

    @property
    def refuses(self) -> bool:
        """Whether a card listed so is let through less than others."""
        return self is not ListMode.IGNORE


@dataclass(frozen=True, slots=True, order=True)
class CardKey:
    """One card in one generation.

    Attributes:
        scheme: `cj` or `jt`.
        digits: The card number, 20 digits (record-formats.md, section 1, card number).
        generation: From 1; a number that is issued again gets the next one.
    """

    scheme: str
    digits: str
    generation: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `jt-<20 digits>.<generation>`.

        Raises:
            EntryUnknown: Not of that form, or a number of the other scheme: no such card can ever be listed.
        """
        match = _NAME.fullmatch(text)
        # Lists name a card by its number alone, so a number must tell its scheme (card-files.md, section 4).
        if match is None or not match[2].startswith(_FIRST_DIGITS[match[1]]):
            raise EntryUnknown(entry=text)
        return cls(match[1], match[2], int(match[3]))

    @classmethod
    def of_number(cls, number: bytes, generation: int) -> Self:
        """The key of a listed card, whose number tells its scheme.

        Raises:
            EntryUnknown: It does not.
        """
        return cls.parse(f"{'cj' if number[:2] == bytes(2) else 'jt'}-{number.hex()}.{generation}")

    @property
    def number(self) -> bytes:
        """The card number as in a record, 10 bytes BCD."""
        return bytes.fromhex(self.digits)

    def __str__(self) -> str:
        return f"{self.scheme}-{self.digits}.{self.generation}"


@dataclass(frozen=True, slots=True)
class Listing:
    """Why a card is listed and what follows.

    Attributes:
        reason: Why.
        mode: What terminals do.
        effective_time: From when on terminals must refuse; whole microseconds, as all times here.
        report_time: When the cause was known to the platform.
        until_time: From when on it holds no more; None: until it is removed.
    """

    reason: ListReason
    mode: ListMode
    effective_time: datetime
    report_time: datetime
    until_time: datetime | None = None

    def in_force(self, at: datetime) -> bool:
        """Whether it holds at an instant."""
        return self.effective_time <= at and (self.until_time is None or at < self.until_time)


@dataclass(frozen=True, slots=True)
class Entry:
    """One card of the list, present and past.

    Attributes:
        card: Whose entry.
        shown: What the list says, or said last; None before the card was ever listed.
        listed: Whether it is on the list now.
        loss_open: The newest word about a loss is a report.
        loss_time: When that newest word was given; None before any.
        decided: An officer's decision stands.
        remove_time: When it was last removed; None while listed, and before it ever was.
        added_version: Version that last added it; 0 before it ever was listed.
        removed_version: Version that removed it; 0 while listed.
        changed_version: Version that last changed what the list says of it; 0 before any.
    """

    card: CardKey
    shown: Listing | None = None
    listed: bool = False
    loss_open: bool = False
    loss_time: datetime | None = None
    decided: bool = False
    remove_time: datetime | None = None
    added_version: int = 0
    removed_version: int = 0
    changed_version: int = 0

    def report_loss(self, at: datetime, effective_time: datetime) -> "Entry":
        """The holder reported the card lost.

        The newer word by its own time wins, whatever the order of arrival; a report as old as the newest word is a
        repetition. A card that is listed already keeps what the list says, but no end is set to it any more. A card
        that was to be ignored is locked like any other, and the decision to ignore it is used up.

        Args:
            at: When it was reported.
            effective_time: From when on it is listed, if it is not yet.
        """
        if self.loss_time is not None and at <= self.loss_time:
            return self
        known = replace(self, loss_open=True, loss_time=at)
        if known.listed and known.shown is not None and known.shown.mode.refuses:
            return replace(known, shown=replace(known.shown, until_time=None))
        lost = Listing(ListReason.LOST, ListMode.LOCK, effective_time, at)
        return _listed(replace(known, decided=False), lost)

    def cancel_loss(self, at: datetime) -> "Entry":
        """The holder took the report back; an officer's decision stands.

        At the very moment of the report the cancellation wins, for it cannot have come first. One that arrives before
        its report is remembered, so that the report changes nothing.

        Args:
            at: When it was taken back; the entry is removed as of then.
        """
        stale = self.loss_time is not None and (at < self.loss_time or (at == self.loss_time and not self.loss_open))
        if stale:
            return self
        known = replace(self, loss_open=False, loss_time=at)
        return known if self.decided or not self.listed else _removed(known, at)

    def decide(self, listing: Listing) -> "Entry":
        """An officer lists the card. One that is refused already keeps its first effective time and report time.

        No end is set while a loss report stands: it must be taken back or removed.

        Raises:
            PeriodEmpty: It would end before it begins.
        """
        if listing.until_time is not None and listing.until_time <= listing.effective_time:
            raise PeriodEmpty(until_time=listing.until_time.isoformat())
        known = replace(self, decided=True)
        until_time = None if self.loss_open else listing.until_time
        if not self.listed or self.shown is None or not self.shown.mode.refuses:
            return _listed(known, replace(listing, until_time=until_time))
        shown = replace(self.shown, reason=listing.reason, mode=listing.mode, until_time=until_time)
        return replace(known, shown=shown)

    def expire(self, at: datetime) -> "Entry":
        """The time is up: removed as of the end that was set. Not yet, or no end set: the same entry."""
        if not self.listed or self.shown is None or self.shown.until_time is None or at < self.shown.until_time:
            return self
        return _removed(replace(self, decided=False), self.shown.until_time)

    def remove(self, at: datetime) -> "Entry":
        """An officer takes the card from the list, whatever the causes. A loss reported later lists it again.

        Raises:
            EntryUnknown: It is not listed.
        """
        if not self.listed:
            raise EntryUnknown(entry=f"entries/{self.card}")
        return _removed(replace(self, decided=False, loss_open=False), at)

    def says_otherwise(self, before: "Entry") -> bool:
        """Whether the list itself changed, not only what is remembered beside it."""
        return self.listed != before.listed or (self.listed and self.shown != before.shown)

    def at_version(self, version: int, before: "Entry") -> "Entry":
        """The same, numbered by the version that its change made."""
        known = replace(self, changed_version=version)
        if not self.listed:
            return replace(known, removed_version=version)
        return known if before.listed else replace(known, added_version=version, removed_version=0)


def _listed(entry: Entry, listing: Listing) -> Entry:
    return replace(entry, listed=True, shown=listing, remove_time=None)


def _removed(entry: Entry, at: datetime) -> Entry:
    return replace(entry, listed=False, remove_time=at)
