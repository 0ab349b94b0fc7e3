"""The bulk path in SQL: what is known of a set of records comes out as columns, verdicts go in as columns."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.records import bcd, otr
from libs.records.codes import ResultCode
from libs.runtime.database import driver_connection
from services.clearing.adapters.cards import Cards
from services.clearing.adapters.files import SqlFiles
from services.clearing.adapters.known import look_up
from services.clearing.adapters.pgcolumns import Columns, Shape, copy_in
from services.clearing.adapters.remembered import CardMemory
from services.clearing.application.ports import StoredFile
from services.clearing.domain.judgement import GREY_CLOSED_CODE, I64, Judgement, Known, rows_of
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PostingLine

RECORD: Shape = (
    ("terminal_number", "int8"), ("terminal_seq", "int8"), ("card_id", "int8"), ("card_counter", "int4"),
    ("transaction_s", "int8"), ("amount_fen", "int8"), ("list_price_fen", "int8"), ("balance_before_fen", "int8"),
    ("file_id", "int8"), ("file_index", "int4"), ("participant", "int4"), ("settlement_date", "int4"),
    ("kind", "int2"), ("code", "int2"), ("digest", "bytes16"),
)  # fmt: skip
_LOOK_AGAIN = timedelta(hours=1)
_NOBODY = UUID(int=0)
# PostgreSQL counts days from 2000-01-01.
_PG_EPOCH_DAYS = (date(2000, 1, 1) - date(1970, 1, 1)).days


class SqlPostings:
    """Bulk look-ups and writes on one open transaction.

    Args:
        connection: The open transaction.
        memory: Cards that this process knows, or None.
    """

    def __init__(self, connection: AsyncConnection, memory: CardMemory | None = None) -> None:
        self._connection = connection
        self._memory = memory
        self._cards: Cards | None = None
        self._to_remember: list[npt.NDArray[np.void]] = []

    def committed(self) -> None:
        """What the set did is true now, and may be remembered."""
        for rows in self._to_remember:
            assert self._memory is not None, "nothing is noted without a memory"
            self._memory.keep(rows)
        self._to_remember, self._cards = [], None

    def ended(self) -> None:
        """After the transaction: one that looked up and was not committed may have believed a stale memory."""
        if self._memory is not None and (self._cards is not None or self._to_remember):
            self._memory.clear()

    async def look_up(
        self,
        records: otr.Records,
        digests: npt.NDArray[np.void],
        times_s: I64,
        received_s: I64,
        senders: Sequence[Participant],
        sender_of: I64,
        *,
        first: bool,
    ) -> Known:
        """What the centre knows about each record; a handful of set queries, whatever the number of records."""
        known, self._cards = await look_up(
            self._connection, records, digests, times_s, received_s, senders, sender_of, first=first,
            memory=self._memory,
        )  # fmt: skip
        return known

    async def open_window(self, participant: int, first: date) -> date:
        """The first open window on or after a day; it cannot be closed before this transaction ends."""
        day = first
        insert = text(
            "INSERT INTO settlement_window (participant, settlement_date) VALUES (:participant, :day) "
            "ON CONFLICT DO NOTHING"
        )
        # A share lock: posters do not wait for each other, closing waits for all of them.
        look = text(
            "SELECT closed_at FROM settlement_window WHERE participant = :participant AND "
            "settlement_date = :day FOR SHARE"
        )
        while True:
            values = {"participant": participant, "day": day}
            await self._connection.execute(insert, values)
            if (await self._connection.execute(look, values)).scalar_one() is None:
                return day
            day += timedelta(days=1)

    async def add_records(
        self,
        records: otr.Records,
        digests: npt.NDArray[np.void],
        times_s: I64,
        known: Known,
        judgement: Judgement,
        file_ids: I64,
        file_indexes: I64,
        participants: I64,
        settlement_day: I64,
        at: datetime,
    ) -> None:
        """Store records that took their keys, keep those that wait, and close grey ones that a full record answers."""
        driver = await driver_connection(self._connection)
        rows = np.flatnonzero(judgement.takes)
        # In the order of the primary key: records of one terminal then fall onto the same pages of its index.
        terminals, seqs = otr.terminal_numbers(records).astype(np.int64), records["terminal_seq"].astype(np.int64)
        rows = rows[np.lexsort((seqs[rows], terminals[rows]))]
        taken = rows_of(records, rows)
        columns: Columns = {
            "terminal_number": terminals[rows],
            "terminal_seq": seqs[rows],
            "card_id": known.card[rows],
            "card_counter": taken["card_counter"],
            "transaction_s": times_s[rows],
            "amount_fen": taken["amount_fen"],
            "list_price_fen": taken["list_price_fen"],
            "balance_before_fen": taken["balance_before_fen"],
            "file_id": file_ids[rows],
            "file_index": file_indexes[rows],
            "participant": participants[rows],
            "settlement_date": settlement_day[rows] - _PG_EPOCH_DAYS,
            "kind": taken["kind"],
            "code": judgement.codes[rows],
            "digest": digests[rows],
        }
        if len(rows):
            await copy_in(driver, "record", RECORD, columns)
            await self._leave_mark()
        if self._memory is not None and self._cards is not None:
            after_fen = taken["balance_before_fen"].astype(np.int64) - taken["amount_fen"].astype(np.int64)
            counters = taken["card_counter"].astype(np.int64)
            self._to_remember.append(self._cards.after(rows, counters, after_fen, times_s[rows]))
        waiting = np.flatnonzero(judgement.waits)
        if len(waiting):
            await self._keep_waiting(records, digests, judgement, file_ids, file_indexes, participants, at, waiting)
        if len(rows):
            # A record under the key of a grey one decides it, whenever it came: open grey records are few, and asking
            # from their side costs nothing when there are none.
            await self._connection.execute(
                text(
                    "UPDATE waiting_record w SET closed_at = :at, final_code = 1 WHERE w.closed_at IS NULL "
                    "AND w.kind = 8 AND EXISTS (SELECT FROM record r WHERE r.terminal_number = w.terminal_number "
                    "AND r.terminal_seq = w.terminal_seq)"
                ),
                {"at": at},
            )

    async def _leave_mark(self) -> None:
        """Tell every process that remembers cards that some have moved, once this commits."""
        await self._connection.execute(
            text(
                "INSERT INTO poster (id, last_set, at) VALUES (:id, gen_random_uuid(), now()) ON CONFLICT (id) "
                "DO UPDATE SET last_set = EXCLUDED.last_set, at = EXCLUDED.at"
            ),
            # Who remembers nothing needs no name of his own.
            {"id": self._memory.poster if self._memory is not None else _NOBODY},
        )

    async def _keep_waiting(
        self, records: otr.Records, digests: npt.NDArray[np.void], judgement: Judgement, file_ids: I64,
        file_indexes: I64, participants: I64, at: datetime, rows: npt.NDArray[np.intp],
    ) -> None:  # fmt: skip
        content = otr.raw(records)
        terminals = otr.terminal_numbers(rows_of(records, rows))
        values = [
            {
                "digest": digests[row].tobytes(),
                "content": content[row].tobytes(),
                "file_id": int(file_ids[row]),
                "file_index": int(file_indexes[row]),
                "participant": int(participants[row]),
                "kind": int(records["kind"][row]),
                "code": int(judgement.codes[row]),
                "terminal_number": int(terminals[place]),
                "terminal_seq": int(records["terminal_seq"][row]),
                "card_number": records["card_number"][row].tobytes(),
                "opened_at": at,
            }
            for place, row in enumerate(rows)
        ]
        names = ", ".join(values[0])
        places = ", ".join(f":{name}" for name in values[0])
        statement = f"INSERT INTO waiting_record ({names}) VALUES ({places}) ON CONFLICT DO NOTHING"
        await self._connection.execute(text(statement), values)

    async def add_batch(
        self,
        batch_id: UUID,
        positions: Sequence[Position],
        lines: Sequence[PostingLine],
        movement_count: int,
        movement_total_fen: int,
        at: datetime,
    ) -> None:
        """Store what a set means in money."""
        await self._connection.execute(
            text(
                "INSERT INTO batch (id, posted_at, movement_count, movement_total_fen, folded_at) "
                "VALUES (:id, :at, :count, :total, :folded)"
            ),
            # A set without movements is never told to the ledger: nothing is awaited.
            {"id": batch_id, "at": at, "count": movement_count, "total": movement_total_fen,
             "folded": None if movement_count else at},
        )  # fmt: skip
        if lines:
            await self._connection.execute(
                text("INSERT INTO batch_line VALUES (:batch, :debit, :credit, :amount, :count)"),
                [{"batch": batch_id, "debit": line.debit_account, "credit": line.credit_account,
                  "amount": line.amount_fen, "count": line.record_count} for line in lines],
            )  # fmt: skip
        if positions:
            await self._connection.execute(
                text(
                    "INSERT INTO position_delta VALUES (:batch, :participant, :day, :issuer, :acquirer, :operator, "
                    ":industry, :kind, :main_type, :code, :count, :amount, :price)"
                ),
                [{"batch": batch_id, "participant": one.key.participant, "day": one.key.settlement_date,
                  "issuer": one.key.issuer, "acquirer": one.key.acquirer, "operator": one.key.operator,
                  "industry": one.key.industry, "kind": one.key.kind, "main_type": one.key.card_main_type,
                  "code": one.key.code, "count": one.record_count, "amount": one.amount_fen,
                  "price": one.list_price_fen} for one in positions],
            )  # fmt: skip

    async def take_waiting(self, size: int, at: datetime) -> list[tuple[StoredFile, int, bytes, bytes]]:
        """Records whose card, terminal or key has become known since, grey ones whose card was seen again; locked."""
        query = text(
            """
            SELECT w.file_id, w.file_index, w.digest, w.content FROM waiting_record w
            WHERE w.closed_at IS NULL AND (
                (w.code = 11 AND EXISTS (SELECT FROM card c WHERE c.number = w.card_number))
                OR (w.code = 31 AND EXISTS (SELECT FROM terminal t WHERE t.number = w.terminal_number)
                    AND EXISTS (SELECT FROM psam p WHERE p.number = substring(w.content FROM 51 FOR 10)))
                OR (w.code = 13 AND EXISTS (SELECT FROM issuer_key k
                    WHERE k.issuer_id = upper(encode(substring(w.content FROM 7 FOR 8), 'hex'))
                    AND k.key_version = get_byte(w.content, 4) AND k.algorithm_id = get_byte(w.content, 3)))
                OR (w.code = 50 AND w.kind = 8 AND coalesce(w.look_after <= :at, true)
                    AND EXISTS (SELECT FROM card c JOIN record r ON r.card_id = c.id
                    WHERE c.number = w.card_number AND r.card_counter BETWEEN
                    get_byte(w.content, 64) * 256 + get_byte(w.content, 65)
                    AND get_byte(w.content, 64) * 256 + get_byte(w.content, 65) + 1))
            )
            ORDER BY w.opened_at, w.digest LIMIT :size FOR UPDATE SKIP LOCKED
            """
        )
        rows = list(await self._connection.execute(query, {"size": size, "at": at}))
        files = await SqlFiles(self._connection).by_ids({row.file_id for row in rows})
        return [(files[row.file_id], row.file_index, bytes(row.digest), bytes(row.content)) for row in rows]

    async def close_waiting(self, decided: Mapping[bytes, int], at: datetime) -> None:
        """Close those with a verdict that stands; a new provisional code replaces the old one."""
        provisional = {int(code) for code in (ResultCode.CONFLICT, ResultCode.CARD_UNKNOWN, ResultCode.KEY_UNKNOWN,
                                              ResultCode.TERMINAL_UNKNOWN, ResultCode.PENDING)}  # fmt: skip
        final = [{"digest": d, "code": c, "at": at} for d, c in decided.items() if c not in provisional]
        still = [{"digest": d, "code": c} for d, c in decided.items() if c in provisional]
        if final:
            statement = "UPDATE waiting_record SET closed_at = :at, final_code = :code WHERE digest = :digest"
            await self._connection.execute(text(statement), final)
        if still:
            # Whatever stays undecided by what there is now is looked at again later, not in every round.
            statement = "UPDATE waiting_record SET code = :code, look_after = :after WHERE digest = :digest"
            await self._connection.execute(text(statement), [{**one, "after": at + _LOOK_AGAIN} for one in still])

    async def expire_grey(self, opened_before: datetime, at: datetime) -> int:
        """Close grey records that nothing was heard of; how many."""
        closed = await self._connection.execute(
            text(
                "UPDATE waiting_record SET closed_at = :at, final_code = :code WHERE closed_at IS NULL AND kind = 8 "
                "AND code = 50 AND opened_at <= :before"
            ),
            {"at": at, "code": GREY_CLOSED_CODE, "before": opened_before},
        )
        return closed.rowcount


def local_day(value: date) -> int:
    """Days since 1970 of a local day, as `card.start_day` counts."""
    return (value - date(1970, 1, 1)).days


def instant_s(at: datetime) -> int:
    """Epoch seconds of an aware instant."""
    assert at.tzinfo is not None, "instants are aware"
    return int(at.astimezone(UTC).timestamp())


# Local days of records and of cards are counted by the same offset.
assert bcd.LOCAL_OFFSET_S == 8 * 3600, "the city's time has no daylight saving"
