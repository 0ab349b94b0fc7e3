"""The list as a chain of changes: each version is one change, and its hash covers all before it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final

from services.blacklist.domain.entry import CardKey, Entry, Listing

EMPTY_HASH: Final = bytes(32)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CHANGE: Final = Struct(">Q2s10sI?BBqqqq")
_UNTIL: Final = Struct(">q")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest version of the list.

    Attributes:
        version: One up for every change; 0 is the empty list before any.
        entry_count: Cards listed.
        chain_hash: 32 bytes, SHA-256 over the hash of the version before and this version's change.
        create_time: When it was made; None for version 0.
    """

    version: int = 0
    entry_count: int = 0
    chain_hash: bytes = EMPTY_HASH
    create_time: datetime | None = None

    @property
    def stamp(self) -> str:
        """What tells this very list from every other: version and hash."""
        return f"{self.version}:{self.chain_hash.hex()}"


@dataclass(frozen=True, slots=True)
class Change:
    """What one version changed.

    Attributes:
        version: The version it made.
        card: Whose entry.
        added: True: listed, or listed for another reason; False: removed.
        listing: What the list says; of a removal, what it said.
        holds_from: Effective time of an addition, moment of a removal.
        create_time: When the version was made.
        chain_hash: Of this version, 32 bytes.
    """

    version: int
    card: CardKey
    added: bool
    listing: Listing
    holds_from: datetime
    create_time: datetime
    chain_hash: bytes = EMPTY_HASH

    def hash_after(self, before: bytes) -> bytes:
        """The chain hash of this version, 32 bytes.

        SHA-256 over: hash of the version before (32), version (8), scheme (2, ASCII), card number (10, BCD),
        generation (4), added (1), reason (1), mode (1), then effective, report, holds-from and create time (8 each,
        microseconds since 1970, signed), and until time where one is set; all big-endian.
        """
        listing = self.listing
        packed = _CHANGE.pack(
            self.version,
            self.card.scheme.encode(),
            self.card.number,
            self.card.generation,
            self.added,
            listing.reason,
            listing.mode,
            *map(microseconds, (listing.effective_time, listing.report_time, self.holds_from, self.create_time)),
        )
        until = b"" if listing.until_time is None else _UNTIL.pack(microseconds(listing.until_time))
        return hashlib.sha256(before + packed + until).digest()


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, as hashes take them."""
    return (at - _EPOCH) // _MICROSECOND


def append(head: Head, entry: Entry, before: Entry, at: datetime) -> tuple[Head, Change]:
    """Make the next version out of an entry that says otherwise than before.

    Args:
        head: The newest version; its row is locked.
        entry: As it is now.
        before: As it was.
        at: The moment of the change.
    """
    assert entry.says_otherwise(before), "a version without a change would be a lie"
    assert entry.shown is not None, "what was never listed cannot change the list"
    holds_from = entry.shown.effective_time if entry.listed else entry.remove_time
    assert holds_from is not None, "a removal has its moment"
    change = Change(head.version + 1, entry.card, entry.listed, entry.shown, holds_from, at)
    change = replace(change, chain_hash=change.hash_after(head.chain_hash))
    count = head.entry_count + int(entry.listed) - int(before.listed)
    return Head(change.version, count, change.chain_hash, at), change


def listed_at(changes: Iterable[Change], at: datetime) -> Listing | None:
    """What the list said of a card that was in force at an instant; None when nothing was.

    Args:
        changes: All changes of the card, by version.
        at: The instant, also a past one.
    """
    streak: list[tuple[datetime, Listing]] = []
    for change in changes:
        if change.added:
            # The first word reaches back to its effective time; another one while listed holds from its version on.
            first = change.listing.effective_time if not streak else max(change.create_time, streak[0][0])
            streak.append((first, change.listing))
            continue
        found = _said(streak, at) if at < change.holds_from else None
        if found is not None:
            return found
        streak = []
    return _said(streak, at)


def _said(streak: list[tuple[datetime, Listing]], at: datetime) -> Listing | None:
    said = next((listing for since, listing in reversed(streak) if since <= at), None)
    return said if said is not None and said.in_force(at) else None
