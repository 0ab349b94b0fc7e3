"""The proof in PostgreSQL: each statement recomputes one thing in sets, over one moment of the database."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.sql_bank_proof import BANK_CHECKS
from services.account.adapters.sql_float_proof import FLOAT_CHECKS
from services.account.adapters.sql_items import BOOK_LESS_PRINTED, BROKEN, COMPARABLE, EXPLAINED
from services.account.adapters.sql_wallet_proof import WALLET_CHECKS
from services.account.domain.chart import Chart
from services.account.domain.proof import AccountTotal, Proof, ProofLine

# Every check selects one row per thing looked at: `broken` and, for people, `what`, ordered by `place`.
_COUNT = (
    "SELECT count(*) AS checked_count, count(*) FILTER (WHERE broken) AS broken_count,"
    " coalesce((array_agg(what ORDER BY place) FILTER (WHERE broken))[1], '') AS first_broken FROM ({check}) AS looked"
)
_PURSE = (
    "'purses/' || CASE {0}.scheme WHEN 0 THEN 'cj' ELSE 'jt' END || '-' || encode({0}.card_number, 'hex')"
    " || '.' || {0}.generation"
)

_BALANCED = """
SELECT journal.sequence AS place, coalesce(debits <> credits, true) AS broken,
    format('journals/%s at %s: debits %s, credits %s fen', journal_id, sequence, debits, credits) AS what
FROM journal LEFT JOIN (
    SELECT sequence, coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0) AS debits,
        coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0) AS credits
    FROM entry GROUP BY sequence) AS legs USING (sequence)
"""
_WHOLE_BOOK = """
SELECT 1 AS place, debits <> credits AS broken, format('debits %s, credits %s fen', debits, credits) AS what
FROM (SELECT coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0) AS debits,
    coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0) AS credits FROM entry) AS sums
"""
# What a person has decided about a difference is no longer news, until the difference changes.
_PRINTED = f"""
WITH seen AS (
    SELECT purse_id, scheme, card_number, generation, last_time, printed_balance_fen,
        opening_fen + loads_fen - debits_fen + repeats_fen AS book_fen, {BOOK_LESS_PRINTED} AS after_fen
    FROM purse WHERE {COMPARABLE}
), {EXPLAINED.format(load_events=":load_events", tolerance=":tolerance")}
SELECT seen.purse_id AS place,
    {BROKEN} AND NOT EXISTS (SELECT FROM purse_item WHERE purse_item.purse_id = seen.purse_id AND kind = 3
        AND outcome = 'DECIDED'
        AND amount_fen = coalesce(nullif(after_fen - coalesce(surely_after_fen, 0), 0), after_fen)) AS broken,
    format('%s: book %s, printed %s fen', {_PURSE.format("seen")}, book_fen, printed_balance_fen) AS what
FROM seen LEFT JOIN explained USING (purse_id)
"""
# Gaps of a purse that a person gave up stay missing; what is open and what was given up is all that is missing.
_ITEMS = f"""
SELECT purse.purse_id AS place, counter_max + 1 - counter_count <> coalesce(missing, 0)
    OR repeats_fen <> coalesce(repeated, 0) AS broken,
    format('%s: %s counters missing, items say %s; repeated %s, items say %s fen', {_PURSE.format("purse")},
        counter_max + 1 - counter_count, coalesce(missing, 0), repeats_fen, coalesce(repeated, 0)) AS what
FROM purse LEFT JOIN (
    SELECT purse_id,
        sum(counter_to - counter_from + 1) FILTER (WHERE kind = 1 AND coalesce(outcome, 'DECIDED') = 'DECIDED')
            AS missing,
        sum(amount_fen) FILTER (WHERE kind = 2) AS repeated
    FROM purse_item GROUP BY purse_id) AS items USING (purse_id)
"""
_COUNTERS = """
SELECT account.name AS place, account.debits_fen <> coalesce(debits, 0) OR account.credits_fen <> coalesce(credits, 0)
    AS broken,
    format('accounts/%s: counters %s and %s, entries %s and %s fen', account.name, account.debits_fen,
        account.credits_fen, coalesce(debits, 0), coalesce(credits, 0)) AS what
FROM account LEFT JOIN (
    SELECT account_id, sum(amount_fen) FILTER (WHERE side = 1) AS debits,
        sum(amount_fen) FILTER (WHERE side = 2) AS credits
    FROM entry GROUP BY account_id) AS sums USING (account_id)
