"""Commands in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.terminal_gw.domain.device import Command, CommandAnswer, CommandState
from services.terminal_gw.domain.errors import CommandUnknown


class SqlCommands:
    """The port `Commands` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _run(self, statement: str, **values: Any) -> Any:
        return await self._connection.execute(text(statement), values)

    async def issue(
        self, orders: Sequence[tuple[str, str, bytes]], issuer: str, at: datetime, expire: datetime
    ) -> Sequence[int]:
        """One statement; the numbers follow the order of the terminals."""
        rows = await self._run(
            """INSERT INTO command (terminal_number, kind, body, state, issuer, issue_time, expire_time)
            SELECT number, kind, body, 1, :issuer, :at, :expire FROM unnest(CAST(:numbers AS text[]),
                CAST(:kinds AS text[]), CAST(:bodies AS bytea[])) AS new (number, kind, body) ORDER BY number
            RETURNING id""",
            issuer=issuer,
            at=at,
            expire=expire,
            numbers=[number for number, _, _ in orders],
            kinds=[kind for _, kind, _ in orders],
            bodies=[body for _, _, body in orders],
        )
        return sorted(row.id for row in rows)

    async def take_pending(self, numbers: Sequence[str], at: datetime, most: int) -> Sequence[Command]:
        """Skips rows that another process is taking."""
        rows = await self._run(
            """UPDATE command SET state = 2, send_time = coalesce(send_time, :at) WHERE id IN (
                SELECT id FROM command WHERE state = 1 AND expire_time > :at AND terminal_number = ANY(:numbers)
                ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED) RETURNING *""",
            at=at,
            numbers=list(numbers),
            most=most,
        )
        return sorted((command_of_row(row) for row in rows), key=lambda one: one.number)

    async def mark_sent(self, command_numbers: Sequence[int], at: datetime) -> None:
        """What was answered meanwhile stays answered."""
        if command_numbers:
            await self._run(
                """UPDATE command SET state = 2, send_time = coalesce(send_time, :at) WHERE id IN (
                    SELECT id FROM command WHERE state = 1 AND id = ANY(:ids) ORDER BY id FOR UPDATE)""",
                ids=list(command_numbers),
                at=at,
            )

    async def answer(self, answers: Sequence[CommandAnswer], at: datetime) -> Sequence[int]:
        """One row a command: of several answers in one set the furthest counts."""
        last: dict[int, CommandAnswer] = {}
        for one in answers:
            if one.number not in last or one.state >= last[one.number].state:
                last[one.number] = one
        chosen = [last[number] for number in sorted(last)]
        rows = await self._run(
            """UPDATE command c SET answer_time = :at,
                detail = CASE WHEN new.detail = '' THEN c.detail ELSE new.detail END,
                state = CASE WHEN c.state <= 3 THEN greatest(c.state, new.state) ELSE c.state END
            FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS text[]), CAST(:states AS smallint[]),
                CAST(:details AS text[])) AS new (id, number, state, detail)
            WHERE c.id = new.id AND c.terminal_number = new.number RETURNING c.id""",
            at=at,
            ids=[one.number for one in chosen],
            numbers=[one.terminal_number for one in chosen],
            states=[int(one.state) for one in chosen],
            details=[one.detail for one in chosen],
        )
        return [row.id for row in rows]

    async def get_for_update(self, terminal_number: str, number: int) -> Command:
        """Locked."""
        rows = await self._run(
            "SELECT * FROM command WHERE id = :id AND terminal_number = :number FOR UPDATE",
            id=number,
            number=terminal_number,
        )
        row = rows.one_or_none()
        if row is None:
            raise CommandUnknown(command=f"terminals/{terminal_number}/commands/{number}")
        return command_of_row(row)

    async def set_state(self, number: int, state: CommandState) -> None:
        """Change the state."""
        await self._run("UPDATE command SET state = :state WHERE id = :id", state=int(state), id=number)

    async def expire(self, at: datetime) -> int:
        """One statement."""
        done = await self._run(
            """UPDATE command SET state = 6 WHERE id IN (SELECT id FROM command WHERE state <= 3 AND expire_time <= :at
            ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED)""",
            at=at,
        )
        return int(done.rowcount)

    async def list(
        self, participant: str | None, terminal_number: str, before: int, size: int, *, open_only: bool
    ) -> Sequence[Command]:
        """A page."""
        rows = await self._run(
            """SELECT c.* FROM command c JOIN terminal t USING (terminal_number)
            WHERE c.id < :before AND (CAST(:participant AS text) IS NULL OR t.participant = :participant)
                AND (:number = '' OR c.terminal_number = :number) AND (NOT :open_only OR c.state <= 3)
            ORDER BY c.id DESC LIMIT :size""",
            participant=participant,
            number=terminal_number,
            before=before,
            size=size,
            open_only=open_only,
        )
        return [command_of_row(row) for row in rows]


def command_of_row(row: Any) -> Command:
    """A row as a command."""
    return Command(
        row.id,
        row.terminal_number,
        row.kind,
        bytes(row.body),
        CommandState(row.state),
        row.issuer,
        row.issue_time,
        row.expire_time,
        row.send_time,
        row.answer_time,
        row.detail,
    )
