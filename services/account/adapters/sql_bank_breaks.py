"""Daily files of banks, and what does not agree with them, in PostgreSQL: matched in sets, never silent."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from services.account.adapters.driver import Driver, Row
from services.account.domain.bank_break import CENTRE, BankBreak, BreakKind, BreakOutcome, FileMatch
from services.account.domain.bank_errors import BreakUnknown
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_leg import Finding

_NOTE = (
    "INSERT INTO bank_break (bank, business_date, operation_id, kind, our_amount_fen, bank_amount_fen, our_state,"
    " bank_state, owner, open_time) VALUES (%(bank)s, %(date)s, %(operation)s, %(kind)s, %(our_amount)s,"
    " %(bank_amount)s, %(our_state)s, %(bank_state)s, 'banks/' || %(bank)s, %(now)s)"
    " ON CONFLICT (bank, operation_id, kind) WHERE NOT matched AND close_time IS NULL DO NOTHING"
)
_UNSTUCK = (
    "UPDATE bank_break SET close_time = %(now)s, outcome = 'RESOLVED' WHERE kind = 'STUCK' AND close_time IS NULL"
    " AND operation_id = ANY(CAST(%(operations)s AS uuid[]))"
)
_TAKE_DAY = "SELECT pg_advisory_xact_lock(hashtextextended(%(bank)s || %(date)s, 0))"
_FILE = (
    "SELECT file_id, revision, digest, line_count, debit_total_fen, credit_total_fen FROM bank_file"
    " WHERE bank = %(bank)s AND business_date = CAST(%(date)s AS date) AND current"
)
_REPLACE = "UPDATE bank_file SET current = false WHERE bank = %(bank)s AND business_date = %(date)s AND current"
_ADD_FILE = (
    "INSERT INTO bank_file (bank, business_date, revision, digest, line_count, debit_total_fen, credit_total_fen,"
    " import_time, current, stale) VALUES (%(bank)s, %(date)s, %(revision)s, %(digest)s, %(count)s, %(debits)s,"
    " %(credits)s, %(now)s, true, true) RETURNING file_id"
)
_ADD_LINES = (
    "INSERT INTO bank_file_line (file_id, operation_id, direction, amount_fen, state, reference, event_time)"
    " SELECT %(file)s, CAST(operation AS uuid), direction, amount, state, reference, at FROM unnest("
    "CAST(%(operations)s AS text[]), CAST(%(directions)s AS text[]), CAST(%(amounts)s AS bigint[]),"
    " CAST(%(states)s AS text[]), CAST(%(references)s AS text[]), CAST(%(times)s AS timestamptz[]))"
    " AS line (operation, direction, amount, state, reference, at)"
)
# Other days of the bank whose files speak of the same operations: a newer word may settle what stood open there.
_STALE_OTHERS = (
    "UPDATE bank_file SET stale = true WHERE current AND bank = %(bank)s AND file_id <> %(file)s AND file_id IN"
    " (SELECT other.file_id FROM bank_file_line AS mine JOIN bank_file_line AS other USING (operation_id)"
    " WHERE mine.file_id = %(file)s)"
)
# The bank's newest word on an operation counts: the line of its latest day. A line that says held agrees with an
# operation that is under way, since both go on from there; a reversal agrees with what never was.
_VERDICT = """
WITH operation AS (
    SELECT operation_id FROM bank_file_line WHERE file_id = %(file)s
    UNION SELECT operation_id FROM bank_leg WHERE bank = %(bank)s AND business_date = %(date)s
), said AS (
    SELECT DISTINCT ON (operation_id) operation_id, line.direction, line.amount_fen, line.state, bank_file.business_date
    FROM operation JOIN bank_file_line AS line USING (operation_id)
    JOIN bank_file USING (file_id)
    WHERE bank_file.bank = %(bank)s AND current
    ORDER BY operation_id, bank_file.business_date DESC
), compared AS (
    SELECT operation.operation_id, leg.business_date AS our_date, said.business_date AS bank_date,
        leg.amount_fen AS our_amount, said.amount_fen AS bank_amount, leg.state AS our_state, said.state AS bank_state,
        EXISTS (SELECT FROM bank_file_line AS line WHERE line.file_id = %(file)s
            AND line.operation_id = operation.operation_id) AS in_file,
        CASE WHEN leg.operation_id IS NULL THEN 'ONLY_BANK'
            WHEN said.operation_id IS NULL THEN CASE WHEN leg.state = 'CAPTURED' THEN 'ONLY_OURS' END
            WHEN leg.amount_fen <> said.amount_fen OR leg.direction <> said.direction THEN 'AMOUNT_DIFFERS'
            WHEN NOT CASE said.state
                WHEN 'CAPTURED' THEN leg.state = 'CAPTURED'
                WHEN 'HELD' THEN leg.sent
                    AND leg.state IN ('PLANNED', 'ASKED', 'AUTHORISED', 'CAPTURING', 'REVERSING')
                ELSE leg.state IN ('PLANNED', 'DECLINED', 'REVERSING', 'REVERSED') END
            THEN 'STATE_DIFFERS' END AS kind,
        -- While we are still at work on it, it is ours to bring on.
        CASE WHEN leg.state IN ('ASKED', 'AUTHORISED', 'CAPTURING', 'REVERSING') THEN %(centre)s
            ELSE 'banks/' || %(bank)s END AS owner
    FROM operation LEFT JOIN said USING (operation_id)
    LEFT JOIN bank_leg AS leg ON leg.operation_id = operation.operation_id AND leg.bank = %(bank)s
)"""
_MATCH = (
    _VERDICT
    + """
