"""Adjustments and postings of the book in SQL."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.domain.adjustment import Adjustment, BookPosting


class SqlAdjustments:
    """Adjustments on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def posted(self, event: str, reference: str) -> bool:
        """Whether an event has happened to a reference."""
        query = text("SELECT EXISTS (SELECT FROM book_posting WHERE event = :event AND reference = :reference)")
        found = await self._connection.execute(query, {"event": event, "reference": reference})
        return bool(found.scalar_one())

    async def add_posting(self, posting: BookPosting, at: datetime) -> None:
        """Store a posting with its lines; its event must not have happened to its reference."""
        await self._connection.execute(
            text("INSERT INTO book_posting VALUES (:id, :event, :reference, :at)"),
            {"id": posting.id, "event": posting.event, "reference": posting.reference, "at": at},
        )
        await self._connection.execute(
            text("INSERT INTO book_posting_line VALUES (:id, :place, :debit, :credit, :amount, :records)"),
            [
                {
                    "id": posting.id,
                    "place": place,
                    "debit": line.debit_account,
                    "credit": line.credit_account,
                    "amount": line.amount_fen,
                    "records": line.record_count,
                }
                for place, line in enumerate(posting.lines)
            ],
        )

    async def add(self, posting: BookPosting, placed: Sequence[tuple[date, Adjustment]]) -> None:
        """Store the adjustments of a posting, each in the window of its day."""
        statement = text(
            "INSERT INTO adjustment (participant, settlement_date, kind, amount_fen, reference, original_date, issuer, "
            "posting_id) VALUES (:participant, :day, :kind, :amount, :reference, :original, :issuer, :posting)"
        )
        await self._connection.execute(
            statement,
            [
                {
                    "participant": one.participant,
                    "day": day,
                    "kind": one.kind,
                    "amount": one.amount_fen,
                    "reference": one.reference,
                    "original": one.original_date,
                    "issuer": one.issuer,
                    "posting": posting.id,
                }
                for day, one in placed
            ],
        )

    async def of_window(self, participant: int, settlement_date: date) -> list[Adjustment]:
        """The adjustments of a window, in an order that does not depend on when they were made."""
        query = text(
            "SELECT participant, kind, amount_fen, reference, original_date, issuer FROM adjustment "
            "WHERE participant = :participant AND settlement_date = :day ORDER BY kind, reference, issuer, amount_fen"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": settlement_date})
        return [
            Adjustment(row.participant, row.kind, row.amount_fen, row.reference, row.original_date, row.issuer)
            for row in rows
        ]
