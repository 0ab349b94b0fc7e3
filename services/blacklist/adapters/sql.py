"""The list in PostgreSQL."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.clock import Clock
from libs.runtime.database import UnitOfWork
from libs.runtime.logging import masked
from services.blacklist.adapters import list_columns
from services.blacklist.adapters.events_out import Announce
from services.blacklist.adapters.rows import card_of_row, entry_of_row, listing_of_row
from services.blacklist.adapters.sql_files import SqlFiles
from services.blacklist.adapters.sql_journeys import SqlJourneys
from services.blacklist.adapters.sql_kinds import SqlKinds
from services.blacklist.adapters.tables import ENTRY, LIST_CHANGE, LIST_HEAD
from services.blacklist.application.ports import FoldProof, ListColumns
from services.blacklist.domain.chain import Change, Head
from services.blacklist.domain.entry import CardKey, Entry

_KEY: Final = ("scheme", "number", "generation")
_CHANGES_A_PAGE: Final = 5000
_FOLD: Final = """
    WITH f AS (
        SELECT DISTINCT ON (scheme, number, generation) * FROM list_change
        ORDER BY scheme, number, generation, version DESC),
    wrong AS (
        SELECT coalesce(e.scheme, f.scheme) AS scheme, coalesce(e.number, f.number) AS number
        FROM (SELECT * FROM entry WHERE changed_version > 0 OR listed) e
        FULL JOIN f USING (scheme, number, generation)
        WHERE (e.listed = f.added AND e.changed_version = f.version
            AND (e.reason, e.mode, e.effective_time, e.report_time)
                = (f.reason, f.mode, f.effective_time, f.report_time)
            AND e.until_time IS NOT DISTINCT FROM f.until_time
            AND (f.added OR (e.remove_time, e.removed_version) = (f.holds_from, f.version))) IS NOT TRUE)
    SELECT (SELECT count(*) FROM f) AS entry_count, (SELECT count(*) FROM wrong) AS broken_count,
        (SELECT scheme || '-' || encode(number, 'hex') FROM wrong LIMIT 1) AS first_broken,
        count(*) FILTER (WHERE listed) AS listed_count,
        count(*) FILTER (WHERE listed AND loss_open) AS lost_count
    FROM entry"""


class SqlEntries:
    """The port `Entries` on one open transaction.

    Args:
        connection: The transaction.
        changed: Is told of each version that is appended.
    """

    def __init__(self, connection: AsyncConnection, changed: Callable[[Head], None] = lambda head: None) -> None:
        self._connection = connection
        self._changed = changed

    async def head(self) -> Head:
        """The newest version."""
        return _head((await self._connection.execute(select(LIST_HEAD))).one())

    async def head_for_update(self) -> Head:
        """The newest version, its row locked."""
        return _head((await self._connection.execute(select(LIST_HEAD).with_for_update())).one())

    async def get(self, card: CardKey) -> Entry:
        """What is known of a card."""
        row = (await self._connection.execute(select(ENTRY).where(_is(ENTRY, card)))).one_or_none()
        return Entry(card) if row is None else entry_of_row(row)

    async def look(self, card: CardKey) -> tuple[Head, Entry]:
        """Version and entry; one statement sees one instant."""
        head = [LIST_HEAD.c[name].label(f"head_{name}") for name in ("version", "entry_count", "chain_hash")]
        made = LIST_HEAD.c.create_time.label("head_create_time")
        statement = select(*head, made, ENTRY).select_from(LIST_HEAD.outerjoin(ENTRY, _is(ENTRY, card)))
        row = (await self._connection.execute(statement)).one()
        found = Head(row.head_version, row.head_entry_count, bytes(row.head_chain_hash), row.head_create_time)
        return found, Entry(card) if row.scheme is None else entry_of_row(row)

    async def save(self, entry: Entry) -> None:
        """Insert or overwrite the entry of a card."""
        shown = entry.shown
        values = {
            "listed": entry.listed,
            "reason": int(shown.reason) if shown else None,
            "mode": int(shown.mode) if shown else None,
            "effective_time": shown.effective_time if shown else None,
            "report_time": shown.report_time if shown else None,
            "until_time": shown.until_time if shown else None,
            "loss_open": entry.loss_open,
            "loss_time": entry.loss_time,
            "decided": entry.decided,
            "remove_time": entry.remove_time,
            "added_version": entry.added_version,
            "removed_version": entry.removed_version,
            "changed_version": entry.changed_version,
        }
        statement = insert(ENTRY).values(_card_values(entry.card) | values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=values))

    async def append(self, head: Head, change: Change) -> None:
        """Write the change and move the head."""
        values = _card_values(change.card) | {
            "version": change.version,
            "added": change.added,
            "reason": int(change.listing.reason),
            "mode": int(change.listing.mode),
            "effective_time": change.listing.effective_time,
            "report_time": change.listing.report_time,
            "until_time": change.listing.until_time,
            "holds_from": change.holds_from,
            "create_time": change.create_time,
            "chain_hash": change.chain_hash,
        }
        await self._connection.execute(insert(LIST_CHANGE).values(values))
        statement = update(LIST_HEAD).where(LIST_HEAD.c.version == head.version - 1)
        moved = await self._connection.execute(
            statement.values(
                version=head.version,
                entry_count=head.entry_count,
                chain_hash=head.chain_hash,
                create_time=head.create_time,
            )
        )
        assert moved.rowcount == 1, "the head is locked by whoever appends"
        if change.added:
            await self._begin_journey(change)
        self._changed(head)

    async def _begin_journey(self, change: Change) -> None:
        """A card that was not listed is from now on on its way to the terminals; another reason is no new way."""
        listed = select(ENTRY.c.listed).where(_is(ENTRY, change.card), ENTRY.c.listed)
        if (await self._connection.execute(listed)).first() is not None:
            return
        statement = text("""
            INSERT INTO version_hop (version, report_time, version_time, effective_time)
            VALUES (:version, :report_time, :version_time, :effective_time)""")
        values = {
            "version": change.version,
            "report_time": change.listing.report_time,
            "version_time": change.create_time,
            "effective_time": change.listing.effective_time,
        }
        await self._connection.execute(statement, values)

    async def list(self, after: CardKey | None, size: int, *, show_removed: bool) -> Sequence[Entry]:
        """A page by scheme, number and generation."""
        columns = [ENTRY.c[name] for name in _KEY]
        # Remembered without ever having been listed: not an entry of the list.
        statement = select(ENTRY).where(ENTRY.c.changed_version > 0 if show_removed else ENTRY.c.listed)
        if after is not None:
            statement = statement.where(tuple_(*columns) > (after.scheme, after.number, after.generation))
        rows = await self._connection.execute(statement.order_by(*columns).limit(size))
        return [entry_of_row(row) for row in rows]

    async def expired(self, at: datetime, size: int) -> Sequence[CardKey]:
        """Entries by their end."""
        statement = select(ENTRY).where(ENTRY.c.listed, ENTRY.c.until_time <= at).order_by(ENTRY.c.until_time)
        return [card_of_row(row) for row in await self._connection.execute(statement.limit(size))]

    async def changes_of(self, card: CardKey) -> Sequence[Change]:
        """The history of a card."""
        statement = select(LIST_CHANGE).where(_is(LIST_CHANGE, card)).order_by(LIST_CHANGE.c.version)
        return [_change(row) for row in await self._connection.execute(statement)]

    async def full(self) -> tuple[Head, ListColumns]:
        """The whole list as columns."""
        row = (await self._connection.execute(text(list_columns.FULL))).one()
        return _head(row), list_columns.read(row)

    async def increment(self, base_version: int) -> tuple[Head, ListColumns]:
        """The difference to a base version as columns."""
        row = (await self._connection.execute(text(list_columns.INCREMENT), {"base": base_version})).one()
        return _head(row), list_columns.read(row)

    async def changes(self) -> AsyncIterator[Sequence[Change]]:
        """All changes, page by page."""
        after = 0
        while True:
            statement = select(LIST_CHANGE).where(LIST_CHANGE.c.version > after).order_by(LIST_CHANGE.c.version)
            rows = (await self._connection.execute(statement.limit(_CHANGES_A_PAGE))).all()
            if not rows:
                return
            yield [_change(row) for row in rows]
            after = rows[-1].version

    async def prove_fold(self) -> FoldProof:
        """Fold the changes in SQL and compare."""
        row = (await self._connection.execute(text(_FOLD))).one()
        first = masked(row.first_broken) if row.first_broken else ""
        return FoldProof(row.entry_count, row.broken_count, first, row.listed_count, row.lost_count)


class BlacklistUnitOfWork(UnitOfWork):
    """One transaction of the blacklist.

    Args:
        engine: The database.
        clock: For the times of events.
        on_commit: Is told the newest version after a commit that made one.
        snapshot: All reads see one instant; for proofs.
        notice: How long terminals must have had to fetch a list before its acquirers bear what they accept.
    """

    entries: SqlEntries
    kinds: SqlKinds
    files: SqlFiles
    journeys: SqlJourneys

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        on_commit: Callable[[Head], None] = lambda head: None,
        *,
        snapshot: bool = False,
        notice: timedelta = timedelta(hours=23),
    ) -> None:
        super().__init__(engine, clock)
        self._on_commit = on_commit
        self._snapshot = snapshot
        self._notice = notice
        self._new_head: Head | None = None

    @property
    def announce(self) -> Announce:
        """Where changes go out."""
        return Announce(self.outbox)

    async def _open(self) -> None:
        if self._snapshot:
            await self.connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        self._new_head = None
        self.entries = SqlEntries(self.connection, self._remember)
        self.kinds = SqlKinds(self.connection)
        self.files = SqlFiles(self.connection, self.outbox, self._notice)
        self.journeys = SqlJourneys(self.connection)

    def _remember(self, head: Head) -> None:
        self._new_head = head

    async def commit(self) -> None:
        """Commit, then tell."""
        await super().commit()
        if self._new_head is not None:
            self._on_commit(self._new_head)


def _is(table: Table, card: CardKey) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _card_values(card).items()))


def _card_values(card: CardKey) -> dict[str, Any]:
    return {"scheme": card.scheme, "number": card.number, "generation": card.generation}


def _head(row: Any) -> Head:
    return Head(row.version, row.entry_count, bytes(row.chain_hash), row.create_time)


def _change(row: Any) -> Change:
    return Change(
        row.version,
        card_of_row(row),
        row.added,
        listing_of_row(row),
        row.holds_from,
        row.create_time,
        bytes(row.chain_hash),
    )
