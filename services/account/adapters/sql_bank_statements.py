"""The bank's statements in PostgreSQL: lines and entries are matched in sets, and what is left is an item."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import int8_array
from services.account.adapters.driver import Driver, Row
from services.account.domain.bank_statement import (
    BankItem,
    BankItemKind,
    BankItemOutcome,
    BankLine,
    BankStatement,
    Reconciliation,
)
from services.account.domain.errors import BankItemUnknown

_ACCOUNT = "(SELECT account_id FROM account WHERE name = %(account)s)"
# The bank's day is the day of the city on which it happened, whenever it was posted.
_DAY = "CAST(journal.event_time AT TIME ZONE 'Asia/Shanghai' AS date)"
_FIND = (
    "SELECT statement_id, day, opening_fen, closing_fen, record_time FROM bank_statement"
    f" WHERE account_id = {_ACCOUNT} AND day = %(day)s"
)
_LINES = "SELECT amount_fen, reference, words FROM bank_line WHERE statement_id = %(statement)s ORDER BY line_number"
_ADD = (
    "INSERT INTO bank_statement (account_id, day, opening_fen, closing_fen, record_time)"
    f" VALUES ({_ACCOUNT}, %(day)s, %(opening)s, %(closing)s, %(now)s) RETURNING statement_id"
)
_ADD_LINES = """
INSERT INTO bank_line (statement_id, line_number, amount_fen, reference, words)
SELECT %(statement)s, number, amount_fen, reference, words
FROM unnest(CAST(%(amounts)s AS bigint[]), CAST(%(references)s AS text[]), CAST(%(words)s AS text[]))
    WITH ORDINALITY AS line (amount_fen, reference, words, number)
"""
_ACCOUNTS = "SELECT DISTINCT account.name FROM bank_statement JOIN account USING (account_id) ORDER BY account.name"
_ENTRIES = f"""
entries AS MATERIALIZED (
    SELECT sequence, leg_number, CASE side WHEN 1 THEN amount_fen ELSE -amount_fen END AS amount_fen,
        reference, journal_id, {_DAY} AS day
    FROM entry JOIN journal USING (sequence) WHERE account_id = {_ACCOUNT}
), span AS (
    SELECT min(day) AS first_day, max(day) AS last_day FROM bank_statement WHERE account_id = {_ACCOUNT}
)"""
# Equal references and amounts are paired in the order of both sides, each once.
_MATCH = f"""
WITH {_ENTRIES}, line AS (
    SELECT line_id, reference, amount_fen,
        row_number() OVER (PARTITION BY reference, amount_fen ORDER BY day, line_id) AS turn
    FROM bank_line JOIN bank_statement USING (statement_id)
    WHERE account_id = {_ACCOUNT} AND reference <> ''
        AND NOT EXISTS (SELECT FROM bank_match WHERE bank_match.line_id = bank_line.line_id)
), free AS (
    SELECT sequence, leg_number, {{name}} AS reference, amount_fen,
        row_number() OVER (PARTITION BY {{name}}, amount_fen ORDER BY sequence, leg_number) AS turn
    FROM entries, span
    WHERE day >= first_day AND NOT EXISTS (SELECT FROM bank_match
        WHERE (bank_match.sequence, bank_match.leg_number) = (entries.sequence, entries.leg_number))
)
INSERT INTO bank_match (line_id, sequence, leg_number, match_time)
SELECT line_id, sequence, leg_number, %(now)s FROM line JOIN free USING (reference, amount_fen, turn)
"""
_MATCH_BY_REFERENCE = _MATCH.format(name="reference")
_MATCH_BY_JOURNAL = _MATCH.format(name="('journals/' || journal_id)")
_END_MATCHED = f"""
UPDATE bank_item SET close_time = %(now)s, outcome = 'MATCHED' FROM bank_match
WHERE bank_item.account_id = {_ACCOUNT} AND bank_item.close_time IS NULL
    AND (bank_item.line_id = bank_match.line_id
        OR (bank_item.sequence, bank_item.leg_number) = (bank_match.sequence, bank_match.leg_number))
"""
_OPEN_LINES = f"""
INSERT INTO bank_item (account_id, kind, day, amount_fen, line_id, open_time)
SELECT account_id, 1, day, amount_fen, line_id, %(now)s FROM bank_line JOIN bank_statement USING (statement_id)
WHERE account_id = {_ACCOUNT}
    AND NOT EXISTS (SELECT FROM bank_match WHERE bank_match.line_id = bank_line.line_id)
    AND NOT EXISTS (SELECT FROM bank_item WHERE bank_item.line_id = bank_line.line_id)