"""
_RUNNING = """
SELECT entry.sequence AS place, (debits_after_fen, credits_after_fen) IS DISTINCT FROM (debits, credits) AS broken,
    format('journals/%s at %s, leg %s: says %s and %s after it, entries sum to %s and %s fen', journal_id,
        entry.sequence, leg_number, debits_after_fen, credits_after_fen, debits, credits) AS what
FROM (SELECT sequence, leg_number, debits_after_fen, credits_after_fen,
        coalesce(sum(amount_fen) FILTER (WHERE side = 1) OVER upto, 0) AS debits,
        coalesce(sum(amount_fen) FILTER (WHERE side = 2) OVER upto, 0) AS credits
    FROM entry WINDOW upto AS (PARTITION BY account_id ORDER BY sequence)) AS entry JOIN journal USING (sequence)
WHERE debits_after_fen IS NOT NULL
"""
_MOMENTS = """
SELECT sequence AS place, post_time < lag(post_time) OVER (ORDER BY sequence) AS broken,
    format('journals/%s at %s was posted before its predecessor', journal_id, sequence) AS what
FROM journal
"""
_FLOORS = """
SELECT name AS place, overdraft_fen IS NOT NULL AND chart_number = ANY(CAST(:debit_numbers AS text[]))
        AND debits_fen - credits_fen - pending_credits_fen < -overdraft_fen
    OR overdraft_fen IS NOT NULL AND chart_number <> ALL(CAST(:debit_numbers AS text[]))
        AND credits_fen - debits_fen - pending_debits_fen < -overdraft_fen AS broken,
    format('accounts/%s: debits %s, credits %s, held %s and %s, overdraft %s fen', name, debits_fen, credits_fen,
        pending_debits_fen, pending_credits_fen, overdraft_fen) AS what
FROM account
"""
_FLOAT = """
SELECT 1 AS place, booked <> held AS broken, format('2201 %s, purses %s fen', booked, held) AS what
FROM (SELECT coalesce(sum(credits_fen - debits_fen), 0) AS booked FROM account WHERE chart_number = :float) AS float,
    (SELECT coalesce(sum(opening_fen + loads_fen - debits_fen + corrections_credit_fen - corrections_debit_fen), 0)
        AS held FROM purse) AS purses
"""
_PURSES = f"""
SELECT purse.purse_id AS place,
    (purse.opening_fen, debits_fen, counter_count, counter_max, loads_fen, corrections_credit_fen,
        corrections_debit_fen)
    IS DISTINCT FROM (coalesce(opened.opening_fen, 0), coalesce(moved, 0), coalesce(counters, 0),
        coalesce(highest, -1), coalesce(loads, 0), coalesce(credits, 0), coalesce(debits, 0)) AS broken,
    format('%s: opening %s, debits %s, loads %s fen, %s counters up to %s; rows say %s, %s, %s fen, %s up to %s',
        {_PURSE.format("purse")}, purse.opening_fen, debits_fen, loads_fen, counter_count, counter_max,
        coalesce(opened.opening_fen, 0), coalesce(moved, 0), coalesce(loads, 0), coalesce(counters, 0),
        coalesce(highest, -1)) AS what
FROM purse
LEFT JOIN purse_opening AS opened USING (purse_id)
LEFT JOIN (SELECT purse_id, sum(amount_fen) AS moved, count(DISTINCT counter) AS counters, max(counter) AS highest
    FROM movement GROUP BY purse_id) AS movements USING (purse_id)
LEFT JOIN (SELECT purse_id,
        sum(amount_fen) FILTER (WHERE side = 2 AND event = ANY(CAST(:load_events AS text[]))) AS loads,
        sum(amount_fen) FILTER (WHERE side = 2 AND event <> ALL(CAST(:load_events AS text[]))) AS credits,
        sum(amount_fen) FILTER (WHERE side = 1) AS debits
    FROM entry JOIN journal USING (sequence) WHERE purse_id IS NOT NULL GROUP BY purse_id) AS booked USING (purse_id)
