"""The book in PostgreSQL: journals and their entries, and balances of the past."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import int2_array, int4_array, int8_array
from services.account.adapters.driver import Driver, Row, Step
from services.account.adapters.sql_purses import purse_key
from services.account.domain.book import (
    EVENT_AHEAD_MAX,
    Entry,
    Journal,
    Leg,
    NewJournal,
    Posting,
    TimeAxis,
    chain_hash,
    journal_bytes,
)
from services.account.domain.chart import Side
from services.account.domain.errors import JournalUnknown
from services.account.domain.purse import PurseKey

# The end of the book: place, seal and posting time of the last journal.
Head: TypeAlias = tuple[int, bytes, datetime | None]
# The book is locked from here to the commit: for the time of one more round trip and of the commit.
HEAD = "SELECT sequence, hash, post_time FROM book FOR NO KEY UPDATE"
_POST = (
    "WITH moved AS (UPDATE book SET sequence = %(last)s, hash = %(hash)s, post_time = %(post_time)s),"
    " written AS (INSERT INTO journal (sequence, journal_id, event, reference, event_time, post_time, hash,"
    " participant, purpose, member, detail_hash)"
    " SELECT sequence, journal_id, event, reference, event_time, %(post_time)s, hash, participant, purpose, member,"
    " detail_hash FROM unnest(CAST(%(sequences)s AS bigint[]), CAST(%(journal_ids)s AS uuid[]),"
    " CAST(%(events)s AS text[]), CAST(%(references)s AS text[]), CAST(%(event_times)s AS timestamptz[]),"
    " CAST(%(hashes)s AS bytea[]), CAST(%(participants)s AS text[]), CAST(%(purposes)s AS text[]),"
    " CAST(%(members)s AS text[]), CAST(%(details)s AS bytea[]))"
    " AS new (sequence, journal_id, event, reference, event_time, hash, participant, purpose, member, detail_hash))"
    " INSERT INTO entry (sequence, leg_number, account_id, side, amount_fen, purse_id, debits_after_fen,"
    " credits_after_fen)"
    " SELECT * FROM unnest(CAST(%(of)s AS bigint[]), CAST(%(numbers)s AS smallint[]), CAST(%(accounts)s AS integer[]),"
    " CAST(%(sides)s AS smallint[]), CAST(%(amounts)s AS bigint[]), CAST(%(purses)s AS integer[]),"
    " CAST(%(debits)s AS bigint[]), CAST(%(credits)s AS bigint[]))"
)
_POSTED = text("SELECT EXISTS (SELECT FROM journal WHERE reference = :reference AND event = :event)")
_ENTRIES = text(
    "SELECT entry.sequence, entry.leg_number, entry.side, entry.amount_fen, entry.debits_after_fen,"
    " entry.credits_after_fen, journal.journal_id, journal.event, journal.reference, journal.event_time,"
    " journal.post_time, purse.scheme, purse.card_number, purse.generation"
    " FROM entry JOIN journal USING (sequence) LEFT JOIN purse USING (purse_id)"
    " WHERE entry.account_id = (SELECT account_id FROM account WHERE name = :account)"
    " AND (entry.sequence, entry.leg_number) > (CAST(:sequence AS bigint), CAST(:leg_number AS integer))"
    " ORDER BY entry.sequence, entry.leg_number LIMIT :limit"
)
_JOURNAL = (
    "SELECT sequence, journal_id, event, reference, event_time, post_time, participant, purpose, member FROM journal"
)
_BY_ID = f"{_JOURNAL} WHERE journal_id = %(which)s"
_BY_PLACE = f"{_JOURNAL} WHERE sequence = %(which)s"
_PAGE = f"{_JOURNAL} WHERE sequence > %(after)s ORDER BY sequence LIMIT %(limit)s"
_PAGE_OF = f"{_JOURNAL} WHERE sequence > %(after)s AND reference = %(reference)s ORDER BY sequence LIMIT %(limit)s"
_LEGS = (
    "SELECT entry.sequence, account.name, entry.side, entry.amount_fen, purse.scheme, purse.card_number,"
    " purse.generation FROM entry JOIN account USING (account_id) LEFT JOIN purse USING (purse_id)"
    " WHERE entry.sequence = ANY(CAST(%(sequences)s AS bigint[])) ORDER BY entry.sequence, entry.leg_number"
)
# Places have no gaps and posting times never go back, so a moment is found by halving: a look per doubling of the book.
# `before` is `<=` where the moment itself counts, else `<`.
PLACE_AT = """
WITH RECURSIVE halving (low, high) AS (
    SELECT CAST(0 AS bigint), sequence FROM book
    UNION ALL
    SELECT CASE WHEN journal.post_time {before} %(at)s THEN middle ELSE low END,
        CASE WHEN journal.post_time {before} %(at)s THEN high ELSE middle - 1 END
    FROM (SELECT low, high, (low + high + 1) / 2 AS middle FROM halving WHERE low < high) AS step
    JOIN journal ON journal.sequence = step.middle
)
SELECT low FROM halving WHERE low = high
"""
# The newest entry that knows the sums, and what an earlier version posted behind it.
_SUMS_AT = """
WITH known AS (
    SELECT sequence, debits_after_fen, credits_after_fen FROM entry
    WHERE account_id = %(account)s AND sequence <= %(place)s AND debits_after_fen IS NOT NULL
    ORDER BY sequence DESC, leg_number DESC LIMIT 1
)
SELECT coalesce((SELECT debits_after_fen FROM known), 0) + coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0),
    coalesce((SELECT credits_after_fen FROM known), 0) + coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0)
