"""Files and the verdicts of their records in SQL."""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.ports import JUDGED, RECEIVED, REFUSED, Share, StoredFile, Upload

_COLUMNS = (
    "id, participant, sha256, state, file_code, stored_at, sender_institution, batch_number, "
    "business_date, record_count, "
    "total_fen, settlement_date, settlement_dates, judged_count, codes, reference_first, result_number, judged_at"
)

# The same in every worker, whatever the release of the server (`hashtext` may change); 28 bits, so never negative.
_SHARE_HASH = "('x' || substr(md5(participant), 1, 7))::bit(28)::int"


def _to_file(row: Row[Any]) -> StoredFile:
    return StoredFile(
        id=row.id,
        participant=row.participant,
        sha256=bytes(row.sha256),
        state=row.state,
        file_code=row.file_code,
        stored_at=row.stored_at,
        sender_institution=row.sender_institution,
        batch_number=row.batch_number,
        business_date=row.business_date,
        record_count=row.record_count,
        total_fen=int(row.total_fen),
        settlement_date=row.settlement_date,
        settlement_dates={int(number): date.fromisoformat(day) for number, day in row.settlement_dates.items()},
        judged_count=row.judged_count,
        codes=bytes(row.codes),
        reference_first=row.reference_first,
        result_number=row.result_number or 0,
        judged_at=row.judged_at,
    )