"""
# Entries of whole batches on the float name no purse: the details must sum to them, and to nothing else.
_DETAILS = """
SELECT coalesce(entries.sequence, 0) AS place, debits IS DISTINCT FROM detail.moved
    OR credits IS DISTINCT FROM detail.opened AS broken,
    format('journals/%s: float -%s +%s, details -%s +%s fen', journal_id, debits, credits, detail.moved,
        detail.opened) AS what
FROM (SELECT journal_id, sequence, coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0) AS debits,
        coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0) AS credits
    FROM journal JOIN entry USING (sequence) JOIN account USING (account_id)
    WHERE chart_number = :float AND purse_id IS NULL GROUP BY journal_id, sequence) AS entries
FULL JOIN (SELECT journal_id, sum(moved) AS moved, sum(opened) AS opened FROM (
        SELECT journal_id, movement_total_fen AS moved, 0 AS opened FROM batch_fold WHERE journal_id IS NOT NULL
        UNION ALL SELECT journal_id, 0, opening_fen FROM purse_opening WHERE journal_id IS NOT NULL) AS parts
    GROUP BY journal_id HAVING sum(moved) + sum(opened) > 0) AS detail USING (journal_id)
"""
_BATCHES = """
SELECT batch_number AS place, movement_count IS DISTINCT FROM coalesce(counted, 0)
    OR movement_total_fen IS DISTINCT FROM coalesce(summed, 0)
    OR (movement_total_fen > 0 AND journals IS DISTINCT FROM 1) AS broken,
    format('batches/%s: says %s movements of %s fen, holds %s of %s fen, posted %s times', batch_id, movement_count,
        movement_total_fen, coalesce(counted, 0), coalesce(summed, 0), coalesce(journals, 0)) AS what
FROM batch_fold
FULL JOIN (SELECT batch_number, count(*) AS counted, sum(amount_fen) AS summed FROM movement GROUP BY batch_number)
    AS movements USING (batch_number)
LEFT JOIN (SELECT reference, count(*) AS journals FROM journal WHERE event = 'records_posted' GROUP BY reference)
    AS posted ON posted.reference = 'batches/' || batch_id
"""
_CHAIN = f"""
WITH legs AS (
    SELECT sequence, string_agg(leg_number || '|' || account.name || '|' || side || '|' || amount_fen || '|'
        || coalesce(substr({_PURSE.format("purse")}, 8), '') || E'\\n', '' ORDER BY leg_number) AS body
    FROM entry JOIN account USING (account_id) LEFT JOIN purse USING (purse_id) GROUP BY sequence
)
SELECT sequence AS place, sequence <> row_number() OVER in_order OR hash <> sha256(
        lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER in_order || int8send(sequence) || convert_to(
            journal_id || E'\\n' || event || E'\\n'
            || CAST(extract(epoch FROM event_time) * 1000000 AS bigint) || E'\\n'
            || CAST(extract(epoch FROM post_time) * 1000000 AS bigint) || E'\\n' || octet_length(reference) || E'\\n'
            || reference || E'\\n'
            || CASE WHEN participant || purpose || member = '' THEN ''
                ELSE 'by|' || participant || '|' || purpose || '|' || member || E'\\n' END
            || coalesce('detail|' || encode(detail_hash, 'hex') || E'\\n', '')
            || coalesce(legs.body, ''), 'UTF8')) AS broken,
    format('journals/%s at %s', journal_id, sequence) AS what
FROM journal LEFT JOIN legs USING (sequence)
WINDOW in_order AS (ORDER BY sequence)
"""
_HEAD = """
SELECT 1 AS place, book.sequence <> coalesce(last.sequence, 0)
    OR book.hash <> coalesce(last.hash, decode(repeat('00', 32), 'hex')) AS broken,
    format('the book ends at %s, its last journal is %s', book.sequence, coalesce(last.sequence, 0)) AS what
FROM book LEFT JOIN (SELECT sequence, hash FROM journal ORDER BY sequence DESC LIMIT 1) AS last ON true
"""
# `domain.batch.PostedBatch.digest` says the same.
_DETAIL_SEALS = """
SELECT batch_number AS place, batch_fold.detail_hash IS DISTINCT FROM coalesce(digest, sha256(''))
    OR (journal_id IS NOT NULL AND journal.detail_hash IS DISTINCT FROM batch_fold.detail_hash) AS broken,
    format('batches/%s: its movements are not those that were sealed', batch_id) AS what
