"""Purses, openings and movements in PostgreSQL; bulk paths send and receive columns."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import (
    bytea_array,
    copy_rows,
    int2_array,
    int4_array,
    int8_array,
    moment_array,
    pg_moments,
)
from services.account.adapters.driver import Step
from services.account.adapters.sql_items import BOOK_LESS_PRINTED, COMPARABLE, PostgresItems
from services.account.application.ports import LockedPurses
from services.account.domain.batch import IssuedCards, Movements
from services.account.domain.columns import I64, Bools, KeyColumns
from services.account.domain.errors import PurseUnknown
from services.account.domain.folding import FoldedPurses, Runs
from services.account.domain.purse import SCHEMES, Purse, PurseChange, PurseKey

_KEYS = (
    "unnest(CAST(%(schemes)s AS smallint[]), CAST(%(numbers)s AS bytea[]), CAST(%(generations)s AS integer[]))"
    " WITH ORDINALITY AS key (scheme, card_number, generation, position)"
)
_SAME = "purse.scheme = key.scheme AND purse.card_number = key.card_number AND purse.generation = key.generation"
_CREATE = (
    "INSERT INTO purse (scheme, card_number, generation)"
    f" SELECT key.scheme, key.card_number, key.generation FROM {_KEYS}"
    f" WHERE NOT EXISTS (SELECT FROM purse WHERE {_SAME}) ORDER BY key.position ON CONFLICT DO NOTHING"
)
# One transaction at a time holds many purses, and a few are taken beside it by those that want several. That saves
# locking row by row, which would write every row twice; a single purse needs no such care, it closes no circle.
_MANY = 0x0070_7572
HOLD_MANY = f"SELECT pg_advisory_xact_lock({_MANY})"
_HOLD_SEVERAL = f"SELECT pg_advisory_xact_lock_shared({_MANY})"
_FOUND = f"FROM {_KEYS} JOIN purse ON {_SAME} ORDER BY key.position"
# Arrays instead of rows: ten thousand rows cost more on their way than in the query.
_FIND = (
    "SELECT array_agg(position), array_agg(purse_id), array_agg(counter_max)"
    f" FROM (SELECT key.position, purse.purse_id, purse.counter_max {_FOUND}) AS found"
)
_LOCK = f"SELECT key.position, purse.purse_id {_FOUND} FOR NO KEY UPDATE OF purse"
_CHANGE = (
    "UPDATE purse SET loads_fen = purse.loads_fen + change.loads_fen,"
    " corrections_debit_fen = purse.corrections_debit_fen + change.corrections_debit_fen,"
    " corrections_credit_fen = purse.corrections_credit_fen + change.corrections_credit_fen,"
    " pending_loads_fen = purse.pending_loads_fen + change.pending_loads_fen,"
    " pending_debits_fen = purse.pending_debits_fen + change.pending_debits_fen,"
    " last_load_time = greatest(purse.last_load_time, change.load_time)"
    " FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(loads)s AS bigint[]), CAST(%(debits)s AS bigint[]),"
    " CAST(%(credits)s AS bigint[]), CAST(%(pending_loads)s AS bigint[]), CAST(%(pending_debits)s AS bigint[]),"
    " CAST(%(load_times)s AS timestamptz[]))"
    " AS change (purse_id, loads_fen, corrections_debit_fen, corrections_credit_fen, pending_loads_fen,"
    " pending_debits_fen, load_time)"
    " WHERE purse.purse_id = change.purse_id"
)
# Which of the folded purses want to be compared: those that do not agree at once, and those that did not before.
_DOUBTFUL = (
    f"{COMPARABLE} AND ({BOOK_LESS_PRINTED} <> 0 OR last_load_time > last_time + CAST(%(tolerance)s AS interval))"
    " AS doubtful"
)
_IN_DOUBT = (
    "SELECT purse_id FROM done WHERE doubtful"
    " UNION SELECT purse_id FROM done JOIN purse_item USING (purse_id) WHERE kind = 3 AND close_time IS NULL"
)
# The look for a purse and its change in one pass: memory is what both wait for, and here they share it.
_FOLD_RUNS = (
    "WITH done AS (UPDATE purse SET debits_fen = debits_fen + new_debits_fen,"
    " counter_count = counter_count + new_count, counter_max = new_counter + new_count - 1,"
    " printed_balance_fen = new_printed_fen, last_time = new_time"
    " FROM unnest(CAST(%(schemes)s AS smallint[]), CAST(%(numbers)s AS bytea[]), CAST(%(generations)s AS integer[]),"
    " CAST(%(counters)s AS integer[]), CAST(%(counts)s AS integer[]), CAST(%(debits)s AS bigint[]),"
    " CAST(%(printed)s AS bigint[]), CAST(%(times)s AS timestamptz[])) WITH ORDINALITY"
    " AS key (scheme, card_number, generation, new_counter, new_count, new_debits_fen, new_printed_fen, new_time,"
    " position)"
    f" WHERE {_SAME} AND counter_max = new_counter - 1 RETURNING position, purse_id, {_DOUBTFUL})"
    f" SELECT array_agg(position), array_agg(purse_id), ARRAY({_IN_DOUBT}) FROM done"
)
_FOLD = (
    "WITH done AS (UPDATE purse SET debits_fen = debits_fen + new_debits_fen,"
    " repeats_fen = repeats_fen + new_repeats_fen, counter_count = counter_count + new_count,"
    " counter_max = greatest(counter_max, new_counter),"
    " printed_balance_fen = CASE WHEN new_counter > counter_max THEN new_printed_fen ELSE printed_balance_fen END,"
    " last_time = CASE WHEN new_counter > counter_max THEN new_time ELSE last_time END"
    " FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(debits)s AS bigint[]), CAST(%(repeats)s AS bigint[]),"
    " CAST(%(counts)s AS bigint[]), CAST(%(maxima)s AS integer[]), CAST(%(printed)s AS bigint[]),"
    " CAST(%(times)s AS timestamptz[]))"
    " AS folded (folded_id, new_debits_fen, new_repeats_fen, new_count, new_counter, new_printed_fen, new_time)"
    f" WHERE purse_id = folded_id RETURNING purse_id, {_DOUBTFUL})"
    f" SELECT (SELECT count(*) FROM done), ARRAY({_IN_DOUBT})"
)
# Every counter up to the highest was there but for those that an item says are missing, open or given up.
_SEEN = (
    "SELECT pair.position FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(counters)s AS integer[]))"
    " WITH ORDINALITY AS pair (purse_id, counter, position) JOIN purse USING (purse_id)"
    " WHERE counter <= counter_max AND NOT EXISTS (SELECT FROM purse_item"
    " WHERE purse_item.purse_id = pair.purse_id AND kind = 1 AND outcome IS DISTINCT FROM 'FILLED'"
    " AND pair.counter BETWEEN counter_from AND counter_to)"
)
_COPY_MOVEMENTS = (
    "COPY movement (amount_fen, balance_before_fen, event_time, purse_id, counter, batch_number)"
    " FROM STDIN (FORMAT binary)"
)
_OPENED = "SELECT purse_id FROM purse_opening WHERE purse_id = ANY(CAST(%(purse_ids)s AS integer[]))"
_KEEP_PRODUCT = (
    "INSERT INTO product (name) SELECT CAST(%(product)s AS text)"
    " WHERE NOT EXISTS (SELECT FROM product WHERE name = CAST(%(product)s AS text))"
    " ON CONFLICT DO NOTHING"
)
_OPEN_DETAIL = (
    "INSERT INTO purse_opening (purse_id, opening_fen, deposit_fen, event_time, journal_id, product_id)"
    " SELECT purse_id, opening_fen, deposit_fen, %(at)s, %(journal)s,"
    " (SELECT product_id FROM product WHERE name = CAST(%(product)s AS text))"
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
    " pending_debits_fen, counter_max, counter_count, printed_balance_fen, last_time, repeats_fen, last_load_time"
    " FROM purse"
    " WHERE scheme = :scheme AND card_number = :number AND generation = :generation"
)


def purse_key(scheme: int, card_number: bytes, generation: int) -> PurseKey:
    """The key of a row."""
    return PurseKey(SCHEMES[scheme], bytes(card_number).hex(), generation)


class PostgresPurses(PostgresItems):
    """`PurseRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection, load_events: frozenset[str]) -> None:
        super().__init__(connection, load_events)
        self._connection = connection
        # Short keys of the purses that this transaction locked by `lock`.
        self.locked: dict[PurseKey, int] = {}

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

    async def lock(self, keys: Sequence[PurseKey]) -> set[PurseKey]:
        """See the port."""
        if len(keys) > 1:
            await self._driver.execute(_HOLD_SEVERAL)
        for position, purse_id in await self._driver.fetch(_LOCK, _key_values(KeyColumns.of(list(keys)))):
            self.locked[keys[position - 1]] = purse_id
        return set(self.locked)

    async def ids(self, keys: Sequence[PurseKey]) -> I64:
        """See the port."""
        return np.array([self.locked[key] for key in keys], dtype=np.int64)

    async def change(self, changes: Sequence[PurseChange]) -> None:
        """See the port."""
        changed = await self._driver.execute(*self.changing(changes))
        assert changed == len(changes), "purses are locked before they are changed"

    def changing(self, changes: Sequence[PurseChange]) -> Step:
        """What changes purses that are locked, each once."""
        return _CHANGE, {
            "purse_ids": [self.locked[change.key] for change in changes],
            "loads": [change.loads_fen for change in changes],
            "debits": [change.corrections_debit_fen for change in changes],
            "credits": [change.corrections_credit_fen for change in changes],
            "pending_loads": [change.pending_loads_fen for change in changes],
            "pending_debits": [change.pending_debits_fen for change in changes],
            "load_times": [change.load_time for change in changes],
        }

    async def lock_columns(self, keys: KeyColumns) -> LockedPurses:
        """See the port."""
        await self._driver.execute(HOLD_MANY)
        values = _key_values(keys)
        ((positions, purse_ids, counter_max),) = await self._driver.fetch(_FIND, values)
        if positions is None or len(positions) < len(keys):
            await self._driver.execute(_CREATE, values)
            ((positions, purse_ids, counter_max),) = await self._driver.fetch(_FIND, values)
        assert len(positions) == len(keys), "purses are never removed"
        return LockedPurses(np.array(purse_ids, dtype=np.int64), np.array(counter_max, dtype=np.int64))

    async def fold_runs(self, keys: KeyColumns, found: Runs, tolerance_s: float) -> tuple[I64, I64]:
        """See the port."""
        await self._driver.execute(HOLD_MANY)
        wanted = np.flatnonzero(found.unbroken)
        ids = np.zeros(len(keys), dtype=np.int64)
        values = _key_values(keys.take(wanted)) | {
            "counters": int4_array(found.counter_from[wanted]),
            "counts": int4_array(found.counter_count[wanted]),
            "debits": int8_array(found.debits_fen[wanted]),
            "printed": int8_array(found.printed_balance_fen[wanted]),
            "times": moment_array(found.times_s[wanted]),
            "tolerance": f"{tolerance_s} seconds",
        }
        ((positions, purse_ids, doubtful),) = await self._driver.fetch(_FOLD_RUNS, values)
        if positions is not None:
            ids[wanted[np.array(positions, dtype=np.int64) - 1]] = purse_ids
        return ids, np.array(doubtful, dtype=np.int64)

    async def seen(self, purse_ids: I64, counters: I64) -> Bools:
        """See the port."""
        values = {"purse_ids": int4_array(purse_ids), "counters": int4_array(counters)}
        known = np.zeros(len(purse_ids), dtype=np.bool_)
        known[[row[0] - 1 for row in await self._driver.fetch(_SEEN, values)]] = True
        return known

    async def fold(self, locked: LockedPurses, folded: FoldedPurses, tolerance_s: float) -> I64:
        """See the port."""
        values: dict[str, Any] = {
            "purse_ids": int4_array(locked.purse_ids),
            "debits": int8_array(folded.debits_fen),
            "repeats": int8_array(folded.repeats_fen),
            "counts": int8_array(folded.counter_count),
            "maxima": int4_array(folded.counter_max),
            "printed": int8_array(folded.printed_balance_fen),
            "times": moment_array(folded.times_s),
            "tolerance": f"{tolerance_s} seconds",
        }
        ((count, doubtful),) = await self._driver.fetch(_FOLD, values)
        assert count == len(locked.purse_ids), "purses are taken before they are folded"
        return np.array(doubtful, dtype=np.int64)

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
        await self._driver.copy(_COPY_MOVEMENTS, rows)

    async def unopened(self, locked: LockedPurses) -> Bools:
        """See the port."""
        rows = await self._driver.fetch(_OPENED, {"purse_ids": int4_array(locked.purse_ids)})
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
            "product": cards.product,
        }
        if cards.product:
            await self._driver.execute(_KEEP_PRODUCT, values)
        await self._driver.execute(_OPEN_DETAIL, values)
        count = await self._driver.execute(_OPEN, values)
        assert count == len(locked.purse_ids), "purses are taken before they are opened"


def _key_values(keys: KeyColumns) -> dict[str, Any]:
    return {
        "schemes": int2_array(keys.schemes),
        "numbers": bytea_array(keys.numbers),
        "generations": int4_array(keys.generations),
    }
