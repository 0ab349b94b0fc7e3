"""CheckCard: whether a card is listed at an instant."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from libs.clock import Clock
from services.blacklist.application.known_head import KnownHead
from services.blacklist.application.ports import FastCopy, UnitOfWork
from services.blacklist.domain.chain import listed_at
from services.blacklist.domain.entry import CardKey, Entry


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer.

    Attributes:
        listed: The card must be refused at the instant asked about.
        entry: What the list says, also when not effective yet; None when it says nothing.
        version: The version that was looked at.
    """

    listed: bool
    entry: Entry | None
    version: int


class CheckCard:
    """Looks into the fast copy if it holds the newest version, and otherwise into the database."""

    def __init__(
        self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, known_head: KnownHead, fast_copy: FastCopy
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._known_head = known_head
        self._fast_copy = fast_copy

    async def __call__(self, card: CardKey, at: datetime | None) -> Checked:
        """Check a card at an instant, None for now.

        What the list says now answers for now and later; a past instant needs the card's history, from the database.
        """
        now = self._clock.now()
        if at is not None and at < now:
            return await self._past(card, at)
        when = at or now
        head = await self._known_head.newest()
        found = await self._fast_copy.look(card, head)
        if found is not None:
            (entry,) = found
        else:
            async with self._unit_of_work() as uow:
                head, known = await uow.entries.look(card)
            entry = known if known.listed else None
        return Checked(_effective(entry, when), entry, head.version)

    async def _past(self, card: CardKey, at: datetime) -> Checked:
        async with self._unit_of_work() as uow:
            head, entry = await uow.entries.look(card)
            changes = await uow.entries.changes_of(card)
        listed = listed_at((change for change in changes if change.version <= head.version), at)
        return Checked(listed, entry if listed or entry.listed else None, head.version)


def _effective(entry: Entry | None, at: datetime) -> bool:
    shown = entry.shown if entry is not None else None
    return shown is not None and shown.mode.refuses and shown.in_force(at)
