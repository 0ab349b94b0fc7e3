"""Participants, registries, windows, statements and single records in SQL, and the unit of work that holds them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from types import TracebackType
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.clock import Clock
from libs.runtime.database import UnitOfWork, driver_connection
from libs.runtime.requests import decode_answer, encode_answer
from services.clearing.adapters.adjustments import SqlAdjustments
from services.clearing.adapters.apportionment import SqlApportionment
from services.clearing.adapters.audits import SqlAudits
from services.clearing.adapters.calendars import SqlCalendars
from services.clearing.adapters.day_runs import SqlDayRuns
from services.clearing.adapters.disputes import SqlDisputes
from services.clearing.adapters.files import SqlFiles
from services.clearing.adapters.further_results import SqlFurtherResults
from services.clearing.adapters.gaps import SqlGaps
from services.clearing.adapters.missed import SqlMissed
from services.clearing.adapters.pgcolumns import fetch_columns
from services.clearing.adapters.postings import SqlPostings
from services.clearing.adapters.proofs import SqlProofs
from services.clearing.adapters.registries import SqlRegistries
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.replays import SqlReplays
from services.clearing.adapters.settlement import SqlSettlement
from services.clearing.adapters.signatures import SqlSignatures
from services.clearing.adapters.suspense import SqlSuspense
from services.clearing.adapters.upkeep import SqlUpkeep
from services.clearing.application.ports import StoredRecord, WindowRow
from services.clearing.domain.calendar import DayRule
from services.clearing.domain.judgement import ORDER_DEPENDENT_CODES
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PositionKey
from services.clearing.domain.statement import Statement
from services.clearing.domain.terms import Terms, plain_terms

# Warnings that depend on the order of arrival are no part of what is settled.
_SETTLED_CODE = f"(CASE WHEN code IN {ORDER_DEPENDENT_CODES} THEN 0 ELSE code END)::int2"
_PARTICIPANT = (
    "number, id, display_name_zh, display_name_en, institution_id, operator_number, cut_off, time_zone, fee_rate_bp, "
    "served, created_at, (SELECT json_agg(json_build_array(r.effective_on, r.cut_off, r.time_zone, r.calendar) "
    "ORDER BY r.effective_on) FROM day_rule r WHERE r.participant = participant.number) AS day_rules"
)


def _to_participant(row: Row[Any]) -> Participant:
    return Participant(
        id=row.id,
        number=row.number,
        display_name_zh=row.display_name_zh,
        display_name_en=row.display_name_en,
        institution_id=row.institution_id,
        operator_number=row.operator_number,
        cut_off=row.cut_off,
        time_zone=row.time_zone,
        fee_rate_bp=row.fee_rate_bp,
        served=tuple(row.served),
        created_at=row.created_at,
        day_rules=tuple(
            DayRule(date.fromisoformat(day), time.fromisoformat(cut_off), zone, calendar)
            for day, cut_off, zone, calendar in row.day_rules or ()
        ),
    )


class SqlParticipants:
    """Participants and the rules of issuers and industries."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, participant: str) -> Participant | None:
        """One participant by id."""
        query = text(f"SELECT {_PARTICIPANT} FROM participant WHERE id = :id")
        row = (await self._connection.execute(query, {"id": participant})).first()
        return _to_participant(row) if row else None

    async def by_institution(self, institution_id: str, operator_number: int) -> Participant | None:
        """Who holds an institution id with an operator number."""
        query = text(
            f"SELECT {_PARTICIPANT} FROM participant WHERE institution_id = :institution AND "
            f"operator_number = :operator"
        )
        values = {"institution": institution_id, "operator": operator_number}
        row = (await self._connection.execute(query, values)).first()
        return _to_participant(row) if row else None

    async def add(self, participant: Participant) -> Participant:
        """Store a new one."""
        statement = text(
            "INSERT INTO participant (id, display_name_zh, display_name_en, institution_id, operator_number, cut_off, "
            "time_zone, fee_rate_bp, served, created_at) VALUES (:id, :zh, :en, :institution, "
            ":operator, :cut_off, :zone, "
            ":fee, :served, :at) RETURNING number"
        )
        values = {
            "id": participant.id,
            "zh": participant.display_name_zh,
            "en": participant.display_name_en,
            "institution": participant.institution_id,
            "operator": participant.operator_number,
            "cut_off": participant.cut_off,
            "zone": participant.time_zone,
            "fee": participant.fee_rate_bp,
            "served": list(participant.served),
            "at": participant.created_at,
        }
        return replace(participant, number=(await self._connection.execute(statement, values)).scalar_one())

    async def all(self) -> list[Participant]:
        """Every participant, by id."""
        rows = await self._connection.execute(text(f"SELECT {_PARTICIPANT} FROM participant ORDER BY id"))
        return [_to_participant(row) for row in rows]

    async def page(self, after: str | None, size: int) -> list[Participant]:
        """Participants by id."""
        query = text(f"SELECT {_PARTICIPANT} FROM participant WHERE id > :after ORDER BY id LIMIT :size")
        return [
            _to_participant(row) for row in await self._connection.execute(query, {"after": after or "", "size": size})
        ]

    async def register_issuer_key(self, issuer_id: str, key_version: int, algorithm_id: int) -> None:
        """Registering twice changes nothing."""
        statement = text("INSERT INTO issuer_key VALUES (:issuer, :version, :algorithm) ON CONFLICT DO NOTHING")
        values = {"issuer": issuer_id, "version": key_version, "algorithm": algorithm_id}
        await self._connection.execute(statement, values)

    async def set_industry_limit(self, industry: int, effective_at: datetime, limit_fen: int) -> None:
        """One limit per industry and instant; the same instant again replaces it."""
        statement = text(
            "INSERT INTO industry_limit VALUES (:industry, :at, :limit) "
            "ON CONFLICT (industry, effective_at) DO UPDATE SET amount_limit_fen = EXCLUDED.amount_limit_fen"
        )
        await self._connection.execute(statement, {"industry": industry, "at": effective_at, "limit": limit_fen})