, resolved AS (
    -- An array, not a join: fresh tables have no statistics, and a planner that expects one row compares all with all.
    UPDATE bank_break SET close_time = %(now)s, outcome = 'RESOLVED'
    WHERE bank = %(bank)s AND matched AND close_time IS NULL
    AND operation_id = ANY(ARRAY(SELECT operation_id FROM compared WHERE kind IS NULL))
), opened AS (
    INSERT INTO bank_break (bank, business_date, operation_id, kind, our_amount_fen, bank_amount_fen, our_state,
        bank_state, owner, open_time)
    SELECT %(bank)s, coalesce(our_date, bank_date), operation_id, kind, coalesce(our_amount, 0),
        coalesce(bank_amount, 0), coalesce(our_state, ''), coalesce(bank_state, ''), owner, %(now)s
    FROM compared WHERE kind IS NOT NULL
    -- What a person has decided is not asked again until it changes.
    AND NOT EXISTS (SELECT FROM bank_break AS decided WHERE decided.bank = %(bank)s
        AND decided.operation_id = compared.operation_id AND decided.outcome = 'DECIDED'
        AND decided.kind = compared.kind AND decided.our_amount_fen = coalesce(our_amount, 0)
        AND decided.bank_amount_fen = coalesce(bank_amount, 0) AND decided.our_state = coalesce(compared.our_state, '')
        AND decided.bank_state = coalesce(compared.bank_state, ''))
    ORDER BY operation_id
    ON CONFLICT (bank, operation_id) WHERE matched AND close_time IS NULL DO UPDATE
    SET kind = excluded.kind, our_amount_fen = excluded.our_amount_fen, bank_amount_fen = excluded.bank_amount_fen,
        our_state = excluded.our_state, bank_state = excluded.bank_state, owner = excluded.owner
)
SELECT count(*) FILTER (WHERE in_file AND kind IS NULL),
    count(*) FILTER (WHERE in_file AND kind IN ('AMOUNT_DIFFERS', 'STATE_DIFFERS')),
    count(*) FILTER (WHERE in_file AND kind = 'ONLY_BANK'),
    count(*) FILTER (WHERE kind = 'ONLY_OURS')
