"""CheckCard: whether a card is listed at an instant."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from libs.clock import Clock
from services.blacklist.application.known_head import KnownHead
from services.blacklist.application.list_ports import KindsUnitOfWork
from services.blacklist.application.ports import FastCopy
from services.blacklist.application.small_lists import KnownSmallLists, staff_key
from services.blacklist.domain.chain import listed_at
from services.blacklist.domain.entry import CardKey, Entry, ListMode
from services.blacklist.domain.rows import ListKind, Row, row_at


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer.

    Attributes:
        listed: The card must be refused at the instant asked about, at one end of a ride at least.
        entry: What the list says, also when not effective yet; None when it says nothing.
        version: The version that was looked at.
        mode: What a terminal does, of the entry that is in force, else of the range; None when neither is.
        range: The number range that the card lies in, also when its own entry counts before it; None outside all.
        staff: It is a staff card in force.
        issuer_accepted: Whether the white list has the issuer asked about; None when none was asked about.
    """

    listed: bool
    entry: Entry | None
    version: int
    mode: ListMode | None = None
    range: Row | None = None
    staff: bool = False
    issuer_accepted: bool | None = None


class CheckCard:
    """Looks into the fast copy if it holds the newest version, and otherwise into the database."""

    def __init__(
        self,
        unit_of_work: Callable[[], KindsUnitOfWork],
        clock: Clock,
        known_head: KnownHead,
        fast_copy: FastCopy,
        small_lists: KnownSmallLists,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._known_head = known_head
        self._fast_copy = fast_copy
        self._small_lists = small_lists

    async def __call__(self, card: CardKey, at: datetime | None, issuer: bytes | None = None) -> Checked:
        """Check a card at an instant, None for now.

        What the lists say now answers for now and later; a past instant needs their history, from the database. A
        card's own entry in force, also one to ignore it, counts before the range that it lies in.

        Args:
            card: Whose card.
            at: The instant.
            issuer: 8 bytes, to be held against the white list; None: not asked.
        """
        now = self._clock.now()
        if at is not None and at < now:
            return await self._past(card, at, issuer)
        when = at or now
        head = await self._known_head.newest()
        found = await self._fast_copy.look(card, head)
        if found is not None:
            (entry,) = found
        else:
            async with self._unit_of_work() as uow:
                head, known = await uow.entries.look(card)
            entry = known if known.listed else None
        small = await self._small_lists.newest()
        span = small.range_of(card.number)
        shown = entry.shown if entry is not None else None
        mode = shown.mode if shown is not None and shown.in_force(when) else _mode(span, when)
        return Checked(
            mode is not None and mode.refuses, entry, head.version, mode, span,
            small.is_staff(card.number, card.generation, when),
            None if issuer is None else small.accepts(issuer, when),
        )  # fmt: skip

    async def _past(self, card: CardKey, at: datetime, issuer: bytes | None) -> Checked:
        async with self._unit_of_work() as uow:
            head, entry = await uow.entries.look(card)
            changes = [one for one in await uow.entries.changes_of(card) if one.version <= head.version]
            own = listed_at(changes, at)
            spans = [row_at(one, at) for one in await uow.kinds.histories_of_ranges(card.number)]
            staff = row_at(await uow.kinds.history(ListKind.STAFF, staff_key(card.number, card.generation)), at)
            accepted = None
            if issuer is not None:
                heads = await uow.kinds.heads()
                ever = any(one.kind is ListKind.ISSUERS and one.version for one in heads)
                accepted = not ever or row_at(await uow.kinds.history(ListKind.ISSUERS, issuer), at) is not None
        span = next((row for row in spans if row is not None), None)
        mode = own.mode if own is not None else _mode(span, at)
        listed = mode is not None and mode.refuses
        return Checked(
            listed, entry if own is not None or entry.listed else None, head.version, mode, span, staff is not None,
            accepted,
        )  # fmt: skip


def _mode(span: Row | None, at: datetime) -> ListMode | None:
    return ListMode(span.mode) if span is not None and span.in_force(at) else None
