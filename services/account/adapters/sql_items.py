"""What does not add up on cards, in PostgreSQL: found in sets, never silent."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import int4_array, int8_array
from services.account.adapters.driver import Driver, Row
from services.account.application.ports import LockedPurses, Repeats
from services.account.domain.columns import I64
from services.account.domain.errors import ItemUnknown
from services.account.domain.folding import Findings, ItemKind, ItemOutcome, PurseItem
from services.account.domain.purse import SCHEMES, PurseKey

# Repetitions were taken from the book, not from the card.
BOOK_LESS_PRINTED = "(opening_fen + loads_fen - debits_fen + repeats_fen - printed_balance_fen)"
COMPARABLE = "counter_max >= 0 AND counter_count = counter_max + 1 AND pending_loads_fen = 0"
# Follows a query `seen (purse_id, last_time, after_fen)`. The cut between loads that the printed balance holds and
# those that came after it is known only as well as the terminal's clock: any cut within the tolerance may explain
# the difference, no other. `domain.folding.unexplained_fen` says the same.
EXPLAINED = """
load AS (
    SELECT seen.purse_id, journal.event_time, last_time, after_fen, amount_fen,
        sum(amount_fen) OVER newest AS sum_fen,
        lead(journal.event_time, 1, '-infinity') OVER newest AS next_older
    FROM seen JOIN entry USING (purse_id) JOIN journal USING (sequence)
    WHERE side = 2 AND event = ANY(CAST({load_events} AS text[]))
    WINDOW newest AS (PARTITION BY seen.purse_id ORDER BY journal.event_time DESC, journal.sequence DESC
        ROWS UNBOUNDED PRECEDING)
), explained AS (
    SELECT purse_id, bool_or(sum_fen = after_fen AND event_time >= last_time - CAST({tolerance} AS interval)
        AND next_older <= last_time + CAST({tolerance} AS interval)) AS by_loads,
        coalesce(sum(amount_fen) FILTER (WHERE event_time > last_time + CAST({tolerance} AS interval)), 0)
            AS surely_after_fen
    FROM load GROUP BY purse_id
)"""
BROKEN = "NOT (coalesce(by_loads, false) OR (after_fen = 0 AND coalesce(surely_after_fen, 0) = 0))"
_COMPARE = (
    "WITH seen AS ("
    f" SELECT purse_id, last_time, counter_max, {BOOK_LESS_PRINTED} AS after_fen FROM purse"
    f" WHERE purse_id = ANY(CAST(%(purse_ids)s AS integer[])) AND {COMPARABLE}),"
    + EXPLAINED.format(load_events="%(load_events)s", tolerance="%(tolerance)s")
    + ", verdict AS ("
    f" SELECT purse_id, counter_max, {BROKEN} AS broken,"
    " coalesce(nullif(after_fen - coalesce(surely_after_fen, 0), 0), after_fen) AS amount_fen"
    " FROM seen LEFT JOIN explained USING (purse_id)"
    "), closed AS ("
    " UPDATE purse_item SET close_time = %(now)s, outcome = 'EXPLAINED' FROM verdict"
    " WHERE purse_item.purse_id = verdict.purse_id AND kind = 3 AND close_time IS NULL AND NOT broken"
    "), opened AS ("
    " INSERT INTO purse_item (purse_id, kind, counter_from, counter_to, amount_fen, batch_number, open_time)"
    " SELECT purse_id, 3, counter_max, counter_max, amount_fen, %(batch)s, %(now)s FROM verdict WHERE broken"
    # What a person has decided is not asked again until it changes.
    " AND NOT EXISTS (SELECT FROM purse_item AS decided WHERE decided.purse_id = verdict.purse_id"
    " AND decided.kind = 3 AND decided.outcome = 'DECIDED' AND decided.amount_fen = verdict.amount_fen)"
    " ON CONFLICT (purse_id) WHERE close_time IS NULL AND kind = 3 DO UPDATE"
    " SET amount_fen = excluded.amount_fen, counter_from = excluded.counter_from, counter_to = excluded.counter_to"
    ") SELECT count(*) FROM verdict WHERE broken"
)
_OPEN_ITEMS = (
    "INSERT INTO purse_item (purse_id, kind, counter_from, counter_to, amount_fen, batch_number, open_time)"
    " SELECT purse_id, %(kind)s, counter_from, counter_to, amount_fen, %(batch)s, %(now)s"
    " FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(counters_from)s AS integer[]),"
    " CAST(%(counters_to)s AS integer[]), CAST(%(amounts)s AS bigint[]))"
    " AS found (purse_id, counter_from, counter_to, amount_fen)"
)
# What is left of a gap goes on under its own first day, open or given up as it was.
_FILL = """
WITH late AS (
    SELECT purse_id, range_agg(int4range(counter, counter, '[]')) AS counters
    FROM unnest(CAST(%(purse_ids)s AS integer[]), CAST(%(counters)s AS integer[])) AS late (purse_id, counter)
    GROUP BY purse_id
), touched AS (
    SELECT item_id, purse_id, open_time, batch_number, close_time, outcome, note,
        int4multirange(int4range(counter_from, counter_to, '[]')) - counters AS rest
    FROM purse_item JOIN late USING (purse_id)
    WHERE kind = 1 AND outcome IS DISTINCT FROM 'FILLED' AND int4range(counter_from, counter_to, '[]') && counters
), closed AS (
    UPDATE purse_item SET close_time = %(now)s, outcome = 'FILLED' FROM touched
    WHERE purse_item.item_id = touched.item_id
)
INSERT INTO purse_item (purse_id, kind, counter_from, counter_to, batch_number, open_time, close_time, outcome, note)
SELECT purse_id, 1, lower(part), upper(part) - 1, batch_number, open_time, close_time, outcome, note
FROM touched, unnest(rest) AS part
"""
_ITEM = (
    "SELECT item_id, scheme, card_number, generation, kind, counter_from, counter_to, amount_fen, open_time,"
    " close_time, outcome, note FROM purse_item JOIN purse USING (purse_id)"
)
_LIST = (
    f"{_ITEM} WHERE item_id > %(after)s AND (NOT %(open_only)s OR close_time IS NULL)"
    " AND (CAST(%(kind)s AS smallint) IS NULL OR kind = CAST(%(kind)s AS smallint))"
    " AND (CAST(%(number)s AS bytea) IS NULL OR (scheme, card_number, generation)"
    " = (CAST(%(scheme)s AS smallint), CAST(%(number)s AS bytea), CAST(%(generation)s AS integer)))"
    " ORDER BY item_id LIMIT %(limit)s"
)
_GET = f"{_ITEM} WHERE item_id = %(item)s FOR NO KEY UPDATE OF purse_item"
_CLOSE = (
    "UPDATE purse_item SET close_time = %(now)s, outcome = 'DECIDED', note = %(note)s"
    " WHERE item_id = %(item)s AND close_time IS NULL"
)


class PostgresItems:
    """The part of `PurseRepository` about items, in one transaction."""

    def __init__(self, connection: AsyncConnection, load_events: frozenset[str]) -> None:
        self._driver = Driver(connection)
        self._load_events = sorted(load_events)

    async def note_counters(
        self, batch_number: int, locked: LockedPurses, found: Findings, repeats: Repeats, now: datetime
    ) -> None:
        """See the port."""
        values: dict[str, Any] = {"batch": batch_number, "now": now}
        if len(found.late_positions):
            late = {
                "purse_ids": int4_array(locked.purse_ids[found.late_positions]),
                "counters": int4_array(found.late_counters),
                "now": now,
            }
            await self._driver.execute(_FILL, late)
        if len(found.gap_positions):
            gaps = {
                "kind": ItemKind.GAP.value,
                "purse_ids": int4_array(locked.purse_ids[found.gap_positions]),
                "counters_from": int4_array(found.gap_from),
                "counters_to": int4_array(found.gap_to),
                "amounts": int8_array(found.gap_from * 0),
            }
            await self._driver.execute(_OPEN_ITEMS, values | gaps)
        if len(repeats.purse_ids):
            again = {
                "kind": ItemKind.REPEAT.value,
                "purse_ids": int4_array(repeats.purse_ids),
                "counters_from": int4_array(repeats.counters),
                "counters_to": int4_array(repeats.counters),
                "amounts": int8_array(repeats.amounts_fen),
            }
            await self._driver.execute(_OPEN_ITEMS, values | again)

    async def compare(self, purse_ids: I64, tolerance_s: float, now: datetime, batch_number: int | None = None) -> int:
        """See the port."""
        values = {
            "purse_ids": int4_array(purse_ids),
            "load_events": self._load_events,
            "tolerance": f"{tolerance_s} seconds",
            "now": now,
            "batch": batch_number,
        }
        ((count,),) = await self._driver.fetch(_COMPARE, values)
        return int(count)

    async def list_items(
        self, after: int, limit: int, open_only: bool, kind: ItemKind | None, key: PurseKey | None
    ) -> list[PurseItem]:
        """See the port."""
        values = {
            "after": after,
            "limit": limit,
            "open_only": open_only,
            "kind": None if kind is None else kind.value,
            "scheme": None if key is None else SCHEMES.index(key.scheme),
            "number": None if key is None else bytes.fromhex(key.number),
            "generation": None if key is None else key.generation,
        }
        return [_item(row) for row in await self._driver.fetch(_LIST, values)]

    async def get_item(self, item_id: int) -> PurseItem:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"item": item_id})
        if not rows:
            raise ItemUnknown(item=item_id)
        return _item(rows[0])

    async def close_item(self, item_id: int, note: str, now: datetime) -> None:
        """See the port."""
        count = await self._driver.execute(_CLOSE, {"item": item_id, "note": note, "now": now})
        assert count == 1, "an item is locked and open before it is closed"


def _item(row: Row) -> PurseItem:
    item_id, scheme, number, generation, kind, first, last, amount, opened, closed, outcome, note = row
    return PurseItem(
        id=item_id,
        key=PurseKey(SCHEMES[scheme], bytes(number).hex(), generation),
        kind=ItemKind(kind),
        counter_from=first,
        counter_to=last,
        amount_fen=amount,
        open_time=opened,
        close_time=closed,
        outcome=None if outcome is None else ItemOutcome(outcome),
        note=note,
    )
