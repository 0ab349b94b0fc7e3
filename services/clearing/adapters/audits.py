"""Fare packs and deviations in SQL."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.fares.rules import RulePack
from libs.records import otr
from libs.runtime.database import driver_connection
from services.clearing.adapters.pgcolumns import Shape, copy_in
from services.clearing.application.ports import DeviationSum, StoredDeviation
from services.clearing.domain.audit import Deviations, FarePack
from services.clearing.domain.judgement import I64, rows_of

_SHAPE: Shape = (
    ("terminal_number", "int8"), ("terminal_seq", "int8"), ("card_id", "int8"), ("participant", "int4"),
    ("settlement_date", "int4"), ("pack_id", "int8"), ("kind", "int2"), ("rule_id", "int4"), ("industry", "int4"),
    ("card_main_type", "int2"), ("list_price_fen", "int8"), ("amount_fen", "int8"), ("expected_fen", "int8"),
)  # fmt: skip
# PostgreSQL counts days from 2000-01-01.
_PG_EPOCH_DAYS = (date(2000, 1, 1) - date(1970, 1, 1)).days


# Packs read before, by the digest of their documents: parsing one takes longer than asking for it.
_READ: dict[str, RulePack] = {}


class SqlAudits:
    """Price audit on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def packs(self) -> list[FarePack]:
        """Every pack, by surrogate."""
        query = text(
            "SELECT id, participant, extract(epoch FROM effective_at)::bigint AS effective_s, "
            "md5(document::text) AS digest FROM fare_pack ORDER BY id"
        )
        rows = list(await self._connection.execute(query))
        missing = [row.id for row in rows if row.digest not in _READ]
        if missing:
            documents = text("SELECT md5(document::text) AS digest, document FROM fare_pack WHERE id = ANY(:ids)")
            for row in await self._connection.execute(documents, {"ids": missing}):
                _READ[row.digest] = RulePack.from_dict(row.document)
        return [FarePack(row.id, row.participant, row.effective_s, _READ[row.digest]) for row in rows]

    async def add_pack(self, participant: int, effective_at: datetime, document: Mapping[str, Any]) -> int | None:
        """Store a pack; None when another begins at the same instant for the same participant."""
        statement = text(
            "INSERT INTO fare_pack (participant, effective_at, document) VALUES (:participant, :at, "
            "CAST(:document AS jsonb)) ON CONFLICT DO NOTHING RETURNING id"
        )
        values = {"participant": participant, "at": effective_at, "document": json.dumps(document, ensure_ascii=False)}
        made: int | None = (await self._connection.execute(statement, values)).scalar()
        return made

    async def pack_at(self, participant: int, effective_at: datetime) -> tuple[int, Mapping[str, Any]] | None:
        """The pack that begins at an instant, and its document."""
        query = text("SELECT id, document FROM fare_pack WHERE participant = :participant AND effective_at = :at")
        row = (await self._connection.execute(query, {"participant": participant, "at": effective_at})).first()
        return (row.id, row.document) if row else None

    async def add_deviations(
        self, records: otr.Records, found: Deviations, card: I64, participant: I64, settlement_day: I64
    ) -> None:
        """Keep what was charged otherwise."""
        if not len(found.rows):
            return
        taken = rows_of(records, found.rows)
        columns: dict[str, npt.NDArray[Any]] = {
            "terminal_number": otr.terminal_numbers(taken).astype(np.int64),
            "terminal_seq": taken["terminal_seq"].astype(np.int64),
            "card_id": card[found.rows],
            "participant": participant[found.rows],
            "settlement_date": settlement_day[found.rows] - _PG_EPOCH_DAYS,
            "pack_id": found.pack_id,
            "kind": found.kind,
            "rule_id": found.rule_id,
            "industry": taken["industry"],
            "card_main_type": taken["card_main_type"],
            "list_price_fen": taken["list_price_fen"],
            "amount_fen": taken["amount_fen"],
            "expected_fen": found.expected_fen,
        }
        await copy_in(await driver_connection(self._connection), "fare_deviation", _SHAPE, columns)

    async def page(
        self, participant: int, day: date | None, kind: int, after: tuple[int, int] | None, size: int
    ) -> list[StoredDeviation]:
        """Deviations of a participant by terminal and sequence; kind 0 and no day mean all."""
        query = text(
            "SELECT d.*, c.jt, c.number AS card_number FROM fare_deviation d JOIN card c ON c.id = d.card_id "
            "WHERE d.participant = :participant AND (d.terminal_number, d.terminal_seq) > (:terminal, :seq) "
            "AND (CAST(:day AS date) IS NULL OR d.settlement_date = :day) AND (:kind = 0 OR d.kind = :kind) "
            "ORDER BY d.terminal_number, d.terminal_seq LIMIT :size"
        )
        terminal, seq = after or (-1, -1)
        values = {"participant": participant, "day": day, "kind": kind, "terminal": terminal, "seq": seq, "size": size}
        return [
            StoredDeviation(
                terminal_number=row.terminal_number, terminal_seq=row.terminal_seq,
                card=f"cards/{'jt' if row.jt else 'cj'}-{bytes(row.card_number).hex()}", kind=row.kind,
                rule_id=row.rule_id, industry=row.industry, card_main_type=row.card_main_type,
                list_price_fen=row.list_price_fen, amount_fen=row.amount_fen, expected_fen=row.expected_fen,
                settlement_date=row.settlement_date,
            )
            for row in await self._connection.execute(query, values)
        ]  # fmt: skip

    async def sums(self, participant: int, day: date | None, by: str) -> list[DeviationSum]:
        """Counts and sums by kind and `rule`, `terminal` or `card`, the most frequent first."""
        key = {
            "rule": "d.rule_id::text",
            "terminal": "lpad(d.terminal_number::text, 12, '0')",
            "card": "CASE WHEN c.jt THEN 'jt-' ELSE 'cj-' END || encode(c.number, 'hex')",
        }[by]
        query = text(
            f"SELECT d.kind, {key} AS key, count(*) AS records, sum(d.amount_fen) AS amount, "
            "sum(d.expected_fen) AS expected FROM fare_deviation d JOIN card c ON c.id = d.card_id "
            "WHERE d.participant = :participant AND (CAST(:day AS date) IS NULL OR d.settlement_date = :day) "
            "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 1000"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": day})
        return [DeviationSum(row.kind, row.key, row.records, int(row.amount), int(row.expected)) for row in rows]
