"""What replays read, and discounts that were missed, in SQL."""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.adapters.files import SqlFiles
from services.clearing.application.ports import StoredFile


class SqlReplays:
    """Replays on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def files_of(self, participant: int, settlement_date: date) -> list[StoredFile]:
        """Files that brought records of a window, oldest first."""
        query = text(
            "SELECT DISTINCT file_id FROM record WHERE settlement_date = :day AND participant = :participant ORDER BY 1"
        )
        rows = await self._connection.execute(query, {"day": settlement_date, "participant": participant})
        wanted = [row.file_id for row in rows]
        files = await SqlFiles(self._connection).by_ids(set(wanted))
        return [files[one] for one in wanted]