ORDER BY day, line_id
"""
_OPEN_ENTRIES = f"""
WITH {_ENTRIES}
INSERT INTO bank_item (account_id, kind, day, amount_fen, sequence, leg_number, open_time)
SELECT {_ACCOUNT}, 2, day, -amount_fen, sequence, leg_number, %(now)s FROM entries, span
WHERE day >= first_day AND day <= last_day
    AND NOT EXISTS (SELECT FROM bank_match
        WHERE (bank_match.sequence, bank_match.leg_number) = (entries.sequence, entries.leg_number))
    AND NOT EXISTS (SELECT FROM bank_item
        WHERE (bank_item.sequence, bank_item.leg_number) = (entries.sequence, entries.leg_number))
ORDER BY day, sequence, leg_number
"""
_OPENINGS = f"""
opening AS (
    SELECT statement_id, day, CASE WHEN before_fen IS NULL THEN 3 ELSE 4 END AS kind,
        opening_fen - coalesce(before_fen, (SELECT coalesce(sum(amount_fen), 0) FROM entries, span
            WHERE entries.day < first_day)) AS amount_fen
    FROM (SELECT statement_id, day, opening_fen, lag(closing_fen) OVER (ORDER BY day) AS before_fen
        FROM bank_statement WHERE account_id = {_ACCOUNT}) AS chained
)"""
# A statement that is handed in late stands between two others, and may explain why they did not meet.
_END_OPENINGS = f"""
WITH {_ENTRIES}, {_OPENINGS}
UPDATE bank_item SET close_time = %(now)s, outcome = 'MATCHED' FROM opening
WHERE bank_item.statement_id = opening.statement_id AND bank_item.close_time IS NULL
    AND (opening.amount_fen = 0 OR bank_item.kind <> opening.kind)
"""
_OPEN_OPENINGS = f"""
WITH {_ENTRIES}, {_OPENINGS}
INSERT INTO bank_item (account_id, kind, day, amount_fen, statement_id, open_time)
SELECT {_ACCOUNT}, kind, day, amount_fen, statement_id, %(now)s FROM opening
WHERE amount_fen <> 0 AND NOT EXISTS (SELECT FROM bank_item AS decided
    WHERE decided.statement_id = opening.statement_id AND decided.kind = opening.kind
        AND decided.outcome = 'DECIDED' AND decided.amount_fen = opening.amount_fen)
ORDER BY day
ON CONFLICT (statement_id) WHERE statement_id IS NOT NULL AND close_time IS NULL
DO UPDATE SET amount_fen = excluded.amount_fen
"""
_ITEM = """
SELECT item_id, account.name, kind, bank_item.day, bank_item.amount_fen,
    coalesce(bank_line.reference, journal.reference, ''), journal.journal_id,
    coalesce(bank_line.words, journal.event, ''), open_time, close_time, outcome, note
FROM bank_item JOIN account USING (account_id) LEFT JOIN bank_line USING (line_id)
    LEFT JOIN journal ON journal.sequence = bank_item.sequence
"""
_LIST = (
    f"{_ITEM} WHERE item_id > %(after)s AND (%(closed)s OR close_time IS NULL)"
    " AND (CAST(%(account)s AS text) IS NULL OR account.name = CAST(%(account)s AS text))"
    " ORDER BY item_id LIMIT %(limit)s"
)
_GET = f"{_ITEM} WHERE item_id = %(item)s FOR NO KEY UPDATE OF bank_item"
_END = (
    "UPDATE bank_item SET close_time = %(now)s, outcome = %(outcome)s, note = %(note)s"
    " WHERE item_id = ANY(CAST(%(items)s AS bigint[])) AND close_time IS NULL"
)
_MATCH_BY_HAND = """
INSERT INTO bank_match (line_id, sequence, leg_number, match_time)
SELECT line.line_id, entry.sequence, entry.leg_number, %(now)s FROM bank_item AS line, bank_item AS entry
WHERE line.item_id = %(line)s AND entry.item_id = %(entry)s
"""
_NEWEST = f"""
SELECT day, closing_fen FROM bank_statement WHERE account_id = {_ACCOUNT} AND day <= %(day)s ORDER BY day DESC LIMIT 1
"""
_RECONCILE = f"""
WITH {_ENTRIES}, {_OPENINGS}, line AS (
    SELECT line_id, day, amount_fen FROM bank_line JOIN bank_statement USING (statement_id)
    WHERE account_id = {_ACCOUNT} AND day <= %(day)s
)
SELECT (SELECT coalesce(sum(amount_fen), 0) FROM entries WHERE day <= %(day)s),
    (SELECT coalesce(sum(amount_fen), 0) FROM line WHERE NOT EXISTS (SELECT FROM bank_match JOIN entries
        USING (sequence, leg_number) WHERE bank_match.line_id = line.line_id AND entries.day <= %(day)s)),
    (SELECT coalesce(sum(amount_fen), 0) FROM entries, span
        WHERE day >= first_day AND day <= %(day)s AND NOT EXISTS (SELECT FROM bank_match JOIN line USING (line_id)
            WHERE (bank_match.sequence, bank_match.leg_number) = (entries.sequence, entries.leg_number))),
    (SELECT coalesce(sum(amount_fen) FILTER (WHERE kind = 3), 0) FROM opening WHERE day <= %(day)s),
    (SELECT coalesce(sum(amount_fen) FILTER (WHERE kind = 4), 0) FROM opening WHERE day <= %(day)s)
