"""What a proof reads: plain sums and columns, nothing written."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.database import driver_connection
from libs.runtime.requests import decode_answer
from services.clearing.adapters.files import _COLUMNS, _to_file
from services.clearing.adapters.pgcolumns import fetch_columns
from services.clearing.application.ports import JUDGED, StoredFile
from services.clearing.domain.statement import Statement

_ROW = (
    ("file_index", "int4"), ("participant", "int4"), ("settlement_day", "int4"), ("code", "int2"),
    ("amount_fen", "int8"), ("list_price_fen", "int8"), ("digest", "bytes16"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals over the whole database.

    Attributes:
        unbalanced_batches: Batches whose lines do not sum to their movements.
        ledger: Account, debits and credits in fen that clearing caused.
    """

    files: int
    files_incomplete: int
    records_in_files: int
    records: int
    batches: int
    movements: int
    movements_fen: int
    unbalanced_batches: int
    unfolded_batches: int
    ledger: tuple[tuple[str, int, int], ...]


class SqlProofs:
    """Reads for proofs on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def snapshot(self) -> None:
        """Let everything read here be of one moment, however long the reading takes."""
        await self._connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        await self._connection.execute(text("SET LOCAL statement_timeout = 0"))

    async def sums(self) -> Sums:
        """Totals over everything."""
        query = text(
            "SELECT (SELECT count(*) FROM file WHERE state > 1) AS files, "
            "(SELECT count(*) FROM file WHERE state = 2 AND octet_length(codes) <> record_count) AS incomplete, "
            "(SELECT coalesce(sum(record_count), 0) FROM file WHERE state = 2) AS in_files, "
            "(SELECT count(*) FROM record) AS records, "
            "(SELECT count(*) FROM batch WHERE movement_count > 0) AS batches, "
            "(SELECT coalesce(sum(movement_count), 0) FROM batch) AS movements, "
            "(SELECT coalesce(sum(movement_total_fen), 0) FROM batch) AS movements_fen, "
            "(SELECT count(*) FROM batch b WHERE movement_total_fen <> "
            "(SELECT coalesce(sum(amount_fen), 0) FROM batch_line l WHERE l.batch_id = b.id)) AS unbalanced, "
            "(SELECT count(*) FROM batch WHERE folded_at IS NULL) AS unfolded"
        )
        row = (await self._connection.execute(query)).one()
        ledger: dict[str, list[int]] = {}
        lines = text(
            "SELECT debit_account, credit_account, sum(amount_fen) AS amount FROM (SELECT debit_account, "
            "credit_account, amount_fen FROM batch_line UNION ALL SELECT debit_account, credit_account, amount_fen "
            "FROM book_posting_line) AS l GROUP BY 1, 2"
        )
        for line in await self._connection.execute(lines):
            ledger.setdefault(line.debit_account, [0, 0])[0] += int(line.amount)
            ledger.setdefault(line.credit_account, [0, 0])[1] += int(line.amount)
        for statement, _ in await self.statements():
            fee = statement.totals.fee_fen
            ledger.setdefault(f"accounts/2203.{statement.participant}", [0, 0])[0] += fee
            ledger.setdefault("accounts/6002", [0, 0])[1] += fee
        return Sums(
            files=row.files,
            files_incomplete=row.incomplete,
            records_in_files=int(row.in_files),
            records=row.records,
            batches=row.batches,
            movements=int(row.movements),
            movements_fen=int(row.movements_fen),
            unbalanced_batches=row.unbalanced,
            unfolded_batches=row.unfolded,
            ledger=tuple((account, sums[0], sums[1]) for account, sums in sorted(ledger.items()) if any(sums)),
        )

    async def judged_files(self) -> AsyncIterator[StoredFile]:
        """Every file that records came from, oldest first, a few at a time."""
        last = 0
        query = text(
            f"SELECT {_COLUMNS} FROM file WHERE id > :last AND (state = :state OR judged_count > 0) "
            f"ORDER BY id LIMIT 20"
        )
        while True:
            rows = list(await self._connection.execute(query, {"last": last, "state": JUDGED}))
            for row in rows:
                yield _to_file(row)
            if not rows:
                return
            last = rows[-1].id

    async def records_of(self, file_id: int) -> npt.NDArray[np.void]:
        """Columns of the records that a file brought, by index."""
        driver = await driver_connection(self._connection)
        query = (
            "SELECT file_index, participant, settlement_date - DATE '1970-01-01', code, amount_fen, "
            "list_price_fen, digest "
            f"FROM record WHERE file_id = {int(file_id)} ORDER BY file_index"
        )
        return await fetch_columns(driver, query, _ROW)

    async def position_sums(self) -> dict[tuple[Any, ...], tuple[int, int, int]]:
        """Sums of the stored deltas by key: count, amount, list price."""
        query = text(
            "SELECT participant, settlement_date, issuer, acquirer, operator, industry, kind, card_main_type, code, "
            "sum(record_count), sum(amount_fen), sum(list_price_fen) FROM position_delta GROUP BY 1, "
            "2, 3, 4, 5, 6, 7, 8, 9"
        )
        return {
            tuple(row[:9]): (int(row[9]), int(row[10]), int(row[11])) for row in await self._connection.execute(query)
        }

    async def statements(self) -> list[tuple[Statement, int]]:
        """Every statement with the fee rate it was made with, by participant and number."""
        query = text("SELECT body, fee_rate_bp FROM statement ORDER BY participant, number")
        rows = await self._connection.execute(query)
        return [(decode_answer(bytes(row.body), Statement), row.fee_rate_bp) for row in rows]
