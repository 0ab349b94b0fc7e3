"""Purses, openings and movements in PostgreSQL; bulk paths send and receive columns."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.database import driver_connection
from services.account.adapters.binary import (
    bytea_array,
    copy_rows,
    int2_array,
    int4_array,
    int8_array,
    moment_array,
    pg_moments,
)
from services.account.application.ports import LockedPurses
from services.account.domain.batch import FoldedPurses, IssuedCards, Movements
from services.account.domain.columns import I64, Bools, KeyColumns
from services.account.domain.errors import PurseUnknown
from services.account.domain.purse import SCHEMES, Purse, PurseChange, PurseKey

_KEYS = (
    "unnest(CAST(%(schemes)s AS smallint[]), CAST(%(numbers)s AS bytea[]), CAST(%(generations)s AS integer[]))"
    " WITH ORDINALITY AS key (scheme, card_number, generation, position)"
)
_SAME = "purse.scheme = key.scheme AND purse.card_number = key.card_number AND purse.generation = key.generation"
# Keys come in order, and are inserted and locked in that order: two batches that meet wait in one direction only.
_CREATE = (
    "INSERT INTO purse (scheme, card_number, generation)"
    f" SELECT key.scheme, key.card_number, key.generation FROM {_KEYS}"
    f" WHERE NOT EXISTS (SELECT FROM purse WHERE {_SAME}) ORDER BY key.position ON CONFLICT DO NOTHING"
)
_LOCK = (
    f"SELECT key.position, purse.purse_id, purse.counter_max FROM {_KEYS} JOIN purse ON {_SAME}"
    " ORDER BY key.position FOR NO KEY UPDATE OF purse"
)
_CHANGE = (
    "UPDATE purse SET loads_fen = purse.loads_fen + change.loads_fen,"
    " corrections_debit_fen = purse.corrections_debit_fen + change.corrections_debit_fen,"
    " corrections_credit_fen = purse.corrections_credit_fen + change.corrections_credit_fen,"
    " pending_loads_fen = purse.pending_loads_fen + change.pending_loads_fen,"
    " pending_debits_fen = purse.pending_debits_fen + change.pending_debits_fen"
    " FROM unnest(CAST(%(schemes)s AS smallint[]), CAST(%(numbers)s AS bytea[]), CAST(%(generations)s AS integer[]),"
    " CAST(%(loads)s AS bigint[]), CAST(%(debits)s AS bigint[]), CAST(%(credits)s AS bigint[]),"
    " CAST(%(pending_loads)s AS bigint[]), CAST(%(pending_debits)s AS bigint[]))"
    " AS change (scheme, card_number, generation, loads_fen, corrections_debit_fen, corrections_credit_fen,"
    " pending_loads_fen, pending_debits_fen)"
    " WHERE purse.scheme = change.scheme AND purse.card_number = change.card_number"
    " AND purse.generation = change.generation"
)
_FOLD = (
    "UPDATE purse SET debits_fen = purse.debits_fen + folded.debits_fen,"
    " counter_count = purse.counter_count + folded.counter_count,"
    " counter_max = greatest(purse.counter_max, folded.counter_max),"
    " printed_balance_fen = CASE WHEN folded.counter_max > purse.counter_max"
    " THEN folded.printed_balance_fen ELSE purse.printed_balance_fen END,"
    " last_time = CASE WHEN folded.counter_max > purse.counter_max THEN folded.last_time ELSE purse.last_time END"
    " FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(debits)s AS bigint[]), CAST(%(counts)s AS bigint[]),"
    " CAST(%(maxima)s AS integer[]), CAST(%(printed)s AS bigint[]), CAST(%(times)s AS timestamptz[]))"
    " AS folded (purse_id, debits_fen, counter_count, counter_max, printed_balance_fen, last_time)"
    " WHERE purse.purse_id = folded.purse_id"
)
_SEEN = (
    "SELECT pair.position FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(counters)s AS integer[]))"
    " WITH ORDINALITY AS pair (purse_id, counter, position) WHERE EXISTS"
    " (SELECT FROM movement WHERE movement.purse_id = pair.purse_id AND movement.counter = pair.counter)"
)
_COPY_MOVEMENTS = (
    "COPY movement (amount_fen, balance_before_fen, event_time, purse_id, counter, batch_number)"
    " FROM STDIN (FORMAT binary)"
)
_OPENED = "SELECT purse_id FROM purse_opening WHERE purse_id = ANY(CAST(%(purse_ids)s AS integer[]))"
_OPEN_DETAIL = (
    "INSERT INTO purse_opening (purse_id, opening_fen, deposit_fen, event_time, journal_id)"
    " SELECT purse_id, opening_fen, deposit_fen, %(at)s, %(journal)s"
    " FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(openings)s AS bigint[]), CAST(%(deposits)s AS bigint[]))"
    " AS opened (purse_id, opening_fen, deposit_fen)"
)
_OPEN = (
    "UPDATE purse SET opening_fen = purse.opening_fen + opened.opening_fen"
    " FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(openings)s AS bigint[]))"
    " AS opened (purse_id, opening_fen) WHERE purse.purse_id = opened.purse_id"
)
_GET = text(
    "SELECT opening_fen, loads_fen, debits_fen, corrections_debit_fen, corrections_credit_fen, pending_loads_fen,"
    " pending_debits_fen, counter_max, counter_count, printed_balance_fen, last_time FROM purse"
    " WHERE scheme = :scheme AND card_number = :number AND generation = :generation"
)


def purse_key(scheme: int, card_number: bytes, generation: int) -> PurseKey:
    """The key of a row."""
    return PurseKey(SCHEMES[scheme], bytes(card_number).hex(), generation)


class PostgresPurses:
    """`PurseRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, key: PurseKey) -> Purse:
        """See the port."""
        values = {
            "scheme": SCHEMES.index(key.scheme),
            "number": bytes.fromhex(key.number),
            "generation": key.generation,
        }
        row = (await self._connection.execute(_GET, values)).first()
        if row is None:
            raise PurseUnknown(purse=key.name)
        return Purse(key, **row._asdict())

    async def lock(self, keys: Sequence[PurseKey]) -> None:
        """See the port."""
        rows = await self._fetch(_LOCK, _key_values(KeyColumns.of(list(keys))))
        found = {row[0] for row in rows}
        for position, key in enumerate(keys, 1):
            if position not in found:
                raise PurseUnknown(purse=key.name)

    async def change(self, changes: Sequence[PurseChange]) -> None:
        """See the port."""
        values = _key_values(KeyColumns.of([change.key for change in changes])) | {
            "loads": [change.loads_fen for change in changes],
            "debits": [change.corrections_debit_fen for change in changes],
            "credits": [change.corrections_credit_fen for change in changes],
            "pending_loads": [change.pending_loads_fen for change in changes],
            "pending_debits": [change.pending_debits_fen for change in changes],
        }
        assert await self._execute(_CHANGE, values) == len(changes), "purses are locked before they are changed"

    async def lock_columns(self, keys: KeyColumns) -> LockedPurses:
        """See the port."""
        values = _key_values(keys)
        attempt = await self._connection.begin_nested()
        found = await self._fetch(_LOCK, values)
        if len(found) < len(keys):
            # Creating under these locks could wait in a circle. Going back to the savepoint lets them go; then all
            # missing purses are created in order, and only then is anything locked.
            await attempt.rollback()
            await self._execute(_CREATE, values)
            found = await self._fetch(_LOCK, values)
        else:
            await attempt.commit()
        rows = np.array(found, dtype=np.int64).reshape(-1, 3)
        assert len(rows) == len(keys), "purses are never removed"
        return LockedPurses(rows[:, 1], rows[:, 2])

    async def seen(self, purse_ids: I64, counters: I64) -> Bools:
        """See the port."""
        values = {"purse_ids": int4_array(purse_ids), "counters": int4_array(counters)}
        known = np.zeros(len(purse_ids), dtype=np.bool_)
        known[[row[0] - 1 for row in await self._fetch(_SEEN, values)]] = True
        return known

    async def fold(self, locked: LockedPurses, folded: FoldedPurses) -> None:
        """See the port."""
        values = {
            "purse_ids": int4_array(locked.purse_ids),
            "debits": int8_array(folded.debits_fen),
            "counts": int8_array(folded.counter_count),
            "maxima": int4_array(folded.counter_max),
            "printed": int8_array(folded.printed_balance_fen),
            "times": moment_array(folded.times_s),
        }
        assert await self._execute(_FOLD, values) == len(locked.purse_ids), "purses are locked before they are folded"

    async def add_movements(self, batch_number: int, purse_ids: I64, movements: Movements) -> None:
        """See the port."""
        rows = copy_rows(
            [
                movements.amounts_fen.astype(">i8"),
                movements.balances_before_fen.astype(">i8"),
                pg_moments(movements.times_s),
                purse_ids.astype(">i4"),
                movements.counters.astype(">i4"),
                np.full(len(movements), batch_number, dtype=">i4"),
            ]
        )
        driver = await driver_connection(self._connection)
        async with driver.cursor() as cursor, cursor.copy(_COPY_MOVEMENTS) as copy:
            await copy.write(rows)

    async def unopened(self, locked: LockedPurses) -> Bools:
        """See the port."""
        rows = await self._fetch(_OPENED, {"purse_ids": int4_array(locked.purse_ids)})
        fresh: Bools = ~np.isin(locked.purse_ids, np.array([row[0] for row in rows], dtype=np.int64))
        return fresh

    async def open(self, locked: LockedPurses, cards: IssuedCards, journal: UUID | None) -> None:
        """See the port."""
        values = {
            "purse_ids": int4_array(locked.purse_ids),
            "openings": int8_array(cards.openings_fen),
            "deposits": int8_array(cards.deposits_fen),
            "at": cards.issue_time,
            "journal": journal,
        }
        await self._execute(_OPEN_DETAIL, values)
        assert await self._execute(_OPEN, values) == len(locked.purse_ids), "purses are locked before they are opened"

    async def _fetch(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        # Past SQLAlchemy: its row objects cost more than the query when there are thousands.
        driver = await driver_connection(self._connection)
        async with driver.cursor(binary=True) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    async def _execute(self, statement: str, values: dict[str, Any]) -> int:
        driver = await driver_connection(self._connection)
        async with driver.cursor() as cursor:
            await cursor.execute(statement, values)
            return cursor.rowcount


def _key_values(keys: KeyColumns) -> dict[str, Any]:
    return {
        "schemes": int2_array(keys.schemes),
        "numbers": bytea_array(keys.numbers),
        "generations": int4_array(keys.generations),
    }