class SqlWindows:
    """Windows and statements."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, participant: Participant, settlement_date: date) -> WindowRow:
        """The window, made if it did not exist; posters into it are waited for, later ones wait."""
        values = {"participant": participant.number, "day": settlement_date}
        await self._connection.execute(
            text("INSERT INTO settlement_window VALUES (:participant, :day, NULL) ON CONFLICT DO NOTHING"), values
        )
        query = text(
            "SELECT closed_at FROM settlement_window WHERE participant = :participant AND "
            "settlement_date = :day FOR UPDATE"
        )
        closed_at = (await self._connection.execute(query, values)).scalar_one()
        return WindowRow(participant.id, settlement_date, closed_at)

    async def find(self, participant: str, settlement_date: date) -> WindowRow | None:
        """One window."""
        query = text(
            "SELECT p.id, w.settlement_date, w.closed_at FROM settlement_window w JOIN participant p "
            "ON p.number = w.participant "
            "WHERE p.id = :participant AND w.settlement_date = :day"
        )
        row = (await self._connection.execute(query, {"participant": participant, "day": settlement_date})).first()
        return WindowRow(row.id, row.settlement_date, row.closed_at) if row else None

    async def earlier_open(self, participant: Participant, settlement_date: date) -> date | None:
        """The earliest open window before a day that has records."""
        query = text(
            "SELECT w.settlement_date FROM settlement_window w WHERE w.participant = :participant "
            "AND w.closed_at IS NULL "
            "AND w.settlement_date < :day AND (EXISTS (SELECT FROM position_delta d "
            "WHERE d.participant = w.participant AND d.settlement_date = w.settlement_date) "
            "OR EXISTS (SELECT FROM adjustment a WHERE a.participant = w.participant "
            "AND a.settlement_date = w.settlement_date) OR EXISTS (SELECT FROM fare_share f "
            "WHERE f.party = w.participant AND f.party_day = w.settlement_date AND f.party <> f.owner)) ORDER BY "
            "w.settlement_date LIMIT 1"
        )
        values = {"participant": participant.number, "day": settlement_date}
        found: date | None = (await self._connection.execute(query, values)).scalar()
        return found

    async def page(
        self, participant: str | None, state: int, after: tuple[str, str] | None, size: int
    ) -> list[WindowRow]:
        """Windows by participant and date; state 1 open, 2 closed, 0 all."""
        query = text(
            "SELECT p.id, w.settlement_date, w.closed_at FROM settlement_window w JOIN participant p "
            "ON p.number = w.participant "
            "WHERE (p.id, w.settlement_date) > (:after_id, CAST(:after_day AS date)) "
            "AND (CAST(:participant AS text) IS NULL OR p.id = :participant) "
            "AND (:state = 0 OR (:state = 1) = (w.closed_at IS NULL)) ORDER BY p.id, w.settlement_date LIMIT :size"
        )
        after_id, after_day = after or ("", "-infinity")
        values = {
            "after_id": after_id,
            "after_day": after_day,
            "participant": participant,
            "state": state,
            "size": size,
        }
        rows = await self._connection.execute(query, values)
        return [WindowRow(row.id, row.settlement_date, row.closed_at) for row in rows]

    async def positions(self, participant: int, settlement_date: date) -> list[Position]:
        """Sums of a window by key, in the order of the keys."""
        query = text(
            "SELECT issuer, acquirer, operator, industry, kind, card_main_type, code, sum(record_count) AS records, "
            "sum(amount_fen) AS amount, sum(list_price_fen) AS price FROM position_delta "
            "WHERE participant = :participant AND settlement_date = :day GROUP BY 1, 2, 3, 4, 5, 6, "
            "7 ORDER BY 1, 2, 3, 4, 5, 6, 7"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": settlement_date})
        return [
            Position(
                PositionKey(
                    participant, settlement_date, row.issuer, row.acquirer, row.operator, row.industry, row.kind,
                    row.card_main_type, row.code,
                ),
                int(row.records),
                int(row.amount),
                int(row.price),
            )
            for row in rows
        ]  # fmt: skip

    async def records_digest(self, participant: int, settlement_date: date) -> bytes:
        """SHA-256 over four columns of a window, ordered by key: terminal number, sequence, code, digest."""
        driver = await driver_connection(self._connection)
        assert isinstance(participant, int), "a surrogate, safe in a query"
        query = (
            f"SELECT terminal_number, terminal_seq, {_SETTLED_CODE}, digest FROM record "
            f"WHERE participant = {participant} "
            f"AND settlement_date = DATE '{settlement_date.isoformat()}' ORDER BY terminal_number, terminal_seq"
        )
        shape = (("terminal_number", "int8"), ("terminal_seq", "int8"), ("code", "int2"), ("digest", "bytes16"))
        rows = await fetch_columns(driver, query, shape)
        return hashlib.sha256(b"".join(rows[name].tobytes() for name, _ in shape)).digest()

    async def last_statement(self, participant: int) -> Statement | None:
        """The newest statement of a participant."""
        query = text("SELECT body FROM statement WHERE participant = :participant ORDER BY number DESC LIMIT 1")
        body = (await self._connection.execute(query, {"participant": participant})).scalar()
        return None if body is None else decode_answer(bytes(body), Statement)

    async def statement(self, participant: str, settlement_date: date) -> Statement | None:
        """One statement."""
        query = text(
            "SELECT s.body FROM statement s JOIN participant p ON p.number = s.participant "
            "WHERE p.id = :participant AND s.settlement_date = :day"
        )
        body = (await self._connection.execute(query, {"participant": participant, "day": settlement_date})).scalar()
        return None if body is None else decode_answer(bytes(body), Statement)

    async def statements(self, participant: str | None, after: tuple[str, str] | None, size: int) -> list[Statement]:
        """Statements by participant and date."""
        query = text(
            "SELECT s.body FROM statement s JOIN participant p ON p.number = s.participant "
            "WHERE (p.id, s.settlement_date) > (:after_id, CAST(:after_day AS date)) "
            "AND (CAST(:participant AS text) IS NULL OR p.id = :participant) ORDER BY p.id, "
            "s.settlement_date LIMIT :size"
        )
        after_id, after_day = after or ("", "-infinity")
        values = {"after_id": after_id, "after_day": after_day, "participant": participant, "size": size}
        rows = await self._connection.execute(query, values)
        return [decode_answer(bytes(row.body), Statement) for row in rows]

    async def terms(self, participant: int, settlement_date: date) -> Terms:
        """The terms that a statement was made by; the plain ones where none were kept."""
        query = text("SELECT body FROM statement_terms WHERE participant = :participant AND settlement_date = :day")
        values = {"participant": participant, "day": settlement_date}
        body = (await self._connection.execute(query, values)).scalar()
        return plain_terms(settlement_date) if body is None else decode_answer(bytes(body), Terms)

    async def close(self, participant: Participant, statement: Statement, terms: Terms, at: datetime) -> None:
        """Store the statement with its terms and close its window."""
        await self._connection.execute(
            text("INSERT INTO statement_terms VALUES (:participant, :day, :body)"),
            {
                "participant": participant.number,
                "day": statement.settlement_date,
                "body": encode_answer(terms),
            },
        )
        await self._connection.execute(
            text(
                "INSERT INTO statement (participant, settlement_date, number, fee_rate_bp, body, st_file, chain_hash) "
                "VALUES (:participant, :day, :number, :fee, :body, :st_file, :chain)"
            ),
            {
                "participant": participant.number,
                "day": statement.settlement_date,
                "number": statement.number,
                # The fee in force is kept: a statement must be recomputable after the terms change.
                "fee": participant.fee_rate_bp,
                "body": encode_answer(statement),
                "st_file": statement.st_file,
                "chain": statement.chain_hash,
            },
        )
        await self._connection.execute(
            text(
                "UPDATE settlement_window SET closed_at = :at WHERE participant = :participant AND "
                "settlement_date = :day"
            ),
            {"participant": participant.number, "day": statement.settlement_date, "at": at},
        )


_RECORD = (
    "SELECT r.*, c.jt, c.number AS card_number, c.generation, p.id AS participant_id, "
    "'participants/' || f.participant || '/files/' || encode(f.sha256, 'hex') AS file, "
    "f.reference_first + r.file_index AS reference FROM record r JOIN card c ON c.id = r.card_id "
    "JOIN participant p ON p.number = r.participant JOIN file f ON f.id = r.file_id "
)


def _to_record(row: Row[Any]) -> StoredRecord:
    return StoredRecord(
        terminal_number=row.terminal_number,
        terminal_seq=row.terminal_seq,
        jt=row.jt,
        card_number=bytes(row.card_number),
        generation=row.generation,
        participant=row.participant_id,
        kind=row.kind,
        amount_fen=row.amount_fen,
        list_price_fen=row.list_price_fen,
        code=row.code,
        card_counter=row.card_counter,
        balance_before_fen=row.balance_before_fen,
        transaction_s=row.transaction_s,
        settlement_date=row.settlement_date,
        file=row.file,
        file_index=row.file_index,
        reference=row.reference,
    )


class SqlRecords:
    """Records that took their keys, one by one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, terminal_number: int, terminal_seq: int) -> StoredRecord | None:
        """One record by its key."""
        query = text(_RECORD + "WHERE r.terminal_number = :terminal AND r.terminal_seq = :seq")
        row = (await self._connection.execute(query, {"terminal": terminal_number, "seq": terminal_seq})).first()
        return _to_record(row) if row else None

    async def page(
        self,
        participant: str,
        settlement_date: date | None,
        codes: Sequence[int],
        after: tuple[int, int] | None,
        size: int,
    ) -> list[StoredRecord]:
        """Records of a participant by key."""
        query = text(
            _RECORD
            + "WHERE (r.terminal_number, r.terminal_seq) > (:after_terminal, :after_seq) AND p.id = :participant "
            "AND (CAST(:day AS date) IS NULL OR r.settlement_date = :day) "
            "AND (CAST(:codes AS smallint[]) = '{}' OR r.code = ANY(:codes)) "
            "ORDER BY r.terminal_number, r.terminal_seq LIMIT :size"
        )
        after_terminal, after_seq = after or (-1, -1)
        values = {
            "after_terminal": after_terminal,
            "after_seq": after_seq,
            "participant": participant,
            "day": settlement_date,
            "codes": list(codes),
            "size": size,
        }
        return [_to_record(row) for row in await self._connection.execute(query, values)]