FROM entry WHERE account_id = %(account)s AND sequence <= %(place)s
    AND sequence > coalesce((SELECT sequence FROM known), 0)
"""
_LATER = """
SELECT coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0), coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0)
FROM entry JOIN journal USING (sequence)
WHERE account_id = %(account)s AND sequence > %(place)s AND journal.event_time <= %(at)s
"""
_ACCOUNT = "SELECT account_id FROM account WHERE name = %(name)s"


def head_of(rows: Sequence[Row]) -> Head:
    """The end of the book out of its one row."""
    ((sequence, seal, post_time),) = rows
    return sequence, seal, post_time


class PostgresJournals:
    """`JournalRepository` of one transaction.

    Args:
        connection: The transaction.
        account_ids: Short keys of the accounts that it locked.
        purse_ids: Short keys of the purses that it locked.
    """

    def __init__(
        self, connection: AsyncConnection, account_ids: Mapping[str, int], purse_ids: Mapping[PurseKey, int]
    ) -> None:
        self._connection = connection
        self._driver = Driver(connection)
        self._account_ids = account_ids
        self._purse_ids = purse_ids

    async def post(self, journals: Sequence[NewJournal], now: datetime) -> list[Journal]:
        """See the port."""
        written, step = self.sealing(head_of(await self._driver.fetch(HEAD)), journals, now)
        count = await self._driver.execute(*step)
        assert count == sum(len(new.posting.legs) for new in journals), "every leg is an entry"
        return written

    def sealing(self, head: Head, journals: Sequence[NewJournal], now: datetime) -> tuple[list[Journal], Step]:
        """Give journals their places behind the end of the book, which is locked, and what writes them there."""
        sequence, seal, last_time = head
        post_time = now if last_time is None or last_time < now else last_time
        written, hashes = [], []
        for new in journals:
            sequence += 1
            seal = chain_hash(seal, sequence, journal_bytes(new.id, new.posting, post_time, new.detail))
            written.append(Journal(new.id, new.posting, post_time, sequence))
            hashes.append(seal)
        values = {"last": sequence, "hash": seal, "post_time": post_time, "hashes": hashes}
        values |= _journal_values(journals, written) | self._entry_values(journals, written)
        return written, (_POST, values)

    def _entry_values(self, journals: Sequence[NewJournal], written: Sequence[Journal]) -> dict[str, Any]:
        legs = [
            (journal.sequence, number, leg, new.after[leg.account])
            for new, journal in zip(journals, written, strict=True)
            for number, leg in enumerate(new.posting.legs, 1)
        ]
        return {
            "of": int8_array([sequence for sequence, _, _, _ in legs]),
            "numbers": int2_array([number for _, number, _, _ in legs]),
            "accounts": int4_array([self._account_ids[leg.account] for _, _, leg, _ in legs]),
            "sides": int2_array([leg.side.value for _, _, leg, _ in legs]),
            "amounts": int8_array([leg.amount_fen for _, _, leg, _ in legs]),
            "purses": [None if leg.purse is None else self._purse_ids[leg.purse] for _, _, leg, _ in legs],
            "debits": int8_array([after[0] for _, _, _, after in legs]),
            "credits": int8_array([after[1] for _, _, _, after in legs]),
        }

    async def posted(self, event: str, reference: str) -> bool:
        """See the port."""
        values = {"event": event, "reference": reference}
        return bool((await self._connection.execute(_POSTED, values)).scalar_one())

    async def get(self, which: UUID | int) -> Journal:
        """See the port."""
        rows = await self._driver.fetch(_BY_PLACE if isinstance(which, int) else _BY_ID, {"which": which})
        if not rows:
            raise JournalUnknown(journal=which)
        (journal,) = await self._with_legs(rows)
        return journal

    async def list_page(self, after: int, limit: int, reference: str) -> list[Journal]:
        """See the port."""
        values = {"after": after, "limit": limit, "reference": reference}
        return await self._with_legs(await self._driver.fetch(_PAGE_OF if reference else _PAGE, values))

    async def sums_as_of(self, account: str, at: datetime, axis: TimeAxis) -> tuple[int, int]:
        """See the port."""
        ((account_id,),) = await self._driver.fetch(_ACCOUNT, {"name": account})
        # Nothing happens after it is posted but for what a clock is wrong; entries of behind this place are looked at.
        place = await self._place_at(at if axis is TimeAxis.POST_TIME else at - EVENT_AHEAD_MAX)
        values = {"account": account_id, "place": place, "at": at}
        ((debits, credits_),) = await self._driver.fetch(_SUMS_AT, values)
        if axis is TimeAxis.EVENT_TIME:
            ((more_debits, more_credits),) = await self._driver.fetch(_LATER, values)
            debits, credits_ = debits + more_debits, credits_ + more_credits
        return int(debits), int(credits_)

    async def list_entries(self, account: str, after: tuple[int, int], limit: int) -> list[Entry]:
        """See the port."""
        values = {"account": account, "sequence": after[0], "leg_number": after[1], "limit": limit}
        return [
            Entry(
                journal=row.journal_id,
                event=row.event,
                reference=row.reference,
                leg=Leg(
                    account,
                    Side(row.side),
                    row.amount_fen,
                    None if row.scheme is None else purse_key(row.scheme, row.card_number, row.generation),
                ),
                event_time=row.event_time,
                sequence=row.sequence,
                leg_number=row.leg_number,
                post_time=row.post_time,
                debits_after_fen=row.debits_after_fen,
                credits_after_fen=row.credits_after_fen,
            )
            for row in await self._connection.execute(_ENTRIES, values)
        ]

    async def _place_at(self, at: datetime) -> int:
        ((place,),) = await self._driver.fetch(PLACE_AT.format(before="<="), {"at": at})
        return int(place)

    async def _with_legs(self, rows: Sequence[Row]) -> list[Journal]:
        legs: dict[int, list[Leg]] = {row[0]: [] for row in rows}
        for sequence, account, side, amount, scheme, number, generation in await self._driver.fetch(
            _LEGS, {"sequences": list(legs)}
        ):
            purse = None if scheme is None else purse_key(scheme, number, generation)
            legs[sequence].append(Leg(account, Side(side), amount, purse))
        return [
            Journal(
                journal_id,
                Posting(event, reference, tuple(legs[sequence]), event_time, participant, purpose, member),
                post_time,
                sequence,
            )
            for sequence, journal_id, event, reference, event_time, post_time, participant, purpose, member in rows
        ]


def _journal_values(journals: Sequence[NewJournal], written: Sequence[Journal]) -> dict[str, Any]:
    postings = [new.posting for new in journals]
    return {
        "sequences": int8_array([journal.sequence for journal in written]),
        "journal_ids": [new.id for new in journals],
        "events": [posting.event for posting in postings],
        "references": [posting.reference for posting in postings],
        "event_times": [posting.event_time for posting in postings],
        "participants": [posting.participant for posting in postings],
        "purposes": [posting.purpose for posting in postings],
        "members": [posting.member for posting in postings],
        "details": [new.detail for new in journals],
    }
