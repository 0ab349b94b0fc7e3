"""What a proof reads: plain sums and columns, nothing written."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.database import driver_connection
from libs.runtime.requests import decode_answer
from services.clearing.adapters.files import _COLUMNS, _to_file
from services.clearing.adapters.pgcolumns import array, fetch_columns
from services.clearing.application.ports import JUDGED, StoredFile
from services.clearing.domain.judgement import TAKING_CODES
from services.clearing.domain.positions import MONEY_KINDS
from services.clearing.domain.statement import Statement

_ROW = (
    ("file_id", "int8"), ("file_index", "int4"), ("terminal_number", "int8"), ("terminal_seq", "int8"),
    ("card_counter", "int4"), ("participant", "int4"), ("settlement_day", "int4"), ("code", "int2"),
    ("amount_fen", "int8"), ("list_price_fen", "int8"), ("digest", "bytes16"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals over the whole database.

    Attributes:
        unbalanced_batches: Batches whose lines do not sum to their movements.
        unbooked_batches: Batches whose lines do not sum to what their positions take.
        unique_keys: How many of the two unique indexes of records are valid.
        windows: Windows that are closed or have a statement.
        windows_amiss: Those that are only one of both.
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
    unbooked_batches: int
    unique_keys: int
    windows: int
    windows_amiss: int
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
            "(SELECT count(*) FROM batch WHERE folded_at IS NULL) AS unfolded, "
            "(SELECT count(*) FROM (SELECT batch_id, sum(amount_fen) AS taken FROM position_delta WHERE "
            "code = ANY(:codes) AND kind = ANY(:kinds) GROUP BY 1) d FULL JOIN (SELECT batch_id, sum(amount_fen) "
            "AS booked FROM batch_line GROUP BY 1) l USING (batch_id) WHERE coalesce(taken, 0) <> coalesce(booked, 0)) "
            "AS unbooked, "
            "(SELECT count(*) FROM pg_index WHERE indrelid = 'record'::regclass AND indisunique AND indisvalid) "
            "AS unique_keys, count(*) AS windows, "
            "count(*) FILTER (WHERE w.closed_at IS NULL OR s.number IS NULL) AS amiss FROM (SELECT * FROM "
            "settlement_window WHERE closed_at IS NOT NULL) w FULL JOIN statement s "
            "USING (participant, settlement_date)"
        )
        values = {"codes": list(TAKING_CODES), "kinds": sorted(int(kind) for kind in MONEY_KINDS)}
        row = (await self._connection.execute(query, values)).one()
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
            unbooked_batches=row.unbooked,
            unique_keys=row.unique_keys,
            windows=row.windows,
            windows_amiss=row.amiss,
            ledger=tuple((account, sums[0], sums[1]) for account, sums in sorted(ledger.items()) if any(sums)),
        )

    async def judged_files(self) -> AsyncIterator[StoredFile]:
        """Every file that records came from, oldest first, a few at a time."""
        last = 0
        query = text(
            f"SELECT {_COLUMNS} FROM file WHERE id > :last AND (state = :state OR judged_count > 0) "
            f"ORDER BY id LIMIT 100"
        )
        while True:
            rows = list(await self._connection.execute(query, {"last": last, "state": JUDGED}))
            for row in rows:
                yield _to_file(row)
            if not rows:
                return
            last = rows[-1].id

    async def records_of(self, first_id: int, last_id: int) -> npt.NDArray[np.void]:
        """Columns of the records that some files brought, from one surrogate to another, in no order."""
        driver = await driver_connection(self._connection)
        query = (
            "SELECT file_id, file_index, terminal_number, terminal_seq, card_counter, participant, "
            "settlement_date - DATE '1970-01-01', code, amount_fen, list_price_fen, digest "
            f"FROM record WHERE file_id BETWEEN {int(first_id)} AND {int(last_id)}"
        )
        return await fetch_columns(driver, query, _ROW)

    async def conflicts_kept(
        self, digests: npt.NDArray[np.void], contents: npt.NDArray[np.void]
    ) -> npt.NDArray[np.bool_]:
        """Which records, by digest and their 128 bytes, are kept among those that wait."""
        driver = await driver_connection(self._connection)
        query = (
            "SELECT s.row FROM unnest(%s, %s, %s) AS s (row, digest, content) JOIN waiting_record w "
            "ON w.digest = s.digest AND w.content = s.content"
        )
        keys = (array("int4", np.arange(len(digests))), array("bytes16", digests), array("bytes128", contents))
        kept = np.zeros(len(digests), np.bool_)
        kept[(await fetch_columns(driver, query, (("row", "int4"),), keys))["row"]] = True
        return kept

    async def known_uploads(self) -> tuple[int, frozenset[tuple[str, bytes]]]:
        """The newest position of the gateway's journal that is known here, and every upload that is."""
        query = text("SELECT participant, sha256, upload_sequence FROM file")
        rows = list(await self._connection.execute(query))
        newest = max((row.upload_sequence for row in rows), default=0)
        return newest, frozenset((row.participant, bytes(row.sha256)) for row in rows)

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
        """Every statement with the fee rate it was made with, by participant and number.

        One whose columns say something else than its body is given as the columns say, and equals no statement that
        could be recomputed, whichever of the two is right.
        """
        query = text(
            "SELECT body, fee_rate_bp, number, st_file, chain_hash, settlement_date FROM statement "
            "ORDER BY participant, number"
        )
        made = []
        for row in await self._connection.execute(query):
            body = decode_answer(bytes(row.body), Statement)
            columns = replace(
                body, number=row.number, st_file=bytes(row.st_file), chain_hash=bytes(row.chain_hash),
                settlement_date=row.settlement_date,
            )  # fmt: skip
            # No digest of anything: a body that was changed alone must not pass either.
            made.append((body if body == columns else replace(columns, sha256=b""), row.fee_rate_bp))
        return made