"""


class PostgresBank:
    """`BankRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = Driver(connection)

    async def accounts(self) -> list[str]:
        """See the port."""
        return [row[0] for row in await self._driver.fetch(_ACCOUNTS)]

    async def find(self, account: str, day: date) -> BankStatement | None:
        """See the port."""
        rows = await self._driver.fetch(_FIND, {"account": account, "day": day})
        if not rows:
            return None
        statement_id, _, opening, closing, record_time = rows[0]
        lines = [BankLine(*row) for row in await self._driver.fetch(_LINES, {"statement": statement_id})]
        return BankStatement(account, day, opening, closing, tuple(lines), record_time)

    async def add(self, statement: BankStatement) -> None:
        """See the port."""
        values = {
            "account": statement.account,
            "day": statement.day,
            "opening": statement.opening_fen,
            "closing": statement.closing_fen,
            "now": statement.record_time,
        }
        ((statement_id,),) = await self._driver.fetch(_ADD, values)
        lines: dict[str, Any] = {
            "statement": statement_id,
            "amounts": int8_array([line.amount_fen for line in statement.lines]),
            "references": [line.reference for line in statement.lines],
            "words": [line.text for line in statement.lines],
        }
        await self._driver.execute(_ADD_LINES, lines)

    async def settle(self, account: str, now: datetime) -> None:
        """See the port."""
        values = {"account": account, "now": now}
        for statement in (
            _MATCH_BY_REFERENCE, _MATCH_BY_JOURNAL, _END_MATCHED, _OPEN_LINES, _OPEN_ENTRIES, _END_OPENINGS,
            _OPEN_OPENINGS,
        ):  # fmt: skip
            await self._driver.execute(statement, values)

    async def list_items(self, after: int, limit: int, account: str | None, include_closed: bool) -> list[BankItem]:
        """See the port."""
        values = {"after": after, "limit": limit, "account": account, "closed": include_closed}
        return [_item(row) for row in await self._driver.fetch(_LIST, values)]

    async def get_item(self, item_id: int) -> BankItem:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"item": item_id})
        if not rows:
            raise BankItemUnknown(item=item_id)
        return _item(rows[0])

    async def end_items(self, item_ids: Sequence[int], outcome: BankItemOutcome, note: str, now: datetime) -> None:
        """See the port."""
        values = {"items": list(item_ids), "outcome": outcome.value, "note": note, "now": now}
        count = await self._driver.execute(_END, values)
        assert count == len(item_ids), "items are locked and open before they are closed"

    async def match(self, line_item: int, entry_item: int, now: datetime) -> None:
        """See the port."""
        values = {"line": line_item, "entry": entry_item, "now": now}
        assert await self._driver.execute(_MATCH_BY_HAND, values) == 1, "both items are locked and open"

    async def reconcile(self, account: str, day: date, items_max: int) -> Reconciliation:
        """See the port."""
        found = await self._driver.fetch(_NEWEST, {"account": account, "day": day})
        newest, bank = found[0] if found else (None, 0)
        values = {"account": account, "day": newest or day}
        ((booked, not_in_book, not_at_bank, opening, chain),) = await self._driver.fetch(_RECONCILE, values)
        items = await self.list_items(0, items_max, account, include_closed=False)
        return Reconciliation(
            account, newest, bank, int(booked), int(not_in_book), int(not_at_bank), int(opening), int(chain),
            tuple(items),
        )  # fmt: skip


def _item(row: Row) -> BankItem:
    item_id, account, kind, day, amount, reference, journal, words, opened, closed, outcome, note = row
    return BankItem(
        id=item_id,
        account=account,
        kind=BankItemKind(kind),
        day=day,
        amount_fen=amount,
        reference=reference,
        journal=journal,
        text=words,
        open_time=opened,
        close_time=closed,
        outcome=None if outcome is None else BankItemOutcome(outcome),
        note=note,
    )