class SqlFiles:
    """Files on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def note(self, upload: Upload) -> bool:
        """Remember an upload to be judged; False when it was known."""
        statement = text(
            "INSERT INTO file (participant, sha256, state, upload_sequence, stored_at, "
            "sender_institution, batch_number, "
            "record_count, total_fen) VALUES (:participant, :sha256, :state, :sequence, :stored_at, :sender, :batch, "
            ":count, :total) ON CONFLICT DO NOTHING RETURNING id"
        )
        values = {
            "participant": upload.participant,
            "sha256": upload.sha256,
            "state": RECEIVED,
            "sequence": upload.sequence,
            "stored_at": upload.stored_at,
            "sender": upload.sender_institution,
            "batch": upload.batch_number,
            "count": upload.record_count,
            "total": upload.total_fen,
        }
        return (await self._connection.execute(statement, values)).first() is not None

    async def find(self, participant: str, sha256: bytes) -> StoredFile | None:
        """One file."""
        query = text(f"SELECT {_COLUMNS} FROM file WHERE participant = :participant AND sha256 = :sha256")
        row = (await self._connection.execute(query, {"participant": participant, "sha256": sha256})).first()
        return _to_file(row) if row else None

    async def by_ids(self, ids: Iterable[int]) -> dict[int, StoredFile]:
        """Files by surrogate."""
        query = text(f"SELECT {_COLUMNS} FROM file WHERE id = ANY(:ids)")
        rows = await self._connection.execute(query, {"ids": sorted(ids)})
        return {row.id: _to_file(row) for row in rows}

    async def next_open(self, size: int, share: Share) -> list[StoredFile]:
        """Oldest files of a share that are not judged, locked; those that another process works on are skipped."""
        query = text(
            f"SELECT {_COLUMNS} FROM file WHERE state = :state AND (:of = 1 OR {_SHARE_HASH} % :of = :share) "
            "ORDER BY id LIMIT :size FOR UPDATE SKIP LOCKED"
        )
        values = {"state": RECEIVED, "size": size, "share": share.number, "of": share.of}
        return [_to_file(row) for row in await self._connection.execute(query, values)]

    async def batch_number_holder(self, file: StoredFile) -> StoredFile | None:
        """Another file of the same sender that took this batch number first, by beginning to be judged."""
        query = text(
            f"SELECT {_COLUMNS} FROM file WHERE sender_institution = :sender AND batch_number = :batch "
            "AND participant = :participant AND id <> :id AND reference_first > 0 LIMIT 1"
        )
        values = {
            "sender": file.sender_institution,
            "batch": file.batch_number,
            "participant": file.participant,
            "id": file.id,
        }
        row = (await self._connection.execute(query, values)).first()
        return _to_file(row) if row else None

    async def begin(self, file: StoredFile, business_date: date) -> StoredFile:
        """Give a file its clearing references and its place among result files: from here on it will be judged."""
        first = await self._take("clearing_reference", file.record_count or 1)
        result = await self._take("result_file", 1)
        statement = text(
            f"UPDATE file SET business_date = :day, reference_first = :first, result_number = :result "
            f"WHERE id = :id RETURNING {_COLUMNS}"
        )
        values = {"day": business_date, "first": first, "result": result, "id": file.id}
        return _to_file((await self._connection.execute(statement, values)).one())

    async def refuse(self, file: StoredFile, file_code: int, at: datetime) -> StoredFile:
        """The whole file is refused; no record is judged."""
        statement = text(
            f"UPDATE file SET state = :state, file_code = :code, judged_at = :at WHERE id = :id RETURNING {_COLUMNS}"
        )
        values = {"state": REFUSED, "code": file_code, "at": at, "id": file.id}
        return _to_file((await self._connection.execute(statement, values)).one())

    async def add_codes(
        self, file: StoredFile, codes: bytes, settlement_dates: Mapping[int, date], at: datetime
    ) -> StoredFile:
        """Append verdicts; with the last one the file is judged."""
        judged = file.judged_count + len(codes)
        done = judged >= file.record_count
        # Days of an earlier slice stand: a window may have closed between two slices of one file.
        days = {**file.settlement_dates, **settlement_dates}
        statement = text(
            f"UPDATE file SET codes = codes || :codes, judged_count = :judged, settlement_dates = :days, "
            f"settlement_date = :day, state = :state, judged_at = :at WHERE id = :id RETURNING {_COLUMNS}"
        )
        values = {
            "codes": codes,
            "judged": judged,
            "days": json.dumps({str(number): day.isoformat() for number, day in sorted(days.items())}),
            "day": max(days.values(), default=None),
            "state": JUDGED if done else RECEIVED,
            "at": at if done else None,
            "id": file.id,
        }
        return _to_file((await self._connection.execute(statement, values)).one())

    async def page(
        self, participant: str | None, state: int, after: tuple[str, int] | None, size: int
    ) -> list[StoredFile]:
        """Files by moment of acceptance."""
        moment, last = after or ("-infinity", 0)
        query = text(
            f"SELECT {_COLUMNS} FROM file WHERE (stored_at, id) > (CAST(:moment AS timestamptz), :last) "
            "AND (CAST(:participant AS text) IS NULL OR participant = :participant) AND (:state = 0 OR state = :state) "
            "ORDER BY stored_at, id LIMIT :size"
        )
        values = {"moment": moment, "last": last, "participant": participant, "state": state, "size": size}
        return [_to_file(row) for row in await self._connection.execute(query, values)]

    async def open_stored_at(self, participant: str) -> list[datetime]:
        """When each file of a participant that is not judged was accepted."""
        query = text("SELECT stored_at FROM file WHERE participant = :participant AND state = :state")
        rows = await self._connection.execute(query, {"participant": participant, "state": RECEIVED})
        return [row.stored_at for row in rows]

    async def first_unseen_sequence(self) -> int:
        """First position of the gateway's journal, which has no holes, that is not known here."""
        query = text(
            "SELECT CASE WHEN NOT EXISTS (SELECT FROM file WHERE upload_sequence = 1) THEN 1 ELSE "
            "(SELECT min(f.upload_sequence) + 1 FROM file f WHERE NOT EXISTS "
            "(SELECT FROM file g WHERE g.upload_sequence = f.upload_sequence + 1)) END"
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def _take(self, counter: str, count: int) -> int:
        statement = text("UPDATE counter SET next = next + :count WHERE name = :name RETURNING next - :count")
        return int((await self._connection.execute(statement, {"count": count, "name": counter})).scalar_one())
