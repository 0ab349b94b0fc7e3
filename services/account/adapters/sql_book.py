"""The book in PostgreSQL: journals, entries, and which batches were folded."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.sql_purses import purse_key
from services.account.domain.batch import PostedBatch
from services.account.domain.book import Entry, Journal, Leg, Posting, journal_bytes
from services.account.domain.chart import Side
from services.account.domain.purse import SCHEMES

LEGS = (
    "unnest(CAST(:accounts AS text[]), CAST(:sides AS smallint[]), CAST(:amounts AS bigint[]),"
    " CAST(:schemes AS smallint[]), CAST(:numbers AS bytea[]), CAST(:generations AS integer[]))"
    " WITH ORDINALITY AS leg (account, side, amount_fen, scheme, card_number, generation, leg_number)"
    " JOIN account ON account.name = leg.account"
    " LEFT JOIN purse ON purse.scheme = leg.scheme AND purse.card_number = leg.card_number"
    " AND purse.generation = leg.generation"
)
# One statement: the head of the book is locked for the time of this and of the commit, not of a round trip more.
# The seal is made where the place is assigned; `domain.book.chain_hash` says the same.
_POST = text(
    "WITH head AS (UPDATE book SET sequence = sequence + 1,"
    " hash = sha256(hash || int8send(sequence + 1) || CAST(:body AS bytea)) RETURNING sequence, hash),"
    " written AS (INSERT INTO journal (sequence, journal_id, event, reference, event_time, post_time, hash)"
    " SELECT sequence, :journal_id, :event, :reference, :event_time, :post_time, hash FROM head)"
    " INSERT INTO entry (sequence, leg_number, account_id, side, amount_fen, purse_id)"
    " SELECT head.sequence, leg.leg_number, account.account_id, leg.side, leg.amount_fen, purse.purse_id"
    f" FROM head CROSS JOIN {LEGS} RETURNING sequence"
)
_POSTED = text("SELECT EXISTS (SELECT FROM journal WHERE reference = :reference AND event = :event)")
_ENTRIES = text(
    "SELECT entry.sequence, entry.leg_number, entry.side, entry.amount_fen, journal.journal_id, journal.event,"
    " journal.reference, journal.event_time, purse.scheme, purse.card_number, purse.generation"
    " FROM entry JOIN journal USING (sequence) LEFT JOIN purse USING (purse_id)"
    " WHERE entry.account_id = (SELECT account_id FROM account WHERE name = :account)"
    " AND (entry.sequence, entry.leg_number) > (CAST(:sequence AS bigint), CAST(:leg_number AS integer))"
    " ORDER BY entry.sequence, entry.leg_number LIMIT :limit"
)
_CLAIM = text(
    "INSERT INTO batch_fold (batch_id, journal_id, movement_count, movement_total_fen, post_time, fold_time)"
    " VALUES (:batch_id, :journal_id, :movement_count, :movement_total_fen, :post_time, :fold_time)"
    " ON CONFLICT (batch_id) DO NOTHING RETURNING batch_number"
)


def leg_values(legs: Sequence[Leg]) -> dict[str, Any]:
    """The parameters of `LEGS`."""
    purses = [leg.purse for leg in legs]
    return {
        "accounts": [leg.account for leg in legs],
        "sides": [leg.side.value for leg in legs],
        "amounts": [leg.amount_fen for leg in legs],
        "schemes": [SCHEMES.index(purse.scheme) if purse else None for purse in purses],
        "numbers": [bytes.fromhex(purse.number) if purse else None for purse in purses],
        "generations": [purse.generation if purse else None for purse in purses],
    }


class PostgresJournals:
    """`JournalRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def post(self, journal_id: UUID, posting: Posting, post_time: datetime) -> Journal:
        """See the port."""
        values = leg_values(posting.legs) | {
            "body": journal_bytes(journal_id, posting, post_time),
            "journal_id": journal_id,
            "event": posting.event,
            "reference": posting.reference,
            "event_time": posting.event_time,
            "post_time": post_time,
        }
        rows = (await self._connection.execute(_POST, values)).all()
        assert len(rows) == len(posting.legs), "accounts and purses are locked before a journal is posted"
        return Journal(journal_id, posting, post_time, rows[0].sequence)

    async def posted(self, event: str, reference: str) -> bool:
        """See the port."""
        values = {"event": event, "reference": reference}
        return bool((await self._connection.execute(_POSTED, values)).scalar_one())

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
            )
            for row in await self._connection.execute(_ENTRIES, values)
        ]


class PostgresBatches:
    """`BatchRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, batch: PostedBatch, journal: UUID | None, now: datetime) -> int | None:
        """See the port."""
        values = {
            "batch_id": UUID(batch.batch_id),
            "journal_id": journal,
            "movement_count": len(batch.movements),
            "movement_total_fen": batch.total_fen,
            "post_time": batch.post_time,
            "fold_time": now,
        }
        number: int | None = (await self._connection.execute(_CLAIM, values)).scalar_one_or_none()
        return number
