"""The float in PostgreSQL: counted in one statement over all purses as of a place of the book; dormant cards."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.driver import Driver
from services.account.adapters.sql_book import PLACE_AT
from services.account.adapters.sql_purses import HOLD_MANY, purse_key
from services.account.domain.chart import Chart
from services.account.domain.float import (
    AGES_DAYS,
    COVERED_NUMBERS,
    COVERING_NUMBERS,
    BookTotals,
    DormancyRule,
    DormantPurse,
    FloatDay,
    FloatLine,
    day_end,
)
from services.account.domain.purse import SCHEMES, PurseKey

_HEAD = "SELECT sequence, post_time FROM book"
_LOCK_HEAD = f"{_HEAD} FOR NO KEY UPDATE"
# From here on no journal bears a time within the day, whatever the clock of a process says.
_MOVE_CLOCK = "UPDATE book SET post_time = greatest(post_time, CAST(%(end)s AS timestamptz))"
_CLOSE = "INSERT INTO float_close (day, place, close_time) VALUES (%(day)s, %(place)s, %(now)s)"
_PLACE = "SELECT place FROM float_close WHERE day = %(day)s"
_LAST_CLOSED = "SELECT max(day) FROM float_close"
_UNTAKEN = (
    "SELECT day FROM float_close WHERE NOT EXISTS (SELECT FROM float_day WHERE float_day.day = float_close.day)"
    " ORDER BY day"
)
_FIRST_POST = "SELECT post_time FROM journal WHERE sequence = 1"
_RULES = "SELECT product, silence_days, from_day, set_by, set_time FROM dormancy_rule ORDER BY rule_id"
_SET_RULE = (
    "INSERT INTO dormancy_rule (product, silence_days, from_day, set_by, set_time)"
    " VALUES (%(product)s, %(silence)s, %(from_day)s, %(set_by)s, %(now)s)"
)
# The rule of each product in force on a day; the product's own before the general one, the newest before older ones.
_SILENCE = """
    coalesce(
        (SELECT silence_days FROM dormancy_rule AS rule WHERE rule.product = {product} AND {product} <> ''
            AND from_day <= %(day)s ORDER BY rule_id DESC LIMIT 1),
        (SELECT silence_days FROM dormancy_rule AS rule WHERE rule.product = ''
            AND from_day <= %(day)s ORDER BY rule_id DESC LIMIT 1))
