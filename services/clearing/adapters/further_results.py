"""Further result files in SQL."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.records import bcd
from services.clearing.adapters.files import SqlFiles
from services.clearing.application.further_results import DecidedRecord, FurtherResult
from services.clearing.application.ports import StoredFile


class SqlFurtherResults:
    """Further result files on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def untold(self, participant: int) -> list[tuple[StoredFile, list[DecidedRecord]]]:
        """Decided items that no file has told, by file and index; locked for this transaction."""
        query = text(
            "SELECT id, file_id, file_index, terminal_number, terminal_seq, final_code, pay_fen, posted_on "
            "FROM suspense_item WHERE participant = :participant AND state = 4 AND result_number IS NULL "
            "ORDER BY file_id, file_index FOR UPDATE"
        )
        by_file: dict[int, list[DecidedRecord]] = {}
        for row in await self._connection.execute(query, {"participant": participant}):
            record = DecidedRecord(
                item_id=row.id,
                index=row.file_index,
                terminal_number=row.terminal_number,
                terminal_seq=row.terminal_seq,
                final_code=row.final_code,
                settled_fen=row.pay_fen,
                settled_on=bytes(4) if row.posted_on is None else bcd.bcd_date(row.posted_on),
            )
            by_file.setdefault(row.file_id, []).append(record)
        files = await SqlFiles(self._connection).by_ids(set(by_file))
        return [(files[file_id], records) for file_id, records in sorted(by_file.items())]

    async def next_number(self) -> int:
        """The next number; given back when the transaction is."""
        query = text("UPDATE counter SET next = next + 1 WHERE name = 'further_result' RETURNING next - 1")
        number: int = (await self._connection.execute(query)).scalar_one()
        return number

    async def add(
        self, participant: int, file_id: int, made: FurtherResult, content: bytes, items: Sequence[int]
    ) -> None:
        """Store a file, and note on its items that they are told."""
        await self._connection.execute(
            text(
                "INSERT INTO further_result VALUES (:participant, :number, :file, :records, :settled, :at, :content, "
                ":sha)"
            ),
            {
                "participant": participant,
                "number": made.number,
                "file": file_id,
                "records": made.record_count,
                "settled": made.settled_fen,
                "at": made.made_at,
                "content": content,
                "sha": made.sha256,
            },
        )
        told = text("UPDATE suspense_item SET result_number = :number WHERE id = ANY(:items)")
        await self._connection.execute(told, {"number": made.number, "items": list(items)})

    async def page(self, participant: str, after: int, size: int) -> list[FurtherResult]:
        """Files of a participant by number."""
        query = text(
            "SELECT p.id, r.number, 'participants/' || f.participant || '/files/' || encode(f.sha256, 'hex') AS file, "
            "r.record_count, r.settled_fen, r.sha256, r.made_at FROM further_result r "
            "JOIN participant p ON p.number = r.participant JOIN file f ON f.id = r.file_id "
            "WHERE p.id = :participant AND r.number > :after ORDER BY r.number LIMIT :size"
        )
        values = {"participant": participant, "after": after, "size": size}
        return [
            FurtherResult(
                row.id, row.number, row.file, row.record_count, row.settled_fen, bytes(row.sha256), row.made_at
            )
            for row in await self._connection.execute(query, values)
        ]

    async def content(self, participant: str, number: int) -> bytes | None:
        """The bytes of one file."""
        query = text(
            "SELECT r.rs_file FROM further_result r JOIN participant p ON p.number = r.participant "
            "WHERE p.id = :participant AND r.number = :number"
        )
        values = {"participant": participant, "number": number}
        content = (await self._connection.execute(query, values)).scalar()
        return None if content is None else bytes(content)