FROM batch_fold LEFT JOIN journal USING (journal_id)
LEFT JOIN (SELECT batch_number, sha256(string_agg(body, '' ORDER BY body)) AS digest FROM (
        SELECT batch_number, substr(int2send(scheme), 2) || card_number || int4send(generation) || '\\x00'
            || int4send(counter) || int8send(amount_fen) || int8send(balance_before_fen)
            || int8send(CAST(extract(epoch FROM event_time) AS bigint)) AS body
        FROM movement JOIN purse USING (purse_id)) AS rows GROUP BY batch_number) AS bodies USING (batch_number)
WHERE batch_fold.detail_hash IS NOT NULL
"""
_PENDING_ACCOUNTS = """
SELECT name AS place, pending_debits_fen <> coalesce(debits, 0) OR pending_credits_fen <> coalesce(credits, 0)
    AS broken,
    format('accounts/%s: pending %s and %s, reservations %s and %s fen', name, pending_debits_fen,
        pending_credits_fen, coalesce(debits, 0), coalesce(credits, 0)) AS what
FROM account LEFT JOIN (
    SELECT account_id, sum(amount_fen) FILTER (WHERE side = 1) AS debits,
        sum(amount_fen) FILTER (WHERE side = 2) AS credits
    FROM reservation JOIN reservation_leg USING (reservation_id) WHERE state = 'PENDING' GROUP BY account_id)
    AS held USING (account_id)
"""
_PENDING_PURSES = f"""
SELECT purse.purse_id AS place, pending_debits_fen <> coalesce(debits, 0) OR pending_loads_fen <> coalesce(credits, 0)
    AS broken,
    format('%s: pending %s and %s, reservations %s and %s fen', {_PURSE.format("purse")}, pending_debits_fen,
        pending_loads_fen, coalesce(debits, 0), coalesce(credits, 0)) AS what
FROM purse LEFT JOIN (
    SELECT purse_id, sum(amount_fen) FILTER (WHERE side = 1) AS debits,
        sum(amount_fen) FILTER (WHERE side = 2) AS credits
    FROM reservation JOIN reservation_leg USING (reservation_id) WHERE state = 'PENDING' AND purse_id IS NOT NULL
    GROUP BY purse_id) AS held USING (purse_id)
WHERE pending_debits_fen > 0 OR pending_loads_fen > 0 OR coalesce(debits, credits) IS NOT NULL
"""
# A part is posted leg by leg under the numbers of what is left: it may be less on any account and side, never more.
_OUTCOMES = """
SELECT reservation_id AS place, state = 'COMMITTED' AND CASE WHEN partial THEN EXISTS (
        SELECT FROM (SELECT account_id, side, purse_id, sum(amount_fen) AS posted FROM entry
            WHERE entry.sequence = journal.sequence GROUP BY account_id, side, purse_id) AS part
        WHERE posted > coalesce((SELECT sum(amount_fen) FROM reservation_leg
            WHERE reservation_leg.reservation_id = reservation.reservation_id
            AND reservation_leg.account_id = part.account_id AND reservation_leg.side = part.side
            AND reservation_leg.purse_id IS NOT DISTINCT FROM part.purse_id), 0))
        OR NOT EXISTS (SELECT FROM entry WHERE entry.sequence = journal.sequence)
    ELSE (SELECT count(*) FROM (
        SELECT leg_number, account_id, side, amount_fen, purse_id FROM reservation_leg
        WHERE reservation_leg.reservation_id = reservation.reservation_id
        INTERSECT SELECT leg_number, account_id, side, amount_fen, purse_id FROM entry
        WHERE entry.sequence = journal.sequence) AS same)
    <> greatest((SELECT count(*) FROM reservation_leg
            WHERE reservation_leg.reservation_id = reservation.reservation_id),
        (SELECT count(*) FROM entry WHERE entry.sequence = journal.sequence)) END AS broken,
    format('reservations/%s: committed by journals/%s, which posts other legs', reservation_id, journal_id) AS what