"""
# What stands behind the place is taken back: batches, openings, entries that name a purse. Closing holds batches back
# until it has counted, so that there are none; a recount of an old day reads the movements once, for the purses that
# moved since. A purse counts once its issue was booked (at its event time when it cost nothing), or a record of it
# came. Its last sign of life is that of the highest counter, as of the place.
_STATE = """
later_batch AS MATERIALIZED (
    SELECT batch_number FROM journal JOIN batch_fold USING (journal_id) WHERE journal.sequence > %(place)s
), later_movement AS MATERIALIZED (
    SELECT purse_id, sum(amount_fen) AS used_fen FROM movement
    WHERE batch_number >= (SELECT min(batch_number) FROM later_batch)
        AND batch_number IN (SELECT batch_number FROM later_batch)
    GROUP BY purse_id
), earlier_movement AS MATERIALIZED (
    SELECT DISTINCT ON (purse_id) purse_id, event_time FROM movement
    WHERE purse_id IN (SELECT purse_id FROM later_movement)
        AND batch_number NOT IN (SELECT batch_number FROM later_batch)
    ORDER BY purse_id, counter DESC, batch_number
), later_entry AS MATERIALIZED (
    SELECT purse_id,
        coalesce(sum(amount_fen) FILTER (WHERE side = 2 AND event = ANY(%(loads)s)), 0) AS loads_fen,
        coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0)
            - coalesce(sum(amount_fen) FILTER (WHERE side = 2 AND event <> ALL(%(loads)s)), 0) AS refunded_fen,
        coalesce(bool_or(side = 2 AND event = ANY(%(loads)s)), false) AS loaded
    FROM entry JOIN journal USING (sequence) WHERE sequence > %(place)s AND purse_id IS NOT NULL GROUP BY purse_id
), later_opening AS MATERIALIZED (
    SELECT purse_id, purse_opening.opening_fen FROM journal JOIN purse_opening USING (journal_id)
    WHERE sequence > %(place)s
), state AS (
    SELECT purse.purse_id, coalesce(product.name, '') AS product,
        purse.opening_fen - coalesce(later_opening.opening_fen, 0)
            + purse.loads_fen - coalesce(later_entry.loads_fen, 0) AS issued_fen,
        purse.debits_fen - coalesce(later_movement.used_fen, 0) AS used_fen,
        purse.corrections_debit_fen - purse.corrections_credit_fen - coalesce(later_entry.refunded_fen, 0)
            AS refunded_fen,
        opened.event_time IS NOT NULL AND later_opening.purse_id IS NULL
            AND (opened.journal_id IS NOT NULL OR opened.event_time < %(end)s) AS is_open,
        opened.event_time AS open_time,
        CASE WHEN later_movement.purse_id IS NULL THEN last_time ELSE earlier_movement.event_time END AS used_time,
        CASE WHEN NOT coalesce(loaded, false) THEN last_load_time
            ELSE (SELECT max(journal.event_time) FROM entry JOIN journal USING (sequence)
                WHERE entry.purse_id = purse.purse_id AND side = 2 AND event = ANY(%(loads)s)
                AND sequence <= %(place)s) END AS load_time
    FROM purse LEFT JOIN purse_opening AS opened USING (purse_id) LEFT JOIN product USING (product_id)
        LEFT JOIN later_movement USING (purse_id) LEFT JOIN earlier_movement USING (purse_id)
        LEFT JOIN later_entry USING (purse_id) LEFT JOIN later_opening USING (purse_id)
), seen AS (
    SELECT purse_id, CASE WHEN is_open THEN product ELSE '' END AS product, issued_fen, used_fen, refunded_fen,
        least(greatest(used_time, load_time, CASE WHEN is_open THEN open_time END), %(end)s) AS seen_time
    FROM state
    WHERE is_open OR used_time IS NOT NULL OR issued_fen <> 0 OR used_fen <> 0 OR refunded_fen <> 0
)"""
_LINES = f"""
WITH {_STATE}, rule AS MATERIALIZED (
    SELECT product, {_SILENCE.format(product="named.product")} AS silence_days
    FROM (SELECT '' AS product UNION SELECT name FROM product) AS named
), aged AS (
    SELECT product, issued_fen, used_fen, refunded_fen,
        (SELECT max(age) FROM unnest(CAST(%(ages)s AS integer[])) AS age
            WHERE seen_time <= %(end)s - age * interval '1 day' OR age = 0) AS age_days_min,
        seen_time <= %(end)s - silence_days * interval '1 day' AS dormant
    FROM seen JOIN rule USING (product)
)
SELECT product, age_days_min, count(*), sum(issued_fen), sum(used_fen), sum(refunded_fen),
    sum(issued_fen - used_fen - refunded_fen), count(*) FILTER (WHERE dormant),
    coalesce(sum(issued_fen - used_fen - refunded_fen) FILTER (WHERE dormant), 0)
FROM aged GROUP BY product, age_days_min ORDER BY product, age_days_min
"""
_BOOKED = """
SELECT coalesce(sum(amount_fen) FILTER (WHERE side = 2 AND event = ANY(%(issues)s)), 0),
    coalesce(sum(amount_fen) FILTER (WHERE side = 1 AND event = 'records_posted'), 0),
    coalesce(sum(amount_fen) FILTER (WHERE side = 1 AND event <> 'records_posted'), 0)
        - coalesce(sum(amount_fen) FILTER (WHERE side = 2 AND event <> ALL(%(issues)s)), 0)
FROM entry JOIN journal USING (sequence)
WHERE account_id = (SELECT account_id FROM account WHERE name = %(float)s)
    AND sequence > %(after)s AND sequence <= %(place)s