class ClearingUnitOfWork(UnitOfWork):
    """One transaction of the clearing service.

    Args:
        engine: The service's database.
        clock: Stamps events.
        memory: Cards that this process knows; None asks the database about every one.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock | None = None, memory: CardMemory | None = None) -> None:
        super().__init__(engine, clock)
        self._memory = memory

    async def commit(self) -> None:
        """Make everything of this block true at once, and remember the cards that moved."""
        await super().commit()
        self.postings.committed()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.postings.ended()
        await super().__aexit__(kind, error, trace)

    participants: SqlParticipants
    registries: SqlRegistries
    files: SqlFiles
    postings: SqlPostings
    audits: SqlAudits
    gaps: SqlGaps
    windows: SqlWindows
    records: SqlRecords
    proofs: SqlProofs
    calendars: SqlCalendars
    adjustments: SqlAdjustments
    apportionment: SqlApportionment
    suspense: SqlSuspense
    signatures: SqlSignatures
    settlement: SqlSettlement
    disputes: SqlDisputes
    day_runs: SqlDayRuns
    replays: SqlReplays
    missed: SqlMissed
    further_results: SqlFurtherResults
    upkeep: SqlUpkeep

    async def _open(self) -> None:
        self.participants = SqlParticipants(self.connection)
        self.registries = SqlRegistries(self.connection)
        self.files = SqlFiles(self.connection)
        self.postings = SqlPostings(self.connection, self._memory)
        self.audits = SqlAudits(self.connection)
        self.gaps = SqlGaps(self.connection)
        self.windows = SqlWindows(self.connection)
        self.records = SqlRecords(self.connection)
        self.proofs = SqlProofs(self.connection)
        self.calendars = SqlCalendars(self.connection)
        self.adjustments = SqlAdjustments(self.connection)
        self.suspense = SqlSuspense(self.connection)
        self.further_results = SqlFurtherResults(self.connection)
        self.apportionment = SqlApportionment(self.connection)
        self.signatures = SqlSignatures(self.connection)
        self.settlement = SqlSettlement(self.connection)
        self.disputes = SqlDisputes(self.connection)
        self.day_runs = SqlDayRuns(self.connection)
        self.replays = SqlReplays(self.connection)
        self.missed = SqlMissed(self.connection)
        self.upkeep = SqlUpkeep(self.connection)
