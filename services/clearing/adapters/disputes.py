"""Disputes and adjustments by two persons in SQL."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.settlement_rows import (
    AdjustmentRow,
    Contra,
    DisputeRow,
    DisputeState,
    RequestState,
)

_DISPUTE = "SELECT d.*, p.id AS participant_id FROM dispute d JOIN participant p ON p.number = d.participant "
_ADJUSTMENT = (
    "SELECT a.*, p.id AS participant_id FROM adjustment_request a JOIN participant p ON p.number = a.participant "
)


def _to_dispute(row: Row[Any]) -> DisputeRow:
    return DisputeRow(
        id=row.id, participant=row.participant_id, dispute_number=int(row.dispute_number),
        terminal_number=row.terminal_number, terminal_seq=row.terminal_seq, reason=row.reason, request=row.request,
        claimed_fen=row.claimed_fen, settlement_date=row.settlement_date, state=DisputeState(row.state),
        filed_at=row.filed_at, answer_date=row.answer_date, answer=row.answer, adjustment_id=row.adjustment_id,
    )  # fmt: skip


def _to_adjustment(row: Row[Any]) -> AdjustmentRow:
    return AdjustmentRow(
        id=row.id, participant=row.participant_id, amount_fen=row.amount_fen, contra=Contra(row.contra), kind=row.kind,
        original_date=row.original_date, reason=row.reason, state=RequestState(row.state), made_by=row.made_by,
        decided_by=row.decided_by, posted_on=row.posted_on,
    )  # fmt: skip


class SqlDisputes:
    """Disputes and adjustments on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def by_number(self, participant: int, number: int) -> DisputeRow | None:
        """A claim by the claimant's number."""
        query = text(_DISPUTE + "WHERE d.participant = :participant AND d.dispute_number = :number")
        row = (await self._connection.execute(query, {"participant": participant, "number": number})).first()
        return _to_dispute(row) if row else None

    async def add(self, participant: int, one: DisputeRow) -> DisputeRow:
        """Store a claim."""
        statement = text(
            "INSERT INTO dispute (participant, dispute_number, terminal_number, terminal_seq, reason, request, "
            "claimed_fen, settlement_date, filed_at, answer_date) VALUES (:participant, :number, :terminal, :seq, "
            ":reason, :request, :claimed, :day, :at, :answer) RETURNING id"
        )
        values = {
            "participant": participant, "number": one.dispute_number, "terminal": one.terminal_number,
            "seq": one.terminal_seq, "reason": one.reason, "request": one.request, "claimed": one.claimed_fen,
            "day": one.settlement_date, "at": one.filed_at, "answer": one.answer_date,
        }  # fmt: skip
        made: int = (await self._connection.execute(statement, values)).scalar_one()
        found = await self.find(made)
        assert found is not None, "it was stored in this transaction"
        return found

    async def find(self, dispute_id: int, *, lock: bool = False) -> DisputeRow | None:
        """One claim; locked for this transaction if asked."""
        query = text(_DISPUTE + "WHERE d.id = :id" + (" FOR UPDATE OF d" if lock else ""))
        row = (await self._connection.execute(query, {"id": dispute_id})).first()
        return _to_dispute(row) if row else None

    async def page(self, participant: str | None, state: int, after: int, size: int) -> list[DisputeRow]:
        """Claims by number."""
        query = text(
            _DISPUTE + "WHERE d.id > :after AND (CAST(:participant AS text) IS NULL OR p.id = :participant) "
            "AND (:state = 0 OR d.state = :state) ORDER BY d.id LIMIT :size"
        )
        values = {"participant": participant, "state": state, "after": after, "size": size}
        return [_to_dispute(row) for row in await self._connection.execute(query, values)]

    async def answer(self, dispute_id: int, state: DisputeState, answer: str, adjustment: int | None) -> DisputeRow:
        """Store an answer."""
        statement = text(
            "UPDATE dispute SET state = :state, answer = :answer, adjustment_id = :adjustment WHERE id = :id"
        )
        values = {"id": dispute_id, "state": int(state), "answer": answer, "adjustment": adjustment}
        await self._connection.execute(statement, values)
        found = await self.find(dispute_id)
        assert found is not None, "it was locked by the caller"
        return found

    async def is_suspended(self, terminal_number: int, terminal_seq: int) -> bool:
        """Whether a record is an open suspense item."""
        query = text(
            "SELECT EXISTS (SELECT FROM suspense_item WHERE terminal_number = :terminal AND terminal_seq = :seq "
            "AND state < 4)"
        )
        return bool(
            (await self._connection.execute(query, {"terminal": terminal_number, "seq": terminal_seq})).scalar()
        )

    async def add_adjustment(self, participant: int, one: AdjustmentRow, at: datetime) -> AdjustmentRow:
        """Store a proposal."""
        statement = text(
            "INSERT INTO adjustment_request (participant, amount_fen, contra, kind, original_date, reason, made_by, "
            "made_at) VALUES (:participant, :amount, :contra, :kind, :original, :reason, :by, :at) RETURNING id"
        )
        values = {
            "participant": participant, "amount": one.amount_fen, "contra": int(one.contra), "kind": one.kind,
            "original": one.original_date, "reason": one.reason, "by": one.made_by, "at": at,
        }  # fmt: skip
        made: int = (await self._connection.execute(statement, values)).scalar_one()
        found = await self.find_adjustment(made)
        assert found is not None, "it was stored in this transaction"
        return found

    async def find_adjustment(self, adjustment_id: int) -> AdjustmentRow | None:
        """One proposal, locked for this transaction."""
        query = text(_ADJUSTMENT + "WHERE a.id = :id FOR UPDATE OF a")
        row = (await self._connection.execute(query, {"id": adjustment_id})).first()
        return _to_adjustment(row) if row else None

    async def adjustments(self, participant: str | None, state: int, after: int, size: int) -> list[AdjustmentRow]:
        """Proposals by number."""
        query = text(
            _ADJUSTMENT + "WHERE a.id > :after AND (CAST(:participant AS text) IS NULL OR p.id = :participant) "
            "AND (:state = 0 OR a.state = :state) ORDER BY a.id LIMIT :size"
        )
        values = {"participant": participant, "state": state, "after": after, "size": size}
        return [_to_adjustment(row) for row in await self._connection.execute(query, values)]

    async def decide(
        self, adjustment_id: int, state: RequestState, who: str, at: datetime, day: date | None
    ) -> AdjustmentRow:
        """Store a decision; a dispute that it upholds is posted, one whose adjustment was refused is open again."""
        await self._connection.execute(
            text(
                "UPDATE adjustment_request SET state = :state, decided_by = :who, decided_at = :at, posted_on = :day "
                "WHERE id = :id"
            ),
            {"id": adjustment_id, "state": int(state), "who": who, "at": at, "day": day},
        )
        posted = state is RequestState.POSTED
        await self._connection.execute(
            text(
                "UPDATE dispute SET state = :state, adjustment_id = CASE WHEN :posted THEN adjustment_id END "
                "WHERE adjustment_id = :id"
            ),
            {
                "id": adjustment_id,
                "state": int(DisputeState.POSTED if posted else DisputeState.FILED),
                "posted": posted,
            },
        )
        found = await self.find_adjustment(adjustment_id)
        assert found is not None, "it was locked by the caller"
        return found