"""
_KNOWN_BOOK = """
SELECT place, issued_fen, used_fen, refunded_fen FROM float_day JOIN float_close USING (day)
WHERE place <= %(place)s AND day < %(day)s ORDER BY day DESC LIMIT 1
"""
# Balances of today less what stands behind the place; debits less credits.
_BALANCES = """
SELECT chart_number, sum(debits_fen - credits_fen - coalesce(later_fen, 0))
FROM account LEFT JOIN (
    SELECT account_id, sum(CASE side WHEN 1 THEN amount_fen ELSE -amount_fen END) AS later_fen
    FROM entry WHERE sequence > %(place)s GROUP BY account_id) AS later USING (account_id)
WHERE chart_number = ANY(%(numbers)s) GROUP BY chart_number
"""
_KEEP_DAY = (
    "INSERT INTO float_day (day, issued_fen, used_fen, refunded_fen, take_time, digest)"
    " VALUES (%(day)s, %(issued)s, %(used)s, %(refunded)s, %(now)s, %(digest)s) ON CONFLICT DO NOTHING"
)
_KEEP_LINES = """
INSERT INTO float_line (day, product, age_days_min, card_count, issued_fen, used_fen, refunded_fen, liability_fen,
    dormant_count, dormant_fen)
SELECT %(day)s, * FROM unnest(CAST(%(products)s AS text[]), CAST(%(ages)s AS integer[]), CAST(%(cards)s AS bigint[]),
    CAST(%(issued)s AS bigint[]), CAST(%(used)s AS bigint[]), CAST(%(refunded)s AS bigint[]),
    CAST(%(liabilities)s AS bigint[]), CAST(%(asleep)s AS bigint[]), CAST(%(dormant)s AS bigint[]))
"""
_KEEP_BOOK = """
INSERT INTO float_book (day, chart_number, balance_fen)
SELECT %(day)s, * FROM unnest(CAST(%(numbers)s AS text[]), CAST(%(balances)s AS bigint[]))
"""
_DAYS = (
    "SELECT day, place, issued_fen, used_fen, refunded_fen, digest FROM float_day JOIN float_close USING (day)"
    " WHERE day >= %(first)s AND day <= %(last)s ORDER BY day LIMIT %(limit)s"
)
_LINES_OF = (
    "SELECT day, product, age_days_min, card_count, issued_fen, used_fen, refunded_fen, liability_fen, dormant_count,"
    " dormant_fen FROM float_line WHERE day >= %(first)s AND day <= %(last)s ORDER BY day, product, age_days_min"
)
_BOOK_OF = (
    "SELECT day, chart_number, balance_fen FROM float_book WHERE day >= %(first)s AND day <= %(last)s"
    " ORDER BY day, chart_number"
)
# By the purses of this moment: who rode since the end of the day does not fall asleep any more.
_SEEN_NOW = "coalesce(greatest(last_time, last_load_time, opened.event_time), '-infinity')"
_FALL_ASLEEP = f"""
INSERT INTO dormant_purse (purse_id, since, seen_time, balance_fen)
SELECT purse_id, %(day)s, {_SEEN_NOW},
    purse.opening_fen + loads_fen - debits_fen + corrections_credit_fen - corrections_debit_fen
FROM purse JOIN purse_opening AS opened USING (purse_id) LEFT JOIN product USING (product_id)
    JOIN (SELECT product, {_SILENCE.format(product="named.product")} AS silence_days
        FROM (SELECT '' AS product UNION SELECT name FROM product) AS named) AS rule
        ON rule.product = coalesce(product.name, '')
WHERE {_SEEN_NOW} <= %(end)s - silence_days * interval '1 day'
    AND NOT EXISTS (SELECT FROM dormant_purse AS asleep
        WHERE asleep.purse_id = purse.purse_id AND asleep.revive_time IS NULL)
ORDER BY purse_id ON CONFLICT (purse_id) WHERE revive_time IS NULL DO NOTHING
"""
_REVIVE = """
UPDATE dormant_purse SET revive_time = greatest(last_time, last_load_time) FROM purse
WHERE purse.purse_id = dormant_purse.purse_id AND revive_time IS NULL
    AND greatest(last_time, last_load_time) > seen_time
"""
_DORMANT = """
SELECT sleep_id, scheme, card_number, generation, coalesce(product.name, ''), seen_time, since, balance_fen,
    coalesce(revive_time, CASE WHEN greatest(last_time, last_load_time) > seen_time
        THEN greatest(last_time, last_load_time) END) AS revived