FROM compared"""
)
_FRESH = "UPDATE bank_file SET stale = false WHERE file_id = %(file)s"
_TO_CHASE = (
    "SELECT DISTINCT flow_id FROM bank_break JOIN bank_leg USING (operation_id, bank) JOIN bank_flow USING (flow_id)"
    " WHERE bank_break.bank = %(bank)s AND bank_break.business_date = %(date)s AND matched AND close_time IS NULL"
    " AND NOT chased AND bank_flow.state = 'VOIDED' AND bank_break.bank_state IN ('HELD', 'CAPTURED')"
)
_CHASED = (
    "UPDATE bank_break SET chased = true FROM bank_leg WHERE bank_leg.flow_id = %(flow)s"
    " AND bank_break.operation_id = bank_leg.operation_id AND matched AND close_time IS NULL"
)
_STALE = "SELECT bank, business_date FROM bank_file WHERE stale AND current ORDER BY file_id LIMIT %(limit)s"
_BREAK = (
    "SELECT break_id, bank_break.bank, bank_break.business_date, bank_break.operation_id, flow_id, kind,"
    " our_amount_fen, bank_amount_fen, our_state, bank_state, owner, open_time, close_time, outcome, note"
    " FROM bank_break LEFT JOIN bank_leg USING (operation_id, bank)"
)
_LIST = (
    f"{_BREAK} WHERE break_id > %(after)s AND (%(bank)s = '' OR bank_break.bank = %(bank)s)"
    " AND (NOT %(open_only)s OR close_time IS NULL) AND (%(kind)s = '' OR kind = %(kind)s)"
    " ORDER BY break_id LIMIT %(limit)s"
)
_GET = f"{_BREAK} WHERE break_id = %(break_id)s FOR NO KEY UPDATE OF bank_break"
_CLOSE = (
    "UPDATE bank_break SET close_time = %(now)s, outcome = 'DECIDED', note = %(note)s WHERE break_id = %(break_id)s"
    " AND close_time IS NULL"
)


class PostgresBankBreaks:
    """`BreakRepository` of one transaction."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def note(self, findings: Sequence[Finding], now: datetime) -> None:
        """See the port."""
        for finding in findings:
            values = {
                "bank": finding.bank,
                "date": finding.business_date,
                "operation": finding.operation,
                "kind": finding.kind.value,
                "our_amount": finding.our_amount_fen,
                "bank_amount": finding.bank_amount_fen,
                "our_state": finding.our_state.value,
                "bank_state": finding.bank_state.value,
                "now": now,
            }
            await self._driver.execute(_NOTE, values)

    async def unstuck(self, operations: Sequence[UUID], now: datetime) -> None:
        """See the port."""
        await self._driver.execute(_UNSTUCK, {"operations": list(operations), "now": now})

    async def known_file(self, bank: str, business_date: date) -> FileMatch | None:
        """See the port."""
        values = {"bank": bank, "date": business_date.isoformat()}
        await self._driver.execute(_TAKE_DAY, values)
        rows = await self._driver.fetch(_FILE, values)
        return _file(bank, business_date, rows[0]) if rows else None

    async def add_file(self, file: BankFile, now: datetime) -> None:
        """See the port."""
        values: dict[str, Any] = {
            "bank": file.bank,
            "date": file.business_date,
            "revision": file.revision,
            "digest": file.digest,
            "count": len(file),
            "debits": file.debit_total_fen,
            "credits": file.credit_total_fen,
            "now": now,
        }
        await self._driver.execute(_REPLACE, values)
        ((file_id,),) = await self._driver.fetch(_ADD_FILE, values)
        lines = {
            "file": file_id,
            "operations": list(file.operations),
            "directions": list(file.directions),
            "amounts": list(file.amounts_fen),
            "states": list(file.states),
            "references": list(file.references),
            "times": list(file.times),
        }
        await self._driver.execute(_ADD_LINES, lines)
        await self._driver.execute(_STALE_OTHERS, {"bank": file.bank, "file": file_id})

    async def match(self, bank: str, business_date: date, now: datetime) -> FileMatch:
        """See the port."""
        ((file_id, *facts),) = await self._driver.fetch(_FILE, {"bank": bank, "date": business_date.isoformat()})
        values = {"file": file_id, "bank": bank, "date": business_date, "now": now, "centre": CENTRE}
        (counts,) = await self._driver.fetch(_MATCH, values)
        await self._driver.execute(_FRESH, {"file": file_id})
        revision, digest, line_count, debits, credits_ = facts
        return FileMatch(bank, business_date, revision, bytes(digest), line_count, debits, credits_, *counts)

    async def to_chase(self, bank: str, business_date: date) -> list[UUID]:
        """See the port."""
        return [row[0] for row in await self._driver.fetch(_TO_CHASE, {"bank": bank, "date": business_date})]

    async def chased(self, flow_id: UUID) -> None:
        """See the port."""
        await self._driver.execute(_CHASED, {"flow": flow_id})

    async def stale(self, limit: int) -> list[tuple[str, date]]:
        """See the port."""
        return [(row[0], row[1]) for row in await self._driver.fetch(_STALE, {"limit": limit})]

    async def list_page(
        self, after: int, limit: int, bank: str, open_only: bool, kind: BreakKind | None
    ) -> list[BankBreak]:
        """See the port."""
        values = {
            "after": after,
            "limit": limit,
            "bank": bank,
            "open_only": open_only,
            "kind": kind.value if kind else "",
        }
        return [_break(row) for row in await self._driver.fetch(_LIST, values)]

    async def get(self, break_id: int) -> BankBreak:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"break_id": break_id})
        if not rows:
            raise BreakUnknown(**{"break": break_id})
        return _break(rows[0])

    async def close(self, break_id: int, note: str, now: datetime) -> None:
        """See the port."""
        count = await self._driver.execute(_CLOSE, {"break_id": break_id, "note": note, "now": now})
        assert count == 1, "a break is locked and open before it is closed"


def _file(bank: str, business_date: date, row: Row) -> FileMatch:
    _, revision, digest, line_count, debits, credits_ = row
    return FileMatch(bank, business_date, revision, bytes(digest), line_count, debits, credits_)


def _break(row: Row) -> BankBreak:
    values = list(row)
    values[5] = BreakKind(values[5])
    values[13] = None if values[13] is None else BreakOutcome(values[13])
    return BankBreak(*values)
