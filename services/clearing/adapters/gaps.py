"""The gap ledger in SQL; only counters of terminals and cards with new records are looked at."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.ports import StoredGap
from services.clearing.domain.gaps import Gap, GapEnd, GapKind

# Records that wait have been seen, whatever becomes of them; kinds 05, 07 and 0A have no counter of the terminal.
_TERMINALS = """
    WITH touched AS MATERIALIZED (SELECT DISTINCT terminal_number AS key FROM record WHERE file_id > :since),
    seen AS (
        SELECT r.terminal_number AS key, r.terminal_seq AS n FROM touched t JOIN record r ON r.terminal_number = t.key
        UNION SELECT w.terminal_number, w.terminal_seq FROM touched t JOIN waiting_record w ON w.terminal_number = t.key
        WHERE w.kind IN (1, 2, 3, 4, 6, 8, 9)
    ), steps AS (SELECT key, n, lag(n) OVER (PARTITION BY key ORDER BY n) AS before FROM seen)
    SELECT s.key, s.before + 1 AS first, s.n - 1 AS last, coalesce(p.number, 0) AS participant FROM steps s
    LEFT JOIN terminal t ON t.number = s.key LEFT JOIN participant p ON p.id = t.participant
    WHERE s.n > s.before + 1
"""
# A card's counters are known from its first on.
_CARDS = """
    WITH touched AS MATERIALIZED (SELECT DISTINCT card_id AS key FROM record WHERE file_id > :since),
    steps AS (
        SELECT r.card_id AS key, r.card_counter AS n,
        lag(r.card_counter, 1, c.counter_first - 1) OVER (PARTITION BY r.card_id ORDER BY r.card_counter) AS before
        FROM touched t JOIN card c ON c.id = t.key JOIN record r ON r.card_id = t.key
    )
    SELECT key, before + 1 AS first, n - 1 AS last, 0 AS participant FROM steps WHERE n > before + 1
"""
_WATERMARK = "gap_file"


class SqlGaps:
    """The gap ledger on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def since(self) -> int:
        """The last file that was looked at; looks wait for one another here."""
        query = text("SELECT next FROM counter WHERE name = :name FOR UPDATE")
        return int((await self._connection.execute(query, {"name": _WATERMARK})).scalar_one())

    async def looked(self) -> None:
        """Files before the oldest that is still being judged need no second look."""
        statement = text(
            "UPDATE counter SET next = coalesce((SELECT min(id) - 1 FROM file WHERE state = 1), "
            "(SELECT max(id) FROM file), 0) WHERE name = :name"
        )
        await self._connection.execute(statement, {"name": _WATERMARK})

    async def missing(self, since: int, at: datetime) -> list[Gap]:
        """What is missing of the counters with records of files after one."""
        found = []
        for kind, query in ((GapKind.TERMINAL, _TERMINALS), (GapKind.CARD, _CARDS)):
            for row in await self._connection.execute(text(query), {"since": since}):
                found.append(Gap(kind, row.key, row.first, row.last, row.participant, at))
        return found

    async def open(self, since: int, lost_before: datetime) -> tuple[list[Gap], list[Gap]]:
        """Open and lost gaps of counters with records of files after one; and open ones of others that are too old."""
        query = text(
            "SELECT g.*, (g.kind = 1 AND EXISTS (SELECT FROM record r WHERE r.terminal_number = g.key AND "
            "r.file_id > :since)) OR (g.kind = 2 AND EXISTS (SELECT FROM record r WHERE r.card_id = g.key AND "
            "r.file_id > :since)) AS touched FROM counter_gap g WHERE g.closed_at IS NULL OR g.reason = 3"
        )
        touched, old = [], []
        for row in await self._connection.execute(query, {"since": since}):
            gap = Gap(
                GapKind(row.kind),
                row.key,
                row.first,
                row.last,
                row.participant,
                row.opened_at,
                GapEnd(row.reason or 0),
                row.id,
            )
            if row.touched:
                touched.append(gap)
            elif gap.end is GapEnd.OPEN and gap.opened_at <= lost_before:
                old.append(gap)
        return touched, old

    async def add(self, gaps: Sequence[Gap]) -> None:
        """Store new gaps."""
        if gaps:
            await self._connection.execute(
                text(
                    "INSERT INTO counter_gap (kind, key, first, last, participant, opened_at) "
                    "VALUES (:kind, :key, :first, :last, :participant, :at)"
                ),
                [{"kind": int(one.kind), "key": one.key, "first": one.first, "last": one.last,
                  "participant": one.participant, "at": one.opened_at} for one in gaps],
            )  # fmt: skip

    async def end(self, gaps: Sequence[Gap], at: datetime) -> None:
        """Note the end of gaps."""
        if gaps:
            await self._connection.execute(
                text("UPDATE counter_gap SET closed_at = :at, reason = :reason WHERE id = :id"),
                [{"at": at, "reason": int(one.end), "id": one.id} for one in gaps],
            )

    async def page(
        self, participant: str | None, kind: int, *, open_only: bool, after: int, size: int
    ) -> list[StoredGap]:
        """Gaps in the order in which they were found; kind 0 means both, no participant means all."""
        query = text(
            "SELECT g.*, p.id AS owner, CASE WHEN g.kind = 1 THEN 'terminals/' || lpad(g.key::text, 12, '0') ELSE "
            "'cards/' || CASE WHEN c.jt THEN 'jt-' ELSE 'cj-' END || encode(c.number, 'hex') END AS holder "
            "FROM counter_gap g LEFT JOIN participant p ON p.number = g.participant "
            "LEFT JOIN card c ON g.kind = 2 AND c.id = g.key WHERE g.id > :after "
            "AND (CAST(:participant AS text) IS NULL OR p.id = :participant) AND (:kind = 0 OR g.kind = :kind) "
            "AND (NOT :open OR g.closed_at IS NULL) ORDER BY g.id LIMIT :size"
        )
        values = {"participant": participant, "kind": kind, "open": open_only, "after": after, "size": size}
        return [
            StoredGap(row.id, row.kind, row.holder, row.first, row.last, row.owner or "", row.opened_at,
                      row.closed_at, row.reason or 0)
            for row in await self._connection.execute(query, values)
        ]  # fmt: skip
