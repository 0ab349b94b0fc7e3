"""Which batches were folded, in PostgreSQL."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.domain.batch import PostedBatch

_CLAIM = text(
    "INSERT INTO batch_fold (batch_id, journal_id, movement_count, movement_total_fen, post_time, fold_time,"
    " detail_hash)"
    " VALUES (:batch_id, :journal_id, :movement_count, :movement_total_fen, :post_time, :fold_time, :detail_hash)"
    " ON CONFLICT (batch_id) DO NOTHING RETURNING batch_number"
)


class PostgresBatches:
    """`BatchRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, batch: PostedBatch, journal: UUID | None, detail: bytes, now: datetime) -> int | None:
        """See the port."""
        values = {
            "batch_id": UUID(batch.batch_id),
            "journal_id": journal,
            "movement_count": len(batch.movements),
            "movement_total_fen": batch.total_fen,
            "post_time": batch.post_time,
            "fold_time": now,
            "detail_hash": detail,
        }
        number: int | None = (await self._connection.execute(_CLAIM, values)).scalar_one_or_none()
        return number
