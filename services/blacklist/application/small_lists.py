"""Ranges, staff and issuers held in memory for the online check."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.blacklist.application.list_ports import KindsUnitOfWork
from services.blacklist.domain.rows import KindHead, ListKind, Row


@dataclass(frozen=True, slots=True)
class SmallLists:
    """The lists at some versions.

    Attributes:
        heads: These versions.
        ranges: Ascending, none overlaps another.
        staff: Rows by key.
        issuers: Rows by key.
    """

    heads: tuple[KindHead, ...] = ()
    ranges: tuple[Row, ...] = ()
    staff: dict[bytes, Row] = field(default_factory=dict)
    issuers: dict[bytes, Row] = field(default_factory=dict)

    def range_of(self, number: bytes) -> Row | None:
        """The range that a number (10 bytes BCD) lies in, in force or not."""
        place = bisect_right(self.ranges, number, key=lambda row: row.first) - 1
        return self.ranges[place] if place >= 0 and number <= self.ranges[place].last else None

    def is_staff(self, number: bytes, generation: int, at: datetime) -> bool:
        """Whether a card is a staff card in force."""
        row = self.staff.get(staff_key(number, generation))
        return row is not None and row.in_force(at)

    def accepts(self, issuer: bytes, at: datetime) -> bool:
        """Whether cards of an issuer (8 bytes) are accepted; all are while no white list was ever made."""
        row = self.issuers.get(issuer)
        ever = any(head.kind is ListKind.ISSUERS and head.version for head in self.heads)
        return not ever or (row is not None and row.in_force(at))


def staff_key(number: bytes, generation: int) -> bytes:
    """Key of a staff card's row: number (10) and generation (4)."""
    return number + generation.to_bytes(4, "big")


class KnownSmallLists:
    """The newest of these lists, at most `age_s_max` old.

    Args:
        unit_of_work: Opens a transaction; the database is the only truth.
        age_s_max: How long it is believed that nothing changed, seconds; 0 asks each time.
        monotonic: Tells elapsed seconds; for tests.
    """

    def __init__(
        self,
        unit_of_work: Callable[[], KindsUnitOfWork],
        age_s_max: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._age_s_max = age_s_max
        self._monotonic = monotonic
        self._lists = SmallLists()
        self._known_at = float("-inf")
        self._asking = asyncio.Lock()

    def forget(self) -> None:
        """A change of this process was committed."""
        self._known_at = float("-inf")

    async def newest(self) -> SmallLists:
        """The lists.

        Raises:
            Exception: What the database raises when it is away.
        """
        asked_at = self._monotonic()
        async with self._asking:
            if self._known_at >= asked_at or asked_at - self._known_at < self._age_s_max:
                return self._lists
            began = self._monotonic()
            async with self._unit_of_work() as uow:
                heads = tuple(await uow.kinds.heads())
                if heads != self._lists.heads:
                    self._lists = await self._read(uow, heads)
            self._known_at = began
            return self._lists

    async def _read(self, uow: KindsUnitOfWork, heads: tuple[KindHead, ...]) -> SmallLists:
        """Heads first: rows that are newer than them are read again the next time."""
        ranges = tuple(await uow.kinds.rows(ListKind.RANGES))
        staff = {row.key: row for row in await uow.kinds.rows(ListKind.STAFF)}
        issuers = {row.key: row for row in await uow.kinds.rows(ListKind.ISSUERS)}
        return SmallLists(heads, ranges, staff, issuers)
