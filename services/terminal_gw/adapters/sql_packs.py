"""Packs and roll-outs in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.terminal_gw.domain.errors import RolloutUnknown
from services.terminal_gw.domain.packs import Pack, PackKey, Rollout, RolloutStatus, Stage

_PART_BYTES: Final = 256 * 1024
_ROLLOUT: Final = """
    SELECT r.*, p.kind, p.device_kind, p.participant, p.version FROM rollout r JOIN pack p ON p.id = r.pack_id"""
_IS: Final = "kind = :kind AND device_kind = :device_kind AND participant = :participant AND version = :version"
_NEVER_BEFORE: Final = 2**62


class SqlPacks:
    """The port `Packs` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _run(self, statement: str, **values: Any) -> Any:
        return await self._connection.execute(text(statement), values)

    async def find(self, key: PackKey) -> tuple[int, Pack] | None:
        """Read the row."""
        row = (await self._run(f"SELECT * FROM pack WHERE {_IS}", **_key(key))).one_or_none()
        return None if row is None else (row.id, _pack(row))

    async def add(self, pack: Pack, data: bytes) -> bool:
        """The row, then its parts, all in this transaction."""
        row = (
            await self._run(
                """INSERT INTO pack (kind, device_kind, participant, version, effect_time, sha256, size_bytes,
                    signature, certificate, publish_time, title)
                VALUES (:kind, :device_kind, :participant, :version, :effect_time, :sha256, :size_bytes, :signature,
                    :certificate, :publish_time, :title) ON CONFLICT DO NOTHING RETURNING id""",
                **_key(pack.key),
                effect_time=pack.effect_time,
                sha256=pack.sha256,
                size_bytes=pack.size_bytes,
                signature=pack.signature,
                certificate=pack.certificate,
                publish_time=pack.publish_time,
                title=pack.title,
            )
        ).one_or_none()
        if row is None:
            return False
        for offset in range(0, len(data), _PART_BYTES):
            await self._run(
                "INSERT INTO pack_part (pack_id, part_offset, data) VALUES (:id, :offset, :data)",
                id=row.id,
                offset=offset,
                data=data[offset : offset + _PART_BYTES],
            )
        return True

    async def part(self, pack_id: int, offset: int) -> bytes:
        """The rest of the part that holds an offset."""
        row = (
            await self._run(
                """SELECT part_offset, data FROM pack_part WHERE pack_id = :id AND part_offset <= :offset
                ORDER BY part_offset DESC LIMIT 1""",
                id=pack_id,
                offset=offset,
            )
        ).one_or_none()
        return b"" if row is None else bytes(row.data)[offset - row.part_offset :]

    async def list(self, participant: str | None, kind: int, before: int, size: int) -> Sequence[tuple[int, Pack]]:
        """A page."""
        rows = await self._run(
            """SELECT * FROM pack WHERE id < :before AND (:kind = 0 OR kind = :kind)
                AND (CAST(:participant AS text) IS NULL OR participant IN ('', :participant))
            ORDER BY id DESC LIMIT :size""",
            participant=participant,
            kind=kind,
            before=before,
            size=size,
        )
        return [(row.id, _pack(row)) for row in rows]

    async def many(self, keys: Sequence[PackKey]) -> Sequence[Pack]:
        """In the order asked; those that are gone are left out."""
        found = [await self.find(key) for key in keys]
        return [one[1] for one in found if one is not None]

    async def start(
        self, pack_id: int, stages: Sequence[Stage], failure_count_max: int, starter: str, at: datetime
    ) -> int:
        """A new row."""
        packed = json.dumps([{"groups": list(one.groups), "percent": one.percent} for one in stages])
        row = (
            await self._run(
                """INSERT INTO rollout (pack_id, stages, stage, state, failure_count_max, start_time, starter)
                VALUES (:pack, CAST(:stages AS jsonb), 1, 1, :failures, :at, :starter) RETURNING id""",
                pack=pack_id,
                stages=packed,
                failures=failure_count_max,
                at=at,
                starter=starter,
            )
        ).one()
        return int(row.id)

    async def rollout_for_update(self, number: int) -> Rollout:
        """Locked."""
        row = (await self._run(f"{_ROLLOUT} WHERE r.id = :id FOR UPDATE OF r", id=number)).one_or_none()
        if row is None:
            raise RolloutUnknown(rollout=f"rollouts/{number}")
        return _rollout(row)

    async def save_rollout(self, number: int, stage: int, state: RolloutStatus) -> None:
        """Stage and state."""
        await self._run(
            "UPDATE rollout SET stage = :stage, state = :state WHERE id = :id", stage=stage, state=int(state), id=number
        )

    async def rollouts(self, before: int | None = None, size: int | None = None) -> Sequence[Rollout]:
        """Newest first."""
        before = _NEVER_BEFORE if before is None else before
        rows = await self._run(
            f"{_ROLLOUT} WHERE r.id < :before ORDER BY r.id DESC LIMIT :size", before=before, size=size
        )
        return [_rollout(row) for row in rows]

    async def failing(self) -> Sequence[int]:
        """Locked, so that two processes do not tell twice."""
        rows = await self._run(
            """SELECT r.id FROM rollout r JOIN pack p ON p.id = r.pack_id
            WHERE r.state = 1 AND r.failure_count_max > 0 AND r.failure_count_max <= (
                SELECT count(*) FROM pack_report f JOIN terminal t USING (terminal_number)
                WHERE f.kind = p.kind AND f.version = p.version AND f.outcome = 3 AND f.report_time >= r.start_time
                    AND (p.participant = '' OR p.participant = t.participant))
            ORDER BY r.id FOR UPDATE OF r"""
        )
        return [row.id for row in rows]

    async def reports_of(self, kind: int, version: int) -> Mapping[str, int]:
        """Outcome by terminal; in force goes before waiting, waiting before failed."""
        rows = await self._run(
            """SELECT DISTINCT ON (terminal_number) terminal_number, outcome FROM pack_report
            WHERE kind = :kind AND version = :version
            ORDER BY terminal_number, CASE outcome WHEN 2 THEN 0 WHEN 1 THEN 1 ELSE 2 END""",
            kind=kind,
            version=version,
        )
        return {row.terminal_number: row.outcome for row in rows}


def _key(key: PackKey) -> dict[str, Any]:
    return {
        "kind": key.kind,
        "device_kind": key.device_kind,
        "participant": key.participant,
        "version": key.version,
    }


def _key_of(row: Any) -> PackKey:
    return PackKey(row.kind, row.device_kind, row.participant, row.version)


def _pack(row: Any) -> Pack:
    return Pack(
        _key_of(row),
        row.effect_time,
        bytes(row.sha256),
        row.size_bytes,
        bytes(row.signature),
        bytes(row.certificate),
        row.publish_time,
        row.title,
    )


def _rollout(row: Any) -> Rollout:
    stages = tuple(Stage(tuple(one["groups"]), one["percent"]) for one in row.stages)
    state = RolloutStatus(row.state)
    return Rollout(row.id, _key_of(row), stages, row.stage, state, row.failure_count_max, row.start_time)
