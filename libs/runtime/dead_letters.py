"""Buried events: looked at by people, and tried again once the cause is mended.

A consumer buries what it cannot digest (table `dead_letter`). Somebody asks for another try; the running consumer sees
it within seconds, and makes effect, inbox row and the end of the letter in one transaction. The bus is not needed for
it: the letter holds the whole event, and a service may publish its own events only.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.tables import TABLES


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A buried event.

    Attributes:
        consumer: Who could not digest it, `<service>_<durable>`.
        event_id: Its id; made from its place in the stream where the event had none.
        subject: Full name of its type.
        payload: Its bytes.
        reason: Why it was buried the last time.
        delivery_count: How often it was tried.
        traceparent: W3C trace context of the fact; may be empty.
        occurred_at: When the fact was; None where the headers could not be read: such a letter cannot be tried again.
        buried_at: When it was buried.
        replay_asked_at: When somebody asked for another try that has not happened yet.
    """

    consumer: str
    event_id: uuid.UUID
    subject: str
    payload: bytes
    reason: str
    delivery_count: int
    traceparent: str
    occurred_at: datetime | None
    buried_at: datetime
    replay_asked_at: datetime | None


class DeadLetters:
    """The dead letters of one service, on an open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list(self, limit: int = 1000) -> Sequence[DeadLetter]:
        """The letters, oldest first, at most `limit`."""
        query = select(TABLES.dead_letter).order_by(TABLES.dead_letter.c.buried_at).limit(limit)
        return [_letter(row) for row in (await self._connection.execute(query)).mappings()]

    async def ask(self, event_ids: Sequence[uuid.UUID] | None = None) -> int:
        """Ask for another try of some letters, or of all; returns of how many.

        Letters whose headers nobody could read stay as they are: there is nothing to hand to a handler.
        """
        table = TABLES.dead_letter
        statement = update(table).where(table.c.occurred_at.is_not(None)).values(replay_asked_at=func.now())
        if event_ids is not None:
            statement = statement.where(table.c.event_id.in_(event_ids))
        return (await self._connection.execute(statement)).rowcount

    async def asked(self, consumer: str) -> Sequence[uuid.UUID]:
        """Events of a consumer that shall be tried again, oldest first."""
        table = TABLES.dead_letter
        mine = (table.c.consumer == consumer) & table.c.replay_asked_at.is_not(None)
        return list(await self._connection.scalars(select(table.c.event_id).where(mine).order_by(table.c.buried_at)))

    async def take(self, consumer: str, event_id: uuid.UUID) -> DeadLetter | None:
        """Lock one letter that shall be tried again; None when another process has it or had it."""
        table = TABLES.dead_letter
        query = select(table).where(*_is(consumer, event_id), table.c.replay_asked_at.is_not(None))
        row = (await self._connection.execute(query.with_for_update(skip_locked=True))).mappings().first()
        return None if row is None else _letter(row)

    async def end(self, consumer: str, event_id: uuid.UUID) -> None:
        """Remove a letter whose event has had its effect."""
        await self._connection.execute(delete(TABLES.dead_letter).where(*_is(consumer, event_id)))

    async def failed_again(self, consumer: str, event_id: uuid.UUID, reason: str) -> None:
        """Keep a letter with its newest reason, until somebody asks again."""
        table = TABLES.dead_letter
        values = {"reason": reason[:2000], "delivery_count": table.c.delivery_count + 1, "replay_asked_at": None}
        await self._connection.execute(update(table).where(*_is(consumer, event_id)).values(values))


def _is(consumer: str, event_id: uuid.UUID) -> tuple[Any, Any]:
    columns = TABLES.dead_letter.c
    return columns.consumer == consumer, columns.event_id == event_id


def _letter(row: RowMapping) -> DeadLetter:
    return DeadLetter(**{**row, "payload": bytes(row["payload"])})
