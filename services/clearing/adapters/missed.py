"""Missed discounts in SQL."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.missed_discounts import MissedRow


def _to_row(row: Row[Any]) -> MissedRow:
    return MissedRow(
        row.terminal_number, row.terminal_seq, row.before_terminal, row.before_seq, row.card, row.rule_id, row.paid_fen,
        row.expected_fen, row.adjustment_id,
    )  # fmt: skip


class SqlMissed:
    """Missed discounts on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, day: date, rows: Sequence[tuple[int, MissedRow]], at: datetime) -> list[MissedRow]:
        """Keep what was found, with the participant of each; those that were not known."""
        if not rows:
            return []
        statement = text(
            "INSERT INTO missed_discount (terminal_number, terminal_seq, card, participant, settlement_date, rule_id, "
            "paid_fen, expected_fen, before_terminal, before_seq, found_at) SELECT terminal, seq, card, participant, "
            ":day, rule, paid, expected, before_terminal, before_seq, :at FROM unnest(CAST(:terminals AS bigint[]), "
            "CAST(:seqs AS bigint[]), CAST(:cards AS text[]), CAST(:participants AS int[]), CAST(:rules AS int[]), "
            "CAST(:paids AS bigint[]), CAST(:expecteds AS bigint[]), CAST(:before_terminals AS bigint[]), "
            "CAST(:before_seqs AS bigint[])) AS t (terminal, seq, card, participant, rule, paid, expected, "
            "before_terminal, before_seq) ON CONFLICT DO NOTHING RETURNING *"
        )
        values = {
            "day": day, "at": at, "participants": [number for number, _ in rows],
            "terminals": [one.terminal_number for _, one in rows], "seqs": [one.terminal_seq for _, one in rows],
            "cards": [one.card for _, one in rows], "rules": [one.rule_id for _, one in rows],
            "paids": [one.paid_fen for _, one in rows], "expecteds": [one.expected_fen for _, one in rows],
            "before_terminals": [one.before_terminal for _, one in rows],
            "before_seqs": [one.before_seq for _, one in rows],
        }  # fmt: skip
        return [_to_row(row) for row in await self._connection.execute(statement, values)]

    async def unpaid(self, participant: int, day: date) -> list[MissedRow]:
        """What nobody proposed to pay back; locked for this transaction."""
        query = text(
            "SELECT * FROM missed_discount WHERE participant = :participant AND settlement_date = :day "
            "AND adjustment_id IS NULL ORDER BY terminal_number, terminal_seq FOR UPDATE"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": day})
        return [_to_row(row) for row in rows]

    async def propose(self, participant: int, day: date, adjustment_id: int) -> None:
        """Tie what is not proposed to an adjustment; the caller holds the rows."""
        statement = text(
            "UPDATE missed_discount SET adjustment_id = :adjustment WHERE participant = :participant "
            "AND settlement_date = :day AND adjustment_id IS NULL"
        )
        values = {"adjustment": adjustment_id, "participant": participant, "day": day}
        await self._connection.execute(statement, values)

    async def release(self, adjustment_id: int) -> None:
        """An adjustment was refused: what it would have paid back may be proposed again."""
        statement = text("UPDATE missed_discount SET adjustment_id = NULL WHERE adjustment_id = :adjustment")
        await self._connection.execute(statement, {"adjustment": adjustment_id})

    async def page(self, participant: int, day: date, after: tuple[int, int] | None, size: int) -> list[MissedRow]:
        """Of a participant and day, by record."""
        query = text(
            "SELECT * FROM missed_discount WHERE participant = :participant AND settlement_date = :day "
            "AND (terminal_number, terminal_seq) > (:terminal, :seq) ORDER BY terminal_number, terminal_seq LIMIT :size"
        )
        terminal, seq = after or (-1, -1)
        values = {"participant": participant, "day": day, "terminal": terminal, "seq": seq, "size": size}
        return [_to_row(row) for row in await self._connection.execute(query, values)]
