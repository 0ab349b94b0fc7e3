"""The lists that are not of listed cards: number ranges, staff cards, accepted issuers.

Each is a chain of versions of its own. A version is one request, however many rows it changed, and its hash covers the
one before; rows are known by a key that says what they are about.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from struct import Struct
from typing import Final

from services.blacklist.domain.chain import EMPTY_HASH, microseconds
from services.blacklist.domain.errors import PeriodEmpty, RangeOverlaps, RowInvalid

_VERSION: Final = Struct(">BQqI")
_CHANGE: Final = Struct(">?BBBq?q")
_NUMBER_BYTES: Final = 10


class ListKind(IntEnum):
    """Which list; the numbers are the purposes of compact files (libs/cardlist/header.py)."""

    BLACKLIST = 1
    RANGES = 2
    STAFF = 3
    ISSUERS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        key: Ranges: first and last number, 10 bytes BCD each. Staff: number (10) and generation (4). Issuers:
            institution id (8).
        mode: Of a range, a `ListMode` that refuses; of others 3, accept.
        reason: Of a range, a `ListReason`; of others 0.
        effective_time: From when on.
        until_time: From when on it holds no more; None: until it is removed.
        put_version: Version that put it; 0 where it is not stored yet.
    """

    key: bytes
    mode: int
    reason: int
    effective_time: datetime
    until_time: datetime | None = None
    put_version: int = 0

    def in_force(self, at: datetime) -> bool:
        """Whether it holds at an instant."""
        return self.effective_time <= at and (self.until_time is None or at < self.until_time)

    @property
    def first(self) -> bytes:
        """First number of a range, 10 bytes BCD."""
        return self.key[:_NUMBER_BYTES]

    @property
    def last(self) -> bytes:
        """Last number of a range, 10 bytes BCD."""
        return self.key[_NUMBER_BYTES:]


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row put, or removed as it was.

    Attributes:
        row: The row.
        put: True: put; False: removed.
        at: When its version was made.
    """

    row: Row
    put: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class KindHead:
    """The newest version of one of these lists.

    Attributes:
        kind: Which.
        version: One up for every request that changed it; 0 before any.
        row_count: Rows listed.
        chain_hash: 32 bytes.
        create_time: When it was made; None for version 0.
    """

    kind: ListKind
    version: int = 0
    row_count: int = 0
    chain_hash: bytes = EMPTY_HASH
    create_time: datetime | None = None


def hash_after(before: bytes, kind: ListKind, version: int, at: datetime, changes: Sequence[RowChange]) -> bytes:
    """The chain hash of a version, 32 bytes.

    SHA-256 over: hash of the version before (32), list (1), version (8), create time (8), count of changes (4); of each
    change put (1), length of the key (1), mode (1), reason (1), effective time (8), whether there is an end (1), the
    end or 0 (8), key. Big-endian; times in microseconds since 1970, signed.
    """
    made = hashlib.sha256(before + _VERSION.pack(kind, version, microseconds(at), len(changes)))
    for change in changes:
        row = change.row
        until = 0 if row.until_time is None else microseconds(row.until_time)
        timed = row.until_time is not None
        effective = microseconds(row.effective_time)
        made.update(_CHANGE.pack(change.put, len(row.key), row.mode, row.reason, effective, timed, until) + row.key)
    return made.digest()


def append_rows(head: KindHead, changes: Sequence[RowChange], row_count: int, at: datetime) -> KindHead:
    """The next version.

    Args:
        head: The newest; its row is locked.
        changes: In the order of their keys, at least one.
        row_count: Rows after them.
        at: The moment of the change.
    """
    assert changes, "a version without a change would be a lie"
    version = head.version + 1
    return KindHead(head.kind, version, row_count, hash_after(head.chain_hash, head.kind, version, at, changes), at)


def check_rows(kind: ListKind, rows: Sequence[Row]) -> None:
    """Whether rows to be put can stand in their list.

    Raises:
        RowInvalid: A range ends before it begins; a key is named twice.
        PeriodEmpty: One would end before it begins.
    """
    seen: set[bytes] = set()
    for index, row in enumerate(rows):
        if row.key in seen:
            raise RowInvalid(list=kind.name, index=index, field="key named twice")
        if kind is ListKind.RANGES and row.last < row.first:
            raise RowInvalid(list=kind.name, index=index, field="last_number before first_number")
        if row.until_time is not None and row.until_time <= row.effective_time:
            raise PeriodEmpty(until_time=row.until_time.isoformat())
        seen.add(row.key)


def check_overlaps(ranges: Iterable[Row]) -> None:
    """Whether no range overlaps another: of each number one row must say what to do.

    Raises:
        RangeOverlaps: Two do.
    """
    before: Row | None = None
    for row in sorted(ranges, key=lambda one: one.key):
        if before is not None and row.first <= before.last:
            raise RangeOverlaps(
                first=row.first.hex(), last=row.last.hex(), other=f"{before.first.hex()}-{before.last.hex()}"
            )
        before = row


def row_at(changes: Iterable[RowChange], at: datetime) -> Row | None:
    """The row of one key that was in force at an instant, also a past one.

    Args:
        changes: All changes of the key, by version. A row put again counts from then on as it then was.
        at: The instant.
    """
    held: Row | None = None
    since: datetime | None = None
    for change in changes:
        if held is not None and since is not None and since <= at < change.at and held.in_force(at):
            return held
        # The first word on a key may reach back to its effective time; a later one holds from its version on.
        since = change.row.effective_time if held is None else change.at
        held = change.row if change.put else None
    return held if held is not None and since is not None and since <= at and held.in_force(at) else None
