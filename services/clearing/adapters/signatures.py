"""Signatures, settlement models, and what statements stand beside, in SQL."""

from datetime import date

from citycard.clearing.v1 import statement_service_pb2 as pb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.requests import decode_answer
from services.clearing.application.statement_forms import RoleSum
from services.clearing.domain.judgement import PAID_CODES
from services.clearing.domain.netting import Model
from services.clearing.domain.statement import Statement


class SqlSignatures:
    """Signatures and models on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, participant: str, settlement_date: date) -> pb.SignedStatement | None:
        """The signed statement, if it was signed."""
        query = text(
            "SELECT s.body FROM statement_signature s JOIN participant p ON p.number = s.participant "
            "WHERE p.id = :participant AND s.settlement_date = :day"
        )
        body = (await self._connection.execute(query, {"participant": participant, "day": settlement_date})).scalar()
        return None if body is None else pb.SignedStatement.FromString(bytes(body))

    async def add(self, participant: str, settlement_date: date, signed: pb.SignedStatement) -> bool:
        """Store a signature; False when there is one."""
        statement = text(
            "INSERT INTO statement_signature SELECT number, :day, :body FROM participant WHERE id = :participant "
            "ON CONFLICT DO NOTHING RETURNING participant"
        )
        values = {"participant": participant, "day": settlement_date, "body": signed.SerializeToString()}
        return (await self._connection.execute(statement, values)).first() is not None

    async def context(self, participant: int, settlement_date: date, number: int) -> tuple[int, bytes | None]:
        """Fee rate that a statement was made with, and the chain hash of the one before it."""
        query = text(
            "SELECT s.fee_rate_bp, (SELECT b.chain_hash FROM statement b WHERE b.participant = s.participant "
            "AND b.number = :before) AS previous FROM statement s "
            "WHERE s.participant = :participant AND s.settlement_date = :day"
        )
        values = {"participant": participant, "day": settlement_date, "before": number - 1}
        row = (await self._connection.execute(query, values)).one()
        return row.fee_rate_bp, None if row.previous is None else bytes(row.previous)

    async def model_rule(self, participant: int, effective_on: date) -> Model | None:
        """The model that a rule of exactly this day sets."""
        query = text("SELECT model FROM settlement_model WHERE participant = :participant AND effective_on = :day")
        model = (await self._connection.execute(query, {"participant": participant, "day": effective_on})).scalar()
        return None if model is None else Model(model)

    async def set_model(self, participant: int, effective_on: date, model: Model) -> None:
        """Set a model from a day on that has not begun."""
        statement = text(
            "INSERT INTO settlement_model VALUES (:participant, :day, :model) "
            "ON CONFLICT (participant, effective_on) DO UPDATE SET model = EXCLUDED.model"
        )
        values = {"participant": participant, "day": effective_on, "model": int(model)}
        await self._connection.execute(statement, values)

    async def model_on(self, participant: int, settlement_date: date) -> Model:
        """The model in force for a day; net before any rule."""
        query = text(
            "SELECT model FROM settlement_model WHERE participant = :participant AND effective_on <= :day "
            "ORDER BY effective_on DESC LIMIT 1"
        )
        model = (await self._connection.execute(query, {"participant": participant, "day": settlement_date})).scalar()
        return Model.NET if model is None else Model(model)

    async def statements_of(self, settlement_date: date) -> list[tuple[int, Statement]]:
        """All statements of a day with their participants (surrogates)."""
        query = text("SELECT participant, body FROM statement WHERE settlement_date = :day ORDER BY participant")
        rows = await self._connection.execute(query, {"day": settlement_date})
        return [(row.participant, decode_answer(bytes(row.body), Statement)) for row in rows]

    async def roles(self, settlement_date: date) -> list[RoleSum]:
        """Sums of a day by issuer and acquirer; an issuer with registered keys is of this city."""
        query = text(
            "SELECT d.issuer, d.acquirer, EXISTS (SELECT FROM issuer_key k WHERE k.issuer_id = d.issuer) AS home, "
            f"coalesce(sum(d.record_count) FILTER (WHERE d.code IN {PAID_CODES}), 0) AS paid, "
            f"coalesce(sum(d.amount_fen) FILTER (WHERE d.code IN {PAID_CODES}), 0) AS paid_fen, "
            "coalesce(sum(d.record_count) FILTER (WHERE d.code = 50), 0) AS pending, "
            "coalesce(sum(d.amount_fen) FILTER (WHERE d.code = 50), 0) AS pending_fen FROM position_delta d "
            "WHERE d.settlement_date = :day GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return [
            RoleSum(
                row.issuer, row.acquirer, row.home, int(row.paid), int(row.paid_fen), int(row.pending),
                int(row.pending_fen),
            )
            for row in await self._connection.execute(query, {"day": settlement_date})
        ]  # fmt: skip
