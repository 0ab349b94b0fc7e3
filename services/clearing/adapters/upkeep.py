"""Archives and retention in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.adapters.files import SqlFiles
from services.clearing.application.ports import JUDGED, StoredFile, Upload


class SqlUpkeep:
    """What looks after the tables, on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def archivable(self, judged_before: datetime, files_max: int, records_max: int) -> list[StoredFile]:
        """Oldest judged files that lie in no archive and whose every window is closed, by surrogate, locked."""
        query = text(
            "SELECT f.id, f.record_count FROM file f WHERE f.state = :state AND f.judged_at < :before "
            "AND NOT EXISTS (SELECT FROM archived_file a WHERE a.file_id = f.id) "
            "AND NOT EXISTS (SELECT FROM jsonb_each_text(f.settlement_dates) AS d (participant, day) "
            "LEFT JOIN settlement_window w ON w.participant = d.participant::int AND w.settlement_date = d.day::date "
            "WHERE w.closed_at IS NULL) "
            # What a later decision let in settles in a window of its own.
            "AND NOT EXISTS (SELECT FROM waiting_record o WHERE o.file_id = f.id AND o.closed_at IS NULL "
            "AND o.code NOT IN (0, 2)) ORDER BY f.id LIMIT :size FOR UPDATE OF f SKIP LOCKED"
        )
        rows = await self._connection.execute(query, {"state": JUDGED, "before": judged_before, "size": files_max})
        ids: list[int] = []
        records = 0
        for row in rows:
            records += row.record_count
            if ids and records > records_max:
                break
            ids.append(row.id)
        found = await SqlFiles(self._connection).by_ids(ids)
        return [found[one] for one in ids]

    async def uploads(self, ids: Sequence[int]) -> dict[int, Upload]:
        """What the gateway said of these files."""
        query = text(
            "SELECT id, participant, sha256, upload_sequence, stored_at, sender_institution, batch_number, "
            "record_count, total_fen FROM file WHERE id = ANY(:ids)"
        )
        return {
            row.id: Upload(
                row.participant, bytes(row.sha256), row.upload_sequence, 0, row.stored_at, row.sender_institution,
                row.batch_number, row.record_count, int(row.total_fen),
            )
            for row in await self._connection.execute(query, {"ids": list(ids)})
        }  # fmt: skip

    async def note_archived(self, ids: Sequence[int], archive: str, at: datetime) -> None:
        """These files lie in an archive."""
        statement = text("INSERT INTO archived_file SELECT unnest(CAST(:ids AS bigint[])), :archive, :at")
        await self._connection.execute(statement, {"ids": list(ids), "archive": archive, "at": at})

    async def forget_decided(self, before: datetime) -> int:
        """Remove waiting records that were decided before a moment; how many."""
        # An open memorandum still asks its record what became of it.
        statement = text(
            "DELETE FROM waiting_record w WHERE closed_at < :before AND NOT EXISTS (SELECT FROM suspense_item i "
            "WHERE i.digest = w.digest AND i.state < 4)"
        )
        return (await self._connection.execute(statement, {"before": before})).rowcount