FROM reservation LEFT JOIN journal USING (journal_id)
"""
CHECKS: tuple[tuple[str, str, str], ...] = (
    ("I1", "Every journal has legs, and its debits equal its credits.", _BALANCED),
    ("I1", "The debits of the whole book equal its credits.", _WHOLE_BOOK),
    (
        "I5",
        "Opening + loads - debits of a purse = balance it printed last + loads after that; no gap, no load in doubt.",
        _PRINTED,
    ),
    ("I5", "Every missing counter and every repetition of a purse stands in an item.", _ITEMS),
    ("I6", "The sums that every entry carries equal the entries up to it.", _RUNNING),
    ("I6", "No account is below its floor.", _FLOORS),
    ("I6", "The counters of every account equal the sums of its entries.", _COUNTERS),
    ("I6", "The card float (2201) equals the sum of all purses.", _FLOAT),
    ("I6", "Every purse equals its opening, movements, loads and corrections.", _PURSES),
    ("I6", "Movements and openings sum to the float entries of their journals.", _DETAILS),
    ("I10", "Every folded batch holds its movements once and is posted by one journal.", _BATCHES),
    ("I13", "Every journal carries the hash over its predecessor and itself, without gaps.", _CHAIN),
    ("I13", "The movements of every batch are those that were sealed.", _DETAIL_SEALS),
    ("I13", "Posting times never go back along the book.", _MOMENTS),
    ("I13", "The head of the book is its last journal.", _HEAD),
    ("I14", "Pending sums of every account equal its pending reservations.", _PENDING_ACCOUNTS),
    ("I14", "Pending sums of every purse equal its pending reservations.", _PENDING_PURSES),
    ("I14", "Every committed reservation is posted by one journal with its legs.", _OUTCOMES),
    *FLOAT_CHECKS,
    *BANK_CHECKS,
    *WALLET_CHECKS,
)
_TOTALS = text(
    "SELECT name, coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0) AS debits,"
    " coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0) AS credits"
    " FROM account LEFT JOIN entry USING (account_id) GROUP BY name ORDER BY name"
)
_SUMS = text(
    "SELECT (SELECT count(*) FROM purse) AS purse_count,"
    " (SELECT coalesce(sum(opening_fen + loads_fen - debits_fen + corrections_credit_fen - corrections_debit_fen), 0)"
    " FROM purse) AS purse_total_fen,"
    " (SELECT coalesce(sum(amount_fen), 0) FROM reservation JOIN reservation_leg USING (reservation_id)"
    " WHERE state = 'PENDING' AND side = 1) AS pending_total_fen,"
    " (SELECT count(*) FROM movement) AS movement_count,"
    " (SELECT coalesce(sum(amount_fen), 0) FROM movement) AS movement_total_fen,"
    " (SELECT count(*) FROM batch_fold) AS batch_count"
)


class PostgresProofs:
    """`ProofReader` of one transaction."""

    def __init__(self, connection: AsyncConnection, chart: Chart) -> None:
        self._connection = connection
        self._chart = chart

    async def prove(self, clock_tolerance_s: float) -> Proof:
        """See the port. The transaction must be fresh: its first statement makes it read one moment only."""
        await self._connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # A proof of years may take minutes; the time limit of the caller bounds it instead. The memory is for hashing
        # millions of purses without spilling, and is given back with the transaction.
        await self._connection.execute(text("SET LOCAL statement_timeout = 0"))
        await self._connection.execute(text("SET LOCAL work_mem = '64MB'"))
        values = {
            "load_events": sorted(self._chart.load_events),
            "float": self._chart.float_number,
            "tolerance": f"{clock_tolerance_s} seconds",
            "debit_numbers": [line.number for line in self._chart.lines.values() if line.kind.grows_by_debits],
        }
        lines = [await self._line(*check, values) for check in CHECKS]
        totals = tuple(
            AccountTotal(row.name, int(row.debits), int(row.credits)) for row in await self._connection.execute(_TOTALS)
        )
        sums = (await self._connection.execute(_SUMS)).one()
        return Proof(
            lines=tuple(lines),
            totals=totals,
            purse_total_fen=int(sums.purse_total_fen),
            purse_count=sums.purse_count,
            pending_total_fen=int(sums.pending_total_fen),
            movement_count=sums.movement_count,
            movement_total_fen=int(sums.movement_total_fen),
            batch_count=sums.batch_count,
        )

    async def _line(self, invariant: str, statement: str, check: str, values: dict[str, Any]) -> ProofLine:
        query = text(_COUNT.format(check=check))
        wanted = {name: value for name, value in values.items() if f":{name}" in check}
        row = (await self._connection.execute(query, wanted)).one()
        return ProofLine(invariant, statement, row.checked_count, row.broken_count, row.first_broken)
