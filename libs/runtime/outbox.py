"""Events leave through the database: written with their cause, published after it."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.clock import Clock
from libs.runtime import telemetry
from libs.runtime.tables import TABLES

# Relays listen here; a notification is heard at commit only.
WAKE_CHANNEL = "citycard_outbox"
# The server's default limit of a message is 1 MiB, headers included.
PAYLOAD_BYTES_MAX = 960 * 1024


class EventTooLong(ValueError):
    """An event that no broker would take: carry a reference instead of the rows."""


class Outbox:
    """The outbox of one transaction."""

    def __init__(self, connection: AsyncConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def add(self, events: Sequence[Message]) -> list[uuid.UUID]:
        """Write events that are published if and only if this transaction commits.

        Args:
            events: Protobuf facts; the type of each is its full name and its subject.

        Returns:
            Their event ids, in order.

        Raises:
            EventTooLong: One is longer than `PAYLOAD_BYTES_MAX` bytes.
        """
        if not events:
            return []
        occurred_at, traceparent = self._clock.now(), telemetry.traceparent()
        rows: list[dict[str, Any]] = []
        for event in events:
            payload = event.SerializeToString()
            if len(payload) > PAYLOAD_BYTES_MAX:
                raise EventTooLong(f"{event.DESCRIPTOR.full_name} has {len(payload)} bytes")
            rows.append(
                {
                    "event_id": uuid.uuid4(),
                    "subject": event.DESCRIPTOR.full_name,
                    "payload": payload,
                    "traceparent": traceparent,
                    "occurred_at": occurred_at,
                }
            )
        await self._connection.execute(insert(TABLES.outbox), rows)
        await self._connection.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
        return [row["event_id"] for row in rows]


async def republish(engine: AsyncEngine, since: datetime) -> int:
    """Publish again every kept event that occurred at or after a moment: a stream was lost.

    Consumers skip what they have in their inbox, so this harms nobody.

    Returns:
        How many events go out again.
    """
    outbox = TABLES.outbox
    async with engine.begin() as connection:
        statement = update(outbox).where(outbox.c.occurred_at >= since).values(published_at=None)
        count = (await connection.execute(statement)).rowcount
        await connection.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return count
