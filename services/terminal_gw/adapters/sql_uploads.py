"""Uploads and their bytes in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.terminal_gw.adapters.tables import REFUSED_UPLOAD, UPLOAD, UPLOAD_JOURNAL, UPLOAD_PART
from services.terminal_gw.application.ports import StoredProof
from services.terminal_gw.domain.upload import Carrier, HeaderFacts, Start, Upload, UploadKey, UploadState

_PART_BYTES_MAX: Final = 1024 * 1024
_DETAIL_CHARS_MAX: Final = 1000
_PROVE: Final = """
    WITH stored AS (
        SELECT sequence, record_count, total_fen, store_time,
            lag(store_time) OVER (ORDER BY sequence) AS time_before
        FROM upload WHERE state = 2),
    totals AS (
        SELECT count(*) AS stored_count, coalesce(sum(record_count), 0) AS record_count,
            coalesce(sum(total_fen), 0) AS total_fen, count(*) FILTER (WHERE store_time < time_before) AS backwards
        FROM stored)
    SELECT totals.*, journal.sequence AS sequence_last,
        (SELECT count(*) FROM generate_series(1, journal.sequence) place
            WHERE NOT EXISTS (SELECT FROM stored WHERE stored.sequence = place)) AS missing,
        (SELECT count(*) FROM stored WHERE sequence > journal.sequence OR sequence < 1) AS beyond
    FROM totals CROSS JOIN upload_journal journal"""


class SqlUploads:
    """The port `Uploads` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, key: UploadKey) -> Upload | None:
        """Read the row."""
        row = (await self._connection.execute(select(UPLOAD).where(_is(key)))).one_or_none()
        return None if row is None else _upload(row)

    async def claim(self, start: Start, at: datetime) -> tuple[int, Upload]:
        """Insert unless there is one, then lock what there is."""
        values = {
            "participant": start.key.participant,
            "sha256": start.key.sha256,
            "state": int(UploadState.RECEIVING),
            "size_bytes": start.size_bytes,
            "received_bytes": 0,
            "touch_time": at,
            **_said(start),
        }
        # The second round is for a row that was removed between the conflict and the lock.
        for _ in range(3):
            await self._connection.execute(insert(UPLOAD).values(values).on_conflict_do_nothing())
            locked = select(UPLOAD).where(_is(start.key)).with_for_update()
            row = (await self._connection.execute(locked)).one_or_none()
            if row is not None:
                return row.id, _upload(row)
        raise AssertionError("a row cannot vanish again and again")

    async def clear(self, upload_id: int, size_bytes: int) -> None:
        """Delete the parts."""
        await self._connection.execute(delete(UPLOAD_PART).where(UPLOAD_PART.c.upload_id == upload_id))
        statement = update(UPLOAD).where(UPLOAD.c.id == upload_id)
        await self._connection.execute(statement.values(received_bytes=0, size_bytes=size_bytes))

    async def write(self, upload_id: int, offset: int, data: bytes, at: datetime) -> None:
        """Insert parts and move `received_bytes`."""
        parts = [
            {
                "upload_id": upload_id,
                "part_offset": offset + place,
                "data": data[place : place + _PART_BYTES_MAX],
            }
            for place in range(0, len(data), _PART_BYTES_MAX)
        ]
        # One by one: the driver would hold all of them a second time.
        for part in parts:
            await self._connection.execute(insert(UPLOAD_PART).values(part))
        statement = update(UPLOAD).where(UPLOAD.c.id == upload_id, UPLOAD.c.received_bytes == offset)
        moved = await self._connection.execute(statement.values(received_bytes=offset + len(data), touch_time=at))
        assert moved.rowcount == 1, "the row is locked by whoever writes, and bytes leave no hole"

    async def next_sequence(self) -> int:
        """Move the journal by one."""
        statement = update(UPLOAD_JOURNAL).values(sequence=UPLOAD_JOURNAL.c.sequence + 1)
        return int((await self._connection.execute(statement.returning(UPLOAD_JOURNAL.c.sequence))).scalar_one())

    async def store(self, upload_id: int, start: Start, facts: HeaderFacts, at: datetime, sequence: int) -> Upload:
        """Make the row final; the signature kept is that of the stream that completed it."""
        statement = update(UPLOAD).where(UPLOAD.c.id == upload_id, UPLOAD.c.state == int(UploadState.RECEIVING))
        row = (
            await self._connection.execute(
                statement.values(
                    state=int(UploadState.STORED),
                    store_time=at,
                    sequence=sequence,
                    sender_institution=facts.sender_institution,
                    batch_number=facts.batch_number,
                    record_count=facts.record_count,
                    total_fen=facts.total_fen,
                    terminal_count=facts.terminal_count,
                    device_seq_first=facts.device_seq_first,
                    device_seq_last=facts.device_seq_last,
                    **_said(start),
                ).returning(UPLOAD)
            )
        ).one()
        return _upload(row)

    async def remove(self, key: UploadKey) -> None:
        """Delete the row, and by it the parts."""
        await self._connection.execute(delete(UPLOAD).where(_is(key), UPLOAD.c.state == int(UploadState.RECEIVING)))

    async def refuse(self, start: Start, at: datetime, reason: str, facts: dict[str, str]) -> None:
        """Write who sent what, and why it was refused."""
        await self._connection.execute(
            insert(REFUSED_UPLOAD).values(
                participant=start.key.participant,
                sha256=start.key.sha256,
                size_bytes=start.size_bytes,
                sender=start.sender,
                file_name=start.file_name,
                carrier=int(start.carrier),
                refuse_time=at,
                reason=reason,
                file_code=facts.get("file_code", ""),
                detail=facts.get("detail", "")[:_DETAIL_CHARS_MAX],
            )
        )

    async def part(self, key: UploadKey, offset: int) -> bytes:
        """The rest of the part that holds an offset."""
        columns = UPLOAD_PART.c
        statement = (
            select(columns.part_offset, columns.data)
            .join(UPLOAD, UPLOAD.c.id == columns.upload_id)
            .where(_is(key), columns.part_offset <= offset)
            .order_by(columns.part_offset.desc())
            .limit(1)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return b"" if row is None else bytes(row.data)[offset - row.part_offset :]

    async def list(
        self, participant: str | None, after: int, size: int, *, store_time_min: datetime | None
    ) -> Sequence[Upload]:
        """A page of the journal."""
        statement = select(UPLOAD).where(UPLOAD.c.state == int(UploadState.STORED), UPLOAD.c.sequence > after)
        if participant is not None:
            statement = statement.where(UPLOAD.c.participant == participant)
        if store_time_min is not None:
            statement = statement.where(UPLOAD.c.store_time >= store_time_min)
        rows = await self._connection.execute(statement.order_by(UPLOAD.c.sequence).limit(size))
        return [_upload(row) for row in rows]

    async def remove_abandoned(self, before: datetime) -> int:
        """Delete what is still being received and was not touched since."""
        statement = delete(UPLOAD).where(UPLOAD.c.state == int(UploadState.RECEIVING), UPLOAD.c.touch_time < before)
        return int((await self._connection.execute(statement)).rowcount)

    async def prove_stored(self) -> StoredProof:
        """Counts, totals and positions in one statement."""
        row = (await self._connection.execute(text(_PROVE))).one()
        return StoredProof(
            stored_count=row.stored_count,
            record_count=int(row.record_count),
            total_fen=int(row.total_fen),
            sequence_last=row.sequence_last,
            hole_count=row.missing + row.beyond + row.backwards,
        )


def _is(key: UploadKey) -> ColumnElement[bool]:
    return and_(UPLOAD.c.participant == key.participant, UPLOAD.c.sha256 == key.sha256)


def _said(start: Start) -> dict[str, Any]:
    return {
        "sender": start.sender,
        "certificate": start.certificate,
        "signature": start.signature,
        "file_name": start.file_name,
        "carrier": int(start.carrier),
    }


def _upload(row: Any) -> Upload:
    facts = None
    if row.sequence is not None:
        facts = HeaderFacts(
            row.sender_institution,
            row.batch_number,
            row.record_count,
            int(row.total_fen),
            row.terminal_count,
            row.device_seq_first or 0,
            row.device_seq_last or 0,
        )
    return Upload(
        key=UploadKey(row.participant, bytes(row.sha256)),
        state=UploadState(row.state),
        size_bytes=row.size_bytes,
        received_bytes=row.received_bytes,
        sender=row.sender,
        file_name=row.file_name,
        carrier=Carrier(row.carrier),
        store_time=row.store_time,
        sequence=row.sequence or 0,
        header=facts,
    )
