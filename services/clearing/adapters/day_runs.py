"""Runs of settlement days in SQL."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.domain.day_run import DayRun, Stage, StageRow, StageState

_STAGE = "SELECT s.*, p.id AS participant_id FROM day_stage s JOIN participant p ON p.number = s.participant "


def _to_stage(row: Row[Any]) -> StageRow:
    return StageRow(
        row.participant_id, Stage(row.stage), StageState(row.state), row.attempts, row.reason, row.detail,
        row.started_at, row.ended_at,
    )  # fmt: skip


class SqlDayRuns:
    """Runs on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def begin(self, day: date, who: str, at: datetime, stages: Sequence[Stage]) -> None:
        """Begin a run of all participants, or set what failed in it to be tried again."""
        await self._connection.execute(
            text("INSERT INTO day_run VALUES (:day, :who, :at) ON CONFLICT DO NOTHING"),
            {"day": day, "who": who, "at": at},
        )
        await self._connection.execute(
            text(
                "INSERT INTO day_stage (settlement_date, participant, stage, state) SELECT :day, number, stage, 1 "
                "FROM participant CROSS JOIN unnest(CAST(:stages AS smallint[])) AS t (stage) ON CONFLICT DO NOTHING"
            ),
            {"day": day, "stages": [int(one) for one in stages]},
        )
        # What was skipped for want of a key or an account is asked again too: somebody may have given one.
        await self._connection.execute(
            text(
                "UPDATE day_stage SET state = 1, reason = '', detail = '' WHERE settlement_date = :day AND state IN "
                "(5, 6)"
            ),
            {"day": day},
        )

    async def find(self, day: date) -> DayRun | None:
        """One run with its stages, by participant and order."""
        run = (
            await self._connection.execute(text("SELECT * FROM day_run WHERE settlement_date = :day"), {"day": day})
        ).first()
        if run is None:
            return None
        query = text(_STAGE + "WHERE s.settlement_date = :day ORDER BY p.id, s.stage")
        rows = await self._connection.execute(query, {"day": day})
        return DayRun(run.settlement_date, run.requested_by, run.requested_at, tuple(map(_to_stage, rows)))

    async def open_days(self) -> list[date]:
        """Days whose runs have something left to try, the oldest first: windows close in order."""
        query = text("SELECT DISTINCT settlement_date FROM day_stage WHERE state IN (1, 2, 3) ORDER BY 1")
        return [row.settlement_date for row in await self._connection.execute(query)]

    async def page(self, before: date | None, size: int) -> list[DayRun]:
        """Runs, the newest day first."""
        query = text(
            "SELECT settlement_date FROM day_run WHERE CAST(:before AS date) IS NULL OR settlement_date < :before "
            "ORDER BY settlement_date DESC LIMIT :size"
        )
        days = [row.settlement_date for row in await self._connection.execute(query, {"before": before, "size": size})]
        found = [await self.find(day) for day in days]
        return [run for run in found if run is not None]

    async def claim(self, day: date, participant: str, stage: Stage, at: datetime, lease_until: datetime) -> bool:
        """Take a stage; False when another process has it. Whoever dies with it loses it when the lease ends."""
        statement = text(
            "UPDATE day_stage s SET state = 2, attempts = attempts + 1, started_at = coalesce(started_at, :at), "
            "lease_until = :lease, reason = '' FROM participant p WHERE p.number = s.participant AND p.id = "
            ":participant "
            "AND s.settlement_date = :day AND s.stage = :stage AND s.state IN (1, 3) RETURNING s.stage"
        )
        values = {"day": day, "participant": participant, "stage": int(stage), "at": at, "lease": lease_until}
        return (await self._connection.execute(statement, values)).first() is not None

    async def renew(self, day: date, participant: str, stage: Stage, lease_until: datetime) -> None:
        """Keep a stage that is still worked on."""
        statement = text(
            "UPDATE day_stage s SET lease_until = :lease FROM participant p WHERE p.number = s.participant "
            "AND p.id = :participant AND s.settlement_date = :day AND s.stage = :stage AND s.state = 2"
        )
        values = {"day": day, "participant": participant, "stage": int(stage), "lease": lease_until}
        await self._connection.execute(statement, values)

    async def settle(
        self, day: date, participant: str, stage: Stage, state: StageState, reason: str, detail: str, at: datetime
    ) -> None:
        """Store how a stage ended, or that it waits."""
        statement = text(
            "UPDATE day_stage s SET state = :state, reason = :reason, detail = :detail, lease_until = NULL, "
            "ended_at = CASE WHEN :state IN (4, 5, 6) THEN CAST(:at AS timestamptz) END FROM participant p "
            "WHERE p.number = s.participant AND p.id = :participant AND s.settlement_date = :day AND s.stage = :stage"
        )
        values = {
            "day": day, "participant": participant, "stage": int(stage), "state": int(state), "reason": reason,
            "detail": detail[:500], "at": at,
        }  # fmt: skip
        await self._connection.execute(statement, values)

    async def give_back(self, at: datetime) -> int:
        """Let stages be tried again whose process died with them; how many."""
        statement = text("UPDATE day_stage SET state = 1, lease_until = NULL WHERE state = 2 AND lease_until < :at")
        return (await self._connection.execute(statement, {"at": at})).rowcount
