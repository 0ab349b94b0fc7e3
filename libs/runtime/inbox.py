"""The inbox: an event has its effect once, however often it is delivered."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.tables import TABLES


class Inbox:
    """The inbox of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, consumer: str, event_id: uuid.UUID) -> bool:
        """Take an event for this transaction; a concurrent taker is waited for.

        Returns:
            True when its effect is still to be made, False when a committed transaction made it.
        """
        inbox = TABLES.inbox
        values = {"consumer": consumer, "event_id": event_id}
        statement = insert(inbox).values(values).on_conflict_do_nothing().returning(inbox.c.event_id)
        return (await self._connection.execute(statement)).first() is not None

    async def bury(
        self,
        consumer: str,
        event_id: uuid.UUID,
        *,
        subject: str,
        payload: bytes,
        reason: str,
        delivery_count: int,
        traceparent: str = "",
        occurred_at: datetime | None = None,
    ) -> None:
        """Keep an event that cannot be digested, for people to look at; burying twice keeps the first reason."""
        values: dict[str, Any] = {
            "consumer": consumer,
            "event_id": event_id,
            "subject": subject,
            "payload": payload,
            "reason": reason[:2000],
            "delivery_count": delivery_count,
            "traceparent": traceparent,
            "occurred_at": occurred_at,
        }
        await self._connection.execute(insert(TABLES.dead_letter).values(values).on_conflict_do_nothing())