FROM dormant_purse JOIN purse USING (purse_id) LEFT JOIN purse_opening USING (purse_id)
    LEFT JOIN product USING (product_id)
WHERE sleep_id > %(after)s AND (%(revived)s OR revive_time IS NULL
        AND coalesce(greatest(last_time, last_load_time), '-infinity') <= seen_time)
    AND (CAST(%(product)s AS text) IS NULL OR product.name = CAST(%(product)s AS text))
    AND (CAST(%(number)s AS bytea) IS NULL OR (scheme, card_number, generation)
        = (CAST(%(scheme)s AS smallint), CAST(%(number)s AS bytea), CAST(%(generation)s AS integer)))
ORDER BY sleep_id LIMIT %(limit)s
"""


class PostgresFloat:
    """`FloatRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection, chart: Chart) -> None:
        self._driver = Driver(connection)
        self._chart = chart

    async def one_moment(self) -> None:
        """See the port."""
        await self._driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Millions of purses take their seconds; the caller's time limit bounds them.
        await self._driver.execute("SET LOCAL statement_timeout = 0")
        await self._driver.execute("SET LOCAL work_mem = '64MB'")

    async def hold_batches(self) -> None:
        """See the port."""
        await self._driver.execute("SET LOCAL lock_timeout = 0")
        await self._driver.execute(HOLD_MANY)
        await self._driver.execute("SET LOCAL statement_timeout = 0")
        await self._driver.execute("SET LOCAL work_mem = '64MB'")

    async def head(self) -> tuple[int, datetime | None]:
        """See the port."""
        ((sequence, post_time),) = await self._driver.fetch(_HEAD)
        return int(sequence), post_time

    async def first_post_time(self) -> datetime | None:
        """See the port."""
        rows = await self._driver.fetch(_FIRST_POST)
        return rows[0][0] if rows else None

    async def last_closed(self) -> date | None:
        """See the port."""
        ((found,),) = await self._driver.fetch(_LAST_CLOSED)
        return found if isinstance(found, date) else None

    async def close_days(self, days: Sequence[date], now: datetime) -> None:
        """See the port."""
        await self._driver.fetch(_LOCK_HEAD)
        last = await self.last_closed()
        for day in days:
            # Another process may have been faster while we waited for the book.
            if last is not None and day <= last:
                continue
            end = day_end(day)
            # Moments are kept to the microsecond: the last one of the day itself counts, the next does not.
            ((place,),) = await self._driver.fetch(PLACE_AT.format(before="<"), {"at": end})
            await self._driver.execute(_CLOSE, {"day": day, "place": place, "now": now})
        await self._driver.execute(_MOVE_CLOCK, {"end": day_end(days[-1])})

    async def place(self, day: date) -> int | None:
        """See the port."""
        rows = await self._driver.fetch(_PLACE, {"day": day})
        return int(rows[0][0]) if rows else None

    async def untaken(self) -> list[date]:
        """See the port."""
        return [row[0] for row in await self._driver.fetch(_UNTAKEN)]

    async def count(self, day: date, place: int, as_of: datetime) -> FloatDay:
        """See the port."""
        numbers = [*COVERED_NUMBERS, *COVERING_NUMBERS]
        values: dict[str, Any] = {
            "day": day,
            "place": place,
            "end": as_of,
            "ages": list(AGES_DAYS),
            "loads": sorted(self._chart.load_events),
            "issues": sorted({"cards_issued", *self._chart.load_events}),
            "float": self._chart.float_number,
            "numbers": numbers,
        }
        rows = await self._driver.fetch(_LINES, values)
        lines = tuple(FloatLine(row[0], row[1], *(int(value) for value in row[2:])) for row in rows)
        known = await self._driver.fetch(_KNOWN_BOOK, values)
        after, issued_before, used_before, refunded_before = known[0] if known else (0, 0, 0, 0)
        ((issued, used, refunded),) = await self._driver.fetch(_BOOKED, values | {"after": after})
        balances = dict.fromkeys(numbers, 0)
        for number, debits_less_credits in await self._driver.fetch(_BALANCES, values):
            grows_by_debits = self._chart.lines[number].kind.grows_by_debits
            balances[number] = int(debits_less_credits) if grows_by_debits else -int(debits_less_credits)
        book = BookTotals(
            issued_before + int(issued),
            used_before + int(used),
            refunded_before + int(refunded),
            tuple(sorted(balances.items())),
        )
        return FloatDay(day, as_of, place, lines, book)

    async def keep(self, found: FloatDay, now: datetime) -> None:
        """See the port."""
        values = {
            "day": found.day,
            "issued": found.book.issued_fen,
            "used": found.book.used_fen,
            "refunded": found.book.refunded_fen,
            "now": now,
            "digest": found.digest(),
        }
        if not await self._driver.execute(_KEEP_DAY, values):
            return
        lines = {
            "day": found.day,
            "products": [line.product for line in found.lines],
            "ages": [line.age_days_min for line in found.lines],
            "cards": [line.card_count for line in found.lines],
            "issued": [line.issued_fen for line in found.lines],
            "used": [line.used_fen for line in found.lines],
            "refunded": [line.refunded_fen for line in found.lines],
            "liabilities": [line.liability_fen for line in found.lines],
            "asleep": [line.dormant_count for line in found.lines],
            "dormant": [line.dormant_fen for line in found.lines],
        }
        await self._driver.execute(_KEEP_LINES, lines)
        book = {
            "day": found.day,
            "numbers": [number for number, _ in found.book.balances_fen],
            "balances": [balance for _, balance in found.book.balances_fen],
        }
        await self._driver.execute(_KEEP_BOOK, book)

    async def days(self, first: date, last: date, limit: int) -> list[FloatDay]:
        """See the port."""
        values: Mapping[str, Any] = {"first": first, "last": last, "limit": limit}
        kept = await self._driver.fetch(_DAYS, values)
        if not kept:
            return []
        values = {"first": kept[0][0], "last": kept[-1][0]}
        lines: dict[date, list[FloatLine]] = {}
        for day, *line in await self._driver.fetch(_LINES_OF, values):
            lines.setdefault(day, []).append(FloatLine(*line))
        balances: dict[date, list[tuple[str, int]]] = {}
        for day, number, balance in await self._driver.fetch(_BOOK_OF, values):
            balances.setdefault(day, []).append((number, balance))
        return [
            FloatDay(
                day,
                day_end(day),
                place,
                tuple(lines.get(day, ())),
                BookTotals(issued, used, refunded, tuple(balances.get(day, ()))),
            )
            for day, place, issued, used, refunded, _ in kept
        ]

    async def rules(self) -> list[DormancyRule]:
        """See the port."""
        return [DormancyRule(*row) for row in await self._driver.fetch(_RULES)]

    async def set_rule(self, rule: DormancyRule) -> None:
        """See the port."""
        values = {
            "product": rule.product,
            "silence": rule.silence_days,
            "from_day": rule.from_day,
            "set_by": rule.set_by,
            "now": rule.set_time,
        }
        await self._driver.execute(_SET_RULE, values)

    async def put_to_sleep(self, day: date) -> tuple[int, int]:
        """See the port."""
        await self._driver.execute("SET LOCAL statement_timeout = 0")
        revived = await self._driver.execute(_REVIVE)
        asleep = await self._driver.execute(_FALL_ASLEEP, {"day": day, "end": day_end(day)})
        return asleep, revived

    async def list_dormant(
        self, after: int, limit: int, product: str | None, key: PurseKey | None, include_revived: bool
    ) -> list[DormantPurse]:
        """See the port."""
        values = {
            "after": after,
            "limit": limit,
            "product": product,
            "revived": include_revived,
            "scheme": None if key is None else SCHEMES.index(key.scheme),
            "number": None if key is None else bytes.fromhex(key.number),
            "generation": None if key is None else key.generation,
        }
        return [
            DormantPurse(
                row[0], purse_key(row[1], row[2], row[3]), row[4], row[5], row[6], row[7], row[8]
            )
            for row in await self._driver.fetch(_DORMANT, values)
        ]  # fmt: skip
